"""Worker processes: packs in, records out; whoever dies, the rest goes on.

loky gives processes that start clean (no fork of a threaded parent) and a pool that notices a dead worker.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

from src import run as runs
from src.packs import Queue
from src.run import Job, Record

DEATHS_ALLOWED = 1
"""A run is tried again after its worker died this many times; the next death marks it failed."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Ended = Callable[[Job, Record], None]


class Pool:
    """Worker processes of one torch thread each; started at once, so that they import while we plan."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor = self._start(workers)

    def _start(self, workers: int) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(
            max_workers=workers, initializer=_begin_worker, initargs=(os.getpid(),), env=ONE_THREAD
        )
        for _ in range(workers):
            executor.submit(_import_trainer)
        return executor

    def train(self, queue: Queue, ended: Ended) -> None:
        """Train all jobs of the queue; `ended` is called in this process as each one ends.

        A worker that dies takes the pool with it. What was under way then is tried again, one run at a time, so
        that the next death tells whose it is; that run is marked failed, and all others end as if nothing was.
        """
        suspects = self._train_until_death(iter(queue.next_pack, []), queue, ended, self.workers + 1)
        deaths: Counter[str] = Counter()
        while suspects:
            deaths.update(job.id for job in suspects)
            self.close()
            self._executor = self._start(self.workers)
            for job in suspects:
                while not self._ended_on_disk(job, ended):
                    if deaths[job.id] > DEATHS_ALLOWED:
                        reason = f"its worker process died {deaths[job.id]} times (killed, out of memory?)"
                        ended(job, runs.record_death(job, reason))
                        break
                    died = self._train_until_death(iter([[job]]), queue, ended, 1)
                    if not died:
                        break
                    deaths[job.id] += 1
                    self.close()
                    self._executor = self._start(self.workers)
            suspects = self._train_until_death(iter(queue.next_pack, []), queue, ended, self.workers + 1)

    def _ended_on_disk(self, job: Job, ended: Ended) -> bool:
        """A suspect that its worker had finished before the pool broke is only reported."""
        record = runs.ended(job) if job.run.resume else None
        if record is not None:
            ended(job, record)
        return record is not None

    def _train_until_death(
        self, packs: Iterator[list[Job]], queue: Queue, ended: Ended, at_once: int
    ) -> list[Job]:
        """Hand out packs until none is left; returns the jobs under way if a worker died, else nothing."""
        running: dict[Future[list[Record]], list[Job]] = {}
        lost: list[Job] = []
        while True:
            while not lost and len(running) < at_once and (pack := next(packs, None)):
                try:
                    running[self._executor.submit(runs.train_jobs, pack)] = pack
                except (BrokenProcessPool, TerminatedWorkerError):
                    lost += pack
            if not running:
                return lost
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                pack = running.pop(future)
                try:
                    records = future.result()
                except (BrokenProcessPool, TerminatedWorkerError):
                    lost += pack
                    continue
                for job, record in zip(pack, records, strict=True):
                    queue.measured(job, record["seconds"])
                    ended(job, record)

    def close(self) -> None:
        """Ends every worker at once, in the middle of whatever it does."""
        self._executor.shutdown(wait=False, kill_workers=True)


def _import_trainer() -> None:
    import src.trainer  # noqa: F401


def _begin_worker(parent: int) -> None:
    # Ctrl-C is for the main process, which ends the workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    """Ends this process when the main one is gone, even by kill -9: no orphan goes on training."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
