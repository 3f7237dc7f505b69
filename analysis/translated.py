"""A figure with its texts in another language, as SVG that needs no font to be made."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import STYLE

WIDE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""Characters as wide as they are high."""
FAMILIES = "'DejaVu Sans', sans-serif"
"""Of texts that a browser draws."""


class _Renderer(RendererSVG):
    """Measures a CJK character as an em dash, as wide as one in any font: one layout, whatever fonts there are."""

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        return super().get_text_width_height_descent(WIDE.sub("—", s), prop, ismath)


class _Canvas(FigureCanvasBase):
    renderer: _Renderer

    def get_renderer(self) -> _Renderer:
        """By which matplotlib lays out the figure."""
        return self.renderer


def save(figure: Figure, folder: Path, name: str, say: Callable[[str], str]) -> Path:
    """Write `name`.svg with its texts as `say` has them in another language; its path.

    The texts stay texts, which a reader's browser draws in a font of its own: the file is the same to the byte
    whether or not this machine has a font with their characters.
    """
    for side in (side for axis in figure.axes for side in (axis.xaxis, axis.yaxis)):
        labels = [label.get_text() for label in side.get_ticklabels()]
        if [*map(say, labels)] != labels:
            side.set_ticklabels([*map(say, labels)])
    for text in figure.findobj(Text):
        text.set_text(say(text.get_text()))
    folder.mkdir(parents=True, exist_ok=True)
    written = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        canvas, figure.dpi = _Canvas(figure), 72
        width, height = 72 * figure.get_size_inches()
        canvas.renderer = _Renderer(width, height, written, metadata={"Date": None})
        figure.draw(canvas.renderer)
        canvas.renderer.finalize()
    path = folder / f"{name}.svg"
    path.write_text(
        re.sub(r"font-family: [^;\"]+", f"font-family: {FAMILIES}", written.getvalue()), encoding="utf-8"
    )
    return path
