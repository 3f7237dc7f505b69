"""Workers of a Ray cluster: `hydra.launcher.backend=ray`, at `hydra.launcher.address` or started here.

A pack is a task; Ray finds its place, and is told not to try it again by itself when its worker dies.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import tempfile
import time
import zipfile
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from src import packs
from src.checks import ConfigError
from src.engines import Death, Ended, Engine, EngineError, nodes, parcels
from src.engines.parcels import Parcel, Trained
from src.engines.settings import ONE_THREAD, PREFIX, Settings
from src.run import Job, Record

CONNECT_SECONDS = 15
PATIENCE_SECONDS = 60.0
"""How long we wait for a node when there is none: one may be about to start."""

LOOK_SECONDS = 0.5
"""Seconds between two looks at which nodes there are."""

DEATHS: dict[type[Exception], str] = {
    exceptions.WorkerCrashedError: "killed, out of memory?",
    exceptions.OutOfMemoryError: "Ray ended it, as its node ran out of memory",
    exceptions.NodeDiedError: "its node is gone",
    exceptions.ObjectLostError: "its node is gone, and with it the results",
}


class Backend(Engine):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = f"{PREFIX}address={settings.address}" if settings.address else f"{PREFIX}backend=ray"
        self._running: dict[Any, list[Job]] = {}
        self._data: list[Any] = []
        self._gpus = settings.gpus or 0
        self._places, self._looked, self._seen = 0, 0.0, time.monotonic()
        _check_address(settings.address)
        # only a cluster of our own is told its size
        own: dict[str, Any] = {"include_dashboard": False}
        own["num_cpus"] = (settings.n_jobs or packs.cores()) * settings.cpus
        with tempfile.TemporaryDirectory(prefix="dropout-sweeps-") as folder:
            with zipfile.ZipFile(io.BytesIO(nodes.code())) as archive:
                archive.extractall(folder)
            try:
                ray.init(
                    address=settings.address or "local",
                    runtime_env={"working_dir": folder, "env_vars": ONE_THREAD},
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({} if settings.address else own),
                )
            except (ConnectionError, RuntimeError, ValueError, exceptions.RayError) as error:
                why = " ".join(str(error).split())[:200]
                raise EngineError(f"{self._where}: Ray cannot be used there ({why})") from None

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        self._looked = 0.0
        while not self._look():
            time.sleep(0.1)
        self.workers = self._places
        self._train = self._task(_train)
        if root := nodes.data_root(jobs):
            self._data = [ray.put(nodes.data_files(root))]
        if self._gpus:
            self.gpu_memory = min(self._of_nodes(nodes.gpu_memory))

    def _task(self, function: Any) -> Any:
        options: dict[str, Any] = {"num_cpus": self._settings.cpus, "num_gpus": self._gpus, "max_retries": 0}
        if self._settings.memory:
            options["memory"] = self._settings.memory
        return ray.remote(**options)(function)

    def _of_nodes(self, function: Any) -> list[Any]:
        """What the function returns on each node that can train."""
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in self._nodes()]
        task = self._task(function)
        try:
            asked = [task.options(scheduling_strategy=place).remote() for place in places]
            found: list[Any] = ray.get(asked, timeout=PATIENCE_SECONDS)
            return found
        except exceptions.RayError as error:
            raise EngineError(f"{self._where}: its nodes do not answer ({_one_line(error)})") from None

    def room(self) -> int:
        self._look()
        if self._settings.n_jobs is not None:
            return min(self._places, self._settings.n_jobs) - len(self._running)
        # one more than train: the next pack is there when a worker ends its own
        return self._places + bool(self._places) - len(self._running)

    def submit(self, pack: list[Job]) -> None:
        parcel = parcels.wrap(pack, self._settings, self._gpus > 0)
        self._running[self._train.remote(parcel, self._data)] = pack

    def wait(self) -> list[Ended]:
        if not self._running:
            time.sleep(0.1)
            return []
        done, rest = ray.wait(list(self._running), timeout=LOOK_SECONDS)
        done += ray.wait(rest, num_returns=len(rest), timeout=0)[0] if done and rest else []
        return [self._ended(reference) for reference in done]

    def _ended(self, reference: Any) -> Ended:
        pack = self._running.pop(reference)
        try:
            trained = ray.get(reference)
        except tuple(DEATHS) as error:
            reason = next(reason for kind, reason in DEATHS.items() if isinstance(error, kind))
            return pack, Death(reason)
        except exceptions.RayError as error:
            raise EngineError(f"{self._where}: a worker cannot train ({_one_line(error)})") from None
        records: list[Record] = parcels.unwrap(pack, trained)
        return pack, records

    def _look(self) -> int:
        """Counts the packs that the nodes can take at a time."""
        if self._places and time.monotonic() - self._looked < LOOK_SECONDS:
            return self._places
        self._looked = time.monotonic()
        self._places = sum(self._places_on(node["Resources"]) for node in self._nodes())
        if self._places:
            self._seen = self._looked
        elif self._looked - self._seen > PATIENCE_SECONDS:
            wanted = f"{self._settings.cpus} CPU, {self._gpus} GPU and {self._settings.memory or 0} bytes"
            raise EngineError(
                f"{self._where}: no node there with {wanted} for a pack within {PATIENCE_SECONDS:g} s; "
                "what is done is kept, the same command goes on"
            )
        return self._places

    def _nodes(self) -> list[dict[str, Any]]:
        """Nodes that can take a pack."""
        return [node for node in ray.nodes() if node["Alive"] and self._places_on(node["Resources"])]

    def _places_on(self, resources: dict[str, float]) -> int:
        wanted = {"CPU": self._settings.cpus, "GPU": self._gpus, "memory": self._settings.memory or 0}
        return min(int(resources.get(name, 0) // amount) for name, amount in wanted.items() if amount)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to cancel
            for reference in self._running:
                ray.cancel(reference, force=True)
        self._running.clear()
        ray.shutdown()


def _train(parcel: Parcel, data: list[Any]) -> list[Trained]:
    """On the worker; the data set stays in Ray's object store unless this node has none."""

    def supply() -> bytes:
        files: bytes = ray.get(data[0])
        return files

    return parcels.train(parcel, supply if data else None)


def _check_address(address: str | None) -> None:
    """Ray itself waits for minutes, and then ends the process."""
    host, _, port = (address or "auto").rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(PREFIX + "address", address, f"no Ray cluster answers there ({error})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "cause", None) or error).split())[-300:]
