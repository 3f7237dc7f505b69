"""A few primitives that every figure of a report is made of: curves, forests, dots, a card's picture.

`panels` makes a figure, `finish` gives it its legend, `save` writes it as PNG and SVG; none changes global state.
Colours are seaborn's "colorblind" palette (after Okabe and Ito 2008); line styles tell the arms apart in
grey, too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from analysis.contrasts import Result
from analysis.measures import Measure
from src.runs import store
from src.stats import Interval, mean_interval

COLOURED_ARMS = 8
"""More colours than this are no longer told apart."""
FAR = 3.0
"""Times the distance of its row's quartiles: a seed further beyond them lies far from the others."""
LISTED_ROWS = 40
"""Arms or pairs in one figure; more do not fit a page."""
LONGEST_NAME = 130
"""Characters of an arm's name in a figure."""
BAND_RESAMPLES = 999
"""Of the bootstrap behind each point of a band; more would not show."""

CJK = [
    name
    for name in ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Source Han Sans SC", "SimHei")
    if name in font_manager.get_font_names()
][:1]
"""A font for names that the first one lacks the characters of, where one is installed."""

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
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.family": ["DejaVu Sans", *CJK],
    "svg.hashsalt": "dropout-sweeps",  # without it the SVG's ids, and so the report, change from call to call
}
PALETTE = sns.color_palette("colorblind", 10)
COLOURS = {"better": PALETTE[0], "worse": PALETTE[3], "equivalent": PALETTE[2]}
COLOURS |= dict.fromkeys(("larger", "smaller"), PALETTE[4])
"""By a verdict's word; of others grey."""
GREY = "0.45"
DASHES = ["-", "--", "-.", ":"]

styled = mpl.rc_context(STYLE)
"""Decorates a function that draws."""


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.png and `name`.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        store.write_figure(folder / f"{name}.png", figure)
        store.write_figure(folder / f"{name}.svg", figure, metadata={"Date": None})


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


