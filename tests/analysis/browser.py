"""A real browser without a window, for the tests of pages: Chromium or Chrome, where one is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=10000",
)

GLUED = r"<details.*\n(?!\n)|[^\n]\n</details>|</details>\n(?!\n|\Z)"
"""In a text, a fold without an empty line behind its summary or around its end: the browser gets raw Markdown."""

LISTEN = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || "cannot load " + event.target.src), true);
</script>"""
TELL = """<script>
addEventListener("load", () => parent.postMessage({
  title: document.title,
  text: document.body.innerText.length,
  errors,
  images: [...document.images].map(image => [image.alt, image.complete ? image.naturalWidth : 0])
    .concat([...document.querySelectorAll("svg[role=img]")].map(svg =>
      [svg.getAttribute("aria-label"), svg.viewBox.baseVal.width])),
  broken: [...document.links].map(link => link.getAttribute("href"))
    .filter(href => !(href.startsWith("#") && document.getElementById(href.slice(1)))),
  links: document.links.length,
  inner: innerWidth,
  scroll: document.documentElement.scrollWidth,
}, "*"));
</script>"""
FRAME = """<!DOCTYPE html>
<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe><pre></pre>
<script>addEventListener("message", event => {{
  document.querySelector("pre").textContent = JSON.stringify(event.data);
}});</script>"""


@dataclass(frozen=True)
class Shown:
    """What the browser made of a page."""

    title: str
    text: int
    """Characters that a reader sees."""
    errors: list[str]
    images: list[tuple[str, int]]
    """Alternative text and width in pixels, 0 for a picture that does not show."""
    broken: list[str]
    """Links that lead nowhere."""
    links: int
    inner: int
    """Width of the window."""
    scroll: int
    """Width of the page: above the window's one must scroll sideways."""


def installed() -> str:
    """The browser's path; without one the test is skipped."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    return found


def show(page: str, width: int) -> Shown:
    """A page in a window of `width` pixels."""
    browser = installed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = page.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{TELL}</body>", 1)
        (folder / "page.html").write_text(told, encoding="utf-8")
        # in a frame, for no window of Chromium is narrower than 500 pixels
        (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
        size = ["--window-size=1400,1000", f"--user-data-dir={folder / 'profile'}"]
        command = [browser, *FLAGS, *size, "--dump-dom", (folder / "frame.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = re.search(r"<pre>(.+?)</pre>", done.stdout, re.S)
    assert said, f"the page did not load: {done.stdout[-500:]} {done.stderr[-500:]}"
    values: dict[str, Any] = json.loads(html.unescape(said[1]))
    values["errors"] += [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    values["images"] = [(alt, pixels) for alt, pixels in values["images"]]
    return Shown(**values)


def evaluate(page: str, script: str) -> Any:
    """What a script returns that runs when the page has loaded, as plain JSON."""
    browser = installed()
    call = f"""<pre id="said"></pre><script>addEventListener("load", () => {{
    document.getElementById("said").textContent = JSON.stringify((() => {{ {script} }})());
    }});</script></body>"""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "page.html"
        path.write_text(page.replace("</body>", call, 1), encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={name}/profile", "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = re.search(r'<pre id="said">(.+?)</pre>', done.stdout, re.S)
    assert said, done.stderr[-500:]
    return json.loads(html.unescape(said[1]))
