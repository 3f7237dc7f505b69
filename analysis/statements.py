"""The summary's four statements about dropout: what shows each, and how far it holds.

Each function looks at one statement. What it says of a result is computed from the tables; a statement that holds
by construction names the tests that hold the code to it. What is compared is fixed: the book's rates, (0.2, 0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import exercises, measures, statistics, wording
from analysis.exercises import Answer, Arm, Case, by_seed, rows_of
from analysis.exercises.activation_variance import with_identity
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.statistics import Summary
from analysis.tables import Table, Tables

BOOK: Arm = {"dropout1": 0.2, "dropout2": 0.5}
NONE: Arm = {"dropout1": 0.0, "dropout2": 0.0}
Member = tuple[str, Measure, Mapping[int, float], Mapping[int, float]]
RATES = "with the book's rates (0.2, 0.5)"
RATIO = Measure("ratio", "variance with the mask over without it", "times", "times", 1, 2, None)
MISS = Measure("miss", "relative deviation of the variance after a mask", "%", "%", 100, 2, None)
PASSES = 100
"""Noisy passes whose mean stands for the expectation."""


@dataclass(frozen=True)
class Statement:
    text: str
    """As the summary has it."""
    exercises: Sequence[str]
    """Names of the exercises that show it."""
    tests: Sequence[str]
    """The tests that show it: file::function."""
    found: Sequence[str]
    """What they show, a sentence or two each."""
    holds: str
    """How far it holds."""


def statements(tables: Tables, answers: Mapping[str, Answer]) -> list[Statement]:
    """The four statements, in the summary's order."""
    return [everywhere(tables), against_overfitting(tables, answers), unbiased(tables), in_training(tables)]


def everywhere(tables: Tables) -> Statement:
    """Rule: shown in a hidden layer if the 95% interval of the ratio of variances there lies above 1.

    The ratio is that of the layer's activations with the mask on in this layer alone to those with it off, on the
    probe's last step; pooled over units and images, a value a run.
    """
    return Statement(
        text="Dropout acts on every hidden layer in the forward pass.",
        exercises=["activation_variance"],
        tests=[
            "tests/stacks/test_mlp.py::test_hidden_layers_clean_and_noisy",
            "tests/test_probes.py::test_masking_one_layer_adds_alpha_times_its_mean_square",
        ],
        found=_computed(tables, "activation_variance", _variances),
        holds="In both hidden layers of this net, at a rate above 0; the input and the output layer are left alone "
        "unless noise.input_rate is set.",
    )


def _variances(table: Table) -> list[str]:
    probe = exercises.extra_by_rates(table, "probe")
    last = probe[probe["step"] == probe.groupby("id")["step"].transform("max")]
    last = last.assign(ratio=last["masked_var"] / last["var"])
    by_layer = {
        int(layer): by_seed(rows_of(of_layer, BOOK), RATIO.column)
        for layer, of_layer in last.groupby("layer")
    }
    found = {
        layer: statistics.summarise(list(ratios.values())) for layer, ratios in by_layer.items() if ratios
    }
    if not found:
        return [_no_arm(table, "the book's rates")]
    each = " and ".join(
        f"{wording.mean_with_interval(summary, RATIO)} in layer {layer}" for layer, summary in found.items()
    )
    shown = [layer for layer, summary in found.items() if _lies_above(summary, 1)]
    verdict = (
        "shown in both" if len(shown) == 2 else f"shown in layer {shown[0]} only" if shown else "not shown"
    )
    text = (
        f"At the end of training {RATES} the variance of the activations with the mask over that without it is "
        f"{each}: {verdict}."
    )
    quiet = rows_of(last, NONE)["ratio"].dropna()
    if len(quiet):
        same = bool(np.all(quiet == 1))
        text += f" Without dropout it is {'exactly 1 in every run' if same else 'not 1 in every run'}."
    return [text]


def _lies_above(summary: Summary, value: float) -> bool:
    return summary.interval is not None and summary.interval.lower > value


