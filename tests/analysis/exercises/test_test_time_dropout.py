"""What is said of dropout at test time, on tables of known truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tables import made

from analysis.exercises import Grid, Picture, extra_by_rates, test_time_dropout
from analysis.exercises.test_time_dropout import ACCURACY, BOOK, KEPT, LEAST, LOSS
from analysis.runs import Problem
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


def answer(table: Table):
    return test_time_dropout.answer({"test_time_dropout": table})


@pytest.fixture(scope="module")
def usual():
    """One pass costs one point, a hundred next to nothing; cross-entropy likewise."""
    return answer(sweep())


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """Drawn for `usual` alone: they take longer than all else."""
    for name in ("draw_passes", "draw_differences", "draw_rejection", "draw_spread"):
        monkeypatch.setattr(test_time_dropout, name, lambda *_: Figure())


def test_what_one_pass_costs_is_found_with_its_size(usual):
    assert "With rates (0.2, 0.5), predicting by 1 pass" in usual.headline
    assert "costs accuracy (−1.0" in usual.headline
    assert "with no number up to 100 is it shown better" in usual.headline
    assert usual.n == "10 common seeds, 20 runs"
    accuracy, quality, spread, certain, reach = usual.verdict
    assert "Trained with (0.2, 0.5): 1 pass" in accuracy and "Trained with (0.5, 0.5): 1 pass" in accuracy
    assert "worse: 1, 2, 5, 10" in accuracy
    assert "those inside the interval remain possible" in accuracy
    assert quality.startswith("Test cross-entropy: trained with (0.2, 0.5) 1 pass")
    assert "better with none, worse with 1, 2, 5, 10" in quality
    assert "Uncertainty" in certain and "fashion_mnist" in reach
    assert "SD" in spread
    assert not usual.outstanding
    assert [part.name for part in usual.parts if isinstance(part, Picture)] == [
        "passes",
        "differences",
        "rejection",
        "spread",
    ]
    grids = [part for part in usual.parts if isinstance(part, Grid)]
    assert all(len(row) == len(grid.headers) for grid in grids for row in grid.rows)
    assert [len(grid.rows) for grid in grids] == [2 * 3 * 7, 2 * 9]


def test_the_difference_is_paired_over_the_seeds():
    table = sweep()
    found = test_time_dropout.evaluated(extra_by_rates(table, "test_time"))
    case = found.arithmetic[BOOK, ACCURACY, 1]
    rows = table.extra("test_time")
    rows = rows[(rows["dropout1"] == 0.2) & (rows["passes"] <= 1)]
    values = rows.pivot_table(index="seed", columns="method", values="accuracy")
    differences = values["arithmetic"] - values["weight_scaling"]
    assert case.comparison.paired.difference == pytest.approx(differences.mean())
    half = 2.262 * differences.std() / np.sqrt(10)
    interval = case.comparison.paired.interval
    assert interval.upper - differences.mean() == pytest.approx(half, rel=1e-3)
    assert interval.lower < -0.01 < interval.upper
    assert found.arms == [BOOK, "(0.5, 0.5)"]
    # Holm over the 7 numbers of passes of these rates: the smallest p times 7
    cases = found.at(BOOK, LOSS)
    least = min(cases.values(), key=lambda case: case.comparison.paired.p).comparison
    assert least.adjusted_p == pytest.approx(7 * least.paired.p, rel=1e-6, abs=0)


def test_passes_that_gain_from_some_number_on():
    found = answer(sweep(lambda n: 0.01 - 0.02 / n if n != 2 else 0.0003))
    assert "costs accuracy" in found.headline
    assert "from the mean of 2 passes on no loss is shown, at 2 times the cost" in found.headline
    assert "with 5, 10, 20, 50, 100 of them it is shown better" in found.headline
    assert "better: 5, 10, 20, 50, 100, worse: 1." in found.verdict[0]


def test_the_other_way_round_gives_the_opposite_sentences():
    found = answer(sweep(lambda n: 0.01))
    assert "is shown to gain accuracy (+" in found.headline
    assert "no number of passes shows a loss" in found.headline
    assert "its expected calibration error is shown better with none of them" in found.headline
    assert "with 1, 2, 5, 10, 20, 50, 100 of them it is shown better" in found.headline
    assert "worse: none" in found.verdict[0]
    assert "better with 1, 2, 5, 10, 20, 50, 100, worse with none" in found.verdict[1]


def test_a_loss_that_never_ends():
    found = answer(sweep(lambda n: -0.01))
    assert "the mean of up to 100 passes does not catch up" in found.headline


def test_catching_up_holds_from_there_on():
    def gain(n: int) -> float:
        return 0.0 if n in (5, 50, 100) else -0.01

    assert "from the mean of 50 passes on no loss is shown" in answer(sweep(gain)).headline


def test_no_effect_is_not_called_equal():
    found = answer(sweep(lambda n: 0.0))
    assert "shows no difference in accuracy" in found.headline
    assert "with no number up to 100 is it shown better" in found.headline
    assert "better: none, worse: none" in found.verdict[0]
    assert "equal" not in " ".join(found.verdict).replace("(all equal)", "")


def test_measures_are_judged_each_for_itself():
    found = answer(sweep(lambda n: 0.0, loss=lambda n: -0.02))
    assert "shows no difference in accuracy" in found.headline
    quality = found.verdict[1]
    assert "(−0.02" in quality and "better with 1, 2, 5, 10, 20, 50, 100, worse with none" in quality
    assert "better with none, worse with none" in quality, "of the calibration"


def test_spread_is_described():
    found = answer(sweep(lambda n: -0.01))
    spread = found.verdict[2]
    sd = np.std(0.85 + 0.01 * np.sin(np.arange(10)), ddof=1) * 100
    assert f"of {sd:.2f} pp by weight scaling" in spread
    assert "SD of 0.15 pp (mean over 10 nets)" in spread
    assert "predict different classes for 5.0%" in spread or "predict different classes for 4.9%" in spread


def test_refusing_the_least_certain():
    table = sweep(refusing=0.01)
    found = test_time_dropout.evaluated(extra_by_rates(table, "test_time"))
    # without the last tenth the mean of 1 to 9 percent is left, and one point more by noisy passes
    case = found.refused[BOOK, KEPT, 1]
    assert case.samples[1].mean() == pytest.approx(0.05, abs=0.001)
    assert case.comparison.paired.difference == pytest.approx(0.01, abs=0.001)
    assert case.comparison.verdict == -1
    assert found.refused[BOOK, KEPT, 9].samples[1].mean() == pytest.approx(0.01, abs=0.001)
    assert found.certain[BOOK, LEAST, 100].comparison.verdict == 0
    text = answer(table).verdict[3]
    assert "40.0% against 40.0%" in text
    # a tenth of 0.4 and of nine times 0.06
    assert "(of all images 9.4" in text
    # 0.4 of a sum of 0.85 against 0.4 of 0.94
    assert "42.6% against 47.1%" in text
    assert "shown better: none, worse: 10, 20, 30, 40, 50, 60, 70, 80, 90." in text
    better = answer(sweep(refusing=-0.01)).verdict[3]
    assert "shown better: 10, 20, 30, 40, 50, 60, 70, 80, 90, worse: none." in better


def test_runs_without_a_result_cost_only_their_seed():
    table = sweep(problems=[Problem("x", "failed", "dropout1=0.2, seed 3", "out of memory")])
    rows = table.extra("test_time")
    kept = table.epochs[~((table.epochs["dropout1"] == 0.2) & (table.epochs["seed"] == 3))]
    found = answer(
        dataclasses.replace(
            table,
            epochs=kept,
            runs=table.runs[table.runs["id"].isin(kept["id"])],
            extras={"test_time": rows[rows["id"].isin(kept["id"])]},
        )
    )
    assert "costs accuracy (−1.0" in found.headline and "9 common seeds" in found.headline
    assert found.n == "9 common seeds, 19 runs"
    assert found.outstanding == ["rates (0.2, 0.5): 9 of 10 seeds"]


def test_a_trimmed_sweep_says_what_is_missing():
    found = answer(sweep(arms=ARMS[1:], seeds=2, passes=(1, 5)))
    assert "With rates (0.5, 0.5)" in found.headline
    assert "up to 5" in found.headline
    assert found.outstanding == ["rates (0.2, 0.5): 0 of 10 seeds", "rates (0.5, 0.5): 2 of 10 seeds"]


def test_one_seed_has_no_interval():
    found = answer(sweep(seeds=1))
    assert "interval" not in found.headline
    assert "one seed does not tell whether more passes catch up" in found.headline
    assert "(−1" in found.headline
    assert "one seed)" in found.verdict[0]


def test_without_an_evaluation_nothing_is_answered():
    found = answer(dataclasses.replace(sweep(seeds=2), extras=None))
    assert found.headline.startswith("Not answered")
    assert "probe.test_time" in found.outstanding[0]
    table = sweep(seeds=2)
    rows = table.extra("test_time")
    off = dataclasses.replace(table, extras={"test_time": rows[rows["passes"] == 0]})
    assert answer(off).headline.startswith("Not answered")
