"""Exercise 4: why dropout is not typically used at test time, and what it gives where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from analysis import measures, statistics, wording
from analysis.exercises import Answer, Case, Grid, Picture, by_seed, case_grid, extra_by_rates, family, reach
from analysis.figures import PALETTE, STYLE
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.tables import Tables

NUMBER = 4
TITLE = "Dropout at test time"
SWEEPS = ("test_time_dropout",)

BOOK = "(0.2, 0.5)"
ARMS, SEEDS = (BOOK, "(0.5, 0.5)"), 10
"""Of the sweep's file."""

SCALING, ARITHMETIC, GEOMETRIC = "weight_scaling", "arithmetic", "geometric"
ACCURACY = replace(measures.TEST_ACC, column="accuracy")
LOSS = replace(measures.TEST_LOSS, column="cross_entropy")
ECE = replace(measures.TEST_ECE, column="ece")
JUDGED = (ACCURACY, LOSS, ECE)
TENTHS = 10
"""Of the test images, from the most certain prediction to the least."""
LEAST = Measure("error10", "error rate of the least certain tenth", "%", "pp", 100, 1, None)
CAUGHT = Measure("caught", "share of all errors in the least certain tenth", "%", "pp", 100, 1, True)
DIFFER = Measure("disagreement", "share of images", "%", "pp", 100, 1, None)
KEPT = Measure("kept", "error rate of the images kept", "%", "pp", 100, 2, False)

Key = tuple[str, Measure, int]
"""Rates, measure, and number of passes or of tenths refused."""
Cells = Mapping[tuple[str, str, int], pd.DataFrame]
"""Rows, one a run, by rates, method and number of passes."""
By = Mapping[Key, Case]
"""Comparisons with weight scaling."""


@dataclass(frozen=True)
class Found:
    """What the test-time evaluation showed."""

    cells: Cells
    arms: Sequence[str]
    """Rates, the book's first."""
    passes: Sequence[int]
    arithmetic: By
    geometric: By
    """Of the most passes alone."""
    refused: By
    """Error rates of the arithmetic mean of the most passes, where 1 to 9 of the tenths are refused."""
    certain: By
    """Of the least certain tenth, by the arithmetic mean of the most passes."""

    @property
    def seeds(self) -> pd.Series:
        """Their number by rates."""
        rows = pd.concat(self.cells.values())
        return rows.groupby("arm")["seed"].nunique()

    @property
    def runs(self) -> int:
        return int(pd.concat(self.cells.values())["id"].nunique())

    @property
    def most(self) -> int:
        return self.passes[-1]

    def at(self, arm: str, measure: Measure) -> dict[int, Case]:
        """Comparisons of the arithmetic mean by the number of passes."""
        return {n: case for (its, of, n), case in self.arithmetic.items() if (its, of) == (arm, measure)}


def answer(tables: Tables) -> Answer:
    """What noisy passes at test time give and cost against weight scaling, by five rules.

    Against weight scaling: at each number of passes the prediction by the mean of their probabilities minus that by
    weight scaling, paired over the seeds, in test accuracy, cross-entropy and expected calibration error. The
    comparisons of one measure and pair of rates, over the numbers of passes, are a family for Holm's correction;
    "better", "worse" or "no difference shown" by `statistics.RULE`.

    "Catches up": the smallest number of passes from which on no 95% interval of the difference in accuracy, not
    corrected, lies below 0. The cost is the number of passes, against the one of weight scaling.

    The geometric mean of the most passes is compared likewise, the three measures being a family.

    Spread, described and not tested: SD over the seeds of the accuracy of one pass and of weight scaling; SD among
    the passes of one net; probability that two passes of one net predict different classes.

    Uncertainty: error rate of the tenth of the images whose predictions have the highest entropy, the share of all
    errors that it holds, and the error rate of the images kept if the least certain 1 to 9 tenths are refused, by
    the most passes minus by weight scaling; the first two are a family, and the 9 shares refused another.
    """
    table = tables[SWEEPS[0]]
    try:
        found = evaluated(extra_by_rates(table, "test_time"))
    except InputError as error:
        return Answer("Not answered: no run predicted with the noise on.", "0 runs", [], [], [f"{error}"])
    if not found.arithmetic:
        missing = "predictions by weight scaling and by noisy passes"
        return Answer("Not answered: no run has both kinds of prediction.", "0 runs", [], [], [missing])
    said = [_accuracy(found), _quality(found), _spread(found), _uncertainty(found), reach(table)]
    return Answer(
        headline=_headline(found),
        n=_n(found),
        verdict=[text for text in said if text],
        parts=_parts(found),
        outstanding=_outstanding(found),
    )


