"""The command `python -m analysis.check FILE.py`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.check import band, messages, processes
from src.errors import command

RIGHT, MISTAKE, CANNOT = 0, 1, 2
LIMIT = 300
"""Seconds that a learner's file has."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.check",
        description=(
            "Checks a dropout_layer(X, dropout) of your own and, if the file has it, "
            "Net(num_inputs, num_outputs, num_hiddens1, num_hiddens2); names the usual mistakes; then trains "
            "it for two epochs and draws its curve on the band of our own seeds."
        ),
        epilog=(
            "The exit code is 0 if no mistake was seen, 1 if one was, 2 if the file cannot be run, and 130 if you "
            "interrupt it."
        ),
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE.py", help="Your file. It runs in a process of its own."
    )
    parser.add_argument(
        "--no-curve", action="store_true", help="Checks alone, in seconds; nothing is trained."
    )
    parser.add_argument(
        "--data",
        choices=("fashion_mnist", "digits"),
        default="fashion_mnist",
        help="The data set to train on. The default is %(default)s; digits is small.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="The folder of the results. The default is %(default)s.",
    )
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
    """
    report, cannot = examined(file, data, seconds)
    if cannot is not None:
        print(f"error: {file} cannot be checked: {cannot}", file=sys.stderr)
        return CANNOT
    with tokenize.open(file) as opened:
        print(messages.text(str(file), opened.read(), report), flush=True)
    if report["curve"]:
        _compare(report, data, output, file.stem)
    return MISTAKE if report["mistakes"] else RIGHT


def examined(file: Path, data: str, seconds: float) -> tuple[dict[str, Any], str | None]:
    """The report on a file, made in a process of its own, and in one line why there is none."""
    if not file.is_file():
        return {}, "there is no such file"
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "analysis.check.child",
            str(file.resolve()),
            str(result),
            data,
            str(seconds),
        ]
        ended = processes.run(command, seconds)
        report = json.loads(result.read_text()) if result.exists() else {}
    if report:
        if ended.code is None:
            report["notes"].append(f"Not trained: it did not end within {seconds:.0f} seconds.")
        return report, report["cannot"]
    if ended.code is None:
        return {}, f"it did not end within {seconds:.0f} seconds; leave out what trains or waits for input"
    said = f" and said: {ended.last_line}" if ended.last_line else ""
    return {}, f"its process ended early with code {ended.code}{said}"


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
