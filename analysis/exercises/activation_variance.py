"""Exercise 3: the variance of each hidden layer's activations over training, with and without dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from analysis import exercises, figures, measures
from analysis.contrasts import Arms, Contrast, Result, by_seed, described, family
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Facts, Rule, decided, rates_name, word
from analysis.figures import DASHES, PALETTE
from analysis.measures import Measure
from analysis.sensitivity import sensitivity
from analysis.tables import Tables
from src.stats import BETTER, WORSE, Summary, summarise

NUMBER = 3
SWEEPS = ("activation_variance",)
NONE, BOOK, HALF = "(0, 0)", "(0.2, 0.5)", "(0.5, 0.5)"
RATES = {NONE: (0.0, 0.0), BOOK: (0.2, 0.5), HALF: (0.5, 0.5)}

VAR = Measure("var", "variance, noise off", "", "times", 1, 2, None, log=True)
UNIT_VAR = Measure("unit_var", "mean of the units' variances, noise off", "", "times", 1, 2, None, log=True)
NOISY_VAR = Measure("noisy_var", "variance, noise on everywhere", "", "times", 1, 2, None, log=True)
ZEROS = Measure("zeros", "share of zeros, noise off", "%", "pp", 100, 1, None)
DEAD = Measure("dead", "share of dead units", "%", "pp", 100, 1, None)

RULES = (
    NOT_DECIDED,
    Rule("smaller", "the interval of the ratio lies below 1", lambda e: word(e.first) == WORSE),
    Rule("larger", "the interval of the ratio lies above 1", lambda e: word(e.first) == BETTER),
    *NOT_SHOWN,
)


@dataclass(frozen=True, kw_only=True)
class VarianceFacts(Facts):
    probe: pd.DataFrame
    before: Sequence[Result] = ()
    """At the first probe."""

    def mask(self, layer: int, arm: str = BOOK) -> float:
        """By how much a layer's own mask multiplies its variance at the last probe (geometric mean), or NaN."""
        rows = _ends(self.probe, "max")
        rows = rows[(rows["layer"] == layer) & (rows["arm"] == arm)]
        return float(np.exp(np.log(rows["masked_var"] / rows["var"]).mean())) if len(rows) else math.nan

    @property
    def mask_prevails(self) -> bool:
        """Whether layer 2's mask alone explains more than half of the primary ratio, as logarithms."""
        return math.log(self.mask(2)) / self.first.paired.difference > 0.5

    def growth(self, layer: int, arm: str) -> float:
        """The variance at the last probe over that at the first (geometric mean)."""
        of = [_ends(self.probe, side) for side in ("min", "max")]
        first, last = (
            np.log(rows.loc[(rows["layer"] == layer) & (rows["arm"] == arm), "var"]).mean() for rows in of
        )
        return float(np.exp(last - first))

    @property
    def misses(self) -> pd.Series:
        """Relative deviation of each mask's variance from the formula."""
        return self.probe["miss"].dropna()

    @property
    def bias(self) -> Summary | None:
        """Mean deviation over the seeds."""
        rows = self.probe.dropna(subset=["miss"])
        return summarise(rows.groupby("seed")["miss"].mean()) if len(rows) else None


def analyse(tables: Tables) -> VarianceFacts:
    """The book's rates over none, judged by metrics.csv's last epoch; the probe's layers and times described."""
    table = tables[SWEEPS[0]]
    design, primary = exercises.promised(SWEEPS[0])
    probe = with_formula(exercises.by_rates(table, "probe").dropna(subset=["var"]))
    arms = Arms(table, {rates_name(arm): arm for arm in design.arms})
    judged = family(primary.contrasts(arms, list(arms.named)), primary.margin, arms.diverged)
    last, first = _ends(probe, "max"), _ends(probe, "min")
    facts = VarianceFacts(
        primary=judged,
        sensitivity=sensitivity(judged, arms),
        arms=arms.stats((primary.measure, measures.TEST_ACC)),
        described=described(_against_none(last, (VAR, UNIT_VAR, NOISY_VAR, ZEROS, DEAD), "last")),
        before=described(_against_none(first, (VAR, UNIT_VAR, NOISY_VAR, ZEROS, DEAD), "first")),
        probe=probe,
    )
    return decided(RULES, facts)


