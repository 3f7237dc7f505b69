"""Worker processes on this machine: `hydra.launcher.backend=loky`, the default.

loky gives processes that start clean (no fork of a threaded parent) and a pool that notices a dead worker.
A worker that dies takes the pool, and so every pack under way, with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

from src import config, packs
from src import run as runs
from src.engines import Death, Ended, Engine, nodes
from src.engines.child import die_with
from src.engines.settings import ONE_THREAD, Settings
from src.run import Job, Record

ENVIRONMENT = {**ONE_THREAD, "LOKY_MAX_MEMORY_LEAK_SIZE": "2e9"}
"""Of a worker. It may grow by 2 GB before loky starts it anew; by default by 300 MB, which a data set takes."""

DEATH = Death("killed, out of memory?")


class Backend(Engine):
    """Processes of one torch thread each; started at once, so that they import while we plan."""

    shares_fate = True

    def __init__(self, settings: Settings) -> None:
        self._most = self.workers = settings.n_jobs or packs.cores()
        self._running: dict[Future[list[Record]], list[Job]] = {}
        self._lost: list[Ended] = []
        self._executor: ProcessPoolExecutor | None = self._start()

    def _start(self) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(
            max_workers=self.workers, initializer=_begin_worker, initargs=(os.getpid(),), env=ENVIRONMENT
        )
        for _ in range(self.workers):
            executor.submit(_import_trainer)
        return executor

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        """No more processes than runs; one for a GPU, which one process fills best."""
        needed = min(self._most, at_once)
        if config.resolve_device(jobs[0].run.device) == "cuda":
            needed, self.gpu_memory = 1, nodes.gpu_memory()
        if needed != self.workers:
            self.close()
            self.workers = needed
            self._executor = self._start()

    def room(self) -> int:
        # one more than train: the next pack is there when a worker ends its own
        return 0 if self._lost else self.workers + 1 - len(self._running)

    def submit(self, pack: list[Job]) -> None:
        if self._executor is None:
            self._executor = self._start()
        try:
            self._running[self._executor.submit(runs.train_jobs, pack)] = pack
        except (BrokenProcessPool, TerminatedWorkerError):
            self._lost.append((pack, DEATH))

    def wait(self) -> list[Ended]:
        news: list[Ended] = []
        if self._running:
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                pack = self._running.pop(future)
                try:
                    news.append((pack, future.result()))
                except (BrokenProcessPool, TerminatedWorkerError):
                    self._lost.append((pack, DEATH))
        if self._lost and not self._running:
            # told together, so that none of them counts as dead twice; the next pack gets a new pool
            news += self._lost
            self._lost = []
            self.close()
        return news

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, kill_workers=True)
            self._executor = None


def _import_trainer() -> None:
    import src.trainer  # noqa: F401


def _begin_worker(parent: int) -> None:
    # Ctrl-C is for the main process, which ends the workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