def evaluated(rows: pd.DataFrame) -> Found:
    """All comparisons with weight scaling, see `answer`.

    Args:
        rows: of test_time.csv, with the column arm.
    """
    errors = [f"error{tenth}" for tenth in range(1, TENTHS + 1)]
    rows = rows.assign(caught=rows["error10"] / rows[errors].sum(axis=1))
    for count in range(TENTHS):
        rows[f"kept{count}"] = rows[errors[: TENTHS - count]].mean(axis=1)
    arms = sorted(rows["arm"].unique(), key=lambda arm: (arm != BOOK, arm))
    passes = sorted(int(n) for n in rows.loc[rows["method"] == ARITHMETIC, "passes"].unique())
    most = passes[-1:]
    cells: Cells = dict(iter(rows.groupby(["arm", "method", "passes"])))
    kept = {replace(KEPT, column=f"kept{count}"): count for count in range(1, TENTHS)}
    arithmetic: dict[Key, Case] = {}
    geometric: dict[Key, Case] = {}
    refused: dict[Key, Case] = {}
    certain: dict[Key, Case] = {}
    for arm in arms:
        for measure in JUDGED:
            arithmetic |= _compared(cells, arm, ARITHMETIC, [measure], passes)
        geometric |= _compared(cells, arm, GEOMETRIC, JUDGED, most)
        certain |= _compared(cells, arm, ARITHMETIC, (LEAST, CAUGHT), most)
        for (_, of, _), case in _compared(cells, arm, ARITHMETIC, list(kept), most).items():
            refused[arm, KEPT, kept[of]] = case
    return Found(cells, arms, passes, arithmetic, geometric, refused, certain)


def _compared(
    cells: Cells, arm: str, method: str, judged: Sequence[Measure], passes: Sequence[int]
) -> dict[Key, Case]:
    """A method against weight scaling, one family."""
    both = {
        (arm, measure, n): (_values(cells, arm, method, n, measure), _values(cells, arm, SCALING, 0, measure))
        for measure in judged
        for n in passes
    }
    both = {key: values for key, values in both.items() if values[0].keys() & values[1].keys()}
    members = [(f"{arm}, {_passes(n)}", measure, *both[arm, measure, n]) for _, measure, n in both]
    return dict(zip(both, family(f"{method} mean", "weight scaling", members), strict=True))


def _values(cells: Cells, arm: str, method: str, passes: int, measure: Measure) -> dict[int, float]:
    cell = cells.get((arm, method, passes))
    return {} if cell is None else by_seed(cell, measure.column)


def catches_up(cases: Mapping[int, Case]) -> int | None:
    """Fewest passes from which on no interval of the difference in accuracy lies below 0."""
    caught = None
    for passes, case in sorted(cases.items(), reverse=True):
        interval = case.comparison.paired.interval
        if interval is None or interval.upper < 0:
            break
        caught = passes
    return caught


def _passes(number: int) -> str:
    return f"{number} pass{'' if number == 1 else 'es'}"


