"""What is said of new noises follows from the runs; a clone of dropout must not win."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from tables import made

from analysis.exercises import new_noise
from analysis.tables import Table

NOISES = ("dropout", "dropout_clone", "gaussian", "additive", "jumpout")
RATES = ((0.05, 0.125), (0.1, 0.25), (0.2, 0.5), (0.3, 0.75))
CHOSEN = (0.1, 0.25)


def arm(noise: str, rates: Sequence[float]) -> dict[str, Any]:
    return {"noise": noise, "dropout1": rates[0], "dropout2": rates[1]}


def chance(*of: Any) -> float:
    """A standard normal number that depends on nothing else."""
    return float(np.random.default_rng(zlib.crc32(repr(of).encode())).normal())


@cache
def first(best: tuple[tuple[str, float], ...] = (), seeds: tuple[int, ...] = (0, 1)) -> Table:
    """Validation: 0.1 is best of each noise's first rates, but for those in `best`."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        far = abs(of["dropout1"] - dict(best).get(of["noise"], CHOSEN[0]))
        return {"val_acc": 0.89 - 0.05 * far, "val_loss": 0.3 + 0.1 * far}

    arms = [arm("none", (0, 0)), *(arm(noise, rates) for rates in RATES for noise in NOISES)]
    return made("new_noise", arms, seeds, metrics)


def second(
    effects: Mapping[str, float],
    *,
    losses: Mapping[str, float] | None = None,
    seeds: Sequence[int] = range(10, 20),
    noises: Sequence[str] = ("none", *NOISES),
    rates: Mapping[str, Sequence[float]] | None = None,
    sd: float = 0.001,
) -> Table:
    """Test: these effects on accuracy, and on cross-entropy, over dropout's; a seed's part is common to all."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        noise = of["noise"]
        common = chance("seed", seed)
        return {
            "test_acc": 0.88 + 0.002 * common + effects.get(noise, 0) + sd * chance(noise, seed),
            "test_loss": 0.35
            - 0.005 * common
            + (losses or {}).get(noise, 0)
            + sd * chance(noise, seed, "loss"),
            "test_ece": 0.03 + sd * chance(noise, seed, "ece"),
        }

    places = dict.fromkeys(noises, CHOSEN) | {"none": (0, 0)} | dict(rates or {})
    return made("new_noise_test", [arm(noise, places[noise]) for noise in noises], seeds, metrics)


def facts(*tables: Table) -> Any:
    return new_noise.analyse({table.sweep: table for table in tables})


HELPS = {"none": -0.02}
VERDICTS: dict[str, tuple[dict[str, float], float, str]] = {
    "a noise is better": ({**HELPS, "additive": 0.006}, 0.001, "a noise wins"),
    "it is, though dropout helps not": ({"additive": 0.006}, 0.001, "a noise wins"),
    "the clone is better": ({**HELPS, "additive": 0.006, "dropout_clone": 0.006}, 0.001, "untrustworthy"),
    "the clone is worse": ({**HELPS, "dropout_clone": -0.006}, 0.001, "untrustworthy"),
    "dropout is no better than none": ({}, 0.001, "no yardstick"),
    "none is better by the margin": (HELPS, 0.0003, "none better"),
    "too few seeds for that": ({**HELPS, "none": -0.05}, 0.008, "undecided"),
}


@pytest.mark.parametrize(("effects", "sd", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(effects: dict[str, float], sd: float, verdict: str) -> None:
    found = facts(first(), second(effects, sd=sd))
    assert found.verdict == verdict
    assert [r.contrast.a for r in found.winners] == (["additive"] if "additive" in effects else [])


def test_every_other_arm_is_one_family_against_dropout() -> None:
    found = facts(first(), second({"jumpout": -0.006, **HELPS}))
    assert [r.contrast.a for r in found.primary] == [
        "none",
        "dropout_clone",
        "gaussian",
        "additive",
        "jumpout",
    ]
    assert {(r.contrast.b, r.family, r.paired.n) for r in found.primary} == {("dropout", 5, 10)}
    assert [r.contrast.a for r in found.losers] == ["jumpout"]
    raw = {
        r.contrast.a: r.paired.p
        for r in found.described
        if r.contrast.b == "dropout" and r.measure is found.first.measure
    }
    for result in found.primary:
        assert result.p == pytest.approx(min(1, 5 * raw[result.contrast.a]))
        assert result.paired.interval is not None
        assert result.paired.interval.excludes(0) == (result.p < 0.05)


def test_a_lower_cross_entropy_is_described_and_wins_nothing() -> None:
    found = facts(first(), second(HELPS, losses={"gaussian": -0.01, "dropout_clone": -0.01}))
    assert [r.contrast.a for r in found.lower_loss()] == ["gaussian"]
    assert not found.winners


def test_a_noise_that_was_not_tested_costs_no_other() -> None:
    table = second({**HELPS, "additive": 0.006}, noises=("none", "dropout", "dropout_clone", "additive"))
    found = facts(first(), table)
    assert found.verdict == "a noise wins"
    assert "gaussian" not in {r.contrast.a for r in found.primary}


def test_without_the_test_nothing_is_decided() -> None:
    assert not facts(first()).tested


def test_one_collapsed_run_is_at_the_edge_of_the_figure() -> None:
    import dataclasses

    from analysis import measures
    from analysis.exercises import _noises

    table = first()
    hit = (
        (table.epochs["noise"] == "jumpout") & (table.epochs["dropout1"] == 0.3) & (table.epochs["seed"] == 1)
    )
    epochs = table.epochs.assign(val_acc=table.epochs["val_acc"].where(~hit, 0.1))
    of = _noises.tried(dataclasses.replace(table, epochs=epochs))
    low, _ = _noises.window(of, _noises.chosen(of), measures.VAL_ACC)
    assert low > 0.5
    figure = _noises.strengths_figure(of, _noises.chosen(of), measures.VAL_ACC)
    assert any("off the scale" in axis.get_legend_handles_labels()[1] for axis in figure.axes)
