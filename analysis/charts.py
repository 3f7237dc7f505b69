"""Whole figures of any sweep: learning curves, final values, and values over two numbers as dots or heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from seaborn.utils import relative_luminance

from analysis import figures, measures
from analysis.measures import Measure
from src.stats import Summary

MOST_COLUMNS = 12
"""Of a heat map with numbers in its cells; of more the colours alone are legible."""


@figures.styled
def learning_curves(epochs: pd.DataFrame, means: Mapping[str, float], measure: Measure) -> Figure:
    """Test and train accuracy and cross-entropy by epoch: mean over the seeds, its 95% interval as a band.

    Of more than 8 arms only the 4 best and the 4 worst by `measure` are drawn; the figure says so.

    Args:
        epochs: a row a run and epoch: arm, seed, epoch and the measures' columns.
        means: an arm's final mean of `measure`, in the order of the arms.
    """
    shown = figures.chosen_arms(means, measure.higher_is_better is not False)
    frame = epochs[epochs["arm"].isin(shown)]
    drawn = [measures.TEST_ACC, measures.TEST_LOSS, measures.TRAIN_ACC, measures.TRAIN_LOSS]
    if measure in (measures.VAL_ACC, measures.VAL_LOSS):
        drawn[:2] = [measures.VAL_ACC, measures.VAL_LOSS]
    elif measure not in drawn:
        drawn[3] = measure
    single = frame.groupby("arm")["seed"].nunique().max() == 1
    note = (
        "one seed an arm, no band" if single else "line: mean over the seeds; band: 95% interval of the mean"
    )
    if len(shown) < len(means):
        note = f"the 4 best and the 4 worst of {len(means)} arms by final {measure.name}\n{note}"
    columns = 1 if max(map(len, shown)) > 34 else 2 if max(map(len, shown)) > 18 else 4
    figure, axes = figures.panels(2, 2, 3.4, xlabel="epoch", sharex=True)
    for axis, panel in zip(axes.flat, drawn, strict=True):
        of = [
            frame[frame["arm"] == arm].pivot_table(index="epoch", columns="seed", values=panel.column)
            for arm in shown
        ]
        for position, (arm, runs) in enumerate(zip(shown, of, strict=True)):
            figures.curves(axis, runs, panel, label=figures.short(arm), **figures.line_style(position))
        figures.limits(axis, of, panel)
        axis.set(ylabel=panel.label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figures.finish(figure, columns, note)


@figures.styled
def book_curves(epochs: pd.DataFrame) -> Figure:
    """As the book draws them, a panel a model: the mean over the seeds as a line, each run as a thin one.

    Args:
        epochs: a row a run and epoch: model, seed, epoch and the measures' columns.
    """
    by_model = dict(iter(epochs.groupby("model", sort=False)))
    figure, axes = figures.panels(1, len(by_model), 2.8, sharey=True)
    for axis, (model, rows) in zip(axes[0], by_model.items(), strict=True):
        for position, measure in enumerate((measures.TRAIN_LOSS, measures.TRAIN_ACC, measures.TEST_ACC)):
            runs = rows.pivot_table(index="epoch", columns="seed", values=measure.column)
            look = figures.line_style(position)
            axis.plot(runs, **{**look, "linewidth": 0.7, "alpha": 0.4})
            axis.plot(runs.mean(axis=1), label=measure.name, marker="o" if len(runs) < 4 else None, **look)
        axis.set_title(model, fontsize=10)
        figures.epoch_axis(axis, int(epochs["epoch"].max()))
    axes[0][0].set_ylabel("accuracy (share) and cross-entropy (nats)", fontsize=9)
    return figures.finish(figure)


@figures.styled
def final_values(final: pd.DataFrame, summaries: Mapping[str, Summary], measure: Measure) -> Figure:
    """Each run's last epoch as a dot, a seed at one height in all arms; each arm's mean and its interval.

    More than 6 arms are sorted by their mean; of more than `LISTED_ROWS`, the best and the worst are drawn, and the
    figure says so.

    Args:
        final: a row a run: arm, seed and the measure's column.
        summaries: an arm's statistics of `measure`, in the order of the arms.
    """
    means = {arm: summary.mean for arm, summary in summaries.items()}
    higher = measure.higher_is_better is not False
    shown = figures.chosen_arms(means, higher, figures.LISTED_ROWS)
    notes = ["dots: one run each; diamond: mean, with its 95% interval where there are several runs"]
    if len(shown) > 6:
        shown.sort(key=lambda arm: means[arm], reverse=higher)
        notes.append("sorted by the mean")
    if len(shown) < len(means):
        half = figures.LISTED_ROWS // 2
        notes.insert(0, f"the {half} best and the {half} worst of {len(means)} arms")
    seeds = sorted(final["seed"].unique())
    spread = np.linspace(-0.34, -0.08, len(seeds)) if len(seeds) > 1 else [-0.2]
    heights = dict(zip(seeds, spread, strict=True))
    figure, axes = figures.panels(1, 1, 0.7 + 0.42 * len(shown))
    axis = axes[0][0]
    for row, arm in enumerate(shown):
        runs, summary = final[final["arm"] == arm], summaries[arm]
        places = [row + heights[seed] for seed in runs["seed"]]
        values = runs[measure.column] * measure.scale
        axis.scatter(values, places, s=28, color=figures.PALETTE[0], alpha=0.55, linewidths=0)
        figures.point(axis, row + 0.18, summary.mean, summary.interval, measure, "black")
    figures.name_rows(axis, shown)
    axis.set(xlabel=f"{measure.label}, last epoch")
    figures.note(axis, "; ".join(notes))
    return figure


@figures.styled
def scattered(final: pd.DataFrame, keys: Sequence[str], measure: Measure) -> Figure:
    """Runs at their values of two swept numbers, on numeric axes, coloured by the measure.

    Args:
        final: a row a run: the two keys and the measure's column.
    """
    figure, axes = figures.panels(1, 1, 4.2, 7.5)
    axis = axes[0][0]
    values = final[measure.column] * measure.scale
    dots = axis.scatter(
        final[keys[0]], final[keys[1]], c=values, s=70, cmap="cividis", edgecolors="0.2", linewidths=0.5
    )
    for key, side, name in zip(keys, (axis.xaxis, axis.yaxis), ("xscale", "yscale"), strict=True):
        if final[key].min() > 0 and final[key].max() > 30 * final[key].min():
            axis.set(**{name: "log"})
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            side.set_minor_formatter(NullFormatter())
    axis.set(xlabel=keys[0], ylabel=keys[1])
    figure.colorbar(dots, ax=axis, label=measure.label)
    return figure


@mpl.rc_context({**figures.STYLE, "axes.grid": False})
def heat_maps(maps: Mapping[Measure, pd.DataFrame]) -> Figure:
    """Heat maps over the same grid, side by side: the brighter, the better; cells without a value stay white.

    Args:
        maps: stored values, NaN where missing; the names of index and columns label the axes.
    """
    rows, columns = next(iter(maps.values())).shape
    figure, axes = figures.panels(1, len(maps), 0.9 + 0.46 * rows, sharey=True)
    for axis, (measure, cells) in zip(axes[0], maps.items(), strict=True):
        sns.heatmap(
            cells * measure.scale,
            ax=axis,
            cmap="cividis" if measure.sign > 0 else "cividis_r",
            annot=cells.map(measure.shown if columns <= MOST_COLUMNS else lambda _: ""),
            fmt="",
            annot_kws={"fontsize": 9 if columns <= 5 else 7},
            cbar_kws={"location": "bottom", "shrink": 0.8, "aspect": 30, "pad": 0.02},
            linewidths=0.5,
            xticklabels=[_tick(value) for value in cells.columns],
            yticklabels=[_tick(value) for value in cells.index],
        )
        _ink(axis, cells.shape)
        axis.invert_yaxis()
        axis.tick_params(rotation=0)
        axis.set_title(measure.label, fontsize=10)
        axis.set_ylabel(cells.index.name if axis is axes[0][0] else "")
    return figure


def grid(keys: Sequence[str], final: pd.DataFrame, measure: Measure, is_search: bool) -> dict[str, Figure]:
    """Means over the values of two swept numbers, or the runs at theirs where they make no grid; else nothing."""
    numbers = [key for key in keys if pd.api.types.is_numeric_dtype(final[key])]
    if len(numbers) != 2 or (len(keys) > 2 and not is_search):
        return {}
    means = final.pivot_table(index=numbers[1], columns=numbers[0], values=measure.column, aggfunc="mean")
    if min(means.shape) < 3:
        return {}
    is_full = means.notna().to_numpy().mean() > 0.5
    drawn = heat_maps({measure: means}) if is_full else scattered(final, numbers, measure)
    return {f"grid_{measure.column}": drawn}


def _tick(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _ink(axis: Axes, shape: tuple[int, int]) -> None:
    """Numbers in cells: black or white, whichever contrasts more (WCAG 2); seaborn takes white on middle tones."""
    mesh = axis.collections[0]
    mesh.update_scalarmappable()
    colours = np.asarray(mesh.get_facecolor()).reshape(*shape, 4)
    for text in axis.texts:
        column, row = (int(place) for place in text.get_position())
        light = relative_luminance(colours[row, column])
        text.set_color("white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "black")
