"""The command `python -m analysis.reproduce`: the chapter's sweeps, one after the other, then the report.

Sweeps whose arms an earlier one chooses are trained after it. Started again it trains only what is missing.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from analysis import report
from analysis.report import OUTPUT
from src.errors import DONE, REPOSITORY, SOME_RUNS_LOST, InputError, Parser, command
from src.sweeping.naming import sweep_file, sweep_name

PATIENCE = 10.0
"""Seconds in which a sweep that Ctrl-C has reached, too, has ended."""

LOOKS = "hydra.sweeper.until.looks"
"""Set to null in the small version of a sweep that has some, which then does not go on until it is decided."""
BRIEF = ("epochs=1", "seed=0,1")
FRESH = ("epochs=1", "seed=10,11")
SMALL: dict[str, tuple[str, ...]] = {
    "swap_rates_grid": ("dropout1=0,0.2,0.5", "dropout2=0,0.2,0.5", *BRIEF),
    "more_epochs": ("epochs=1,3", "seed=0,1"),
    "test_time_dropout": ("epochs=2", "seed=0,1"),
    "weight_decay": ("optimizer.weight_decay=0,2e-4", *BRIEF),
}
"""By a sweep's name the overrides of its small version; of others `BRIEF`, of second sweeps `FRESH`.

Together they train about 160 runs and take less than 5 minutes on two cores.
"""


def _parser() -> Parser:
    parser = Parser(prog="python -m analysis.reproduce", description=__doc__)
    text = "The folder of the results. The default is %(default)s."
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER", help=text)
    text = "Trains a small version, two seeds and few epochs, which is marked as such in its report."
    parser.add_argument("--small", action="store_true", help=text)
    text = "Trains these exercises only, by number or by name in analysis/exercises. The report has all there are."
    parser.add_argument("--only", nargs="+", metavar="NAME", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Train and report; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import exercises

    numbered = {str(number): name for number, name in enumerate(exercises.names(), 1)}
    only = [numbered.get(name, name) for name in options.only or ()]
    unknown = [name for name in only if name not in exercises.names()]
    if unknown:
        right = f"1 to {len(numbered)} are right, and {', '.join(exercises.names())}"
        raise InputError(f"--only {unknown[0]}: there is no such exercise; {right}")
    sweeps: list[tuple[str, str | None]] = [] if only else [(exercises.BOOK, None)]
    for name in only or exercises.names():
        module = exercises.load(name)
        chosen = module.SWEEPS[1] if hasattr(module, "choose") else None
        sweeps += [(sweep, name if sweep == chosen else None) for sweep in module.SWEEPS]
    code = DONE
    for sweep, chosen_by in sweeps:
        code = max(code, train(sweep, options.output, options.small, chosen_by))
        if code > SOME_RUNS_LOST:
            return code
    where = [] if options.output == OUTPUT else ["--output", str(options.output)]
    show(["analysis.report", *where, *["--small"] * options.small])
    return max(code, report.report(options.output, small=options.small))


def trimming(sweep: str, small: bool, is_chosen: bool) -> list[str]:
    """What gives a sweep its size, on the command line of `src.train`."""
    if not small:
        return [f"sweep={sweep}"]
    path = REPOSITORY / "sweeps" / f"{sweep}.yaml"
    has_looks = path.is_file() and OmegaConf.select(sweep_file(path), LOOKS) is not None
    trimmed = SMALL.get(sweep, FRESH if is_chosen else BRIEF)
    return [f"sweep={sweep}", *trimmed, *([f"{LOOKS}=null"] if has_looks else [])]


def train(sweep: str, output: Path, small: bool, chosen_by: str | None) -> int:
    """Train a sweep in a process of its own; the exit code of `src.train`.

    Args:
        chosen_by: the exercise that chooses the sweep's arms by its first sweep; None if its file has them.
    """
    command = ["src.train", *trimming(sweep, small, chosen_by is not None)]
    if chosen_by is not None:
        try:
            command.append(f"hydra.sweeper.arms={json.dumps(chosen_arms(chosen_by, output, small))}")
        except InputError as error:
            print(f"{sweep} is left out: {error}", file=sys.stderr)
            return SOME_RUNS_LOST
    if output != OUTPUT:
        command.append(f"output={output}")
    return run(command)


def run(command: Sequence[str]) -> int:
    """Shows a command of ours and runs it in a process of its own; its exit code."""
    show(command)
    process = subprocess.Popen([sys.executable, "-m", *command])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _end(process)
        raise
    return code if code >= 0 else 128 - code  # as a shell does for a signal


def chosen_arms(name: str, output: Path, small: bool) -> list[str]:
    """Arms of an exercise's second sweep, by the first one's results.

    Raises:
        InputError: if these do not allow a choice.
    """
    from analysis import choose, exercises, tables

    folder = sweep_name(trimming(exercises.load(name).SWEEPS[0], small, False))
    return choose.arms(name, tables.collect(output / "sweeps" / folder))


def show(command: Sequence[str]) -> None:
    """Print a command as one could type it."""
    print(f"\n$ {shlex.join(['python', '-m', *command])}", flush=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a sweep save what it has: Ctrl-C in a terminal reaches it as well, a signal to this process does not."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
