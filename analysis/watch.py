"""The command `python -m analysis.watch FOLDER`: a page of a sweep that is rewritten while the sweep goes on.

The page is one file that is opened from disk. It draws with SVG and a canvas of its own: Plotly's script would be
4.8 MB in each rewrite, Vega's 0.8 MB, and both would have to be taught dark mode, filters and two languages.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import DONE, InputError, Parser, command

if TYPE_CHECKING:
    from analysis.live import Live

PAGE = "watch.html"
EVERY = 5.0
"""Seconds between two rewrites."""
DAY = 86_400
"""Of seconds."""
SHARE = 0.1
"""Of a core's time for rewriting, at most: of a very large sweep it is done more seldom."""
INTERRUPTED = 130
TRIES = 10
"""To read a table, half a second apart."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m analysis.watch",
        description=(
            "Writes watch.html into a sweep's folder and rewrites it while the sweep goes on: arms with intervals, "
            "curves, what runs, what gave no result and why, time left. Open it from disk; it reloads itself. It "
            "waits for a sweep that has not begun, and for one that was stopped to go on; it ends with the sweep."
        ),
        epilog="The exit code is 0 when the sweep has ended, 2 for bad input, and 130 after Ctrl-C.",
    )
    text = "The folder of a sweep: OUTPUT/sweeps/NAME."
    parser.add_argument("folder", metavar="FOLDER", type=Path, help=text)
    text = "By which arms are shown. The default is the one that the sweep is about."
    parser.add_argument("--metric", help=text)
    text = f"Between two rewrites; {EVERY:g} by default."
    parser.add_argument("--every", type=float, default=EVERY, metavar="SECONDS", help=text)
    parser.add_argument("--once", action="store_true", help="Write the page once.")
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="Of the page.")
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the page until the sweep has ended; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    if not 0 < options.every <= DAY:
        raise InputError(
            "--every", options.every, f"a number of seconds above 0 and at most {DAY:,} is right"
        )
    try:
        return _watch(options)
    except KeyboardInterrupt:  # the usual end: nothing is lost, and there is nothing to say
        return INTERRUPTED


def _watch(options: argparse.Namespace) -> int:
    from analysis.live import ENDED, Live

    live, table = Live(options.folder, options.metric), options.folder / "runs.csv"
    tries = 1 if options.once or options.folder.is_file() else TRIES
    if tries > 1 and not table.exists():
        print(f"waiting for {table}: the sweep has not begun", file=sys.stderr, flush=True)
        while not table.exists():
            time.sleep(0.5)
    failures, is_said = 0, False
    while True:
        started = time.process_time()
        try:
            state = rewrite(live, options.every, options.language)
        except (
            InputError
        ):  # a table in another's hands is whole the next time, and one that stays wrong is said
            failures += 1
            if failures == tries:
                raise
            time.sleep(0.5)
            continue
        failures = 0
        if not is_said:
            print(f"Open {options.folder / PAGE}", flush=True)
            is_said = True
        if options.once or state == ENDED:
            return DONE
        time.sleep(max(options.every, (time.process_time() - started) / SHARE))


def rewrite(live: Live, every: float = EVERY, language: str = "en") -> str:
    """Writes the page in one step; the sweep's state.

    Raises:
        InputError: as `Live.read`.
    """
    from src.runs import store

    numbers = live.read()
    store.write_whole(live.folder / PAGE, html(numbers, every, language))
    return str(numbers["state"])


def html(numbers: dict[str, Any], every: float, language: str) -> str:
    """The page that shows these numbers, see `Live.read`."""
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from matplotlib.colors import to_hex

    from analysis import figures, page

    words = yaml.safe_load((page.TEMPLATES / language / "watch.yaml").read_text(encoding="utf-8"))
    say = page.phrases(language).say
    measure = {**numbers["measure"], "name": say(numbers["measure"]["name"])}
    looks = [
        {**look, "verdict": say(look["verdict"]), "unit": say(look["unit"])}
        | {key: _arm(look[key] or "", say) for key in ("arm_a", "arm_b")}
        for look in numbers["looks"]
    ]
    colours = [to_hex(figures.line_style(place)["color"]) for place in range(figures.COLOURED_ARMS)]
    data = {**numbers, "measure": measure, "looks": looks, "every": every, "colours": colours, "words": words}
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    styles, watch_styles, script = (
        (page.TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "watch.css", "watch.js")
    )
    loader = FileSystemLoader([page.TEMPLATES])
    templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return templates.get_template("watch.html").render(
        language=language,
        words=words,
        title=numbers["name"],
        style=f"{styles}\n{watch_styles}",
        script=script,
        data=text.replace("<", "\\u003c"),  # so that it cannot end the element it stands in
    )


def _arm(name: str, say: Callable[[str], str]) -> str:
    """An arm's name, of which what was done with its nets may have a word: "dropout1=0.2, noise on"."""
    arm, comma, what = name.rpartition(", ")
    return f"{arm}{say(comma)}{say(what)}" if comma and say(what) != what else name


if __name__ == "__main__":
    sys.exit(main())
