"""Exercise 4: why dropout is not typically used at test time, and what it gives where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import exercises, figures, measures
from analysis.contrasts import Contrast, Result, by_seed, described, family
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Facts, Rule, decided, promised, rates_name
from analysis.figures import PALETTE
from analysis.measures import Measure
from analysis.tables import Tables
from src.stats import BETTER, WORSE

NUMBER = 4
SWEEPS = ("test_time_dropout",)
BOOK = "(0.2, 0.5)"
OFF, NOISY = "dropout off", "noisy passes"
SCALING, ARITHMETIC, GEOMETRIC = "weight_scaling", "arithmetic", "geometric"
COLOURS = PALETTE[0], PALETTE[3]
CERTAIN, REFUSED = "least certain", "refused"
"""The arithmetic mean of the most passes, on the least certain tenth and without the least certain ones."""
ACCURACY = replace(measures.TEST_ACC, column="accuracy")
LOSS = replace(measures.TEST_LOSS, column="cross_entropy")
ECE = replace(measures.TEST_ECE, column="ece")
JUDGED = (ACCURACY, LOSS, ECE)
TENTHS = 10
"""Of the test images, from the most certain prediction to the least."""
LEAST = Measure("error10", "error rate of the least certain tenth", "%", "pp", 100, 1, None)
CAUGHT = Measure("caught", "share of all errors in the least certain tenth", "%", "pp", 100, 1, True)
DIFFER = Measure("disagreement", "images on which two passes disagree", "%", "pp", 100, 1, None)
KEPT = Measure("kept", "error rate of the images kept", "%", "pp", 100, 2, False)

RULES = (
    NOT_DECIDED,
    Rule("costs", "one noisy pass is worse: the interval lies below 0", lambda e: e.word == WORSE),
    Rule("gains", "one noisy pass is better: the interval lies above 0", lambda e: e.word == BETTER),
    *NOT_SHOWN,
)

Cell = tuple[str, str, int]
"""Arm, method and number of passes."""


@dataclass(frozen=True, kw_only=True)
class PassFacts(Facts):
    rows: pd.DataFrame
    """Of test_time.csv, with the columns arm, caught and kept0 to kept9."""
    shown_arms: Sequence[str]
    """Rates, the book's first."""
    passes: Sequence[int]
    """Numbers of them, from the lowest to the highest."""
    refused: Sequence[Result]
    """Error rates where the least certain 1 to 9 tenths are refused."""

    def at(self, arm: str, measure: Measure, kind: str = ARITHMETIC) -> dict[int, Result]:
        """Contrasts with weight scaling by the number of passes."""
        of = [r for r in self.described if r.contrast.setting[:2] == (arm, kind) and r.measure == measure]
        return {int(result.contrast.setting[2]): result for result in of}

    def better(self, arm: str, measure: Measure) -> list[int]:
        """Numbers of passes whose interval lies on the better side."""
        return [passes for passes, result in self.at(arm, measure).items() if result.gain > 0]

    def mean(self, arm: str, column: str) -> float:
        """Over the nets, of the most passes."""
        rows = self.rows[(self.rows["arm"] == arm) & (self.rows["method"] == ARITHMETIC)]
        return float(rows.loc[rows["passes"] == self.passes[-1], column].mean())


def analyse(tables: Tables) -> PassFacts:
    """One noisy pass minus weight scaling, judged at the arm that the sweep names; all else described."""
    table = tables[SWEEPS[0]]
    _, primary = promised(SWEEPS[0])
    rows = exercises.by_rates(table, "test_time")
    errors = [f"error{tenth}" for tenth in range(1, TENTHS + 1)]
    kept = {f"kept{count}": rows[errors[: TENTHS - count]].mean(axis=1) for count in range(TENTHS)}
    rows = rows.assign(caught=rows["error10"] / rows[errors].sum(axis=1), **kept)
    cells: dict[Cell, pd.DataFrame] = dict(iter(rows.groupby(["arm", "method", "passes"])))
    trained = sorted(rows["arm"].unique(), key=lambda arm: (arm != BOOK, arm))
    passes = sorted({n for _, method, n in cells if method == ARITHMETIC})
    most = passes[-1]
    compared = [(ARITHMETIC, n, measure) for measure in JUDGED for n in passes]
    compared += [(GEOMETRIC, most, measure) for measure in JUDGED]
    compared += [(CERTAIN, most, measure) for measure in (LEAST, CAUGHT)]
    shares = [
        replace(KEPT, column=f"kept{count}", name=f"{KEPT.name}, {count * TENTHS}% refused")
        for count in range(1, TENTHS)
    ]

    arms = exercises.all_arms(table, lambda arm: rates_name({"dropout2": 0.5, **arm}))
    look = arms.look((trained[0], trained[0]), primary.measure)
    (measure,) = (measure for measure in JUDGED if measure.name == primary.measure.name)
    single = _contrast(cells, trained[0], ARITHMETIC, passes[0], measure).looked_at(look)
    judged = family([replace(single, a="one noisy pass", b=OFF)], primary.margin)
    facts = PassFacts(
        primary=judged,
        arms=arms.stats((measures.TEST_ACC, measures.TEST_LOSS)),
        described=described(_contrast(cells, arm, *of) for arm in trained for of in compared),
        rows=rows,
        shown_arms=trained,
        passes=passes,
        refused=described(_contrast(cells, arm, REFUSED, most, of) for arm in trained for of in shares),
    )
    return decided(RULES, facts)


