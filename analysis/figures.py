"""Figures of a comparison: learning curves, final values, paired differences, a grid's heat map.

Each function returns a `matplotlib.figure.Figure` and changes no global state; `save` writes it as PNG and
SVG. Colours are seaborn's "colorblind" palette (after Okabe and Ito 2008); line styles tell the arms apart in
grey, too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from seaborn.utils import relative_luminance

from analysis import measures
from analysis.measures import Measure
from analysis.statistics import Comparison, Summary, mean_interval

COLOURED_ARMS = 8
"""More colours than this are no longer told apart."""
LISTED_ROWS = 40
"""Arms or pairs in one figure; more do not fit a page."""
BAND_RESAMPLES = 999
"""Of the bootstrap behind each point of a band; more would not show."""

STYLE: Any = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.9),
    "axes.edgecolor": "0.6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "grid.color": "0.9",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "dropout-sweeps",  # without it the SVG's ids, and so the report, change from call to call
}
PALETTE = sns.color_palette("colorblind", 10)
BETTER, WORSE, NOT_SHOWN = PALETTE[0], PALETTE[3], "0.45"
DASHES = ["-", "--", "-.", ":"]


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `name`.png and `name`.svg into `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with mpl.rc_context(STYLE):
        figure.savefig(png)
        figure.savefig(svg, metadata={"Date": None})
    return png, svg


def chosen_arms(
    means: Mapping[str, float], higher_is_better: bool = True, limit: int = COLOURED_ARMS
) -> list[str]:
    """Arms to show where not all can be: the best and the worst, in the order of `means`.

    Args:
        means: an arm's mean.
        limit: number of arms; all are kept if there are no more.
    """
    if len(means) <= limit:
        return list(means)
    ranked = sorted(means, key=lambda arm: means[arm], reverse=higher_is_better)
    ends = {*ranked[: math.ceil(limit / 2)], *ranked[len(ranked) - limit // 2 :]}
    return [arm for arm in means if arm in ends]


def learning_curves(epochs: pd.DataFrame, means: Mapping[str, float], measure: Measure) -> Figure:
    """Test and train accuracy and cross-entropy by epoch: mean over the seeds, its 95% interval as a band.

    Of more than 8 arms only the 4 best and the 4 worst by `measure` are drawn; the figure says so.

    Args:
        epochs: a row a run and epoch: arm, seed, epoch and the measures' columns.
        means: an arm's final mean of `measure`, in the order of the arms.
    """
    shown = chosen_arms(means, measure.higher_is_better is not False)
    frame = epochs[epochs["arm"].isin(shown)]
    panels = [measures.TEST_ACC, measures.TEST_LOSS, measures.TRAIN_ACC, measures.TRAIN_LOSS]
    if measure in (measures.VAL_ACC, measures.VAL_LOSS):
        panels[:2] = [measures.VAL_ACC, measures.VAL_LOSS]
    elif measure not in panels:
        panels[3] = measure
    styles = {arm: _line_style(position) for position, arm in enumerate(shown)}
    single = frame.groupby("arm")["seed"].nunique().max() == 1
    note = (
        "one seed an arm, no band" if single else "line: mean over the seeds; band: 95% interval of the mean"
    )
    if len(shown) < len(means):
        note = f"the 4 best and the 4 worst of {len(means)} arms by final {measure.name}\n{note}"
    columns = 1 if max(map(len, shown)) > 34 else 2 if max(map(len, shown)) > 18 else 4
    rows = math.ceil(len(shown) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(10, 7 + 0.25 * rows), layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.05)
        )
        axes = figure.subplots(2, 2, sharex=True)
        for axis, panel in zip(axes.flat, panels, strict=True):
            values = frame.assign(value=frame[panel.column] * panel.scale)
            for arm in shown:
                sns.lineplot(
                    values[values["arm"] == arm],
                    x="epoch",
                    y="value",
                    errorbar=_band,
                    ax=axis,
                    label=arm,
                    legend=False,
                    marker="o" if values["epoch"].nunique() < 4 else None,
                    err_kws={"alpha": 0.18 if len(shown) <= 4 else 0.1, "linewidth": 0},
                    **styles[arm],
                )
            axis.set(xlabel="epoch", ylabel=panel.label)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(shown)), title=note)
    return figure


def final_values(
    final: pd.DataFrame, summaries: Mapping[str, Summary], measure: Measure, limit: int = LISTED_ROWS
) -> Figure:
    """Each run's last epoch as a dot, a seed at one height in all arms; each arm's mean and its interval.

    More than 6 arms are sorted by their mean; of more than `limit`, the best and the worst are drawn, and the
    figure says so.

    Args:
        final: a row a run: arm, seed and the measure's column.
        summaries: an arm's statistics of `measure`, in the order of the arms.
    """
    means = {arm: summary.mean for arm, summary in summaries.items()}
    higher = measure.higher_is_better is not False
    shown = chosen_arms(means, higher, limit)
    notes = ["dots: one run each; diamond: mean" + _with_interval(summaries.values())]
    if len(shown) > 6:
        shown.sort(key=lambda arm: means[arm], reverse=higher)
        notes.append("sorted by the mean")
    if len(shown) < len(means):
        notes.insert(0, f"the {math.ceil(limit / 2)} best and the {limit // 2} worst of {len(means)} arms")
    seeds = sorted(final["seed"].unique())
    heights = dict(
        zip(seeds, np.linspace(-0.34, -0.08, len(seeds)) if len(seeds) > 1 else [-0.2], strict=True)
    )
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.6 + 0.42 * len(shown)), layout="constrained")
        axis = figure.subplots()
        for row, arm in enumerate(shown):
            runs = final[final["arm"] == arm]
            summary = summaries[arm]
            axis.scatter(
                runs[measure.column] * measure.scale,
                [row + heights[seed] for seed in runs["seed"]],
                s=28,
                color=PALETTE[0],
                alpha=0.55,
                linewidths=0,
            )
            _point(axis, row + 0.18, summary.mean, summary, measure, "black")
        _rows(axis, shown)
        axis.set(xlabel=f"{measure.label}, last epoch")
        _note(axis, "; ".join(notes))
    return figure


def paired_differences(
    comparisons: Sequence[Comparison], measure: Measure, limit: int = LISTED_ROWS
) -> Figure:
    """Forest plot: mean paired difference a - b of each pair with its 95% interval, coloured by the verdict.

    More than 6 pairs are sorted by their difference; of more than `limit`, both ends are drawn, and the
    figure says so.

    Args:
        comparisons: of pairs with at least one common seed.
    """
    references = {pair.b for pair in comparisons}
    shared = next(iter(references)) if len(references) == 1 and len(comparisons) > 1 else None
    by_name = {pair.a if shared else _pair_name(pair): pair for pair in comparisons}
    differences = {name: pair.paired.difference for name, pair in by_name.items()}
    higher = measure.higher_is_better is not False
    shown = chosen_arms(differences, higher, limit)
    notes = [f"diamond: mean difference over the common seeds{_with_interval(p.paired for p in comparisons)}"]
    if len(shown) > 6:
        shown.sort(key=lambda name: differences[name], reverse=higher)
        notes.append("sorted")
    if shared:
        notes.insert(0, f"each arm minus the reference, {shared}")
    if len(shown) < len(differences):
        notes.insert(0, f"both ends of {len(differences)} pairs")
    colours = {1: BETTER, -1: WORSE, 0: NOT_SHOWN}
    second = "reference better" if shared else "second arm better"
    words = {1: "arm better" if shared else "first arm better", -1: second, 0: "no difference shown"}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.9 + 0.36 * len(shown)), layout="constrained")
        axis = figure.subplots()
        axis.axvline(0, color="0.3", linewidth=1)
        labelled: dict[str, Any] = {}
        for row, name in enumerate(shown):
            pair = by_name[name]
            colour = colours[pair.verdict]
            marks = _point(axis, row, pair.paired.difference, pair.paired, measure, colour, pair.verdict != 0)
            labelled.setdefault(words[pair.verdict], marks)
        _rows(axis, shown)
        axis.set(xlabel=f"difference in {measure.name} ({measure.difference_unit}), last epoch")
        _note(axis, "; ".join(notes))
        ordered = [word for word in words.values() if word in labelled]
        figure.legend(
            [labelled[word] for word in ordered], ordered, loc="outside lower center", ncols=len(ordered)
        )
    return figure


def forests(panels: Mapping[Measure, Mapping[str, tuple[Comparison, NDArray]]]) -> Figure:
    """Paired differences a - b of one pair of arms by several measures, a panel each: a dot a seed, the mean as a
    diamond with its 95% interval, coloured by the verdict.

    Args:
        panels: of each measure the comparison in each setting, with its differences by seed.
    """
    settings = list(dict.fromkeys(setting for panel in panels.values() for setting in panel))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 2 + 0.55 * len(settings)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        labelled: dict[str, Any] = {}
        for axis, (measure, panel) in zip(axes, panels.items(), strict=True):
            axis.axvline(0, color="0.3", linewidth=1)
            for setting, (pair, differences) in panel.items():
                row = settings.index(setting)
                colour = {1: BETTER, -1: WORSE, 0: NOT_SHOWN}[pair.verdict]
                word = {1: f"{pair.a} better", -1: f"{pair.b} better", 0: "no difference shown"}[pair.verdict]
                heights = row - np.linspace(0.34, 0.1, len(differences))
                axis.scatter(
                    differences * measure.scale, heights, s=18, color=colour, alpha=0.45, linewidths=0
                )
                marks = _point(
                    axis, row + 0.18, pair.paired.difference, pair.paired, measure, colour, pair.verdict != 0
                )
                labelled.setdefault(word, marks)
            axis.set(xlabel=f"{pair.a} − {pair.b}:\n{measure.name} ({measure.difference_unit})")
            axis.xaxis.set_major_locator(MaxNLocator(4))
        _rows(axes[0], settings)
        for axis in axes[1:]:
            axis.grid(visible=False, axis="y")
        figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=len(labelled))
    return figure


def heat_map(means: pd.DataFrame, measure: Measure) -> Figure:
    """Final mean of `measure` over a grid of two swept numbers; cells without a run stay white.

    Args:
        means: rows and columns are the values of the two keys, named by them; stored values, NaN where
            missing.
    """
    rows, columns = means.shape
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(min(10, 3 + 0.8 * columns), min(9, 1.8 + 0.5 * rows)), layout="constrained")
        axis = figure.subplots()
        sns.heatmap(
            means * measure.scale,
            ax=axis,
            cmap="cividis",
            annot=columns <= 12,
            fmt=f".{measure.digits}f",
            annot_kws={"fontsize": 9},
            linewidths=0.5,
            cbar_kws={"label": f"mean {measure.label}"},
        )
        _ink(axis, means.shape)
        axis.invert_yaxis()
        axis.tick_params(rotation=0)
        _note(axis, "mean over the seeds, last epoch")
    return figure


@dataclass(frozen=True)
class Matrix:
    """A panel of `heat_maps`."""

    title: str
    cells: pd.DataFrame
    """Values as shown; NaN where a cell stays white. The names of index and columns label the axes."""
    texts: pd.DataFrame
    """What is written into each cell."""
    higher_is_better: bool = True
    centred: bool = False
    """Whether 0 is the neutral middle of the colours."""


def heat_maps(panels: Sequence[Matrix]) -> Figure:
    """Heat maps over the same grid, side by side, with their numbers in the cells.

    The brighter, the better; of centred ones blue is better and red is worse than 0.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10, 1.6 + 0.46 * len(panels[0].cells)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, panel in zip(axes, panels, strict=True):
            most = np.nanmax(np.abs(panel.cells.to_numpy(float))) or 1.0
            ends = {"vmin": -most, "vmax": most} if panel.centred else {}
            sns.heatmap(
                panel.cells,
                ax=axis,
                cmap=("RdBu" if panel.centred else "cividis") + ("" if panel.higher_is_better else "_r"),
                annot=panel.texts,
                fmt="",
                annot_kws={"fontsize": 9 if panel.cells.shape[1] <= 5 else 7},
                cbar=False,
                linewidths=0.5,
                xticklabels=[f"{value:g}" for value in panel.cells.columns],
                yticklabels=[f"{value:g}" for value in panel.cells.index],
                **ends,
            )
            _ink(axis, panel.cells.shape)
            axis.invert_yaxis()
            axis.tick_params(rotation=0)
            axis.set_title(panel.title, fontsize=10)
            axis.set_ylabel(panel.cells.index.name if axis is axes[0] else "")
    return figure


