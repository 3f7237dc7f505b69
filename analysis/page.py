"""Texts from the Markdown templates, and pages from the texts: self-contained, the same bytes each time."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from analysis.design import Design
from analysis.phrases import Phrases, plain
from src.runs import store

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_SVG = 300_000
"""Bytes of a figure that a page holds as SVG; a larger one slows it down and is held as PNG, if that is smaller."""
PAGE, TEXT = "index.html", "report.md"
SEEDS = 'id="seed-'
"""In a figure's SVG: it has dots that say of which seed they are."""


def name(file: str, language: str) -> str:
    """A file's name in a language: `index.zh.html`."""
    stem, _, ending = file.partition(".")
    return file if language == "en" else f"{stem}.{language}.{ending}"


def phrases(language: str) -> Phrases:
    """A language's words: `words.yaml` beside its templates."""
    path = TEMPLATES / language / "words.yaml"
    return Phrases(yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None)


def environment(language: str = "en") -> Environment:
    """The templates of a language, where it has none the English ones. What they print is escaped, so that Markdown
    shows any text as it is."""
    templates = Environment(
        loader=FileSystemLoader([TEMPLATES / language, TEMPLATES / "en", TEMPLATES]),
        autoescape=True,
        finalize=lambda value: (
            value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)
        ),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(phrases(language).filters)
    return templates


def translated(design: Design, language: str) -> Design:
    """A sweep's design with question and text in a language: the two paragraphs of `designs/SWEEP.md` beside its
    templates; where there is no such file, as the sweep's own file has them."""
    path = TEMPLATES / language / "designs" / f"{design.sweep}.md"
    if not path.is_file():
        return design
    question, text = map(Markup, path.read_text(encoding="utf-8").strip().split("\n\n"))
    return replace(design, question=question, text=text, language=language)


def render(template: str, content: Mapping[str, Any], language: str = "en") -> str:
    """A text in Markdown, without runs of empty lines."""
    text = environment(language).get_template(template).render(content)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def write(
    template: str, content: Mapping[str, Any], folder: Path, language: str = "en", title: str = ""
) -> Path:
    """Write a text and its page, by default with the text's title; path of the page."""
    text, path = render(template, content, language), folder / name(PAGE, language)
    title = title or text.partition("\n")[0].removeprefix("# ")
    store.write_whole(folder / name(TEXT, language), text)
    store.write_whole(path, html(text, title, folder, language))
    return path


def html(text: str, title: str, folder: Path, language: str = "en") -> str:
    """A page that shows the text and needs no other file and no network; it reads without its script as well.

    A link to another report's text leads to its page.

    Args:
        folder: where its figures are.
    """
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    images = r'<img src="figures/([^"]+)\.(?:png|svg)" alt="([^"]*)" />'
    body = re.sub(images, lambda image: figure(folder, image[1], image[2]), body)
    body = re.sub(r'(<a href="[^":]*)\breport(\.\w+)?\.md(?=["#])', r"\1index\2.html", body)
    style, script = ((TEMPLATES / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}<script>\n{script}</script>\n</body>\n</html>\n"
    )


def figure(folder: Path, name: str, alt: str) -> str:
    """A figure, without its ending, as a part of the page: as SVG elements where its dots can be pointed at."""
    svg, png = (folder / "figures" / f"{name}.{ending}" for ending in ("svg", "png"))
    size = svg.stat().st_size if svg.exists() else 0
    if not size or (size > LARGEST_SVG and png.exists() and png.stat().st_size < size):
        return _image("png", png.read_bytes(), alt)
    text = svg.read_text(encoding="utf-8")
    if SEEDS not in text:
        return _image("svg+xml", text.encode(), alt)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)  # each id once in the page
    return text.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1).rstrip()


def _image(kind: str, data: bytes, alt: str) -> str:
    return f'<img src="data:image/{kind};base64,{base64.b64encode(data).decode()}" alt="{alt}" />'
