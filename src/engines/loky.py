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
from typing import TYPE_CHECKING

from loky.backend import resource_tracker
from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

from src import importing
from src.engines import Death, Engine, Outcome, Slot
from src.engines.child import die_with
from src.engines.queue import cores
from src.engines.settings import ONE_THREAD, Settings

if TYPE_CHECKING:
    from src.runs.job import Job, Record

ENVIRONMENT = {**ONE_THREAD, "LOKY_MAX_MEMORY_LEAK_SIZE": "2e9"}
"""Of a worker. It may grow by 2 GB before loky starts it anew; by default by 300 MB, which a data set takes."""

TRACKER = "ignore::UserWarning:loky.backend.resource_tracker"

DEATH = Death("killed, out of memory?")


class Backend(Engine):
    """Processes of one torch thread each; started at once, so that they import while we plan."""

    shares_fate = True

    def __init__(self, settings: Settings) -> None:
        self._most = self.workers = settings.n_jobs or cores()
        self._slot = Slot()
        self._running: dict[Future[tuple[list[Record] | Death, bool]], list[Job]] = {}
        self._lost: list[Outcome] = []
        self._executor: ProcessPoolExecutor | None = self._start()

    def _start(self) -> ProcessPoolExecutor:
        # its tracker of semaphores, a process of its own, warns where workers are ended before it knows them all
        known = os.environ.get("PYTHONWARNINGS", "")
        if TRACKER not in known:
            os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [known, TRACKER]))
        _start_tracker()
        executor = ProcessPoolExecutor(
            max_workers=self.workers, initializer=_begin_worker, initargs=(os.getpid(),), env=ENVIRONMENT
        )
        for _ in range(self.workers):
            executor.submit(_import_trainer)
        return executor

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        """No more processes than runs; one for a GPU, which one process fills best."""
        from src import config
        from src.engines import nodes

        needed = min(self._most, at_once)
        device = config.resolve_device(jobs[0].run.device)
        if device != "cpu":
            needed = 1
            # only once: later what a worker keeps for itself would count as taken
            if device == "cuda" and self._slot.gpu_memory is None:
                self._slot = Slot(nodes.gpu_memory())
        if needed != self.workers:
            self.close()
            self.workers = needed
            self._executor = self._start()

    def slot(self) -> Slot | None:
        # one pack more than can train: it is there when a worker ends its own
        return None if self._lost or len(self._running) > self.workers else self._slot

    def submit(self, pack: list[Job]) -> None:
        if self._executor is None:
            self._executor = self._start()
        try:
            self._running[self._executor.submit(_train, pack)] = pack
        except (BrokenProcessPool, TerminatedWorkerError):
            self._lost.append((pack, DEATH))

    def wait(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for future in wait(self._running, return_when=FIRST_COMPLETED).done:
            pack = self._running.pop(future)
            try:
                outcome, gpu_lost = future.result()
            except (BrokenProcessPool, TerminatedWorkerError):
                self._lost.append((pack, DEATH))
                continue
            outcomes.append((pack, outcome))
            if gpu_lost:
                # the next pack gets a new process; the one that waits for this process is handed back
                outcomes += [(waiting, []) for waiting in self._running.values()]
                self._running.clear()
                self.close()
                break
        if self._lost and not self._running:
            # told together, so that none of them counts as dead twice; the next pack gets a new pool
            outcomes += self._lost
            self._lost = []
            self.close()
        return outcomes

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, kill_workers=True)
            self._executor = None


def _start_tracker() -> None:
    """A terminal that closes sends SIGHUP to all its processes. The tracker ignores other signals, and dies of this
    one, which loky would warn of; one that is blocked stays blocked in it."""
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        try:
            resource_tracker.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _train(pack: list[Job]) -> tuple[list[Record] | Death, bool]:
    """The outcome, and whether this process has lost its GPU."""
    from src.runs.pack import GpuLostError, gpu_lost, train_jobs

    try:
        return train_jobs(pack), gpu_lost()
    except GpuLostError:
        return Death("an assertion failed on its GPU"), True


def _import_trainer() -> None:
    with importing():
        import src.runs.pack
        import src.training.trainer  # noqa: F401


def _begin_worker(parent: int) -> None:
    # Ctrl-C is for the main process, which ends the workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
