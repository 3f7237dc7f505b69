"""Exercise 3: the variance of each hidden layer's activations over training, with and without dropout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from analysis import exercises, figures, measures
from analysis.contrasts import Contrast, Result, by_seed, described
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Facts, Rule, decided, promised, rates_name
from analysis.figures import DASHES, PALETTE
from analysis.measures import Measure
from analysis.tables import Tables
from src.stats import BETTER, WORSE, Summary, summarise

NUMBER = 3
SWEEPS = ("activation_variance",)
NONE, BOOK = "(0, 0)", "(0.2, 0.5)"

VAR = Measure("var", "variance, noise off", "", "times", 1, 2, None, log=True)
UNIT_VAR = Measure("unit_var", "mean of the units' variances, noise off", "", "times", 1, 2, None, log=True)
NOISY_VAR = Measure("noisy_var", "variance, noise on everywhere", "", "times", 1, 2, None, log=True)
ZEROS = Measure("zeros", "share of zeros, noise off", "%", "pp", 100, 1, None)
DEAD = Measure("dead", "share of dead units", "%", "pp", 100, 1, None)
PROBED = (VAR, UNIT_VAR, NOISY_VAR, ZEROS, DEAD)

RULES = (
    NOT_DECIDED,
    Rule("smaller", "the interval of the ratio lies below 1", lambda e: e.word == WORSE),
    Rule("larger", "the interval of the ratio lies above 1", lambda e: e.word == BETTER),
    *NOT_SHOWN,
)


@dataclass(frozen=True, kw_only=True)
class VarianceFacts(Facts):
    probe: pd.DataFrame
    before: Sequence[Result] = ()
    """At the first probe."""

    def _mean_log(self, end: str, layer: int, arm: str, column: str) -> float:
        """Over the runs; NaN where there are none."""
        rows = _at_end(self.probe, end)
        return float(np.log(rows.loc[(rows["layer"] == layer) & (rows["arm"] == arm), column]).mean())

    def mask(self, layer: int) -> float:
        """By how much the mask of a layer with the book's rates multiplies its variance at the last probe
        (geometric mean), or NaN."""
        before, after = (self._mean_log("last", layer, BOOK, column) for column in ("var", "masked_var"))
        return math.exp(after - before)

    def growth(self, layer: int) -> float:
        """Without dropout, the variance at the last probe over that at the first (geometric mean)."""
        first, last = (self._mean_log(end, layer, NONE, "var") for end in ("first", "last"))
        return math.exp(last - first)

    @property
    def mask_prevails(self) -> bool:
        """Whether layer 2's mask alone explains more than half of the primary ratio, as logarithms."""
        return math.log(self.mask(2)) / self.first.paired.difference > 0.5

    @property
    def misses(self) -> pd.Series:
        """Relative deviation of each mask's variance from the formula."""
        return self.probe["miss"].dropna()

    @property
    def bias(self) -> Summary | None:
        """Mean deviation over the seeds."""
        means = self.probe.groupby("seed")["miss"].mean().dropna()
        return summarise(means) if len(means) else None


def analyse(tables: Tables) -> VarianceFacts:
    """The book's rates over none, judged by metrics.csv's last epoch; the probe's layers and times described."""
    table = tables[SWEEPS[0]]
    design, primary = promised(SWEEPS[0])
    probe = with_formula(exercises.by_rates(table, "probe").dropna(subset=["var"]))
    arms, judged = exercises.judged(table, {rates_name(arm): arm for arm in design.arms})
    facts = VarianceFacts(
        primary=judged,
        arms=arms.stats((primary.measure, measures.TEST_ACC)),
        described=described(_against_none(probe, "last")),
        before=described(_against_none(probe, "first")),
        probe=probe,
    )
    return decided(RULES, facts, arms)


def with_formula(probe: pd.DataFrame) -> pd.DataFrame:
    """The probe with p, predicted (variance after the mask: Var + p/(1 - p)·E[h²]) and miss (relative deviation).

    The last two are NaN where p is 0.
    """
    p = probe["dropout1"].where(probe["layer"] == 1, probe["dropout2"])
    predicted = (probe["var"] + p / (1 - p) * probe["mean_square"]).where(p > 0)
    return probe.assign(p=p, predicted=predicted, miss=probe["masked_var"] / predicted - 1)


