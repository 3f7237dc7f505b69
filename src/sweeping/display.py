"""What a person sees of a sweep: a live line on a terminal, plain lines in a log, a table at the end."""

from __future__ import annotations

import itertools
import math
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column, Table
from rich.text import Text

from src.errors import events
from src.errors.terminal import spelled
from src.runs import store
from src.runs.job import Job, Record
from src.sweeping.naming import WITHOUT_EFFECT, key_of

MOST_FAILURES = 20
MOST_ARMS = 30
MOST_TOLD = 1000
"""Runs without a result that programs are told of; runs.csv has them all."""
PLAIN_WIDTH = 200
"""Columns of a log, which has no width of its own."""


def _accuracy(final: Mapping[str, Any]) -> tuple[str, float]:
    """By which runs are ranked while they come in: of the validation split if there is one, else of the test."""
    name = "test" if final.get("val_acc") is None else "val"
    return name, float(final[f"{name}_acc"])


def arm_name(job: Job, swept: Sequence[str]) -> str:
    """A job's swept settings but for its seed."""
    keys = {*swept} - {"seed"}
    return " ".join(o for o in job.overrides if o.partition("=")[0] in keys) or "all"


def _settings(job: Job) -> str:
    """A job's overrides that change its result; a note, tags and the output folder would fill each line."""
    return " ".join(override for override in job.overrides if key_of(override) not in WITHOUT_EFFECT)


def interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95% CI of the mean by Student's t; None of fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


class Display:
    """Follows a sweep while it goes on.

    Args:
        swept: the swept keys.
        best: gives the line on the best result so far; without it the arm of the best mean accuracy.
    """

    def __init__(self, swept: Sequence[str], best: Callable[[], str] | None = None) -> None:
        self._jobs: dict[str, Job] = {}
        self.swept = swept
        self._states: Counter[str] = Counter()
        self._scores: dict[str, tuple[float, int]] = {}
        """Of each arm the sum of its runs' scores, and their number."""
        self._leader: str | None = None
        self.runs = 0
        """In all, with those that are still to come."""
        self._skipped = self._to_come = 0
        self._has_begun = False
        self._epochs = self._epochs_done = self._epochs_skipped = 0
        self._best = best or self._best_arm
        self._started = self._last = time.monotonic()
        columns = (BarColumn(bar_width=None), _Line(self._line))
        self._bar = TwoLines(*columns, console=Console(), disable=not sys.stdout.isatty(), expand=True)
        self._task = self._bar.add_task("", total=1)

    def add(self, jobs: Iterable[Job], to_come: int | None = None) -> None:
        """More jobs of the sweep, and how many are still `to_come`: as long ones as these, for all we know."""
        self._jobs |= {job.id: job for job in jobs}
        self._to_come = self._to_come if to_come is None else to_come
        known = sum(job.run.epochs for job in self._jobs.values())
        self.runs = len(self._jobs) + self._to_come
        self._epochs = known + self._to_come * known // max(1, len(self._jobs))
        self._update()

    def skip(self, record: Record) -> None:
        """One of the jobs needs no training."""
        job = self._jobs[record["id"]]
        self._score(job, record)
        self._skipped += 1
        self._epochs_skipped += job.run.epochs
        self._update()

    def _update(self) -> None:
        self._bar.second = self._best()
        total = max(1, self._epochs - self._epochs_skipped)
        self._bar.update(self._task, total=total, completed=self._epochs_done)

    def begin(self, folder: Path) -> None:
        """Show it from here on; a person at a terminal is told how to see more of the sweep's folder."""
        if self._has_begun:
            return
        self._has_begun = True
        if self._bar.disable:
            print(f"{self.runs} runs, {self._skipped} of them done before", flush=True)
        else:
            print(f"its page: python -m analysis.watch {shlex.quote(str(folder))}", flush=True)
        self._tell()
        self._bar.start()

    def end(self) -> None:
        if self._has_begun:
            self._bar.stop()

    def advance(self, job: Job, record: Record) -> None:
        """A run has finished or failed."""
        self._states[record["state"]] += 1
        self._epochs_done += job.run.epochs
        self._last = time.monotonic()
        self._score(job, record)
        self._update()
        if self._bar.disable:
            is_finished, done = record["state"] == store.FINISHED, self._skipped + self._states.total()
            result = "{} acc {:.4f}".format(*_accuracy(record["final"])) if is_finished else _reason(record)
            start = f"[{done}/{self.runs}] {record['state']}  {_settings(job)}"
            print(f"{start}  {result}  {record['seconds']:.1f} s", flush=True)
        self._tell(job, record)

    def _tell(self, job: Job | None = None, record: Record | None = None) -> None:
        """How far it is, and the run that has just ended, for programs."""
        speed, left = self._pace()
        run = job and record and {**_event(job, record), "seconds": record["seconds"]}
        counts = {"runs": self.runs, "finished": self._states[store.FINISHED], "failed": self._failed}
        pace = {"epochs_per_second": speed, "seconds_left": left}
        events.tell("progress", **counts, skipped=self._skipped, **pace, best=self._best(), run=run)

    @property
    def _failed(self) -> int:
        return self._states[store.FAILED] + self._states[store.DIVERGED]

    def _pace(self) -> tuple[float | None, float | None]:
        """Epochs a second, and the seconds left; they go on counting down while no run ends."""
        if not self._epochs_done:
            return None, None
        speed = self._epochs_done / max(1e-9, self._last - self._started)
        left = (self._epochs - self._epochs_skipped - self._epochs_done) / speed
        return speed, max(0.0, left - (time.monotonic() - self._last))

    def _score(self, job: Job, record: Record) -> None:
        if record["state"] == store.FINISHED:
            arm = arm_name(job, self.swept)
            total, runs = self._scores.get(arm, (0.0, 0))
            self._scores[arm] = total + _accuracy(record["final"])[1], runs + 1
            # all arms are looked through only when the leader falls: at every run, it would take a large sweep's
            # time, which grows with its square
            has_fallen = arm == self._leader and self._mean(arm) < total / runs
            rivals = self._scores if has_fallen else filter(None, (self._leader, arm))
            self._leader = max(rivals, key=self._mean)

    def _mean(self, arm: str) -> float:
        total, runs = self._scores[arm]
        return total / runs

    def _line(self) -> str:
        done, failed = self._states[store.FINISHED], self._failed
        text = f"{done} done, {failed} failed, {self._skipped} skipped of {self.runs}"
        speed, left = self._pace()
        if speed is None or left is None:
            return text
        return f"{text}  {speed:.1f} epochs/s  {timedelta(seconds=math.ceil(left))} left"

    @property
    def left(self) -> float | None:
        """Seconds to the end; None before the first run has ended."""
        return self._pace()[1]

    def _best_arm(self) -> str:
        return "" if self._leader is None else f"best so far {self._mean(self._leader):.2%}  {self._leader}"


