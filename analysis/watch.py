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
    if not options.every > 0:
        raise InputError("--every", options.every, "a number of seconds above 0 is right")
    try:
        return _watch(options)
    except KeyboardInterrupt:  # the usual end: nothing is lost, and there is nothing to say
        return INTERRUPTED


def _watch(options: argparse.Namespace) -> int:
    from analysis.live import ENDED, Live

    live = Live(options.folder, options.metric)
    _wait(options.folder, options.once)
    is_said = False
    while True:
        started = time.process_time()
        state = _patiently(
            lambda: rewrite(live, options.every, options.language), 1 if options.once else TRIES
        )
        if not is_said:
            print(f"Open {options.folder / PAGE}", flush=True)
            is_said = True
        if options.once or state == ENDED:
            return DONE
        time.sleep(max(options.every, (time.process_time() - started) / SHARE))


def _patiently(action: Callable[[], str], tries: int) -> str:
    """What it returns; a table in another's hands is whole the next time, and one that stays wrong is said."""
    while True:
        tries -= 1
        try:
            return action()
        except InputError:
            if tries == 0:
                raise
            time.sleep(0.5)


def _wait(folder: Path, once: bool) -> None:
    """Until the sweep has a table.

    Raises:
        InputError: if it has none, and nobody is to wait.
    """
    if once or (folder / "runs.csv").exists():
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the folder of a sweep, such as outputs/sweeps/NAME, is right")
    print(f"waiting for {folder / 'runs.csv'}: the sweep has not begun", file=sys.stderr, flush=True)
    while not (folder / "runs.csv").exists():
        time.sleep(0.5)


def rewrite(live: Live, every: float = EVERY, language: str = "en") -> str:
    """Writes the page in one step; the sweep's state.

    Raises:
        InputError: as `Live.read`.
    """
    from src.runs import store

    said = live.read()
    store.write_whole(live.folder / PAGE, html(said, every, language))
    return str(said["state"])


def html(said: dict[str, Any], every: float, language: str) -> str:
    """The page that shows these numbers, see `Live.read`."""
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from matplotlib.colors import to_hex

    from analysis import figures, page

    words = yaml.safe_load((page.TEMPLATES / language / "watch.yaml").read_text(encoding="utf-8"))
    say = page.phrases(language).say
    measure = {**said["measure"], "name": say(said["measure"]["name"])}
    looks = [
        {**look, "verdict": say(look["verdict"]), "unit": say(look["unit"])}
        | {key: _arm(look[key] or "", say) for key in ("arm_a", "arm_b")}
        for look in said["looks"]
    ]
    colours = [to_hex(figures.line_style(place)["color"]) for place in range(figures.COLOURED_ARMS)]
    found = Environment(
        loader=FileSystemLoader([page.TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return found.get_template("watch.html").render(
        language=language,
        words=words,
        title=said["name"],
        style="\n".join(
            (page.TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "watch.css")
        ),
        script=(page.TEMPLATES / "watch.js").read_text(encoding="utf-8"),
        data=_inside_script(
            {**said, "measure": measure, "looks": looks, "every": every, "colours": colours, "words": words}
        ),
    )


def _arm(name: str, say: Callable[[str], str]) -> str:
    """An arm's name, of which what was done with its nets may have a word: "dropout1=0.2, noise on"."""
    arm, comma, what = name.rpartition(", ")
    return f"{arm}{say(comma)}{say(what)}" if comma and say(what) != what else name


def _inside_script(content: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace(
        "<", "\\u003c"
    )


if __name__ == "__main__":
    sys.exit(main())
