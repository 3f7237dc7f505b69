"""What is said of dropout at test time, on tables of known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import made

from analysis.exercises import test_time_dropout
from analysis.exercises.test_time_dropout import ACCURACY, BOOK, LOSS, PassFacts
from analysis.looks import Look
from analysis.runs import InputError, Problem
from analysis.tables import Table

ARMS = [{"dropout1": 0.2}, {"dropout1": 0.5}]
"""The second layer's rate, 0.5 in both, is not swept."""
PASSES = (1, 2, 5, 10, 20, 50, 100)
ERRORS = [0.01 * tenth for tenth in range(1, 10)] + [0.4]
"""Of the tenths, by weight scaling."""


def sweep(
    gain: Callable[[int], float] = lambda n: -0.01 / n,
    *,
    loss: Callable[[int], float] | None = None,
    refusing: float = 0.0,
    arms: Sequence[Mapping[str, Any]] = ARMS,
    passes: Sequence[int] = PASSES,
    seeds: int = 10,
    noise: float = 0.0005,
    problems: Sequence[Problem] = (),
) -> Table:
    """The exercise's design: the mean of n passes has `gain`(n) more accuracy than weight scaling and `loss`(n)
    more cross-entropy (as default ten times the loss of accuracy); its error rates are `refusing` higher in the
    first nine tenths."""
    rows = []
    for position, arm in enumerate(arms):
        for seed in range(seeds):
            rng = np.random.default_rng([position, seed])
            acc, nats = 0.85 + 0.01 * np.sin(seed), 0.4 + 0.02 * np.cos(seed)
            for method, n in [("weight_scaling", 0)] + [
                (each, n) for n in passes for each in ("arithmetic", "geometric")
            ]:
                more = gain(n) if n else 0.0
                worse = 0.0 if n == 0 else loss(n) if loss else -10 * more
                errors = [error + (refusing if n and error < 0.4 else 0.0) for error in ERRORS]
                single, many = method == "weight_scaling" or n == 1, n and rng.normal(0.05, 0.002)
                rows.append(
                    {"id": f"{position:06x}{seed:06x}", **arm, "seed": seed, "method": method, "passes": n}
                    | {"accuracy": acc + more + (n and rng.normal(0, noise))}
                    | {"cross_entropy": nats + worse + (n and rng.normal(0, 2 * noise))}
                    | {"ece": 0.03 + rng.normal(0, noise), "entropy": 0.4}
                    | {"disagreement": np.nan if single else many, "pass_sd": np.nan if single else 0.0015}
                    | {f"error{tenth}": error + rng.normal(0, noise) for tenth, error in enumerate(errors, 1)}
                )
    extras = {"test_time": pd.DataFrame(rows)}
    return made(
        "test_time_dropout",
        arms,
        range(seeds),
        lambda *_: {"dropout1": 0.2, "dropout2": 0.5},
        extras=extras,
        problems=problems,
    )


def facts(table: Table) -> PassFacts:
    return test_time_dropout.analyse({"test_time_dropout": table})


@pytest.fixture(scope="module")
def usual() -> PassFacts:
    """One pass costs one point, a hundred next to nothing; cross-entropy likewise."""
    return facts(sweep())


@pytest.mark.parametrize(
    ("gain", "verdict"), [(-0.01, "costs"), (0.01, "gains"), (0.0, "equivalent"), (-0.0015, "costs")]
)
def test_verdicts(gain: float, verdict: str) -> None:
    found = facts(sweep(lambda n: gain, passes=(1, 2)))
    assert found.verdict == verdict
    assert found.first.paired.difference == pytest.approx(gain, abs=0.0006)
    assert (found.first.paired.n, found.first.family) == (10, 1)


def test_differences_by_the_number_of_passes(usual: PassFacts) -> None:
    assert usual.shown_arms == [BOOK, "(0.5, 0.5)"] and tuple(usual.passes) == PASSES
    for arm in usual.shown_arms:
        found = usual.at(arm, ACCURACY)
        assert list(found) == list(PASSES)
        for n, result in found.items():
            assert result.paired.difference == pytest.approx(-0.01 / n, abs=0.001)
        assert usual.better(arm, ACCURACY) == [] and usual.better(arm, LOSS) == []
    assert list(usual.at(BOOK, LOSS, "geometric")) == [100]
    gaining = facts(sweep(lambda n: 0.01 if n > 5 else -0.01))
    assert gaining.better(BOOK, ACCURACY) == [10, 20, 50, 100]


def test_what_refusing_the_least_certain_changes() -> None:
    found = facts(sweep(refusing=0.01))
    assert len(found.refused) == 2 * 9
    for result in found.refused:
        assert result.paired.difference == pytest.approx(0.01, abs=0.001)
        assert result.gain == -1


def test_passes_of_one_net_differ(usual: PassFacts) -> None:
    assert usual.mean(BOOK, "disagreement") == pytest.approx(0.05, abs=0.002)


def test_one_seed_decides_nothing_and_no_passes_are_refused() -> None:
    assert facts(sweep(seeds=1)).verdict == "not decided"
    bare = made("test_time_dropout", ARMS, range(3), lambda *_: {})
    with pytest.raises(InputError, match=r"probe\.test_time=true"):
        facts(bare)


def test_its_figures(usual: PassFacts) -> None:
    assert list(test_time_dropout.draw(usual)) == ["passes", "differences", "rejection"]


def test_a_sweep_that_looked_is_judged_as_it_judged() -> None:
    look = Look(ARMS[0], ARMS[0], "test_acc", (0, 1, 2, 3), (-0.012, -0.008), 0.03, "worse")
    found = facts(replace(sweep(), looks=(look,)))
    interval = found.first.paired.interval
    assert interval is not None and (interval.lower, interval.upper) == (-0.012, -0.008)
    assert (found.first.paired.n, found.verdict) == (4, "costs")
    # t, and without each seed; four seeds are too few for sign flips
    assert found.sensitivity is not None and found.sensitivity.analyses == 5
    # what is described, other arms and pairs of arms have their own
    assert {r.paired.n for r in found.described} == {10}
    for other in (Look(ARMS[1], ARMS[1], *look_of(look)), Look(ARMS[0], ARMS[1], *look_of(look))):
        assert facts(replace(sweep(), looks=(other,))).first.paired.n == 10


def look_of(look: Look) -> tuple[Any, ...]:
    return look.metric, look.seeds, look.ends, look.level, look.verdict
