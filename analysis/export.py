"""The command `python -m analysis.export FOLDER --to mlflow`: recorded runs in a tracker, after the fact.

It uses the files of `src/loggers`, as `logger=` does while a sweep goes on. What a tracker holds is not written
again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from analysis import runs
from src import loggers
from src.errors import DONE, SOME_RUNS_LOST, InputError, MachineError, Parser, command
from src.runs import store, sweep_folder
from src.sweeping.tracking import Book


def _parser() -> Parser:
    parser = Parser(
        prog="python -m analysis.export",
        description=(
            "Writes the finished and diverged runs of sweeps, or single runs, into experiment trackers: metrics of "
            "each epoch, config and sweep. A run that a tracker holds is not written again."
        ),
        epilog=(
            "The exit code is 0 if all is well, 1 if runs are not finished, failed or are damaged (the others are "
            "written), 2 for bad input, and 3 where a tracker cannot be reached or written."
        ),
    )
    text = "The folder of a sweep, such as outputs/sweeps/swap_rates, or of a run, such as outputs/runs/ID."
    parser.add_argument("folders", nargs="+", metavar="FOLDER", type=Path, help=text)
    text = f"One or more of {', '.join(loggers.names())}; pip install -e '.[trackers]' brings their packages."
    parser.add_argument("--to", nargs="+", required=True, metavar="TRACKER", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the runs; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    unknown = [name for name in options.to if name not in loggers.names()]
    if unknown:
        raise InputError("--to", unknown[0], f"one or more of {', '.join(loggers.names())} are right")
    loggers.check(options.to, "--to")
    sweeps = [(folder, *_runs(folder)) for folder in options.folders]
    trackers = dict.fromkeys(options.to)
    without_result = [_export(name, *sweep) for name in trackers for sweep in sweeps]
    return SOME_RUNS_LOST if any(without_result) else DONE


def _runs(folder: Path) -> tuple[str, list[Path]]:
    """The sweep's name and its runs' folders; of a single run no name.

    Raises:
        InputError: if it is neither.
    """
    if (folder / "run.json").exists():
        return "", [folder.resolve()]
    listed, _ = runs.read_list(folder)
    return folder.resolve().name, [sweep_folder.runs_of(folder) / run for run in dict.fromkeys(listed["id"])]


def _export(name: str, folder: Path, sweep: str, run_folders: Sequence[Path]) -> int:
    """Writes a sweep's runs, and says so; how many have no result to be written."""
    ended: Counter[bool | None] = Counter()
    damaged: list[str] = []
    try:
        book = Book(name, run_folders[0].parent.parent, sweep)
        for run in run_folders:
            try:
                ended[book.enter(run)] += 1
            except store.Damaged as error:
                damaged.append(str(error))
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise MachineError(
            f"{name} cannot be written ({reason}); the same command goes on from here"
        ) from error
    for problem in damaged:
        print(problem, file=sys.stderr)
    without = ended[None] + len(damaged)
    more = f", {without} without a result" if without else ""
    print(f"{folder}: {ended[True]} runs written, {ended[False]} were there before{more}")
    print(f"{name}: {book.logger.place}")
    return without


if __name__ == "__main__":
    sys.exit(main())