def _contrast(
    cells: Mapping[Cell, pd.DataFrame], arm: str, kind: str, passes: int, measure: Measure
) -> Contrast:
    """A way to predict minus weight scaling."""
    method = GEOMETRIC if kind == GEOMETRIC else ARITHMETIC
    places = (arm, method, passes), (arm, SCALING, 0)
    noisy, off = (by_seed(cells[place], measure) if place in cells else {} for place in places)
    return Contrast(NOISY, OFF, (arm, kind, str(passes)), measure, (noisy, off))


def draw(facts: PassFacts) -> dict[str, Figure]:
    return {
        "passes": draw_passes(facts),
        "differences": draw_differences(facts),
        "rejection": draw_rejection(facts),
    }


@figures.styled
def draw_passes(facts: PassFacts) -> Figure:
    """Each measure against the number of passes, minus nothing: mean over the nets; weight scaling as a line."""
    arms = facts.shown_arms
    figure, axes = figures.panels(
        len(arms), len(JUDGED), 2.5, xlabel="noisy passes", sharex=True, sharey="col"
    )
    for arm, row in zip(arms, axes, strict=True):
        rows = facts.rows[facts.rows["arm"] == arm]
        for measure, axis in zip(JUDGED, row, strict=True):
            means = rows.groupby(["method", "passes"])[measure.column].mean() * measure.scale
            axis.axhline(
                means[SCALING].iloc[0], color="0.35", linewidth=1.5, label="dropout off (weight scaling)"
            )
            for method, colour, dash in ((ARITHMETIC, PALETTE[0], "-"), (GEOMETRIC, PALETTE[1], "--")):
                look = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4}
                axis.plot(means[method], label=f"{method} mean of noisy passes", **look)
            figures.log_axis(axis, facts.passes)
            axis.set_ylabel(measure.label, fontsize=9)
        row[0].set_title(f"trained with {arm}", fontsize=10)
    return figures.finish(figure, 3)


@figures.styled
def draw_differences(facts: PassFacts) -> Figure:
    """Each measure's paired difference to weight scaling against the number of passes, with its interval."""
    figure, axes = figures.panels(1, len(JUDGED), 3.2, xlabel="noisy passes")
    for measure, axis in zip(JUDGED, axes[0], strict=True):
        axis.axhline(0, color="0.3", linewidth=1)
        for position, arm in enumerate(facts.shown_arms):
            results = facts.at(arm, measure)
            _bars(axis, [n * 1.08**position for n in results], list(results.values()), arm, position)
        figures.log_axis(axis, facts.passes)
        axis.set_ylabel(f"{measure.name}\n− dropout off ({measure.difference_unit})", fontsize=9)
    return figures.finish(figure, 2, "trained with")


@figures.styled
def draw_rejection(facts: PassFacts) -> Figure:
    """Error rate of the images kept, against the share refused, and the difference to weight scaling."""
    shares = [refused * TENTHS for refused in range(TENTHS)]
    most = facts.passes[-1]
    figure, axes = figures.panels(1, 2, 3.4, xlabel="least certain images refused (%)")
    left, right = axes[0]
    means = facts.rows.groupby(["arm", "method", "passes"])[[f"kept{n}" for n in range(TENTHS)]].mean()
    for position, arm in enumerate(facts.shown_arms):
        for place, dash, how in (((SCALING, 0), "-", "off"), ((ARITHMETIC, most), ":", f"{most} passes")):
            look = {"color": COLOURS[position % 2], "linewidth": 2.2, "label": f"{arm}, {how}"}
            left.plot(shares, means.loc[(arm, *place)] * KEPT.scale, dash, **look)
        results = [r for r in facts.refused if r.contrast.setting[0] == arm]
        _bars(right, [share + 0.8 * position for share in shares[1:]], results, arm, position)
    left.set(ylabel=KEPT.label, xticks=shares)
    left.set_ylim(bottom=0)
    right.axhline(0, color="0.3", linewidth=1)
    right.set(ylabel=f"{most} passes − off (pp)")
    return figures.finish(figure)


def _bars(axis: Axes, places: Sequence[float], results: Sequence[Result], label: str, position: int) -> None:
    """Mean differences with their intervals, upright."""
    look = {
        "color": COLOURS[position % 2],
        "marker": "os"[position % 2],
        "linestyle": "none",
        "markersize": 5,
    }
    for place, result in zip(places, results, strict=True):
        scale, interval = result.measure.scale, result.paired.interval
        if interval is not None:
            ends = np.multiply([interval.lower, interval.upper], scale)
            axis.plot([place, place], ends, color=COLOURS[position % 2], linewidth=2)
        axis.plot([place], [result.paired.difference * scale], label=label, **look)
