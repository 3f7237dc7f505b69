"""The command `python -m analysis.check FILE.py`."""

from __future__ import annotations

import json
import sys
import tempfile
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.check import band, messages, processes
from src.errors import InputError, Parser, command

RIGHT, MISTAKE = 0, 1
LIMIT = 300
"""Seconds that a learner's file has."""


def _parser() -> Parser:
    text = (
        "Checks a dropout_layer(X, dropout) of your own and, if the file has it, Net(num_inputs, num_outputs, "
        "num_hiddens1, num_hiddens2); names the usual mistakes; then trains it for two epochs and draws its "
        "curve on the band of our own seeds."
    )
    code = (
        "The exit code is 0 if no mistake was seen, 1 if one was, 2 if the file cannot be run, and 130 if you "
        "interrupt it."
    )
    parser = Parser(prog="python -m analysis.check", description=text, epilog=code)
    text = "Your file. It runs in a process of its own."
    parser.add_argument("file", type=Path, metavar="FILE.py", help=text)
    text = "Checks alone, in seconds; nothing is trained."
    parser.add_argument("--no-curve", action="store_true", help=text)
    text = "The data set to train on. The default is %(default)s; digits is small."
    parser.add_argument("--data", choices=("fashion_mnist", "digits"), default="fashion_mnist", help=text)
    text = "The folder of the results. The default is %(default)s."
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="FOLDER", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Check and print; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    return check(options.file, "" if options.no_curve else options.data, options.output)


def check(file: Path, data: str, output: Path, seconds: float = LIMIT) -> int:
    """Checks a file, prints what there is to say, and returns the exit code.

    Args:
        data: the data set to train on; empty for none.
        output: the folder of the results.
        seconds: the time that the file has.

    Raises:
        InputError: if it cannot be run.
    """
    report = examined(file, data, seconds)
    if report["cannot"]:
        raise InputError(f"{file} cannot be checked: {report['cannot']}")
    with tokenize.open(file) as opened:
        print(messages.text(str(file), opened.read(), report), flush=True)
    if report["curve"]:
        _compare(report, data, output, file.stem)
    return MISTAKE if report["mistakes"] else RIGHT


def examined(file: Path, data: str, seconds: float) -> dict[str, Any]:
    """The `Report` on a file, made in a process of its own; `cannot` alone if there is none."""
    if not file.is_file():
        return {"cannot": "there is no such file"}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "report.json"
        child = [sys.executable, "-m", "analysis.check.child"]
        ended = processes.run([*child, str(file.resolve()), str(result), data, str(seconds)], seconds)
        report: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
    late = f"it did not end within {seconds:.0f} seconds" if ended.code is None else ""
    if report and late:
        report["notes"].append(f"Not trained: {late}.")
    if report:
        return report
    if late:
        return {"cannot": f"{late}; leave out what trains or waits for input"}
    said = f" and said: {ended.last_line}" if ended.last_line else ""
    return {"cannot": f"its process ended early with code {ended.code}{said}"}


def _compare(report: dict[str, Any], data: str, output: Path, name: str) -> None:
    """Draws the curve on the band; what the machine does not give is said, and changes no verdict."""
    try:
        ours = band.curves(output, data, report["rates"])
        path = output / "check" / f"{name}.png"
        band.draw(path, report["curve"], ours)
    except (band.NoBand, OSError) as error:
        print(f"The curve is not drawn: {error}", file=sys.stderr)
        return
    print(f"{band.sentence(report['curve'], ours)}\nThe curves: {path}")


if __name__ == "__main__":
    sys.exit(main())
