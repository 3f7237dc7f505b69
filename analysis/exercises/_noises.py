"""Noises at several strengths, pairs of rates of the two hidden layers: which is chosen, and what it looks like.

The rates with the highest mean validation accuracy at the last epoch are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import exercises, figures
from analysis.contrasts import Arm
from analysis.exercises import RATES
from analysis.figures import PALETTE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.tables import Table

NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
KEYS = ("noise", *RATES)


def tried(table: Table) -> pd.DataFrame:
    """Last epochs on validation, with the noise where all runs have one and it is no swept key."""
    final = table.final
    if "noise" not in final:
        final = final.assign(noise=table.given.get("noise", DROPOUT))
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


def rates_of(arm: Arm) -> tuple[float, float]:
    return float(arm["dropout1"]), float(arm["dropout2"])


def ticks(runs: pd.DataFrame) -> list[tuple[float, float]]:
    """Pairs of rates, from the weakest to the strongest."""
    return sorted(map(rates_of, runs[list(RATES)].drop_duplicates().to_dict("records")))


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
    shown = shown.assign(
        place=shown.groupby(list(RATES)).ngroup(), value=shown[measure.column] * measure.scale
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
        best = places.index(rates_of(choice[noise]))
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