class TwoLines(Progress):
    """A bar on a terminal, and below it a line that may be long: it is cut where the terminal ends."""

    second = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.second, no_wrap=True, overflow="ellipsis")


class _Line(ProgressColumn):
    def __init__(self, line: Callable[[], str]) -> None:
        super().__init__(Column(no_wrap=True))
        self._line = line

    def render(self, task: Task) -> Text:
        return Text(self._line(), no_wrap=True, overflow="ellipsis")


def summary(results: Sequence[tuple[Job, Record]], swept: Sequence[str], folder: Path) -> None:
    """The end of a sweep: arms with mean ± 95% CI, what failed and why, the folder."""
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for job, record in results:
        if record["state"] == store.FINISHED:
            arms.setdefault(arm_name(job, swept), []).append(record["final"])
    if arms:
        print("last epoch: mean ± 95% CI (Student's t) over seeds")
        rows = (
            (
                name,
                str(len(finals)),
                _pm([100 * final["test_acc"] for final in finals], 2, " %"),
                _pm([final["test_loss"] for final in finals], 4, ""),
            )
            for name, finals in arms.items()
        )
        show_table(("arm", "n", "test accuracy", "test loss (nats)"), rows, len(arms), "arms in runs.csv")
    outcome(results, folder, arms=[_arm(name, finals) for name, finals in arms.items()])


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], count: int, rest: str) -> None:
    """The first rows of a table of so many, and where the rest of them is."""
    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("arm", "a", "b", "verdict") else "right")
    for row in itertools.islice(rows, MOST_ARMS):
        table.add_row(*(escape(spelled(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)
    if count > MOST_ARMS:
        print(f"… and {count - MOST_ARMS} more {rest}")


def _arm(name: str, finals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An arm for programs: means over its finished runs, with the half widths of their 95% intervals."""
    values = {metric: [float(final[metric]) for final in finals] for metric in ("test_acc", "test_loss")}
    means = {key: {"mean": statistics.fmean(of), "half_width": interval(of)} for key, of in values.items()}
    return {"arm": name, "n": len(finals), **means}


def _event(job: Job, record: Record) -> dict[str, Any]:
    """A run for programs."""
    kept = {key: record.get(key) for key in ("id", "state", "final", "error")}
    return {**kept, "overrides": job.overrides, "folder": job.folder}


def outcome(results: Sequence[tuple[Job, Record]], folder: Path, **more: Any) -> None:
    """What failed and why, and where everything is; `more` is for programs alone."""
    bad = [(job, record) for job, record in results if record["state"] != store.FINISHED]
    for job, record in bad[:MOST_FAILURES]:
        print(f"{record['state']}: {job.id} {_settings(job)}: {_reason(record)}")
    if len(bad) > MOST_FAILURES:
        print(f"… and {len(bad) - MOST_FAILURES} more that failed or diverged, in runs.csv")
    print(f"{len(results) - len(bad)} finished, {len(bad)} failed or diverged")
    print(f"report: python -m analysis.compare {shlex.quote(str(folder))}")
    print(f"results: {folder}")
    problems = [_event(job, record) for job, record in bad[:MOST_TOLD]]
    counts = {"runs": len(results), "finished": len(results) - len(bad), "failed": len(bad)}
    events.tell("end", folder=folder, **counts, **more, problems=problems)


def _reason(record: Mapping[str, Any]) -> str:
    """Why a run gave no result, in one line."""
    return " ".join(str(record["error"]).split())


def _pm(values: Sequence[float], digits: int, unit: str) -> str:
    half = interval(values)
    spread = "" if half is None else f" ± {half:.{digits}f}"
    return f"{statistics.fmean(values):.{digits}f}{spread}{unit}"
