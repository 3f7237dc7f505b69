"""What the exercises that tune each noise share: rates chosen on validation, the chosen compared on the test set.

A noise is tried at several strengths, pairs of rates of the two hidden layers. The rates with the highest mean
validation accuracy at the last epoch are chosen, and a second sweep trains them anew with fresh seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import exercises, figures, measures
from analysis.contrasts import Arm, Arms, Result, described, family
from analysis.exercises import Facts, pick
from analysis.figures import PALETTE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.sensitivity import sensitivity
from analysis.tables import Table, Tables

NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
RATES = ("dropout1", "dropout2")
KEYS = ("noise", *RATES)
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)


def tried(table: Table) -> pd.DataFrame:
    """Last epochs on validation, with the noise where all runs have one and it is no swept key."""
    final = table.final
    if "noise" not in final:
        fixed = [override.partition("=")[2] for override in table.overrides if override.startswith("noise=")]
        final = final.assign(noise=fixed[0] if fixed else DROPOUT)
    return exercises.validated(final)


def chosen(runs: pd.DataFrame) -> dict[str, Arm]:
    """Each noise's best arm, see `exercises.ranked`, by its name.

    A strength that lacks a seed which another one of the same noise has is not chosen: means over different seeds
    are not compared.
    """
    settings = exercises.ranked(runs, KEYS)
    full = settings[settings["seeds"] == settings.groupby("noise")["seeds"].transform("max")]
    best = full.drop_duplicates("noise").set_index("noise")
    return {noise: {"noise": noise, **best.loc[noise, list(RATES)]} for noise in runs["noise"].unique()}


def choose(table: Table) -> list[str]:
    """Overrides of each noise at its chosen rates, the arms of the second sweep.

    Raises:
        InputError: if the table has no validation accuracy.
    """
    return [exercises.overrides(arm) for arm in chosen(tried(table)).values()]


@dataclass(frozen=True, kw_only=True)
class NoiseFacts(Facts):
    tried: pd.DataFrame
    """Runs of the choosing sweep."""
    choice: Mapping[str, Arm]
    """By noise."""
    error: float = math.nan
    """Of a strength's mean validation accuracy, see `exercises.mean_error`; without runs that broke down."""
    reused: Sequence[int] = ()
    """Seeds of the test that also made the choice."""

    def to(self, reference: str, measure: Measure) -> list[Result]:
        """Differences of each other noise to a reference."""
        return [r for r in self.described if r.contrast.b == reference and r.measure is measure]

    def versus(self, noise: str, reference: str, measure: Measure) -> Result | None:
        return pick(self.described, a=noise, b=reference, measure=measure)

    def judged(self, noise: str) -> Result | None:
        return pick(self.primary, a=noise)

    @property
    def budgets(self) -> set[tuple[int, int]]:
        """Pairs of rates and runs that went into each noise's choice."""
        return {
            (len(of.drop_duplicates(KEYS)), len(of))
            for noise, of in self.tried.groupby("noise")
            if noise != NONE
        }

    @property
    def edges(self) -> list[str]:
        """Noises whose choice lies at an end of what was tried."""
        rates = {noise: ticks(of) for noise, of in self.tried.groupby("noise", sort=False)}
        ends = {noise: (of[0], of[-1]) for noise, of in rates.items() if len(of) > 1}
        return [noise for noise, of in ends.items() if _rates(self.choice[noise]) in of]


def read(tables: Tables, sweeps: tuple[str, str], kind: type[NoiseFacts]) -> NoiseFacts:
    """Both sweeps of an exercise: what was tried, chosen and tested; the primary contrasts are judged."""
    first, second = tables[sweeps[0]], tables.get(sweeps[1])
    of = tried(first)
    choice = chosen(of)
    error = exercises.mean_error(exercises.ranked(of[~of["id"].isin(Arms(first, {}).broken)], KEYS))
    if second is None:
        return kind(tried=of, choice=choice, error=error, validated=True)
    _, primary = exercises.promised(sweeps[1], choose(first))
    # by what the table swept; the noise counts even where it was not
    arms = Arms(
        second, {noise: {k: v for k, v in arm.items() if k in second.keys} for noise, arm in choice.items()}
    )
    present = [noise for noise in choice if len(arms.rows(noise))]
    judged = family(primary.contrasts(arms, list(choice), "test"), primary.margin, arms.diverged)
    tuned = Arms(first, choice)
    splits = replace(primary, measure=measures.VAL_ACC).contrasts(tuned, list(choice), "validation")
    contrasts = [
        arms.contrast(noise, reference, measure, "test")
        for measure in (*JUDGED, measures.QUIET_GAP)
        for reference in (NONE, DROPOUT, CLONE)
        for noise in present
        if reference in present and noise != reference
    ]
    return kind(
        primary=judged,
        sensitivity=sensitivity(judged, arms, next(iter(splits), None)),
        arms=[stats for stats in arms.stats((*JUDGED, measures.QUIET_GAP)) if stats.planned],
        described=described(contrasts),
        tried=of,
        choice=choice,
        error=error,
        reused=sorted({*map(int, of["seed"])} & {*map(int, second.final["seed"])}),
    )


