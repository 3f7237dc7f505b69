"""`runs.csv` of a sweep: a row a run, in the sweep's order, whatever has ended so far."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.errors import shown
from src.runs import store
from src.runs.job import Job, Record
from src.sweeping.planning import configured

TABLE_EVERY = 1.0
"""Seconds between two writings of `runs.csv` while the sweep goes on, at least."""

TABLE_SHARE = 0.05
"""Of the main process's time, at most, for those writings: each costs some 20 µs a row, the unfinished included."""

KEPT = ("id", "state", "final", "seconds", "error")
"""What a sweep keeps in memory of a run's record, 1 kB; with the config and the versions it is 8 kB."""


class Table:
    """The rows, and what is kept of each run's record; written to `runs.csv` from time to time."""

    def __init__(self, folder: Path, swept: Sequence[str]) -> None:
        self.folder, self.swept = folder, list(swept)
        self._jobs: dict[int | None, Job] = {}
        """By their place in the sweep."""
        self.records: dict[str, Record] = {}
        self.runs_of_trial = 1
        """Of a search; where there are several, the last column names the trial, from 1."""
        self._next = 0.0
        self.on_write: Callable[[], None] = lambda: None
        """Is called each time it is written."""

    def extend(self, jobs: Sequence[Job]) -> None:
        """More rows, each at the job's place in the sweep; a job that has one keeps it."""
        self._jobs |= {job.number: job for job in jobs}
        if self.records:  # of a table that grows, for what a kill leaves
            self._write_if_due()

    def kept(self) -> str:
        """How many runs need not be trained again."""
        different = {job.id for job in self._jobs.values()}
        return f"{len(self.records)} of {len(different)} runs are done and kept"

    def add(self, record: Record) -> None:
        kept = {key: record[key] for key in KEPT if key in record}
        # a record that was read or sent brings names of its own, each time; these are one for all runs
        kept["final"] = {sys.intern(name): value for name, value in (record.get("final") or {}).items()}
        self.records[record["id"]] = kept
        self._write_if_due()

    def _write_if_due(self) -> None:
        if time.monotonic() > self._next:
            self.write()

    def write(self) -> None:
        started = time.monotonic()
        records = [(job, self.records.get(job.id)) for _, job in sorted(self._jobs.items())]
        keys = [key for key in self.swept if key != "seed"]
        extra = {name: None for _, record in records for name in _metrics(record)}
        metrics = [self._column(name) for name in (*store.METRICS, *extra)]
        trial = ["trial"] if self.runs_of_trial > 1 else []
        columns = list(dict.fromkeys(["id", "state", *keys, "seed", *metrics, *trial]))
        # a row at a time, as all together take 2 kB each
        rows = (self._row(job, record) for job, record in records)
        store.write_whole(self.folder / "runs.csv", store.csv_text(columns, rows))
        self.on_write()
        now = time.monotonic()
        self._next = now + max(TABLE_EVERY, (now - started) / TABLE_SHARE)

    def _row(self, job: Job, record: Record | None) -> dict[str, Any]:
        values = ((key, configured(job, key)) for key in self.swept)
        row = {
            **{self._column(name): value for name, value in _metrics(record).items()},
            "id": job.id,
            "state": record["state"] if record else store.UNFINISHED,
            **{key: shown(value) if isinstance(value, list | tuple) else value for key, value in values},
            "seed": job.run.seed,
        }
        if self.runs_of_trial > 1:
            row["trial"] = 1 + (job.number or 0) // self.runs_of_trial
        return row

    def _column(self, metric: str) -> str:
        """A metric's own name, but `_used` where a swept key has that name (a rate: configured, used)."""
        return f"{metric}_used" if metric in self.swept else metric


def _metrics(record: Record | None) -> Mapping[str, Any]:
    """What a run ended with; nothing of one that is not finished."""
    return record["final"] if record is not None and record["state"] == store.FINISHED else {}
