"""Exercise 6: weights dropped instead of activations, by DropConnect and its Gaussian form.

Each noise is tried at several strengths, pairs of rates of the two hidden layers; a second sweep trains those with
the highest mean validation accuracy anew with fresh seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import exercises, figures, measures
from analysis.contrasts import Arm, Arms, described
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, RATES, Facts, Rule, decided
from analysis.figures import PALETTE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.runs import InputError
from analysis.tables import Table, Tables
from src.stats import BETTER, WORSE

NUMBER = 6
SWEEPS = FIRST, SECOND = ("drop_weights", "drop_weights_test")
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)
NONE, DROPOUT = "none", "dropout"
COUNTED = (NONE, DROPOUT, "dropconnect")
"""The noises whose places among the arms the second sweep's primary contrast counts."""
KEYS = ("noise", *RATES)

RULES = (
    NOT_DECIDED,
    Rule("better", "the interval of DropConnect minus dropout lies above 0", lambda e: e.word == BETTER),
    Rule("worse", "it lies below 0", lambda e: e.word == WORSE),
    *NOT_SHOWN,
)


@dataclass(frozen=True, kw_only=True)
class NoiseFacts(Facts):
    tried: pd.DataFrame
    """Runs of the choosing sweep, see `exercises.validated`."""
    choice: Mapping[str, Arm]
    """By noise."""
    error: float
    """Of a strength's mean validation accuracy, see `exercises.mean_error`; without runs that broke down."""

    @property
    def budgets(self) -> set[tuple[int, int]]:
        """Pairs of rates and runs that went into each noise's choice."""
        of_noises = self.tried[self.tried["noise"] != NONE].groupby("noise")
        return {(len(of.drop_duplicates(KEYS)), len(of)) for _, of in of_noises}

    @property
    def edges(self) -> list[str]:
        """Noises whose choice lies at an end of what was tried."""
        rates = {noise: ticks(of) for noise, of in self.tried.groupby("noise", sort=False)}
        ends = {noise: (of[0], of[-1]) for noise, of in rates.items() if len(of) > 1}
        return [noise for noise, of in ends.items() if rates_of(self.choice[noise]) in of]


def analyse(tables: Tables) -> NoiseFacts:
    """DropConnect minus dropout in test accuracy, each at its chosen rates, judged; all else described."""
    first, second = tables[FIRST], tables.get(SECOND)
    tried = exercises.validated(first, KEYS)
    choice = chosen(tried)
    tuned = Arms(first, choice)
    error = exercises.mean_error(exercises.ranked(tried[~tried["id"].isin(tuned.broken)], KEYS))
    facts = NoiseFacts(tried=tried, choice=choice, error=error, validated=second is None)
    if second is None:
        return decided(RULES, facts)
    arms, judged = exercises.judged(second, choice, "test")
    splits = [tuned.contrast(r.contrast.a, r.contrast.b, measures.VAL_ACC, "validation") for r in judged]
    reported = (*JUDGED, measures.QUIET_GAP)
    contrasts = (
        arms.contrast(noise, reference, measure, "test")
        for measure in reported
        for reference in (NONE, DROPOUT)
        for noise in choice
        if noise != reference
    )
    facts = replace(facts, primary=judged, arms=arms.stats(reported), described=described(contrasts))
    return decided(RULES, facts, arms, next(iter(splits), None))


def choose(table: Table) -> list[str]:
    """Overrides of each noise at its chosen rates, the arms of the second sweep.

    Raises:
        InputError: if the table has no validation accuracy, or none of a noise that is judged.
    """
    choice = chosen(exercises.validated(table, KEYS))
    absent = [noise for noise in COUNTED if noise not in choice]
    if absent:
        raise InputError(f"{table.name} has no result of {', '.join(absent)}; one of each is right")
    return [exercises.overrides(arm) for arm in choice.values()]


def chosen(tried: pd.DataFrame) -> dict[str, Arm]:
    """Each noise's best arm, see `exercises.ranked`, by its name.

    A strength that lacks a seed which another one of the same noise has is not chosen: means over different seeds
    are not compared.
    """
    settings = exercises.ranked(tried, KEYS)
    full = settings[settings["seeds"] == settings.groupby("noise")["seeds"].transform("max")]
    best = full.drop_duplicates("noise").set_index("noise")
    return {noise: {"noise": noise, **best.loc[noise, list(RATES)]} for noise in tried["noise"].unique()}