def _against(case: Case, words: tuple[str, str] = ("better", "worse")) -> str:
    """ "87.1% against 88.3% (−1.2 pp, −1.4 to −1.0, worse)"."""
    means = " against ".join(wording.value(float(each.mean()), case.measure) for each in case.samples)
    found = case.comparison.paired
    word = {1: words[0], -1: words[1], 0: "no difference shown"}[case.comparison.verdict]
    inside = [wording.difference(found.difference, case.measure), "one seed"]
    if found.interval is not None:
        inside[1:] = [wording.interval(found.interval, case.measure, signed=True), word]
    return f"{means} ({', '.join(inside)})"


def _shown(cases: Mapping[int, Case], verdict: int) -> str:
    """ "50, 100", or "none"."""
    return (
        ", ".join(str(n) for n, case in sorted(cases.items()) if case.comparison.verdict == verdict) or "none"
    )


def _ends(cases: Mapping[int, Case]) -> str:
    """The fewest passes and the most."""
    return ", ".join(f"{_passes(n)} {_against(cases[n])}" for n in dict.fromkeys([min(cases), max(cases)]))


def _catching(cases: Mapping[int, Case], most: int) -> str:
    if all(case.comparison.paired.interval is None for case in cases.values()):
        return "one seed does not tell whether more passes catch up"
    caught = catches_up(cases)
    if caught is None:
        return f"the mean of up to {_passes(most)} does not catch up"
    if caught == min(cases):
        return "no number of passes shows a loss"
    return f"from the mean of {_passes(caught)} on no loss is shown, at {caught} times the cost"


def _headline(found: Found) -> str:
    lead = next(arm for arm in found.arms if found.at(arm, ACCURACY))
    cases = found.at(lead, ACCURACY)
    one = cases[min(cases)].comparison
    does = {1: "is shown to gain accuracy", -1: "costs accuracy", 0: "shows no difference in accuracy"}[
        one.verdict
    ]
    better, calibrated = (_shown(found.at(lead, measure), 1) for measure in (ACCURACY, ECE))
    means = calibrated if calibrated == "none" else f"the mean of {calibrated}"
    ever = f"with {better} of them it is" if better != "none" else f"with no number up to {found.most} is it"
    return (
        f"With rates {lead}, predicting by {_passes(min(cases))} with dropout on instead of off (weight scaling) "
        f"{does} ({wording.evidence(one.paired, ACCURACY)}); {_catching(cases, found.most)}, and {ever} shown "
        f"better; its {ECE.name} is shown better with {means} of them."
    )


def _n(found: Found) -> str:
    lead = next(arm for arm in found.arms if found.at(arm, ACCURACY))
    n = min(case.comparison.paired.n for case in found.at(lead, ACCURACY).values())
    return f"{wording.count(n, 'common seed')}, {wording.count(found.runs, 'run')}"


def _accuracy(found: Found) -> str:
    """Accuracy by the number of passes, and what it costs."""
    sentences = [
        f"Trained with {arm}: {_ends(cases)}; {_catching(cases, found.most)}; passes with which it is shown "
        f"better: {_shown(cases, 1)}, worse: {_shown(cases, -1)}."
        for arm in found.arms
        if (cases := found.at(arm, ACCURACY))
    ]
    undecided = [case.comparison.paired for case in found.arithmetic.values() if case.comparison.verdict == 0]
    notes = ["Where no difference is shown, those inside the interval remain possible."] if undecided else []
    if any(pair.interval and pair.interval.excludes(0) for pair in undecided):
        notes.append(
            "An interval without 0 is not enough: verdicts are corrected for the number of comparisons."
        )
    return (
        "Test accuracy by the mean of noisy passes against that by weight scaling, which costs one pass (in "
        f"brackets: paired difference, its 95% interval, verdict). {' '.join([*sentences, *notes])}"
    )


def _quality(found: Found) -> str:
    """Cross-entropy and calibration."""
    sentences = []
    for measure in (LOSS, ECE):
        told = [
            f"trained with {arm} {_ends(cases)}, better with {_shown(cases, 1)}, worse with {_shown(cases, -1)}"
            for arm in found.arms
            if (cases := found.at(arm, measure))
        ]
        if told:
            sentences.append(f"{measure.name[0].upper()}{measure.name[1:]}: {'; '.join(told)}.")
    told = [
        f"{_against(case)} with {arm}"
        for (arm, measure, _), case in found.geometric.items()
        if measure is LOSS
    ]
    if told:
        sentences.append(
            f"The geometric mean of {_passes(found.most)}, which weight scaling approximates, has a "
            f"{LOSS.name} of {' and '.join(told)}."
        )
    return " ".join(sentences)


