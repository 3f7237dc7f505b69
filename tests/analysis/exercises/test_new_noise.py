"""What is said of new noises follows from the runs; a clone of dropout must not win."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from tables import made

from analysis import design
from analysis.exercises import new_noise

ARMS = design.read("new_noise").arms
NOISES = [arm["noise"] for arm in ARMS]
GUARDS = ("none", "dropout", "dropout_clone")
CANDIDATES = [noise for noise in NOISES if noise not in GUARDS]
FIRST, SECOND = CANDIDATES[:2]


def chance(*of: Any) -> float:
    """A standard normal number that depends on nothing else."""
    return float(np.random.default_rng(zlib.crc32(repr(of).encode())).normal())


def facts(
    effects: Mapping[str, float],
    *,
    losses: Mapping[str, float] | None = None,
    seeds: Sequence[int] = range(10, 20),
    among: Sequence[str] = NOISES,
    sd: float = 0.001,
) -> Any:
    """Of these effects on accuracy, and on cross-entropy, over dropout's; a seed's part is common to all."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        noise, common = of["noise"], chance("seed", seed)
        return {
            "test_acc": 0.88 + 0.002 * common + effects.get(noise, 0) + sd * chance(noise, seed),
            "test_loss": 0.35
            - 0.005 * common
            + (losses or {}).get(noise, 0)
            + sd * chance(noise, seed, "loss"),
            "test_ece": 0.03 + sd * chance(noise, seed, "ece"),
            "ema_test_acc": 0.88 + sd * chance(noise, seed, "ema"),
        }

    keys = dict.fromkeys(key for arm in ARMS for key in arm)
    arms = [{key: arm.get(key) for key in keys} for arm in ARMS if arm["noise"] in among]
    table = made("new_noise", arms, seeds, metrics)
    return new_noise.analyse({table.sweep: table})


HELPS = {"none": -0.02}
VERDICTS: dict[str, tuple[dict[str, float], float, str]] = {
    "a noise is better": ({**HELPS, FIRST: 0.006}, 0.001, "a noise wins"),
    "it is, though dropout helps not": ({FIRST: 0.006}, 0.001, "a noise wins"),
    "the clone is better": ({**HELPS, FIRST: 0.006, "dropout_clone": 0.006}, 0.001, "untrustworthy"),
    "the clone is worse": ({**HELPS, "dropout_clone": -0.006}, 0.001, "untrustworthy"),
    "dropout is no better than none": ({}, 0.001, "no yardstick"),
    "none is better by the margin": (HELPS, 0.0003, "none better"),
    "too few seeds for that": ({**HELPS, "none": -0.05}, 0.008, "undecided"),
}


@pytest.mark.parametrize(("effects", "sd", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(effects: dict[str, float], sd: float, verdict: str) -> None:
    found = facts(effects, sd=sd)
    assert found.verdict == verdict
    won = verdict == "a noise wins"
    assert [r.contrast.a for r in found.winners] == [FIRST] * won


def test_every_other_arm_is_one_family_against_dropout() -> None:
    found = facts({FIRST: -0.006, **HELPS})
    assert [r.contrast.a for r in found.primary] == [noise for noise in NOISES if noise != "dropout"]
    size = len(NOISES) - 1
    assert {(r.contrast.b, r.family, r.paired.n) for r in found.primary} == {("dropout", size, 10)}
    assert [r.contrast.a for r in found.losers] == [FIRST]
    raw = {
        r.contrast.a: r.paired.p
        for r in found.described
        if r.contrast.b == "dropout" and r.measure is found.first.measure
    }
    for result in found.primary:
        assert result.p == pytest.approx(min(1, size * raw[result.contrast.a]))
        assert result.paired.interval is not None
        assert result.paired.interval.excludes(0) == (result.p < 0.05)


def test_a_noise_must_beat_the_clone_as_well() -> None:
    found = facts({**HELPS, FIRST: 0.006})
    assert found.versus(FIRST, "dropout_clone", found.first.measure).gain > 0
    beaten = facts({**HELPS, FIRST: 0.004, "dropout_clone": 0.004})
    assert beaten.judged(FIRST).side > 0 and not beaten.winners


def test_a_lower_cross_entropy_is_described_and_wins_nothing() -> None:
    found = facts(HELPS, losses={SECOND: -0.01, "dropout_clone": -0.01})
    assert [r.contrast.a for r in found.lower_loss()] == [SECOND]
    assert not found.winners


def test_a_noise_without_runs_costs_no_other() -> None:
    found = facts({**HELPS, FIRST: 0.006}, among=[noise for noise in NOISES if noise != SECOND])
    assert found.verdict == "a noise wins"
    assert SECOND not in {r.contrast.a for r in found.primary}
