"""Workers of a Ray cluster: `hydra.launcher.backend=ray`, at `hydra.launcher.address` or started here.

A pack is a task, and Ray finds its place. When its worker dies, Ray is told not to try it again by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported

import ray
from ray import exceptions

from src.engines import Death, EngineError, Outcome, nodes, parcels
from src.engines.cluster import CONNECT_SECONDS, LOOK_SECONDS, Cluster
from src.engines.parcels import Trained
from src.engines.queue import cores
from src.engines.settings import ONE_THREAD, PREFIX, Settings
from src.errors import InputError
from src.runs.job import Job, Record

DEATHS: dict[type[Exception], str] = {
    exceptions.WorkerCrashedError: "killed, out of memory?",
    exceptions.OutOfMemoryError: "Ray ended it, as its node ran out of memory",
    exceptions.NodeDiedError: "its node is gone",
    exceptions.ObjectLostError: "its node is gone, and with it the results",
    exceptions.TaskUnschedulableError: "its node is gone or takes nothing more",
}


class Backend(Cluster):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._train = ray.remote(max_retries=0)(_train)
        _check_address(settings.address)
        # only a cluster of our own is told its size
        size: dict[str, Any] = {"include_dashboard": False}
        size["num_cpus"] = (settings.n_jobs or cores()) * settings.cpus
        with tempfile.TemporaryDirectory(prefix="dropout-sweeps-") as folder:
            nodes.unpack_code(folder)
            try:
                ray.init(
                    address=settings.address or "local",
                    runtime_env={"working_dir": folder, "env_vars": ONE_THREAD},
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({} if settings.address else size),
                )
            except (ConnectionError, RuntimeError, ValueError, exceptions.RayError) as error:
                why = " ".join(str(error).split())[:200]
                raise InputError(f"{self._where}: Ray cannot be used there ({why})") from None

    def _put(self, data: bytes) -> Any:
        return [ray.put(data)]  # a reference in a list is not fetched before it is asked for

    def _count(self) -> int:
        wanted = {"CPU": self._settings.cpus, "GPU": self._gpus, "memory": self._settings.memory or 0}
        return sum(
            min(int(node["Resources"].get(name, 0) // amount) for name, amount in wanted.items() if amount)
            for node in ray.nodes()
            if node["Alive"]
        )

    def submit(self, pack: list[Job]) -> None:
        task = self._train.options(
            num_cpus=self._settings.cpus, num_gpus=self._gpus, memory=self._settings.memory
        )
        jobs = parcels.wrap(pack, self._settings, self._gpus > 0)
        self._running[task.remote(jobs, self._settings.shared, self._data)] = pack

    def _outcomes(self) -> list[Outcome]:
        running = list(self._running)
        ray.wait(running, timeout=LOOK_SECONDS)
        done, _ = ray.wait(running, num_returns=len(running), timeout=0)
        return [(pack := self._running.pop(task), self._outcome(task, pack)) for task in done]

    def _outcome(self, task: Any, pack: list[Job]) -> list[Record] | Death:
        try:
            return self._records(pack, ray.get(task))
        except tuple(DEATHS) as error:
            return Death(next(reason for kind, reason in DEATHS.items() if isinstance(error, kind)))
        except exceptions.RayError as error:
            why = " ".join(str(getattr(error, "cause", None) or error).split())[-300:]
            raise EngineError(f"{self._where}: a worker cannot train ({why})") from None

    def close(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to cancel
            for task in self._running:
                ray.cancel(task, force=True)
        self._running.clear()
        ray.shutdown()


def _train(jobs: list[Job], shared: bool, data: list[Any]) -> tuple[int, list[Trained]]:
    """On the worker; the data set stays in Ray's object store unless this node has none."""
    return parcels.train(jobs, shared, lambda: ray.get(data[0]))


def _check_address(address: str | None) -> None:
    """Ray itself waits for minutes, and then ends the process."""
    host, _, port = (address or "auto").rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(PREFIX + "address", address, f"no Ray cluster answers there ({error})") from None