def _spread(found: Found) -> str:
    """How much a single noisy pass varies."""
    sentences = []
    for arm in found.arms:
        one = _values(found.cells, arm, ARITHMETIC, found.passes[0], ACCURACY)
        off = _values(found.cells, arm, SCALING, 0, ACCURACY)
        if len(one) > 1 and len(off) > 1:
            sds = [wording.size(float(np.std(list(each.values()), ddof=1)), ACCURACY) for each in (one, off)]
            sentences.append(
                f"Trained with {arm}, accuracy varies over the seeds with an SD of {sds[0]} by "
                f"{_passes(found.passes[0])} and of {sds[1]} by weight scaling."
            )
        of_net = [replace(DIFFER, column=column) for column in ("pass_sd", "disagreement")]
        among, differ = (
            list(_values(found.cells, arm, ARITHMETIC, found.most, each).values()) for each in of_net
        )
        if among and differ:
            sentences.append(
                "The passes of one and the same net vary with an SD of "
                f"{wording.size(float(np.mean(among)), ACCURACY)} (mean over "
                f"{wording.count(len(among), 'net')}); two of them predict different classes for "
                f"{wording.mean_with_interval(statistics.summarise(differ), DIFFER)} of the test images."
            )
    return " ".join([*sentences, "Weight scaling gives the same answer each time."]) if sentences else ""


def _uncertainty(found: Found) -> str:
    """What the entropy of the mean prediction is good for."""
    sentences = []
    for arm in found.arms:
        least, caught = (found.certain.get((arm, measure, found.most)) for measure in (LEAST, CAUGHT))
        refused = {n * TENTHS: case for (its, _, n), case in found.refused.items() if its == arm}
        if least and caught and refused:
            every = _values(found.cells, arm, ARITHMETIC, found.most, replace(KEPT, column="kept0"))
            sentences.append(
                f"Trained with {arm}, {_against(least, ('higher', 'lower'))} of the least certain tenth are "
                f"predicted wrongly (of all images {wording.value(float(np.mean(list(every.values()))), KEPT)} "
                f"by {_passes(found.most)}), which is {_against(caught)} of all errors; without it the error "
                f"rate is {_against(refused[min(refused)])}. Shares refused (%) for which noisy passes are "
                f"shown better: {_shown(refused, 1)}, worse: {_shown(refused, -1)}."
            )
    if not sentences:
        return ""
    opening = f"Uncertainty, by the entropy of the prediction, {_passes(found.most)} against weight scaling."
    return " ".join([opening, *sentences])


def _outstanding(found: Found) -> list[str]:
    counts = [(arm, int(found.seeds.get(arm, 0))) for arm in ARMS]
    return [f"rates {arm}: {n} of {SEEDS} seeds" for arm, n in counts if n < SEEDS]


