"""Workers of a Dask cluster: `hydra.launcher.backend=dask`, at `hydra.launcher.address` or started here.

Each pack is sent to a worker that has none, and to no other: so it is known whose death it was, and Dask does not
run packs again by itself. Each of its runs (on a GPU each stack) is a task of its own, so that what has ended comes
at once and does not die with the worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client, Future, LocalCluster, wait
from distributed.utils import TimeoutError as DaskTimeout

from src import packs
from src.checks import ConfigError
from src.engines import Death, Ended, Engine, EngineError, dask_host, nodes, parcels
from src.engines.child import answered, asked
from src.engines.settings import PREFIX, Settings
from src.run import Job, Record

CONNECT_SECONDS = 15
PATIENCE_SECONDS = 60.0
"""How long we wait for a worker when there is none: they may be about to start, or to be started again."""

LOOK_SECONDS = 0.5
"""Seconds between two looks at which workers there are."""

REST_SECONDS = 2.0
"""A worker whose process died gets nothing for so long: it may be about to go, too."""


class Backend(Engine):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = f"{PREFIX}address={settings.address}" if settings.address else f"{PREFIX}backend=dask"
        self._cluster: LocalCluster | None = None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        if settings.address is None:
            self._cluster = LocalCluster(
                n_workers=settings.n_jobs or packs.cores(),
                threads_per_worker=settings.cpus,
                memory_limit=settings.memory or 0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        try:
            self._client = Client(
                self._cluster or settings.address, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError, DaskTimeout):
            right = f"no Dask scheduler answers there within {CONNECT_SECONDS} s"
            raise ConfigError(PREFIX + "address", settings.address, right) from None
        self._name = f"dropout-sweeps-{uuid.uuid4().hex[:12]}"
        self._call = dask_host.ByValue(dask_host.call)
        self._client.register_plugin(dask_host.Host(self._name, nodes.code()), name=self._name)
        self._data_root: str | None = None
        self._gpus = 0
        self._ready: dict[str, str] = {}  # each worker that may train, and its host
        self._memory: dict[str, int] = {}  # bytes free on the GPU of each that has been asked
        self._running: dict[Future, tuple[list[Job], str]] = {}
        self._died: dict[str, float] = {}  # when the process of a worker did
        self._looked = 0.0
        self._seen = time.monotonic()

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        if self._gpus and self._cluster is not None:
            right = "must come with an address: a cluster that is started here has no GPUs"
            raise ConfigError(PREFIX + "gpus", self._gpus, right)
        self._data_root = nodes.data_root(jobs)
        while not self._ready:
            self._look()
            time.sleep(0 if self._ready else 0.1)
        self.workers = min(len(self._ready), self._settings.n_jobs or len(self._ready))

    def room(self) -> int:
        self._look()
        busy, free = self._busy_and_free()
        self.gpu_memory = self._memory[free[0]] if free and self._gpus else None
        return len(free) if self._settings.n_jobs is None else min(len(free), self._settings.n_jobs - busy)

    def _busy_and_free(self) -> tuple[int, list[str]]:
        """How many workers train, and those that can."""
        busy = {address for _, address in self._running.values()}
        since = time.monotonic() - REST_SECONDS
        busy_or_resting = busy | {address for address, died in self._died.items() if died > since}
        return len(busy), [address for address in self._ready if address not in busy_or_resting]

    def submit(self, pack: list[Job]) -> None:
        address = self._busy_and_free()[1][0]
        size = packs.fitting(self._memory[address]) if self._gpus else 1
        for part in (pack[at : at + size] for at in range(0, len(pack), size)):
            parcel = parcels.wrap(part, self._settings, self._gpus > 0)
            self._running[self._submit(address, asked(parcels.train_all, parcel))] = part, address

    def wait(self) -> list[Ended]:
        if not self._running:
            time.sleep(0.1)
        else:
            # a worker trains in the order of submission: it is enough to wait for its first
            firsts = {address: future for future, (_, address) in reversed(self._running.items())}
            # it raises when it is out of time, or a future was cancelled: each one's state tells
            with (
                contextlib.suppress(DaskTimeout, CancelledError, OSError, RuntimeError),
                self._client.as_current(),
            ):
                wait(list(firsts.values()), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
        self._look()
        gone: set[str] = set()
        return [ended for future in list(self._running) if (ended := self._ended(future, gone))]

    def _ended(self, future: Future, gone: set[str]) -> Ended | None:
        """What came of a task, if anything did; `gone` collects workers, of which only the first task was begun."""
        pack, address = self._running[future]
        outcome: list[Record] | Death | None = None
        if future.status == "finished":
            # where the worker died with the answer, the next look does not find it
            with contextlib.suppress(OSError, DaskTimeout, CancelledError):
                answer = future.result(timeout=4 * LOOK_SECONDS)
                outcome = self._outcome(pack, answer, address)
        elif future.status == "error":
            raise EngineError(f"{self._where}: Dask could not run a pack ({future.exception()!r})")
        if outcome is None and (address not in self._ready or future.status in ("cancelled", "lost")):
            outcome = Death(f"the Dask worker {address} is gone", began=0 if address in gone else None)
            gone.add(address)
        if outcome is None:
            return None
        del self._running[future]
        future.cancel()
        return pack, outcome

    def _outcome(self, pack: list[Job], answer: bytes, address: str) -> list[Record] | Death:
        if answer == dask_host.DIED:
            self._died[address], self._looked = time.monotonic(), 0.0
            return Death("killed, out of memory?")
        try:
            trained = answered(answer)
        except RuntimeError as error:
            raise EngineError(f"{self._where}: the worker {address} cannot train ({error})") from None
        return parcels.unwrap(pack, trained)

    def _look(self) -> None:
        """Sees which workers there are, and gets new ones ready."""
        if self._ready and time.monotonic() - self._looked < LOOK_SECONDS:
            return
        there = self._usable()
        for gone in self._ready.keys() - there.keys():
            del self._ready[gone]
        if new := {address: host for address, host in there.items() if address not in self._ready}:
            self._provide(new)
        self._looked = time.monotonic()
        if self._ready:
            self._seen = self._looked
        elif self._looked - self._seen > PATIENCE_SECONDS:
            raise EngineError(
                f"{self._where}: no worker there that could train within {PATIENCE_SECONDS:g} s; "
                "what is done is kept, the same command goes on"
            )

    def _usable(self) -> dict[str, str]:
        """Addresses and hosts of the workers that run, and have what a pack asks for."""
        try:
            found = self._client.scheduler_info()["workers"]
        except Exception as error:
            found = error
        if isinstance(found, Exception) or self._client.status not in ("running", "connecting"):
            raise EngineError(
                f"{self._where}: the Dask scheduler is gone; the same command goes on from here"
            )
        memory = self._settings.memory or 0
        return {
            address: worker["host"]
            for address, worker in found.items()
            if worker["status"] == "running"
            and worker["nthreads"] >= self._settings.cpus
            and (worker["memory_limit"] or memory) >= memory
            and worker["resources"].get("GPU", 0) >= self._gpus
        }

    def _provide(self, new: dict[str, str]) -> None:
        """Starts the processes of new workers, and sends the data to one on each host that has none."""
        root = self._data_root
        found = self._ask(list(new), asked(nodes.has_data, root) if root else asked(os.getpid))
        lacking = {new[address]: address for address, has in found.items() if has is False}
        if root and lacking:
            files = self._client.scatter(
                nodes.data_files(root), workers=list(lacking.values()), hash=False, broadcast=True
            )
            self._ask(list(lacking.values()), asked(nodes.keep_data, attached=1), files)
        if self._gpus:
            found = memory = self._ask(list(found), asked(nodes.gpu_memory))
            self._memory |= memory
        self._ready |= {address: new[address] for address in found}

    def _ask(self, addresses: list[str], *messages: Any) -> dict[str, Any]:
        """Answers of those workers that give one."""
        futures = {address: self._submit(address, *messages) for address in addresses}
        answers = {}
        for address, future in futures.items():
            try:
                answer = future.result(timeout=PATIENCE_SECONDS)
                if answer != dask_host.DIED:
                    answers[address] = answered(answer)
            except (OSError, DaskTimeout):
                future.cancel()  # it will be asked again if it is still there
            except RuntimeError as error:
                raise EngineError(f"{self._where}: the worker {address} cannot train ({error})") from None
        return answers

    def _submit(self, address: str, *messages: Any) -> Future:
        return self._client.submit(
            self._call, self._name, *messages, workers=[address], allow_other_workers=False, pure=False
        )

    def close(self) -> None:
        try:
            self._client.cancel(list(self._running), force=True)
            self._client.unregister_worker_plugin(self._name)
            self._client.close(timeout=2)
        except Exception as error:  # a scheduler that is gone has nothing left to cancel
            logging.getLogger(__name__).debug("closing: %r", error)
        finally:
            self._running.clear()
            if self._cluster is not None:
                self._cluster.close(timeout=5)