def _ink(axis: Axes, shape: tuple[int, int]) -> None:
    """Numbers in cells: black or white, whichever contrasts more (WCAG 2); seaborn takes white on middle tones."""
    mesh = axis.collections[0]
    mesh.update_scalarmappable()
    colours = np.asarray(mesh.get_facecolor()).reshape(*shape, 4)
    for text in axis.texts:
        column, row = (int(place) for place in text.get_position())
        light = relative_luminance(colours[row, column])
        text.set_color("white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "black")


def _band(values: pd.Series) -> tuple[float, float]:
    interval = mean_interval(values, resamples=BAND_RESAMPLES)
    return (interval.lower, interval.upper) if interval else (math.nan, math.nan)


def _line_style(position: int) -> dict[str, Any]:
    # Blue and orange first, then the rest of the palette; grey (7) and yellow (8) are too faint for a line.
    order = [0, 3, 2, 1, 4, 9, 5, 6]
    return {
        "color": PALETTE[order[position % len(order)]],
        "linestyle": DASHES[position % len(DASHES)],
        "linewidth": 2,
    }


def _point(
    axis: Any, row: float, mean: float, found: Any, measure: Measure, colour: Any, filled: bool = True
) -> Any:
    """A diamond with its interval; `found` has the attribute `interval`."""
    if found.interval is not None:
        ends = [found.interval.lower * measure.scale, found.interval.upper * measure.scale]
        axis.plot(ends, [row, row], color=colour, linewidth=2, solid_capstyle="butt")
    return axis.plot(
        [mean * measure.scale],
        [row],
        marker="D",
        markersize=7,
        linestyle="none",
        color=colour,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=1.5,
    )[0]


def _with_interval(found: Any) -> str:
    return ", with its 95% interval" if any(item.interval is not None for item in found) else ""


def _pair_name(pair: Comparison) -> str:
    gap = "\n" if len(pair.a) + len(pair.b) > 40 else " "
    return f"{pair.a} −{gap}{pair.b}"


def _rows(axis: Any, names: Sequence[str]) -> None:
    lines = ["\n".join(textwrap.fill(line, 44) for line in name.split("\n")) for name in names]
    axis.set_yticks(range(len(names)), lines)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def _note(axis: Any, text: str) -> None:
    # Of the figure, not of the axis: beside long names of arms the axis is too narrow for it.
    text = textwrap.fill(text, int(12 * axis.figure.get_figwidth()))
    axis.figure.suptitle(text, x=0.01, horizontalalignment="left", fontsize=9.5, color="0.3")
