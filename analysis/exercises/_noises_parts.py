"""Tables and figures of the exercises that tune each noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import figures, measures
from analysis.exercises import Grid, Picture, arm_grid, pair_grid
from analysis.exercises._noises import (
    DROPOUT,
    NONE,
    Rows,
    Strength,
    Tried,
    Tuned,
    differences,
    named,
    rates_shown,
)
from analysis.figures import PALETTE, STYLE
from analysis.measures import Measure
from analysis.statistics import Comparison


def ratio(of: Mapping[str, float], noise: str, reference: str) -> str:
    """ "1.23"; a dash where either was not timed."""
    return f"{of[noise] / of[reference]:.2f}" if {noise, reference} <= of.keys() else "–"


def choice_grid(of: Tried, choice: Mapping[str, Strength]) -> Grid:
    """The chosen rates and what they were chosen by."""
    rows = []
    for noise, strength in choice.items():
        means = [measure.shown(strength.mean(measure)) for measure in (measures.VAL_ACC, measures.VAL_LOSS)]
        total = sum(len(each.rows) for each in of[noise])
        rows.append([named(noise), f"({rates_shown(strength)})", *means, str(len(of[noise])), str(total)])
    headers = [
        "noise",
        "chosen rates",
        measures.VAL_ACC.label,
        measures.VAL_LOSS.label,
        "pairs tried",
        "runs",
    ]
    caption = (
        "What was chosen: rates of the first and the second hidden layer, means over the seeds at the last epoch. "
        "As the highest of several, these accuracies flatter; the test set judges anew."
    )
    return Grid(caption, headers, rows, texts=2)


def result_grids(rows: Rows, times: Mapping[str, float], reference: str) -> list[Grid]:
    """Test results of the chosen, and seconds per epoch over the reference's."""
    frames = {named(noise): frame for noise, frame in rows.items()}
    first = arm_grid(
        "The chosen rates on the test set, last epoch.",
        frames,
        (measures.TEST_ACC, measures.TEST_LOSS),
        "noise",
    )
    second = arm_grid(
        "Calibration, overfitting and time of the same runs. Time: median over the runs of their mean seconds per "
        f"epoch, over that of {named(reference)}; rough, as several runs shared the machine and its load changes.",
        frames,
        (measures.TEST_ECE, measures.QUIET_GAP),
        "noise",
    )
    timed = [
        [*row, f"{times[noise]:.2f}" if noise in times else "–", ratio(times, noise, reference)]
        for noise, row in zip(rows, second.rows, strict=True)
    ]
    headers = [*second.headers, "s per epoch", f"over {named(reference)}"]
    return [first, Grid(second.caption, headers, timed)]