def panels(
    rows: int, columns: int = 1, height: float = 3.0, width: float = 10.0, xlabel: str = "", **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, (rows, columns), with a label below the last row; what calls it is `styled`."""
    figure = Figure(figsize=(width, 0.9 + height * rows), layout=ConstrainedLayoutEngine(hspace=0.05))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes[-1]:
        axis.set_xlabel(xlabel)
    return figure, axes


def finish(figure: Figure, columns: int = 4, title: str | None = None) -> Figure:
    """One legend below the figure for all that its panels name, each name once."""
    named: dict[str, Any] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    if named:
        count = min(columns, len(named))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=count, title=title)
    return figure


def curves(
    axis: Axes, runs: pd.DataFrame, measure: Measure, *, median: bool = False, thin: bool = False, **look: Any
) -> None:
    """Mean or median over the runs; around the mean its 95% interval, around the median each run as a thin line.

    Args:
        runs: a row an epoch, step or other place on the axis; a column a run; values as stored.
    """
    if runs.empty:
        return
    values = _shown(runs, measure)
    middle = values.median(axis=1) if median else values.mean(axis=1)
    mark = "o" if len(values) < 4 else None
    axis.plot(values.index, middle, **{"linewidth": 2, "marker": mark, **look})
    if median or thin:
        axis.plot(values.index, values, color=look["color"], linewidth=0.7, alpha=0.4)
    if not median:
        intervals = [mean_interval(row, BAND_RESAMPLES) for row in runs.dropna(axis=1).to_numpy()]
        if all(intervals):  # of several whole runs
            ends = _shown([(interval.lower, interval.upper) for interval in intervals if interval], measure)
            axis.fill_between(values.index, *ends.T, color=look["color"], alpha=0.15, linewidth=0)


def limits(axis: Axes, drawn: Sequence[pd.DataFrame], measure: Measure) -> None:
    """An axis of the middle 90% of the values and all last ones; what lies beyond is said on the panel."""
    values, last = (
        np.concatenate([[math.nan], *(frame.to_numpy(float).ravel() for frame in frames)]) * measure.scale
        for frames in (drawn, [frame.tail(1) for frame in drawn])
    )
    if not np.isfinite(values).any():
        return
    low, high = np.nanquantile(values, [0.05, 0.95])
    low, high = np.nanmin([low, *last]), np.nanmax([high, *last])
    if high <= low:
        return
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    axis.set_ylim(low, high)
    ends = np.nanmin(values), np.nanmax(values)
    if ends[0] < low or ends[1] > high:
        _say_cut_off(axis, *(measure.shown(end / measure.scale) for end in ends))


def _say_cut_off(axis: Axes, low: str, high: str) -> None:
    look: Any = {"xycoords": "axes fraction", "ha": "right", "va": "bottom", "fontsize": 7.5, "color": "0.35"}
    axis.annotate(f"cut off: values from {low} to {high}", (0.99, 1.01), **look)


def epoch_axis(axis: Axes, length: int) -> None:
    """Epochs; of long runs on a logarithmic scale, as most happens at the start."""
    axis.set_xlabel("epoch")
    if length < 30:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return
    axis.set_xlabel("epoch (logarithmic)")
    log_axis(axis, [epoch for epoch in (1, 3, 10, 30, 100, 300) if epoch <= length])


def log_axis(axis: Axes, ticks: Sequence[float]) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter())


@styled
def forest(
    results: Sequence[Result],
    label: Callable[[Result], str] = lambda result: ", ".join(result.contrast.setting),
    look: Callable[[Result], tuple[Any, str]] | None = None,
) -> Figure:
    """Paired differences, a panel a measure and a row a label: a dot a seed, the mean as a diamond.

    Without a `look`, a colour and a name for the legend, what is judged is coloured by its verdict, and what is
    described is grey; a margin is a grey band. Of more than `LISTED_ROWS` rows both ends are drawn.
    """
    by_measure: dict[Measure, dict[str, Result]] = {}
    for result in results:
        by_measure.setdefault(result.measure, {})[label(result)] = result
    rows = every = list(dict.fromkeys(map(label, results)))
    if len(rows) > LISTED_ROWS:
        measure, first = next(iter(by_measure.items()))
        means = {name: result.paired.difference for name, result in first.items()}
        rows = chosen_arms(means, measure.sign > 0, LISTED_ROWS)
    figure, axes = panels(1, len(by_measure), 1 + 0.5 * len(rows), sharey=True)
    for axis, (measure, drawn) in zip(axes[0], by_measure.items(), strict=True):
        for row, name in enumerate(rows):
            if name in drawn:
                _row(axis, row, drawn[name], *(look or _judged)(drawn[name]))
        _no_difference(axis, measure, next((r.margin for r in drawn.values() if r.margin is not None), None))
        _cut_off(axis, {row: drawn[name] for row, name in enumerate(rows) if name in drawn}, measure)
        name = f"{measure.name} ({measure.difference_unit})"
        axis.set_xlabel(textwrap.fill(name, 30, break_on_hyphens=False))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(visible=axis is axes[0][0], axis="y")
    name_rows(axes[0][0], rows)
    if len(rows) < len(every):
        note(axes[0][0], f"both ends of {len(every)} rows")
    return finish(figure)


def _no_difference(axis: Axes, measure: Measure, margin: float | None) -> None:
    """A line where there is no difference, and the margin around it."""
    axis.axvline(1 if measure.log else 0, color="0.3", linewidth=1)
    if margin is not None:
        look: Any = {"color": "0.5", "alpha": 0.13, "linewidth": 0, "label": "inside the margin"}
        axis.axvspan(*_shown([-margin, margin], measure), **look)


def _judged(result: Result) -> tuple[Any, str]:
    word = result.said(result.verdict.word) if result.verdict else ""
    return COLOURS.get(word, GREY), word


def _shown(stored: Any, measure: Measure) -> Any:
    """Stored numbers, an array or a frame of them, as an axis has them; of logarithms the ratios."""
    stored = stored if isinstance(stored, pd.DataFrame) else np.asarray(stored)
    return np.exp(stored) if measure.log else stored * measure.scale


def _dots(row: float, result: Result) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each seed's difference and the height at which it stands in its row."""
    values = _shown(result.differences, result.measure)
    return values, row - np.linspace(0.36, 0.12, len(values))


BELOW = 0.18
"""How far below the middle of its row a mean stands."""


def _cut_off(axis: Axes, rows: Mapping[float, Result], measure: Measure) -> None:
    """Where a few seeds lie far from all others, an axis of the others: an arrow at its end for each one cut off.

    Means, and the intervals of what is decided, are never cut off, see `FAR`; an end of another interval may be.
    """
    near, dots, ends = [_shown([0.0], measure)], [], []
    for row, result in rows.items():
        mean, interval = result.paired.difference, result.paired.interval
        whole = _shown([interval.lower, interval.upper] if interval else [mean], measure)
        near.append(whole if result.verdict and result.verdict.decided else _shown([mean], measure))
        ends += [(end, row + BELOW) for end in whole]
        values, heights = _dots(row, result)
        first, third = np.quantile(values, [0.25, 0.75])
        reach = FAR * (third - first)
        near.append(values[(values >= first - reach) & (values <= third + reach)])
        dots += [*zip(values, heights, strict=True)]
    kept, every = np.concatenate(near), [value for value, _ in dots]
    if not dots or np.ptp(every) <= FAR * np.ptp(kept):
        return
    low, high = kept.min() - 0.1 * np.ptp(kept), kept.max() + 0.1 * np.ptp(kept)
    axis.set_xlim(low, high)
    for value, height in [*dots, *ends]:
        if not low <= value <= high:
            end, marker = (low, "<") if value < low else (high, ">")
            axis.plot([end], [height], marker, markersize=5, markeredgewidth=0, color="0.35", clip_on=False)
    _say_cut_off(axis, *(f"{end:.3g}".replace("-", "−") for end in (min(every), max(every))))


def _row(axis: Axes, row: float, result: Result, colour: Any, name: str) -> None:
    measure = result.measure
    # a dot a seed, so that a page can say which one it is
    for seed, value, height in zip(result.contrast.seeds, *_dots(row, result), strict=True):
        dot = {"marker": "o", "markersize": 4, "markeredgewidth": 0, "color": colour, "alpha": 0.45}
        axis.plot([value], [height], gid=f"seed-{seed}-{row}-{measure.column}", **dot)
    point(axis, row + BELOW, result.paired.difference, result.paired.interval, measure, colour, name or None)


def point(
    axis: Axes,
    row: float,
    mean: float,
    interval: Interval | None,
    measure: Measure,
    colour: Any,
    label: str | None = None,
) -> None:
    """A diamond with its interval."""
    if interval is not None:
        ends = _shown([interval.lower, interval.upper], measure)
        axis.plot(ends, [row, row], color=colour, linewidth=2, solid_capstyle="butt")
    axis.plot(_shown([mean], measure), [row], "D", markersize=6, color=colour, label=label)


@mpl.rc_context({**STYLE, "font.size": 8})
def card(results: Sequence[Result], name: Callable[[str], str] = str) -> Figure:
    """A verdict as a picture: margin, seeds, mean with its interval; a row a contrast, with `name` if not alone."""
    measure, shown = results[0].measure, results[:12]
    names = [textwrap.fill(name(result.contrast.a), 17) for result in shown] if len(shown) > 1 else []
    figure, axes = panels(1, 1, 0.1 + (0.24 if names else 0.12) * len(shown), 3.4)
    axis = axes[0][0]
    for row, result in enumerate(shown):
        _row(axis, row, result, *_judged(result))
    _no_difference(axis, measure, results[0].margin)
    _cut_off(axis, dict(enumerate(shown)), measure)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(f"{measure.name} ({measure.difference_unit})", fontsize=8)
    axis.spines["left"].set_visible(False)
    return figure


def line_style(position: int) -> dict[str, Any]:
    """Colour and dashes of the arm at this position."""
    # Blue and orange first, then the rest of the palette; grey (7) and yellow (8) are too faint for a line.
    order = [0, 3, 2, 1, 4, 9, 5, 6]
    colour = PALETTE[order[position % len(order)]]
    return {"color": colour, "linestyle": DASHES[position % len(DASHES)], "linewidth": 2}


def short(name: str) -> str:
    """The beginning of a very long name."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]} …"


def name_rows(axis: Any, names: Sequence[str]) -> None:
    lines = [textwrap.fill(short(name), 44, break_long_words=True) for name in names]
    axis.set_yticks(range(len(names)), lines)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def note(axis: Any, text: str) -> None:
    # Of the figure, not of the axis: beside long names of arms the axis is too narrow for it.
    text = textwrap.fill(text, int(12 * axis.figure.get_figwidth()))
    axis.figure.suptitle(text, x=0.01, horizontalalignment="left", fontsize=9.5, color="0.3")