def draw(facts: NoiseFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        rest = [r for r in facts.beside(JUDGED[:2]) if r.contrast.b == DROPOUT]
        shown = sorted([*facts.primary, *rest], key=lambda r: r.measure is not facts.first.measure)
        drawn["differences"] = figures.forest(shown, lambda r: named(r.contrast.a))
    for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS)):
        drawn[name] = strengths_figure(facts.tried, facts.choice, measure)
    return drawn


def _rates(arm: Arm) -> tuple[float, float]:
    return float(arm["dropout1"]), float(arm["dropout2"])


def ticks(runs: pd.DataFrame) -> list[tuple[float, float]]:
    """Pairs of rates, from the weakest to the strongest."""
    return sorted(map(_rates, runs[list(RATES)].drop_duplicates().to_dict("records")))


def window(runs: pd.DataFrame, choice: Mapping[str, Arm], measure: Measure) -> tuple[float, float]:
    """Ends of what the figure of the strengths shows, as stored: one collapsed run would flatten all the others.

    From the lowest to the highest of the chosen means and of the runs within Tukey's outer fences, three
    interquartile ranges beyond the quartiles of all runs (Tukey 1977, "Exploratory data analysis", section 2D).
    """
    values = runs[measure.column]
    low, high = values.quantile([0.25, 0.75])
    inside = values[values.between(low - 3 * (high - low), high + 3 * (high - low))]
    means = runs.groupby(list(KEYS))[measure.column].mean()
    shown = [*inside, *(means[tuple(arm.values())] for arm in choice.values())]
    return min(shown), max(shown)


@figures.styled
def strengths_figure(runs: pd.DataFrame, choice: Mapping[str, Arm], measure: Measure) -> Figure:
    """A panel a noise: the measure by strength, beside dropout and no noise; runs beyond `window` at its edge."""
    shown = runs[runs["noise"] != NONE]
    places = ticks(shown)
    place = {rates: number for number, rates in enumerate(places)}
    shown = shown.assign(
        place=[place[_rates(row)] for row in shown[list(RATES)].to_dict("records")],
        value=shown[measure.column] * measure.scale,
    )
    means = {noise: of.groupby("place")["value"].mean() for noise, of in shown.groupby("noise", sort=False)}
    low, high = (end * measure.scale for end in window(runs, choice, measure))
    margin = 0.1 * ((high - low) or 1.0)
    columns = min(5, len(means)) or 1
    rows = math.ceil(len(means) / columns) or 1
    figure, axes = figures.panels(rows, columns, 2.4, sharex=True, sharey=True)
    axes[0, 0].set_ylim(low - 1.2 * margin, high + 1.2 * margin)  # all panels share it
    for axis, (noise, line) in zip(axes.flat, means.items(), strict=False):
        if NONE in choice:
            level = runs.loc[runs["noise"] == NONE, measure.column].mean() * measure.scale
            axis.axhline(level, color="0.35", linestyle=":", linewidth=1.5, label=named(NONE))
        if noise != DROPOUT and DROPOUT in means:
            axis.plot(means[DROPOUT], color="0.6", linestyle="--", label=DROPOUT)
        axis.plot(line, color=PALETTE[0], linewidth=2, label="the panel's noise")
        _dots(axis, shown[shown["noise"] == noise], (low, high), margin)
        best = place[_rates(choice[noise])]
        axis.plot([best], [line[best]], "D", color=PALETTE[3], label="chosen")
        axis.set_title(named(noise), fontsize=10)
        axis.set_xticks(range(len(places)), [f"{a:g}\n{b:g}" for a, b in places], fontsize=8.5)
        axis.set_xmargin(0.12)
    for axis in list(axes.flat)[len(means) :]:
        axis.set_visible(False)
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
