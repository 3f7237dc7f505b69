"""Heat maps: values over a grid of two numbers, with their numbers in the cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from analysis import figures


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


def heat_maps(maps: Sequence[Matrix]) -> Figure:
    """Heat maps over the same grid, side by side, with their numbers in the cells and a colour bar each.

    One palette for one kind of map: the brighter, the better; of centred ones blue is better and red worse than 0.
    """
    with mpl.rc_context({**figures.STYLE, "axes.grid": False}):
        figure, axes = figures.panels(1, len(maps), 0.9 + 0.46 * len(maps[0].cells), sharey=True)
        for axis, panel in zip(axes[0], maps, strict=True):
            most = np.nanmax(np.abs(panel.cells.to_numpy(float))) or 1.0
            ends = {"vmin": -most, "vmax": most} if panel.centred else {}
            sns.heatmap(
                panel.cells,
                ax=axis,
                cmap=("RdBu" if panel.centred else "cividis") + ("" if panel.higher_is_better else "_r"),
                annot=panel.texts,
                fmt="",
                annot_kws={"fontsize": 9 if panel.cells.shape[1] <= 5 else 7},
                cbar_kws={"location": "bottom", "shrink": 0.8, "aspect": 30, "pad": 0.02},
                linewidths=0.5,
                xticklabels=[_tick(value) for value in panel.cells.columns],
                yticklabels=[_tick(value) for value in panel.cells.index],
                **ends,
            )
            _ink(axis, panel.cells.shape)
            axis.invert_yaxis()
            axis.tick_params(rotation=0)
            axis.set_title(panel.title, fontsize=10)
            axis.set_ylabel(panel.cells.index.name if axis is axes[0][0] else "")
    return figure


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
