"""Workers of a Dask cluster: `hydra.launcher.backend=dask`, at `hydra.launcher.address` or started here.

A pack is a task, sent to a worker that has none, and to no other: so it is known whose death it was, and Dask does
not run packs again by itself.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import uuid
import warnings
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client, Future, LocalCluster, wait
from distributed.utils import TimeoutError as DaskTimeout

from src.engines import Death, EngineError, Outcome, dask_host, nodes, parcels
from src.engines.cluster import CONNECT_SECONDS, LOOK_SECONDS, Cluster
from src.engines.queue import cores
from src.engines.settings import PREFIX, Settings
from src.errors import InputError
from src.runs.job import Job, Record


class Backend(Cluster):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._cluster: LocalCluster | None = None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        if settings.address is None:
            self._cluster = LocalCluster(
                n_workers=settings.n_jobs or cores(),
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
            raise InputError(PREFIX + "address", settings.address, right) from None
        self._name = f"dropout-sweeps-{uuid.uuid4().hex[:12]}"
        self._client.register_plugin(dask_host.Host(self._name, nodes.code()), name=self._name)
        self._usable: set[str] = set()  # addresses of workers
        self._address: dict[Future, str] = {}  # of the worker that has a pack

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        if self._cluster is not None and (gpus := parcels.gpus(self._settings, jobs)):
            right = "must come with an address: a cluster that is started here has no GPUs"
            raise InputError(PREFIX + "gpus", gpus, right)
        super().prepare(jobs, at_once)

    def _put(self, data: bytes) -> Any:
        # as a task, which can be run again should its worker die; Dask warns of the size
        with warnings.catch_warnings(action="ignore"):
            return self._client.submit(bytes, data, key=self._name)

    def _count(self) -> int:
        try:
            workers = self._client.scheduler_info()["workers"]
        except Exception:
            workers = None
        if workers is None or self._client.status not in ("running", "connecting"):
            raise EngineError(
                f"{self._where}: the Dask scheduler is gone; the same command goes on from here"
            )
        memory = self._settings.memory or 0
        self._usable = {
            address
            for address, worker in workers.items()
            if worker["status"] == "running"
            and worker["nthreads"] >= self._settings.cpus
            and (worker["memory_limit"] or memory) >= memory
            and worker["resources"].get("GPU", 0) >= self._gpus
        }
        return len(self._usable)

    def submit(self, pack: list[Job]) -> None:
        address = (self._usable - set(self._address.values())).pop()
        jobs = parcels.wrap(pack, self._settings, self._gpus > 0)
        future = self._client.submit(
            dask_host.call,
            self._name,
            pickle.dumps((jobs, self._settings.shared)),
            workers=[address],
            allow_other_workers=False,
            pure=False,
        )
        self._running[future], self._address[future] = pack, address

    def _outcomes(self) -> list[Outcome]:
        # it raises when it is out of time, or a future was cancelled: the state of each future tells
        with (
            contextlib.suppress(DaskTimeout, CancelledError, OSError, RuntimeError),
            self._client.as_current(),
        ):
            wait(list(self._running), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
        self._look()
        outcomes: list[Outcome] = []
        for future, pack in list(self._running.items()):
            outcome = self._outcome(future, pack)
            if outcome is not None:
                outcomes.append((pack, outcome))
                del self._running[future], self._address[future]
                future.cancel()
        return outcomes

    def _outcome(self, future: Future, pack: list[Job]) -> list[Record] | Death | None:
        """The outcome of a pack; None while there is none."""
        address, answer = self._address[future], None
        if future.status == "error":
            raise EngineError(f"{self._where}: Dask could not run a pack ({future.exception()!r})")
        if future.status == "finished":
            # where the worker died with the answer, the next look does not see the worker
            with contextlib.suppress(OSError, DaskTimeout, CancelledError):
                answer = future.result(timeout=4 * LOOK_SECONDS)
        if answer == dask_host.DIED:
            return Death("killed, out of memory?")
        if answer is not None:
            result, error = pickle.loads(answer)
            if error:
                raise EngineError(f"{self._where}: the worker {address} cannot train ({error})")
            return self._records(pack, result)
        if address not in self._usable or future.status in ("cancelled", "lost"):
            return Death(f"the Dask worker {address} is gone")
        return None

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