def _at_end(probe: pd.DataFrame, end: str) -> pd.DataFrame:
    """Each run's first or last probe."""
    steps = probe.groupby("id")["step"].transform({"first": "min", "last": "max"}[end])
    return probe[probe["step"] == steps]


def _against_none(probe: pd.DataFrame, end: str) -> Iterator[Contrast]:
    """Each arm over the arm without dropout, in each layer, at the first or the last probe."""
    cells = _at_end(probe, end).groupby(["layer", "arm"])
    for measure in PROBED:
        values = {place: by_seed(rows, measure) for place, rows in cells}
        for (layer, arm), of_arm in values.items():
            if arm != NONE:
                sides = of_arm, values.get((layer, NONE), {})
                yield Contrast(arm, NONE, (f"layer {layer}", f"{end} probe"), measure, sides)


def draw(facts: VarianceFacts) -> dict[str, Figure]:
    drawn = {"course": draw_course(facts.probe, [VAR, NOISY_VAR])}
    if (facts.probe["p"] > 0).any():
        drawn["mask"] = draw_mask(facts.probe)
    return {**drawn, "silent": draw_course(facts.probe, [ZEROS, DEAD])}


@figures.styled
def draw_course(probe: pd.DataFrame, shown: Sequence[Measure]) -> Figure:
    """Quantities by training step, a row each, a column a layer and a line an arm."""
    layers, arms = sorted(probe["layer"].unique()), list(probe["arm"].unique())
    figure, axes = figures.panels(
        len(shown), len(layers), 2.8, xlabel="training step", sharex=True, sharey="row"
    )
    for (measure, layer), axis in zip(itertools.product(shown, layers), axes.flat, strict=True):
        for arm, colour, dash in zip(arms, (3, 0, 2), DASHES, strict=False):
            rows = probe[(probe["layer"] == layer) & (probe["arm"] == arm)]
            runs = rows.pivot_table(index="step", columns="seed", values=measure.column)
            look = {"color": PALETTE[colour], "linestyle": dash, "label": f"trained with {arm}"}
            figures.curves(axis, np.log(runs) if measure.log else runs, measure, thin=True, **look)
        axis.set_title(f"hidden layer {layer}", fontsize=10)
        if measure.log:
            _log(axis)
    for measure, axis in zip(shown, axes[:, 0], strict=True):
        axis.set_ylabel(measure.name if measure.log else measure.label)
    return figures.finish(figure)


@figures.styled
def draw_mask(probe: pd.DataFrame) -> Figure:
    """Variance before and after the mask, by the formula, and with noise everywhere, a row an arm."""
    lines = {
        "noisy_var": ("noise on everywhere", {"color": PALETTE[1], "linestyle": "-."}),
        "masked_var": ("just after the mask", {"color": PALETTE[0], "linewidth": 5, "alpha": 0.5}),
        "predicted": ("by the formula", {"color": "black", "linestyle": ":"}),
        "var": ("before the mask", {"color": PALETTE[2], "linestyle": "--"}),
    }
    probe = probe[probe["p"] > 0]
    arms, layers = list(probe["arm"].unique()), sorted(probe["layer"].unique())
    figure, axes = figures.panels(
        len(arms), len(layers), 2.6, xlabel="training step", sharex=True, sharey=True
    )
    for (arm, layer), axis in zip(itertools.product(arms, layers), axes.flat, strict=True):
        rows = probe[(probe["arm"] == arm) & (probe["layer"] == layer)]
        for column, (label, look) in lines.items():
            axis.plot(rows.groupby("step")[column].mean().dropna(), label=label, **look)
        rate = f", p = {rows['p'].iloc[0]:g}" if len(rows) else ""
        axis.set_title(f"hidden layer {layer}{rate}, trained with {arm}", fontsize=10)
        _log(axis)
    for axis in axes[:, 0]:
        axis.set_ylabel("variance")
    return figures.finish(figure)


def _log(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=8))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_locator(NullLocator())
