"""Texts from the Markdown templates, and pages from the texts: self-contained, the same bytes each time."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from analysis import phrases

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_SVG = 300_000
"""Bytes of a figure that a page holds as SVG; a larger one slows it down and is held as PNG."""
PAGE, TEXT = "index.html", "report.md"


def environment(language: str = "en") -> Environment:
    """The templates of a language. What they print is escaped, so that Markdown shows any text as it is."""
    found = Environment(
        loader=FileSystemLoader([TEMPLATES / language, TEMPLATES]),
        autoescape=True,
        finalize=lambda value: phrases.plain(value) if isinstance(value, str) and not _safe(value) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters.update(phrases.FILTERS)
    return found


def _safe(value: str) -> bool:
    return isinstance(value, Markup)


def render(template: str, said: Mapping[str, Any], language: str = "en") -> str:
    """A text in Markdown, without runs of empty lines."""
    text = environment(language).get_template(template).render(said)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def html(text: str, title: str, folder: Path, language: str = "en") -> str:
    """A page that shows the text and needs no other file and no network.

    Args:
        folder: where its figures are.
    """
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = markdown.render(text)
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
    body = re.sub(r'src="(figures/[^"]+)\.png"', lambda found: f'src="{embedded(folder, found[1])}"', body)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{Markup.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}</body>\n</html>\n"
    )


def embedded(folder: Path, name: str) -> str:
    """A figure, without its ending, as the address of an image that is part of the page."""
    svg = folder / f"{name}.svg"
    path, kind = (svg, "svg+xml") if svg.exists() and svg.stat().st_size <= LARGEST_SVG else (None, "png")
    data = (path or folder / f"{name}.png").read_bytes()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