def _parts(found: Found) -> list[Picture | Grid | str]:
    n = f"the seeds ({wording.ends(found.seeds)})"
    refused = [
        replace(case, setting=f"{arm}, {refused * TENTHS}% refused")
        for (arm, _, refused), case in found.refused.items()
    ]
    return [
        Picture(
            "passes",
            "Test accuracy, cross-entropy and expected calibration error against the number of noisy passes "
            "that are averaged (log axis): of the probabilities (arithmetic) and of their logarithms "
            f"(geometric). Grey: weight scaling, one pass without noise. Line: mean over {n}; bands: 95% "
            "interval of the mean.",
            draw_passes(found),
        ),
        Picture(
            "differences",
            "Arithmetic mean of noisy passes minus weight scaling, paired over the seeds: mean with its 95% "
            "interval; filled where a difference is shown (Holm's correction over the marks of one colour in a "
            "panel).",
            draw_differences(found),
        ),
        case_grid(
            "Arithmetic mean of noisy passes (A) minus weight scaling (B); Holm's correction over the rows of "
            "one measure and one pair of rates",
            list(found.arithmetic.values()),
        ),
        Picture(
            "rejection",
            "Left: error rate of the images kept when the least certain ones, by the entropy of their "
            f"prediction, are refused; mean over {n}. Right: {_passes(found.most)} minus weight scaling, "
            "paired: mean with its 95% interval, filled where a difference is shown (Holm's correction over "
            "the marks of one colour).",
            draw_rejection(found),
        ),
        case_grid(
            f"Refusing the least certain images: {_passes(found.most)} (A) minus weight scaling (B); Holm's "
            "correction over the rows of one pair of rates",
            refused,
        ),
        Picture(
            "spread",
            "Test accuracy of each net: weight scaling, and one noisy pass, with ± the SD among the passes of "
            "that net. Sorted by the accuracy with weight scaling.",
            draw_spread(found),
        ),
    ]


def draw_passes(found: Found) -> Figure:
    """Each measure against the number of passes, a row an arm; weight scaling as a band."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.2 + 2.6 * len(found.arms)), layout="constrained")
        axes = figure.subplots(len(found.arms), len(JUDGED), squeeze=False, sharex=True, sharey="col")
        for arm, row in zip(found.arms, axes, strict=True):
            for measure, axis in zip(JUDGED, row, strict=True):
                ends = [found.passes[0] / 1.15, found.passes[-1] * 1.15]
                off = _levels(found, arm, SCALING, [0], measure)
                _line(
                    axis,
                    ends,
                    np.repeat(off, 2, axis=0),
                    "weight scaling",
                    {"color": "0.35", "linewidth": 1.5},
                )
                for method, colour, dash in ((ARITHMETIC, PALETTE[0], "-"), (GEOMETRIC, PALETTE[1], "--")):
                    levels = _levels(found, arm, method, found.passes, measure)
                    style = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4}
                    _line(axis, found.passes, levels, f"{method} mean of noisy passes", style)
                _passes_axis(axis, found.passes)
                axis.set_ylabel(measure.label, fontsize=9)
            row[0].set_title(f"trained with {arm}", fontsize=10)
        for axis in axes[-1]:
            axis.set_xlabel("noisy passes")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def draw_differences(found: Found) -> Figure:
    """Each measure's paired difference to weight scaling against the number of passes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots(1, len(JUDGED))
        for measure, axis in zip(JUDGED, axes, strict=True):
            axis.axhline(0, color="0.3", linewidth=1)
            for position, arm in enumerate(found.arms):
                _differences(axis, found.at(arm, measure), arm, position, lambda n, at: n * 1.08**at)
            _passes_axis(axis, found.passes)
            axis.set_xlabel("noisy passes")
            axis.set_ylabel(f"{measure.name}\nminus weight scaling ({measure.difference_unit})", fontsize=9)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), title="trained with")
    return figure


