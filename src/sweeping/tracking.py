"""Tells trackers of finished runs, from the runs' own files: no worker needs a network, and none waits for one.

A tracker that is down or missing stops no run: one line on stderr says so, and `python -m analysis.export` brings
later what it lacks. What it holds already is not written again, so a sweep that goes on duplicates nothing.
"""

from __future__ import annotations

import contextlib
import csv
import io
import queue
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src import loggers
from src.errors import is_of_the_disk
from src.errors.messages import key_of
from src.loggers import LoggedRun, Logger
from src.runs import store
from src.runs.job import Record, is_final
from src.sweeping.naming import WITHOUT_EFFECT

LONGEST_NAME = 200
LAST_WORD = 10.0
"""Seconds that an interrupted sweep waits for the run that is being logged."""


def logged_run(folder: Path, sweep: str) -> LoggedRun | None:
    """A run's folder as a tracker is told of it; None where its result is not final.

    Raises:
        Damaged: if its files are.
    """
    record = store.read_record(folder)
    if record is None or not is_final(record):
        return None
    metrics = folder / "metrics.csv"
    try:
        rows = [
            {name: float(cell) for name, cell in row.items() if cell}
            for row in csv.DictReader(io.StringIO(metrics.read_text(encoding="utf-8")))
        ]
        given = [override for override in record["overrides"] if key_of(override) not in WITHOUT_EFFECT]
        return LoggedRun(
            id=record["id"],
            name=(" ".join(given) or "book")[:LONGEST_NAME],
            sweep=sweep,
            state=record["state"],
            params={key: value for key, value in _flat(record["config"]) if key not in WITHOUT_EFFECT},
            rows=rows,
            ended=metrics.stat().st_mtime,
        )
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and is_of_the_disk(error):
            raise
        raise store.Damaged(f"{folder} is damaged ({error})") from None


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value) if isinstance(value, list) else value


class Book:
    """One tracker, by the name of its file in `src/loggers`, and which runs it holds; else as `Tracking`."""

    def __init__(self, name: str, output: Path, sweep: str = "") -> None:
        self.logger: Logger = loggers.make(name, output)
        self._sweep, self._known = sweep, self.logger.known()

    def enter(self, folder: Path) -> bool | None:
        """Logs the run of this folder; False if the tracker has it already, None if its result is not final."""
        if folder.name in self._known:
            return False
        run = logged_run(folder, self._sweep)
        if run is None:
            return None
        self.logger.log(run)
        self._known.add(folder.name)
        return True


class Tracking:
    """Logs runs as they end, in a thread of its own.

        with Tracking(["mlflow"], output, folder) as tracking:
            tracking.add(folder_of_a_run, record)

    Args:
        names: of files of `src/loggers`, checked; with none of them all this does nothing.
        output: the output folder.
        folder: what `analysis.export` would be given: the sweep's folder, or a single run's.
        sweep: name of the sweep; empty for a single run.
    """

    def __init__(self, names: Sequence[str], output: str | Path, folder: Path, sweep: str = "") -> None:
        self._names, self._output, self._folder, self._sweep = list(names), Path(output), folder, sweep
        self._runs: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        if self._names:
            self._thread.start()

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(at_once=kind is not None)

    def add(self, folder: Path, record: Record) -> None:
        """A run has ended, or had ended before."""
        if self._names and is_final(record):
            self._runs.put(folder)

    def close(self, at_once: bool = False) -> None:
        """Waits for what is not logged yet; `at_once` for the run under way alone, as the rest may come later."""
        if not self._thread.is_alive():
            return
        if at_once:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._runs.get_nowait()
        self._runs.put(None)
        left = self._runs.qsize() - 1
        if left > 0 and self._names:
            verb = "run is" if left == 1 else "runs are"
            print(f"{left} {verb} still to be logged to {', '.join(self._names)}", flush=True)
        self._thread.join(LAST_WORD if at_once else None)

    def _work(self) -> None:
        books: dict[str, Book] = {}
        while (folder := self._runs.get()) is not None:
            for name in list(self._names):
                try:
                    if name not in books:
                        books[name] = Book(name, self._output, self._sweep)
                    books[name].enter(folder)
                except store.Damaged:
                    continue  # another process is at it
                except (Exception, SystemExit) as error:
                    self._names.remove(name)
                    print(self._lost(name, error), file=sys.stderr, flush=True)

    def _lost(self, name: str, error: BaseException) -> str:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        export = f"python -m analysis.export {shlex.quote(str(self._folder))} --to {name}"
        return f"warning: logger={name}: {reason}; all goes on without it, and `{export}` logs its runs later"