def rates_of(arm: Arm) -> tuple[float, float]:
    return float(arm["dropout1"]), float(arm["dropout2"])


def ticks(tried: pd.DataFrame) -> list[tuple[float, float]]:
    """Pairs of rates, from the weakest to the strongest."""
    return sorted(map(rates_of, tried[list(RATES)].drop_duplicates().to_dict("records")))


def draw(facts: NoiseFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        rest = [r for r in facts.beside(JUDGED[:2]) if r.contrast.b == DROPOUT]
        shown = sorted([*facts.primary, *rest], key=lambda r: r.measure is not facts.first.measure)
        drawn["differences"] = figures.forest(shown, lambda r: named(r.contrast.a))
    for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS)):
        drawn[name] = draw_strengths(facts, measure)
    return drawn


def window(facts: NoiseFacts, measure: Measure) -> tuple[float, float]:
    """Ends of what the figure of the strengths shows, as stored: one collapsed run would flatten all the others.

    From the lowest to the highest of the chosen means and of the runs within Tukey's outer fences, three
    interquartile ranges beyond the quartiles of all runs (Tukey 1977, "Exploratory data analysis", section 2D).
    """
    values = facts.tried[measure.column]
    low, high = values.quantile([0.25, 0.75])
    inside = values[values.between(low - 3 * (high - low), high + 3 * (high - low))]
    means = facts.tried.groupby(list(KEYS))[measure.column].mean()
    shown = [*inside, *(means[tuple(arm.values())] for arm in facts.choice.values())]
    return min(shown), max(shown)


@figures.styled
def draw_strengths(facts: NoiseFacts, measure: Measure) -> Figure:
    """A panel a noise: the measure by strength, beside dropout and no noise; runs beyond `window` at its edge."""
    is_none = facts.tried["noise"] == NONE
    level = facts.tried.loc[is_none, measure.column].mean() * measure.scale
    runs = facts.tried[~is_none]
    runs = runs.assign(place=runs.groupby(list(RATES)).ngroup(), value=runs[measure.column] * measure.scale)
    means = {noise: of.groupby("place")["value"].mean() for noise, of in runs.groupby("noise", sort=False)}
    low, high = (end * measure.scale for end in window(facts, measure))
    margin, places = 0.1 * ((high - low) or 1.0), ticks(runs)
    figure, axes = figures.panels(1, len(means) or 1, 2.4, sharex=True, sharey=True)
    axes[0, 0].set_ylim(low - 1.2 * margin, high + 1.2 * margin)  # all panels share it
    for axis, (noise, line) in zip(axes[0], means.items(), strict=False):
        if is_none.any():
            axis.axhline(level, color="0.35", linestyle=":", linewidth=1.5, label=named(NONE))
        if noise != DROPOUT and DROPOUT in means:
            axis.plot(means[DROPOUT], color="0.6", linestyle="--", label=DROPOUT)
        axis.plot(line, color=PALETTE[0], linewidth=2, label="the panel's noise")
        _dots(axis, runs[runs["noise"] == noise], (low, high), margin)
        best = places.index(rates_of(facts.choice[noise]))
        axis.plot([best], [line[best]], "D", color=PALETTE[3], label="chosen")
        axis.set_title(named(noise), fontsize=10)
        axis.set_xticks(range(len(places)), [f"{a:g}\n{b:g}" for a, b in places], fontsize=8.5)
        axis.set_xmargin(0.12)
    figure.supylabel(measure.label, fontsize=10)
    return figures.finish(
        figure, 5, "below each panel: rates of the first (above) and of the second hidden layer"
    )


def _dots(axis: Axes, runs: pd.DataFrame, ends: tuple[float, float], margin: float) -> None:
    """A dot a run; those beyond the ends are triangles at the edge."""
    look: dict[str, Any] = {"color": PALETTE[0], "linewidths": 0}
    inside = runs[runs["value"].between(*ends)]
    axis.scatter(inside["place"], inside["value"], s=16, alpha=0.5, **look)
    below, above = runs[runs["value"] < ends[0]], runs[runs["value"] > ends[1]]
    for beyond, edge, mark in ((below, ends[0] - margin, "v"), (above, ends[1] + margin, "^")):
        at = beyond["place"].unique()
        if len(at):
            axis.scatter(at, [edge] * len(at), s=45, marker=mark, zorder=3, label="off the scale", **look)
