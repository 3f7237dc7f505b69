"""What is said of the activations' variance, on tables of known truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import made

from analysis.exercises import activation_variance, pick
from analysis.exercises.activation_variance import VAR, ZEROS, VarianceFacts
from analysis.looks import Look
from analysis.phrases import ENGLISH
from analysis.runs import Problem
from analysis.tables import Table

NONE, BOOK, HALF = {"dropout1": 0.0, "dropout2": 0.0}, (0.2, 0.5), (0.5, 0.5)
ARMS = [NONE, *({"dropout1": first, "dropout2": second} for first, second in (BOOK, HALF))]
SQUARE = 1.5
"""E[h²] over the variance."""

Factor = Callable[[int], float]
"""Of the variance with dropout over that without, by layer."""


def sweep(
    factor: Factor,
    *,
    arms: Sequence[Mapping[str, Any]] = ARMS,
    seeds: int = 5,
    steps: Sequence[int] = (47, 94, 141, 188, 235),
    bias: float = 1.0,
    miss: float = 0.01,
    drift: float = 0.0,
    dead: float = 0.05,
    problems: Sequence[Problem] = (),
    growth: float = 3.0,
    noisy: float = 2.0,
) -> Table:
    """The exercise's design: dropout multiplies the variance at the last probe by `factor`, at the first one by
    nothing, and layer 2's with the noise on by `noisy`; the masks miss the formula by the factor `bias`, by chance
    with an SD of `miss`, and by one draw a run with an SD of `drift`."""
    rows = []
    for position, arm in enumerate(arms):
        for seed in range(seeds):
            rng = np.random.default_rng([position, seed])
            shared = np.random.default_rng(seed).normal(0, 0.2)
            for layer, p in ((1, arm.get("dropout1", 0.2)), (2, arm.get("dropout2", 0.5))):
                run_miss = rng.normal(0, drift)
                for place, step in enumerate(steps):
                    course = place / (len(steps) - 1) if len(steps) > 1 else 1
                    var = 0.1 * layer * growth**course * math.exp(shared + rng.normal(0, 0.02))
                    var *= factor(layer) ** course if p else 1
                    square = SQUARE * var
                    masked = var + p / (1 - p) * square
                    masked *= 1 if p == 0 else bias * (1 + rng.normal(0, miss) + run_miss)
                    rows.append(
                        {"id": f"{position:06x}{seed:06x}", **arm, "seed": seed, "epoch": 1, "step": step}
                        | {"layer": layer, "var": var, "unit_var": 0.8 * var, "masked_var": masked}
                        | {"unit_masked_var": masked, "noisy_var": 1.1 * masked if p else var}
                        | {"unit_noisy_var": masked, "zeros": 0.5 + (0.1 if p else 0) + rng.normal(0, 0.01)}
                        | {"dead": dead and dead + rng.normal(0, 0.001), "mean_square": square}
                    )
    probe = {"probe": pd.DataFrame(rows)}

    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        shared = 0.3 * math.exp(np.random.default_rng(seed).normal(0, 0.2))
        noise = math.exp(np.random.default_rng([seed, 1 + bool(arm.get("dropout2"))]).normal(0, 0.01))
        return {"noisy_var2": shared * noise * (noisy if arm.get("dropout2", 0.5) else 1)}

    return made("activation_variance", arms, range(seeds), metrics, extras=probe, problems=problems)


def without(table: Table, rows: Callable[[pd.DataFrame], Any]) -> Table:
    """The table without the runs of these rows."""
    kept = {
        name: frame[~rows(frame)] for name, frame in {"epochs": table.epochs, **(table.extras or {})}.items()
    }
    epochs = kept.pop("epochs")
    ids = table.runs["id"].isin(epochs["id"])
    return dataclasses.replace(table, epochs=epochs, runs=table.runs[ids], extras=kept)


def facts(table: Table) -> VarianceFacts:
    return activation_variance.analyse({"activation_variance": table})


def halved(layer: int) -> float:
    return 0.5 if layer == 1 else 0.8


@pytest.fixture(scope="module")
def smaller() -> VarianceFacts:
    return facts(sweep(halved))


@pytest.mark.parametrize(
    ("noisy", "verdict"), [(2.0, "larger"), (0.5, "smaller"), (1.0, "equivalent"), (1.06, "larger")]
)
def test_verdicts(noisy: float, verdict: str) -> None:
    found = facts(sweep(halved, noisy=noisy))
    assert found.verdict == verdict
    assert math.exp(found.first.paired.difference) == pytest.approx(noisy, rel=0.02)


def test_a_smaller_variance_is_found_with_its_size(smaller: VarianceFacts) -> None:
    for layer, factor in ((1, 0.5), (2, 0.8)):
        last = pick(smaller.described, a="(0.2, 0.5)", measure=VAR, setting=(f"layer {layer}", "last probe"))
        first = pick(smaller.before, a="(0.2, 0.5)", measure=VAR, setting=(f"layer {layer}", "first probe"))
        assert last is not None and first is not None
        assert last.side == -1 and first.side == 0
        assert math.exp(last.paired.difference) == pytest.approx(factor, rel=0.1)
        assert smaller.growth(layer) == pytest.approx(3, rel=0.1)


def test_shares_are_differences(smaller: VarianceFacts) -> None:
    zeros = pick(smaller.described, a="(0.5, 0.5)", measure=ZEROS, setting=("layer 1", "last probe"))
    assert zeros is not None and zeros.paired.difference == pytest.approx(0.1, abs=0.03)


def test_the_mask_multiplies_by_what_the_formula_says(smaller: VarianceFacts) -> None:
    for layer, p in ((1, 0.2), (2, 0.5)):
        assert smaller.mask(layer) == pytest.approx(1 + p / (1 - p) * SQUARE, rel=0.05)
    assert math.isnan(smaller.mask(3))
    assert len(smaller.misses) == 2 * 2 * 5 * 5


@pytest.mark.parametrize(("bias", "is_shown"), [(1.0, False), (1.05, True), (0.95, True)])
def test_a_bias_of_the_mask_is_found(bias: float, is_shown: bool) -> None:
    found = facts(sweep(halved, bias=bias)).bias
    assert found is not None and found.interval is not None
    assert found.interval.excludes(0) == is_shown
    assert found.mean == pytest.approx(bias - 1, abs=0.01)


def test_a_lost_run_costs_its_seed_alone() -> None:
    table = without(sweep(halved), lambda rows: (rows["dropout2"] == 0) & (rows["seed"] == 3))
    lost = Problem("0", "diverged", dict(NONE), 3, "nan")
    found = facts(dataclasses.replace(table, problems=(lost,)))
    assert found.first.paired.n == 4
    assert [(stats.n, stats.diverged) for stats in found.arms] == [(4, 1), (5, 0), (5, 0)]


def test_one_seed_and_one_arm_decide_nothing() -> None:
    assert facts(sweep(halved, seeds=1)).verdict == "not decided"
    assert facts(sweep(halved, arms=ARMS[1:])).verdict == "not decided"


def test_its_figures(smaller: VarianceFacts) -> None:
    assert list(activation_variance.draw(smaller)) == ["course", "mask", "silent"]


@pytest.mark.parametrize(
    ("verdict", "ends", "said"),
    [
        ("larger", (0.5, 0.9), "larger"),
        ("smaller", (-0.9, -0.1), "smaller"),
        ("equivalent", (-0.05, 0.05), "equivalent"),
        ("undecided, 1 of 20 broke", (0.5, 0.9), "undecided"),
    ],
)
def test_a_sweep_that_looked_is_judged_as_it_judged(
    verdict: str, ends: tuple[float, float], said: str
) -> None:
    look = Look(ARMS[1], ARMS[0], "noisy_var2", (0, 1, 2), ends, 0.03, verdict)
    found = activation_variance.analyse(
        {"activation_variance": dataclasses.replace(sweep(lambda layer: 1.0), looks=(look,))}
    )
    interval, judged = found.first.paired.interval, found.first.verdict
    assert interval is not None and (interval.lower, interval.upper, found.first.paired.n) == (*ends, 3)
    assert judged is not None and ENGLISH.badge(found.first) == said == found.verdict
    assert judged.diverged == ("broke" in verdict)
