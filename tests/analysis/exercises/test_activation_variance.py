"""What is said of the activations' variance, on tables of known truth."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tables import made

from analysis.exercises import Grid, Picture, activation_variance
from analysis.exercises.activation_variance import UNIT_VAR, VAR
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
) -> Table:
    """The exercise's design: dropout multiplies the variance at the last probe by `factor`, at the first one by
    nothing; the masks miss the identity by the factor `bias`, by chance with an SD of `miss`, and by one draw a run
    with an SD of `drift`."""
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
    return made("activation_variance", arms, range(seeds), lambda *_: {}, extras=probe, problems=problems)


def without(table: Table, rows: Callable[[pd.DataFrame], Any]) -> Table:
    """The table without the runs of these rows."""
    kept = {
        name: frame[~rows(frame)] for name, frame in {"epochs": table.epochs, **(table.extras or {})}.items()
    }
    epochs = kept.pop("epochs")
    ids = table.runs["id"].isin(epochs["id"])
    return dataclasses.replace(table, epochs=epochs, runs=table.runs[ids], extras=kept)


def answer(table: Table):
    return activation_variance.answer({"activation_variance": table})


def halved(layer: int) -> float:
    return 0.5 if layer == 1 else 0.8


@pytest.fixture(scope="module")
def smaller():
    return answer(sweep(halved))


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """Drawn for `smaller` alone: they take longer than all else."""
    for name in ("draw_lines", "draw_mask"):
        monkeypatch.setattr(activation_variance, name, lambda *_: Figure())


def test_a_smaller_variance_is_found_with_its_size(smaller):
    assert "rates (0.2, 0.5)" in smaller.headline
    first, second = smaller.headline.split(" in layer ")[:2]
    assert "0.5" in first and "smaller)" in first
    assert "smaller)" in second
    assert smaller.n == "5 common seeds, 15 runs"
    end, course, _, training, reach = smaller.verdict
    assert end.count("smaller)") == 4 and "larger" not in end
    assert "the same verdict in 4 of 4 comparisons" in end
    assert "epoch 1, step 235" in end
    assert course.count("no difference shown)") == 4, "dropout did nothing yet at the first probe"
    assert course.count("grows)") == 6
    assert "larger)" in training
    assert "fashion_mnist" in reach
    assert not smaller.outstanding


def test_ratios_are_means_of_the_pairs_logarithms():
    table = sweep(halved)
    probe = activation_variance.with_identity(table.extra("probe").assign(arm="x"))
    assert probe.loc[probe["p"] == 0, "miss"].isna().all()
    probe["arm"] = [f"({a:g}, {b:g})" for a, b in zip(probe["dropout1"], probe["dropout2"], strict=True)]
    last = probe[probe["step"] == 235]
    cases = activation_variance.against_none(last)
    found = cases[VAR][1, "(0.2, 0.5)"].comparison.paired
    values = last[last["layer"] == 1].pivot_table(index="seed", columns="arm", values="var")
    ratios = np.log(values["(0.2, 0.5)"] / values["(0, 0)"])
    assert found.difference == pytest.approx(ratios.mean())
    assert found.interval.upper - found.difference == pytest.approx(
        2.776 * ratios.std() / math.sqrt(5), rel=1e-3
    )
    assert found.interval.lower < math.log(0.5) < found.interval.upper
    assert len(cases[UNIT_VAR]) == 4


def test_the_other_way_round_gives_the_opposite_sentences():
    found = answer(sweep(lambda layer: 2.0 if layer == 1 else 1.5, growth=0.1))
    assert found.headline.count("larger)") == 2
    end, course, *_ = found.verdict
    assert end.count("larger)") == 4 and "smaller" not in end
    assert course.count("falls)") == 6


def test_no_effect_is_not_called_equal():
    found = answer(sweep(lambda layer: 1.0, growth=1.0))
    assert found.headline.count("no difference shown)") == 2
    assert found.verdict[0].count("no difference shown)") == 4
    assert "those inside the interval remain possible" in found.verdict[0]
    trends = found.verdict[1].split("At the first probe")[0]
    assert trends.count("no trend is shown)") >= 5, "six intervals of 95%, not corrected"
    assert "equal" not in " ".join(found.verdict)


def test_units_that_differ_from_the_pooled_variance_are_named():
    table = sweep(halved)
    probe = table.extra("probe")
    rows = (probe["layer"] == 2) & (probe["dropout1"] == 0.5)
    probe.loc[rows, "unit_var"] *= 3
    end = answer(dataclasses.replace(table, extras={"probe": probe})).verdict[0]
    assert "the same verdict in 3 of 4 comparisons, but not for layer 2 with (0.5, 0.5) 2." in end


def test_an_interval_without_1_does_not_suffice():
    found = answer(sweep(lambda layer: 0.97, seeds=4))
    assert "verdicts are corrected" in found.verdict[0]
    assert "no difference shown)" in found.verdict[0]
    assert "verdicts are corrected" not in answer(sweep(halved)).verdict[0]


def test_the_identity_is_held_against_the_masks(smaller):
    mask = smaller.verdict[2]
    # alpha 0.25 and 1, and E[h²] 1.5 times the variance
    assert "predicted 1.38)" in mask and mask.count("predicted 2.50)") == 3
    assert "100 masks" in mask
    assert "no bias is shown" in mask and "as chance has it" in mask
    # an SD of 1% among 5 masks
    assert "among a run's masks is 0.9" in mask and "independent draws leave 0.4" in mask
    biased = answer(sweep(halved, bias=1.05)).verdict[2]
    assert "a bias is shown" in biased and "more than by chance" in biased
    deviation = re.search(
        r"mean deviation is \+(\S+)% \(95% interval \+(\S+)% to \+(\S+)%, 5 seeds\)", biased
    )
    low, mean, high = (float(deviation[group]) for group in (2, 1, 3))
    assert low < 5 < high and low < mean < high
    drifting = answer(sweep(halved, drift=0.05, seeds=12)).verdict[2]
    assert "more than by chance" in drifting


def test_the_median_deviation_is_that_of_the_masks():
    table = sweep(halved, miss=0)
    extras = {"probe": table.extra("probe")}
    noisy = extras["probe"]["dropout1"] > 0
    rows = extras["probe"].index[noisy]
    extras["probe"].loc[rows, "masked_var"] *= np.resize([1.02, 0.98, 1.02, 0.98, 1.3], len(rows))
    text = answer(dataclasses.replace(table, extras=extras)).verdict[2]
    assert "by 2.00% in the median and 30.0% at most" in text


def test_zeros_and_dead_units(smaller):
    training = smaller.verdict[3]
    assert training.count("larger)") >= 2
    assert "+10" in training or "+9" in training
    assert "share of units that are dead" in training
    assert "The largest share in one run is 5." in training
    none = answer(sweep(halved, dead=0.0)).verdict[3]
    assert "No unit of any run is dead" in none


def test_runs_without_a_result_cost_only_their_pair():
    lost = Problem("x", "diverged", "(0.2, 0.5), seed 1", "the loss ceased to be finite")
    table = sweep(halved, seeds=6, problems=[lost])
    gone = without(
        table,
        lambda rows: (
            ((rows["dropout1"] == 0.2) & (rows["seed"] == 1))
            | ((rows["dropout2"] == 0) & (rows["seed"] == 3))
        ),
    )
    found = answer(gone)
    assert found.n == "4 common seeds, 16 runs"
    assert found.headline.count("smaller)") == 2
    assert not found.outstanding


def test_a_trimmed_sweep_says_what_is_missing():
    found = answer(sweep(halved, seeds=2, steps=(235,)))
    assert "2 common seeds" in found.n
    assert found.outstanding[:3] == [
        f"rates {arm}: 2 of 5 seeds" for arm in ("(0, 0)", "(0.2, 0.5)", "(0.5, 0.5)")
    ]
    assert found.outstanding[3] == "the course of training: needs more than one probe"
    assert not any("From the first probe" in text for text in found.verdict)


def test_one_seed_has_no_interval():
    found = answer(sweep(halved, seeds=1))
    assert "(one seed, no difference shown)" in found.headline
    assert found.n == "1 common seed, 3 runs"


def test_without_an_arm_to_compare_with_the_identity_remains():
    found = answer(without(sweep(halved), lambda rows: rows["dropout2"] == 0))
    assert "Not answered" in found.headline
    assert "rates (0, 0): 0 of 5 seeds" in found.outstanding
    assert any("no bias is shown" in text for text in found.verdict)


def test_rates_that_were_not_swept_are_those_of_the_metrics():
    full = sweep(halved, arms=ARMS[1:2])
    extra = full.extra("probe").drop(columns=["dropout1", "dropout2"])
    table = dataclasses.replace(full, keys=(), extras={"probe": extra})
    found = answer(table)
    assert "rates (0.2, 0.5): " not in " ".join(found.outstanding)
    assert "rates (0.5, 0.5): 0 of 5 seeds" in found.outstanding


def test_dropout_off_everywhere_has_no_masks():
    found = answer(sweep(halved, arms=ARMS[:1]))
    assert "Not answered" in found.headline
    assert "the identity: needs a rate above 0 and the probe's mean_square" in found.outstanding
    assert [part.name for part in found.parts if isinstance(part, Picture)] == ["course", "silent"]


def test_older_probes_have_no_identity():
    table = sweep(halved)
    probe = table.extra("probe").drop(columns="mean_square")
    found = answer(dataclasses.replace(table, extras={"probe": probe}))
    assert "predicts" not in found.headline
    assert found.outstanding == ["the identity: needs a rate above 0 and the probe's mean_square"]
    assert not any("bias" in text for text in found.verdict)


def test_without_a_probe_nothing_is_answered():
    found = answer(dataclasses.replace(sweep(halved), extras=None))
    assert found.headline.startswith("Not answered")
    assert "probe.every" in found.outstanding[0]


def test_tables_have_a_cell_for_each_column(smaller):
    grids = [part for part in smaller.parts if isinstance(part, Grid)]
    assert len(grids) == 2
    assert all(len(row) == len(grid.headers) for grid in grids for row in grid.rows)
    assert len(grids[1].rows) == 5 * 4
