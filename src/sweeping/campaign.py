"""A sweep's jobs, all at once or as they come: skip what is finished, train the rest, keep the table."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from src import provenance
from src.engines import policy
from src.engines.policy import Report
from src.engines.queue import Queue, Source
from src.errors import MachineError, events
from src.runs import store
from src.runs.job import Job, Record, final_record, is_final
from src.runs.record import record_death
from src.sweeping import progress
from src.sweeping.display import Display
from src.sweeping.table import Table
from src.sweeping.tracking import Tracking

LOG = "sweep.log"


class Campaign:
    """Trains a sweep's jobs on an engine, with a table on disk and a display on the screen.

        with Campaign(folder, swept, engine, display) as campaign:
            records = campaign.train(jobs)

    Args:
        folder: the sweep's; its `runs.csv` has a row for each job.
        swept: the swept keys, columns of the table.
        engine: an `Engine`, started; whoever started it closes it. Of `Launched` a launcher of Hydra's.
        display: is begun before the first job trains, and ended with the campaign.
        pack_size: runs handed to a worker at once; None for measured defaults, see `src.engines.queue`.
        at_once: jobs that may train at the same time, where not all come together: as many workers are kept while
            there are fewer, since new ones take seconds to start.
        kept: says how much is done and kept, where it is interrupted.
    """

    def __init__(
        self,
        folder: Path,
        swept: Sequence[str],
        engine: Any,
        display: Display,
        *,
        pack_size: int | None = None,
        at_once: int | None = None,
        kept: Callable[[], str] | None = None,
    ) -> None:
        self.table = Table(folder, swept)
        self.display = display
        started = time.time()
        self.table.on_write = lambda: progress.write(folder, started, display.runs, display.left)
        self._engine, self._pack_size, self._at_once = engine, pack_size, at_once
        self._kept = kept or self.table.kept
        self._tracking: Tracking | None = None
        self._source: Source
        self._report: Report
        self._under_way = set[str]()
        """IDs of the runs that were handed to the queue and have not ended."""
        self._last_folder: Path | None = None
        """Of the last run with a result."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.display.end()
        if self._tracking:
            self._tracking.close(at_once=error is not None)
        if isinstance(error, KeyboardInterrupt | OSError):
            with contextlib.suppress(OSError):
                self.table.write()
            error.add_note(f"{self._kept()}; the same command goes on from here")
        with contextlib.suppress(OSError):
            progress.end(self.table.folder)
            if events.is_lost():
                lost = "nobody read the output any more; the sweep went on without it\n"
                store.write_whole(self.table.folder / LOG, lost)

    def keep(self, job: Job, record: Record) -> None:
        """A run has ended, now or before: the table and the trackers are told.

        Raises:
            MachineError: where it failed, and the folder of one that had a result is gone: then all of them are.
        """
        if is_final(record):
            self._last_folder = job.folder
        elif self._last_folder is not None and not self._last_folder.is_dir():
            raise MachineError(
                errno.ENOENT, "lost its runs while the sweep went on", str(self._last_folder.parent)
            )
        self.table.add(record)
        if self._tracking is None:  # of all runs of a sweep they are the same
            folder = self.table.folder
            self._tracking = Tracking(job.run.logger, job.run.output, folder, folder.name)
        self._tracking.add(job.folder, record)

    def train(self, jobs: Sequence[Job]) -> list[Record]:
        """Train these jobs, as `follow`; the same run may be among them twice, and is trained once.

        Returns:
            The jobs' records, in their order; of each what the table keeps.
        """
        self.follow(AllAtOnce(jobs), lambda job, record: None)
        return [self.table.records[job.id] for job in jobs]

    def follow(self, source: Source, report: Report) -> None:
        """Train what the source brings, until it brings nothing and nothing is under way.

        Args:
            source: of checked jobs; those that are finished, or diverged before, are not trained again.
            report: told of each run, as it ends or at once where it need not be trained.

        Raises:
            MachineError: if the machine or the engine gives out.
        """
        self._source, self._report = source, report
        if first := self.more(1):
            self.table.write()
            self.display.begin(self.table.folder)
            engine = self._engine
            queue = Queue(
                first,
                engine.workers,
                self._pack_size,
                pack_seconds=engine.pack_seconds,
                largest=engine.largest_pack,
                source=self,
            )
            policy.drain(engine, queue, self._end)
        self.table.write()

    def more(self, count: int) -> list[Job]:
        """What the queue gets of the source: jobs that must be trained, for which the engine is ready. Those that
        are done already are reported on the way."""
        while jobs := self._source.more(count):
            if waiting := self._waiting(jobs):
                self._under_way |= {job.id for job in waiting}
                self._engine.prepare(waiting, self._at_once or len(waiting))
                return waiting
        return []

    def available(self) -> int:
        return self._source.available()

    def _waiting(self, jobs: Sequence[Job]) -> list[Job]:
        """Of further jobs those that must be trained."""
        self.table.extend(jobs)
        self.display.add(jobs)
        waiting = []
        for job in {job.id: job for job in jobs}.values():
            record = self.table.records.get(job.id)
            if job.id in self._under_way:
                continue  # the same run was asked for before, and will be reported
            if record is not None and is_final(record):
                self._report(job, record)  # an earlier batch had the same run
            elif record := final_record(job):
                self.keep(job, record)
                self.display.skip(record)
                self._report(job, record)
            else:
                waiting.append(job)
        return waiting

    def _end(self, job: Job, record: Record) -> None:
        """A job that was under way has ended."""
        self._under_way.discard(job.id)
        self.keep(job, record)
        self._report(job, record)
        self.display.advance(job, record)


class AllAtOnce:
    """A source of jobs that are all known."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def more(self, count: int) -> Sequence[Job]:
        jobs, self._jobs = self._jobs, ()
        return jobs

    def available(self) -> int:
        return len(self._jobs)


def _launched_record(job: Job, record: Record) -> Record:
    """The record of a job that another process planned anew; a failure where it had other code or data than we."""
    if record["id"] == job.id:
        return record
    files = record.get("code", {}).get("files", {})
    changed = provenance.changes(job.provenance.files, files) or [f"the arrays of data={job.run.data.name}"]
    return final_record(job) or record_death(job, f"{changed[0]} changed while the sweep ran")


class Launched(Campaign):
    """The same through another launcher than ours, in the engine's place. It is given every job, by its overrides,
    and tells of them when all have ended."""

    def follow(self, source: Source, report: Report) -> None:
        while jobs := source.more(1):
            self.table.extend(jobs)
            overrides = [job.overrides for job in jobs]
            returned = self._engine.launch(overrides, initial_job_idx=jobs[0].number)
            for job, returns in zip(jobs, returned, strict=True):
                self.keep(job, _launched_record(job, returns.return_value))
                report(job, self.table.records[job.id])
            self.table.write()