def draw_rejection(found: Found) -> Figure:
    """Error rate of the images kept against the share refused, and the paired difference to weight scaling."""
    shares = [refused * TENTHS for refused in range(TENTHS)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for position, arm in enumerate(found.arms):
            for method, n, dash in ((SCALING, 0, "-"), (ARITHMETIC, found.most, ":")):
                values = [
                    _values(found.cells, arm, method, n, replace(KEPT, column=f"kept{refused}"))
                    for refused in range(TENTHS)
                ]
                means = [np.mean(list(of.values())) * KEPT.scale if of else np.nan for of in values]
                name = "weight scaling" if method == SCALING else _passes(n)
                left.plot(shares, means, dash, color=_colour(position), linewidth=2.2, label=f"{arm}, {name}")
            cases = {n * TENTHS: case for (its, _, n), case in found.refused.items() if its == arm}
            _differences(right, cases, arm, position, lambda share, at: share + 0.8 * at)
        left.set(xlabel="least certain images refused (%)", ylabel=KEPT.label, xticks=shares)
        left.set_ylim(bottom=0)
        left.legend(fontsize=9, title="trained with, predicted by", title_fontsize=9)
        right.axhline(0, color="0.3", linewidth=1)
        right.set(
            xlabel="least certain images refused (%)",
            ylabel=f"{KEPT.name}:\n{_passes(found.most)} minus weight scaling (pp)",
            xticks=shares[1:],
        )
        right.legend(fontsize=9, title="trained with", title_fontsize=9)
    return figure


def draw_spread(found: Found) -> Figure:
    """Accuracy of each net with weight scaling and with one noisy pass, a panel an arm."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        axes = figure.subplots(1, len(found.arms), squeeze=False, sharey=True)[0]
        for arm, axis in zip(found.arms, axes, strict=True):
            off = _values(found.cells, arm, SCALING, 0, ACCURACY)
            one = _values(found.cells, arm, ARITHMETIC, found.passes[0], ACCURACY)
            among = _values(found.cells, arm, ARITHMETIC, found.most, replace(ACCURACY, column="pass_sd"))
            seeds = sorted(off.keys() & one.keys(), key=lambda seed: off[seed])
            places, style = range(len(seeds)), {"linestyle": "none", "markersize": 6}
            axis.plot(
                places,
                [100 * off[seed] for seed in seeds],
                "D",
                color="0.35",
                label="weight scaling",
                **style,
            )
            bars = [100 * among.get(seed, np.nan) for seed in seeds]
            axis.errorbar(
                places,
                [100 * one[seed] for seed in seeds],
                bars,
                fmt="o",
                color=PALETTE[0],
                label="one noisy pass",
            )
            axis.set_xticks(places, [str(seed) for seed in seeds])
            axis.grid(visible=False, axis="x")
            axis.set(xlabel="net (its seed)")
            axis.set_title(f"trained with {arm}", fontsize=10)
        axes[0].set_ylabel(ACCURACY.label)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _levels(found: Found, arm: str, method: str, passes: Sequence[int], measure: Measure) -> np.ndarray:
    """Mean over the seeds and ends of its interval, (number of passes, 3); NaN where there are none."""
    levels = np.full((len(passes), 3), np.nan)
    for row, n in enumerate(passes):
        values = list(_values(found.cells, arm, method, n, measure).values())
        if values:
            summary = statistics.summarise(values)
            ends = (summary.interval.lower, summary.interval.upper) if summary.interval else (np.nan, np.nan)
            levels[row] = np.array([summary.mean, *ends]) * measure.scale
    return levels


def _line(axis: Axes, x: Sequence[float], levels: np.ndarray, label: str, style: Mapping[str, Any]) -> None:
    axis.plot(x, levels[:, 0], label=label, **style)
    axis.fill_between(x, levels[:, 1], levels[:, 2], color=style["color"], alpha=0.15, linewidth=0)


def _differences(axis: Axes, cases: Mapping[int, Case], label: str, position: int, place: Any) -> None:
    """Mean differences with their intervals; filled where one is shown."""
    colour, drawn = _colour(position), False
    for n, case in cases.items():
        pair, scale, x = case.comparison.paired, case.measure.scale, place(n, position)
        if pair.interval is not None:
            ends = [pair.interval.lower * scale, pair.interval.upper * scale]
            axis.plot([x, x], ends, color=colour, linewidth=2, solid_capstyle="butt")
        fill = colour if case.comparison.verdict else "white"
        style = {"color": colour, "markerfacecolor": fill, "markeredgewidth": 1.5, "markersize": 6}
        axis.plot([x], [pair.difference * scale], "os"[position % 2], label=None if drawn else label, **style)
        drawn = True


def _colour(position: int) -> Any:
    return PALETTE[(0, 3, 2, 4)[position % 4]]


def _passes_axis(axis: Axes, passes: Sequence[int]) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(list(passes)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