def against_overfitting(tables: Tables, answers: Mapping[str, Answer]) -> Statement:
    """Rule: `statistics.RULE` on the longest runs for each way in which lr moves, with dropout minus without.

    Of the train−test gap (accuracy, both with the noise off) and of the test cross-entropy; all are one family for
    Holm's correction. Overfitting remains if the 95% interval of the gap with dropout lies above 0. Weight control
    is the headline of its own exercise.
    """
    found = _computed(tables, "more_epochs", _gaps)
    decay = answers.get("weight_decay")
    return Statement(
        text="It prevents overfitting, and is used together with weight control.",
        exercises=["more_epochs", "weight_decay"],
        tests=[],
        found=[
            *found,
            f"Together with weight decay: {decay.headline}" if decay else _not_run("weight_decay"),
        ],
        holds="As far as it is measured here: on this net, this data set and these lengths of training, and on the "
        "seeds whose runs did not diverge with or without dropout. That both are used together is a habit; whether "
        "it pays is what the exercise on weight decay answers.",
    )


def _gaps(table: Table) -> list[str]:
    final = exercises.with_gaps(table.final)
    longest = {}
    for decay, runs in final.groupby(final.get("optimizer.decay", pd.Series("", final.index)), sort=False):
        length = int(runs["epoch"].max())
        told = f"{decay} lr, " if decay else ""
        longest[f"{told}{wording.count(length, 'epoch')}"] = runs[runs["epoch"] == length]
    members = [
        _member(setting, measure, rows_of(runs, BOOK), rows_of(runs, NONE))
        for setting, runs in longest.items()
        for measure in (measures.QUIET_GAP, measures.TEST_LOSS)
    ]
    cases = {(case.setting, case.measure): case for case in exercises.family("dropout", "none", members)}
    said = []
    tested = [case for case in cases.values() if case.comparison.paired.p is not None]
    for setting, runs in longest.items():
        gap = cases.get((setting, measures.QUIET_GAP))
        if gap is None:
            continue
        left = statistics.summarise(list(by_seed(rows_of(runs, BOOK), measures.QUIET_GAP.column).values()))
        remains = (
            "so some overfitting remains" if _lies_above(left, 0) else "no overfitting is shown to remain"
        )
        said.append(
            f"{setting.capitalize()}, {RATES} against no dropout: the train−test gap in accuracy, noise off, "
            f"{_moved(gap)}, and the test cross-entropy {_moved(cases[setting, measures.TEST_LOSS])}. The gap with "
            f"dropout is {wording.mean_with_interval(left, measures.QUIET_GAP)}, {remains}."
        )
    if len(tested) > 1:
        said.append(
            f"These {len(tested)} comparisons are a family of their own for Holm's correction. The exercise "
            "corrects for all that it compares, and may show no difference where one is shown here."
        )
    return said or [_no_arm(table, "both the book's rates and no dropout, and the probe of the training set")]


def _member(setting: str, measure: Measure, a: pd.DataFrame, b: pd.DataFrame) -> Member:
    """For `exercises.family`: a measure's values in two arms, given by their rows."""
    return setting, measure, by_seed(a, measure.column), by_seed(b, measure.column)


def _moved(case: Case) -> str:
    """ "is smaller (−5.30 pp, 95% interval …)"."""
    found = case.comparison
    shown = f"({wording.evidence(found.paired, case.measure, found.adjusted_p)})"
    if not found.verdict:
        return f"shows no difference {shown}"
    return f"is {'smaller' if found.paired.difference < 0 else 'larger'} {shown}"