def window(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> tuple[float, float]:
    """Ends of what the figure of the strengths shows, as stored: one collapsed run would flatten all the others.

    From the lowest to the highest of the chosen means and of the runs within Tukey's outer fences, three
    interquartile ranges beyond the quartiles of all runs (Tukey 1977, "Exploratory data analysis", section 2D).
    """
    values = np.concatenate([s.rows[measure.column] for each in of.values() for s in each])
    low, high = np.nanquantile(values, [0.25, 0.75])
    reach = 3 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    # not `mean`, which is rounded: with one seed the choice is a run itself
    shown = [*inside, *(strength.rows[measure.column].mean() for strength in choice.values())]
    return min(shown), max(shown)


def off_scale(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> str:
    """A sentence on the runs beyond the window; empty if there are none."""
    low, high = window(of, choice, measure)
    found = []
    for noise, strengths in of.items():
        for strength in strengths:
            values = strength.rows[measure.column]
            if beyond := [measure.shown(value) for value in values if not low <= value <= high]:
                found.append(f"{named(noise)} at {rates_shown(strength)}: {', '.join(beyond)}")
    return f" Triangles: runs off the scale ({'; '.join(found)})." if found else ""


def strengths_figure(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> Figure:
    """A panel a noise: the measure by strength, beside dropout and no noise; runs beyond `window` at its edge."""
    noises = [noise for noise in of if noise != NONE]
    ticks = sorted({strength.rates for noise in noises for strength in of[noise]})
    columns = min(5, len(noises)) or 1
    lines = math.ceil(len(noises) / columns) or 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.9 + 2.5 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        low, high = (end * measure.scale for end in window(of, choice, measure))
        margin = 0.1 * ((high - low) or 1.0)
        axes[0, 0].set_ylim(low - 1.2 * margin, high + 1.2 * margin)  # all panels share it
        for axis, noise in zip(axes.flat, noises, strict=False):
            if NONE in of:
                level = choice[NONE].mean(measure) * measure.scale
                axis.axhline(level, color="0.35", linestyle=":", linewidth=1.5, label=named(NONE))
            if noise != DROPOUT and DROPOUT in of:
                _line(axis, of[DROPOUT], ticks, measure, color="0.6", linestyle="--", label=DROPOUT)
            _line(axis, of[noise], ticks, measure, color=PALETTE[0], linewidth=2, label="the panel's noise")
            for strength in of[noise]:
                values = strength.rows[measure.column] * measure.scale
                place = ticks.index(strength.rates)
                dots: dict[str, Any] = {"color": PALETTE[0], "linewidths": 0}
                inside = values[values.between(low, high)]
                axis.scatter([place] * len(inside), inside, s=16, alpha=0.5, **dots)
                if (values < low).any():
                    axis.scatter([place], [low - margin], s=45, marker="v", zorder=3, **dots)
                if (values > high).any():
                    axis.scatter([place], [high + margin], s=45, marker="^", zorder=3, **dots)
            best = choice[noise]
            axis.plot(
                [ticks.index(best.rates)],
                [best.mean(measure) * measure.scale],
                marker="D",
                linestyle="none",
                color=PALETTE[3],
                label="chosen",
            )
            axis.set_title(named(noise), fontsize=10)
            axis.set_xticks(range(len(ticks)), [f"{a:g}\n{b:g}" for a, b in ticks], fontsize=8.5)
            axis.set_xmargin(0.12)
        for axis in list(axes.flat)[len(noises) :]:
            axis.set_visible(False)
        figure.supxlabel("rates of the first (above) and the second hidden layer", fontsize=10)
        figure.supylabel(measure.label, fontsize=10)
        handles, labels = axes.flat[len(noises) - 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _line(
    axis: Axes,
    strengths: Sequence[Strength],
    ticks: Sequence[tuple[float, float]],
    measure: Measure,
    **style: Any,
) -> None:
    values = [strength.mean(measure) * measure.scale for strength in strengths]
    axis.plot([ticks.index(strength.rates) for strength in strengths], values, **style)


def relabelled(pairs: Sequence[Comparison]) -> list[Comparison]:
    return [replace(pair, a=named(pair.a), b=named(pair.b)) for pair in pairs]


def differences_figure(rows: Rows, families: Mapping[Measure, Sequence[Comparison]]) -> Figure:
    """Paired differences to one reference: a panel a measure, a row a noise, a dot a seed."""
    return figures.forests(
        {
            measure: {
                named(pair.a): (
                    replace(pair, a="the noise", b=named(pair.b)),
                    differences(rows, pair, measure),
                )
                for pair in pairs
            }
            for measure, pairs in families.items()
        }
    )


def shared_parts(tuned: Tuned, reference: str) -> list[Picture | Grid]:
    """What both exercises show: validation by strength, what was chosen, and its test results.

    Args:
        reference: the noise that times are given over.
    """
    parts: list[Picture | Grid] = []
    if set(tuned.tried) - {NONE}:
        caption = (
            "{} by strength, last epoch. Line: mean over the seeds; dots: one run each; diamond: the chosen "
            "rates. For comparison dropout (grey, dashed) and no noise (dotted)."
        )
        parts += [
            Picture(
                name,
                caption.format(measure.label.capitalize()) + off_scale(*of, measure),
                strengths_figure(*of, measure),
            )
            for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS))
            for of in [(tuned.tried, tuned.choice)]
        ]
    if tuned.choice:
        parts.append(choice_grid(tuned.tried, tuned.choice))
    return parts + (result_grids(tuned.rows, tuned.times, reference) if tuned.rows else [])


def family_parts(
    rows: Rows, families: Mapping[Measure, Sequence[Sequence[Comparison]]], noises: str
) -> list[Picture | Grid]:
    """Differences to dropout as a figure, and every family of each measure as a table.

    Args:
        families: of each measure the families, the one with dropout for reference first.
        noises: what the figure shows, in words.
    """
    first = {measure: of[0] for measure, of in families.items() if of[0]}
    parts: list[Picture | Grid] = []
    if first:
        caption = (
            f"Paired differences of {noises} to dropout on the test set, last epoch. Dots: one seed each; diamond: "
            "mean, with its 95% interval; filled where a difference is shown. Accuracy is better to the right, "
            "cross-entropy and calibration error to the left."
        )
        parts.append(Picture("differences", caption, differences_figure(rows, first)))
    for measure, of in families.items():
        pairs = relabelled([pair for pairs in of for pair in pairs])
        if pairs:
            caption = (
                f"Paired differences in {measure.name}; all pairs with the same B are one family for Holm."
            )
            parts.append(pair_grid(caption, pairs, measure))
    return parts
