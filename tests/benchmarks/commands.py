"""Commands run and timed as a user types them, and the times that their runs left on disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.arms import REPOSITORY


class CommandError(Exception):
    """A command that ended with an error."""


@dataclass(frozen=True)
class Command:
    """A command that has ended."""

    started: float
    """Seconds since the epoch."""
    seconds: float
    """From its start to its end."""
    lines: list[tuple[float, str]]
    """What it printed to stdout, each line with its seconds since the start."""
    peak: int
    """Largest resident size of its main process, bytes."""

    def first(self, beginning: str) -> float:
        """Seconds from the start to the first line that begins so."""
        return next(seconds for seconds, line in self.lines if line.startswith(beginning))


def run(module: str, arguments: Sequence[str], scratch: Path) -> Command:
    """`python -m MODULE ARGUMENTS` from the repository's root.

    Raises:
        CommandError: with the end of what it printed, if it does not exit with 0.
    """
    peak, errors = scratch / "peak", scratch / "stderr"
    command = [sys.executable, "-m", "tests.benchmarks.peak", str(peak), module, *arguments]
    # stderr goes to a file, which never fills up, as a pipe that nobody reads would
    with errors.open("w") as stderr:
        started, clock = time.time(), time.perf_counter()
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        lines = [(time.perf_counter() - clock, line.rstrip("\n")) for line in process.stdout]
        code = process.wait()
        seconds = time.perf_counter() - clock
    if code:
        said = "\n".join([*(line for _, line in lines), errors.read_text(encoding="utf-8")])
        raise CommandError(f"`python -m {module} {' '.join(arguments)}` exited with {code}:\n{said[-2000:]}")
    return Command(started, seconds, lines, int(peak.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Trained:
    """A run that a command has trained; times in seconds since the epoch."""

    start: float
    end: float
    training: float
    """Seconds of its epochs alone."""
    epochs: int


def our_runs(output: Path) -> list[Trained]:
    """The runs in an output folder of ours; a run's record is written at its end and tells its seconds."""
    timings = []
    for path in sorted(output.glob("runs/*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        end, epochs = path.stat().st_mtime, record["final"]["epoch"]
        with (path.parent / "metrics.csv").open(encoding="utf-8") as file:
            column = next(file).rstrip("\n").split(",").index("seconds")
            training = sum(float(line.split(",")[column]) for line in file)
        timings.append(Trained(end - record["seconds"], end, training, epochs))
    return timings


def recipe_runs(folder: Path) -> list[Trained]:
    """The runs of a sweep of the book's recipe."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/result.json"))]
    return [
        Trained(r["start"], r["end"], sum(row["seconds"] for row in r["rows"]), r["epochs"]) for r in results
    ]


def span(runs: Sequence[Trained]) -> float:
    """Seconds from the first run's start to the last one's end."""
    return max(run.end for run in runs) - min(run.start for run in runs)


def start_up(command: Command, runs: Sequence[Trained]) -> float:
    """Seconds from the command's start to the first run's."""
    return min(run.start for run in runs) - command.started


def run_epochs(runs: Sequence[Trained]) -> int:
    return sum(run.epochs for run in runs)