def unbiased(tables: Tables) -> Statement:
    """Rules: a bias of the variance after a mask is shown if its 95% interval leaves out 0.

    `statistics.RULE` on a pass with dropout off minus the mean prediction of 100 noisy passes.
    """
    return Statement(
        text="It replaces an activation h by a random variable with expectation h.",
        exercises=["activation_variance", "test_time_dropout"],
        tests=[
            "tests/noise/test_dropout.py::test_layer_is_unbiased",
            "tests/noise/test_dropout.py::test_factor_has_mean_one_and_variance_alpha",
            "tests/noise/test_every_noise.py::test_mean_and_variance_are_the_formulas",
        ],
        found=[
            "The tests hold each unit's mean to h, and its variance to αh² with α = p/(1 − p).",
            *_computed(tables, "activation_variance", _identity),
            *_computed(tables, "test_time_dropout", lambda table: _against_noisy(table, PASSES)),
        ],
        holds="Exactly, for each unit by itself. It does not hold for what the next layers make of h, which is not "
        "linear: the net with dropout off only approximates its own expectation, by the difference above.",
    )


def _identity(table: Table) -> list[str]:
    probe = with_identity(exercises.extra_by_rates(table, "probe").dropna(subset=["var"]))
    masks = probe.dropna(subset=["miss"])
    if masks.empty:
        return [_no_arm(table, "a rate above 0 and the probe's mean_square")]
    mean = statistics.summarise(masks.groupby("seed")["miss"].mean())
    biased = mean.interval is not None and mean.interval.excludes(0)
    return [
        f"Over {wording.count(len(masks), 'mask')} in training the variance after the mask deviates from what "
        f"follows from both, Var(h) + α·E[h²], by {wording.mean_with_interval(mean, MISS)} in the mean: "
        f"{'a' if biased else 'no'} bias is shown."
    ]


def in_training(tables: Tables) -> Statement:
    """Rule: `statistics.RULE` on a pass with dropout off minus one noisy pass."""
    return Statement(
        text="It acts only in training.",
        exercises=["test_time_dropout"],
        tests=[
            "tests/test_probes.py::test_evaluation_draws_nothing_and_changes_nothing",
            "tests/stacks/test_modules.py::test_at_test_time_the_module_is_as_it_is",
        ],
        found=_computed(tables, "test_time_dropout", lambda table: _against_noisy(table, 1)),
        holds="In this code always: evaluation gets no random numbers. It is a choice all the same: the mean of "
        "many noisy passes is a prediction, too, and the exercise says what it gains and costs.",
    )


def _against_noisy(table: Table, passes: int) -> list[str]:
    rows = rows_of(exercises.extra_by_rates(table, "test_time"), BOOK)
    off = rows[rows["method"] == "weight_scaling"]
    noisy = rows[(rows["method"] == "arithmetic") & (rows["passes"] == passes)]
    columns = {"accuracy": measures.TEST_ACC.column, "cross_entropy": measures.TEST_LOSS.column}
    off, noisy = (frame.rename(columns=columns) for frame in (off, noisy))
    members = [_member("", each, off, noisy) for each in (measures.TEST_ACC, measures.TEST_LOSS)]
    cases = exercises.family("off", "noisy", members)
    if len(cases) < len(members):
        return [_no_arm(table, f"the book's rates and the mean of {passes} noisy passes")]
    words = {1: "better", -1: "worse", 0: "not shown to differ"}
    said = [
        f"{words[case.comparison.verdict]} in {case.measure.name} "
        f"({wording.evidence(case.comparison.paired, case.measure, case.comparison.adjusted_p)})"
        for case in cases
    ]
    other = "one noisy pass" if passes == 1 else f"the mean prediction of {passes} noisy passes"
    return [f"{RATES[0].upper()}{RATES[1:]}, dropout off against {other}: {' and '.join(said)}."]


def _computed(tables: Tables, sweep: str, of: Callable[[Table], list[str]]) -> list[str]:
    """What a table shows; in its place, why there is nothing to show."""
    if sweep not in tables:
        return [_not_run(sweep)]
    try:
        return of(tables[sweep])
    except InputError as error:
        return [f"{error}."]


def _not_run(name: str) -> str:
    return f"{name}: not run yet."


def _no_arm(table: Table, what: str) -> str:
    return f"{table.name} has no run with {what}."