def with_formula(probe: pd.DataFrame) -> pd.DataFrame:
    """The probe with p, predicted (variance after the mask: Var + p/(1 - p)·E[h²]) and miss (relative deviation).

    The last two are NaN where p is 0 or E[h²] was not recorded.
    """
    p = probe["dropout1"].where(probe["layer"] == 1, probe["dropout2"])
    square = probe.get("mean_square", pd.Series(np.nan, probe.index))
    predicted = (probe["var"] + p / (1 - p) * square).where(p > 0)
    return probe.assign(p=p, predicted=predicted, miss=probe["masked_var"] / predicted - 1)


def _ends(probe: pd.DataFrame, side: str) -> pd.DataFrame:
    return probe[probe["step"] == probe.groupby("id")["step"].transform(side)]


def _against_none(rows: pd.DataFrame, compared: Sequence[Measure], when: str) -> list[Contrast]:
    """Each arm over the arm without dropout, in each layer."""
    contrasts = []
    for measure in compared:
        of = {place: by_seed(cell, measure) for place, cell in rows.groupby(["layer", "arm"])}
        contrasts += [
            Contrast(
                arm, NONE, (f"layer {layer}", f"{when} probe"), measure, (values, of.get((layer, NONE), {}))
            )
            for (layer, arm), values in of.items()
            if arm != NONE
        ]
    return contrasts


def draw(facts: VarianceFacts) -> dict[str, Figure]:
    drawn = {"course": draw_course(facts.probe, [VAR, NOISY_VAR])}
    if (facts.probe["p"] > 0).any():
        drawn["mask"] = draw_mask(facts.probe)
    return {**drawn, "silent": draw_course(facts.probe, [ZEROS, DEAD])}


@figures.styled
def draw_course(probe: pd.DataFrame, shown: Sequence[Measure]) -> Figure:
    """Quantities by training step, a row each, a column a layer and a line an arm."""
    layers, arms = sorted(probe["layer"].unique()), list(probe["arm"].unique())
    figure, axes = figures.panels(len(shown), len(layers), 2.8, sharex=True, sharey="row")
    for measure, row in zip(shown, axes, strict=True):
        for layer, axis in zip(layers, row, strict=True):
            for arm, colour, dash in zip(arms, (3, 0, 2), DASHES, strict=False):
                rows = probe[(probe["layer"] == layer) & (probe["arm"] == arm)]
                runs = rows.pivot_table(index="step", columns="seed", values=measure.column)
                runs = np.log(runs) if measure.log else runs
                look = {"color": PALETTE[colour], "linestyle": dash, "label": f"trained with {arm}"}
                figures.curves(axis, runs, measure, thin=True, **look)
            axis.set_title(f"hidden layer {layer}", fontsize=10)
            _scale(axis, measure.log)
        row[0].set_ylabel(measure.name if measure.log else measure.label)
    for axis in axes[-1]:
        axis.set_xlabel("training step")
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
    figure, axes = figures.panels(len(arms), len(layers), 2.6, sharex=True, sharey=True)
    for arm, row in zip(arms, axes, strict=True):
        for layer, axis in zip(layers, row, strict=True):
            rows = probe[(probe["arm"] == arm) & (probe["layer"] == layer)]
            for column, (label, look) in lines.items():
                axis.plot(rows.groupby("step")[column].mean().dropna(), label=label, **look)
            rate = f", p = {rows['p'].iloc[0]:g}" if len(rows) else ""
            axis.set_title(f"hidden layer {layer}{rate}, trained with {arm}", fontsize=10)
            _scale(axis, True)
        row[0].set_ylabel("variance")
    for axis in axes[-1]:
        axis.set_xlabel("training step")
    return figures.finish(figure)


def _scale(axis: Axes, log: bool) -> None:
    if log:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=8))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.yaxis.set_minor_locator(NullLocator())
