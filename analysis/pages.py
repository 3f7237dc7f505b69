"""Pages and texts from the templates in analysis/templates: one look, self-contained, the same bytes each time."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup, escape

LARGEST_SVG = 300_000
"""Bytes of a figure that a page holds as SVG; a larger one slows it down and is held as PNG."""


def environment() -> Environment:
    """The templates.

    `cell` makes a text fit a cell of a Markdown table; `breakable` lets a browser break the name of a test.
    """
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    found.filters["breakable"] = lambda text: Markup(re.sub(r"(/|::|_)", r"\1<wbr>", str(escape(text))))
    return found


def embedded(png: Path, svg: Path) -> str:
    """A figure as the address of an image that is part of the page."""
    small = svg.stat().st_size <= LARGEST_SVG
    data = base64.b64encode((svg if small else png).read_bytes()).decode()
    return f"data:image/{'svg+xml' if small else 'png'};base64,{data}"
