"""Workers of a Ray cluster: `hydra.launcher.backend=ray`, at `hydra.launcher.address` or started here.

A pack is a task that gives back each result as it has it, so that what has ended does not die with the worker. On
a CPU Ray finds its place; a pack for a GPU goes to the node whose GPU it was made for. When its worker dies, Ray is
told not to try it again by itself.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from src import packs
from src.checks import ConfigError, InputError
from src.engines import Death, Ended, Engine, EngineError, nodes, parcels
from src.engines.parcels import Parcel, Trained
from src.engines.settings import ONE_THREAD, PREFIX, Settings
from src.run import Job, Record

CONNECT_SECONDS = 15
PATIENCE_SECONDS = 60.0
"""How long we wait for a node when there is none: one may be about to start."""

LOOK_SECONDS = 0.5
"""Seconds between two looks at which nodes there are."""

ASKED = 3
"""A node whose worker dies each time that it is asked for its GPU's memory gets nothing to train."""

DEATHS: dict[type[Exception], str] = {
    exceptions.WorkerCrashedError: "killed, out of memory?",
    exceptions.OutOfMemoryError: "Ray ended it, as its node ran out of memory",
    exceptions.NodeDiedError: "its node is gone",
    exceptions.ObjectLostError: "its node is gone, and with it the results",
    exceptions.TaskUnschedulableError: "its node is gone or takes nothing more",
}


@dataclass
class _Pack:
    jobs: list[Job]
    """Those whose results have not come yet, in the order in which they will."""
    node: str | None
    """The node that it was sent to; None where Ray chooses."""
    stack: int
    """Runs that train at a time: results come in order, so they are the first that are missing."""


class Backend(Engine):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = f"{PREFIX}address={settings.address}" if settings.address else f"{PREFIX}backend=ray"
        self._running: dict[Any, _Pack] = {}
        self._data: list[Any] = []
        self._gpus = settings.gpus or 0
        self._places: dict[str, int] = {}  # by a node's id the packs that it takes at a time
        self._asked: dict[str, Any] = {}  # by a node's id, of a node with a GPU, the answer to come
        self._memory: dict[str, int] = {}  # and the answer: bytes free on it
        self._mute: Counter[str] = Counter()  # how often a node died of the question
        self._looked, self._seen = 0.0, time.monotonic()
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
                raise InputError(f"{self._where}: Ray cannot be used there ({why})") from None

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        self._looked = 0.0
        self._places = {}
        while not self._look():
            time.sleep(0.1)
        # those, too, whose GPU has not answered yet
        places = sum(self._places_on(node["Resources"]) for node in self._nodes())
        self.workers = min(places, self._settings.n_jobs or places)
        self._train = self._task(_train)
        if root := nodes.data_root(jobs):
            self._data = [ray.put(nodes.data_files(root))]

    def _task(self, function: Any) -> Any:
        options: dict[str, Any] = {"num_cpus": self._settings.cpus, "num_gpus": self._gpus, "max_retries": 0}
        if self._settings.memory:
            options["memory"] = self._settings.memory
        return ray.remote(**options)(function)

    def room(self) -> int:
        # no more than can train: nodes pass a task that waits to and fro, which costs more than handing it out late
        places = sum(self._look().values())
        most = min(places, self._settings.n_jobs or places)
        if self._gpus:
            node = self._free_node()
            self.gpu_memory = self._memory[node] if node else None
        return most - len(self._running)

    def _free_node(self) -> str | None:
        """A node with a GPU that no pack has been sent to."""
        taken = Counter(pack.node for pack in self._running.values())
        return next((node for node, places in self._places.items() if places > taken[node]), None)

    def submit(self, pack: list[Job]) -> None:
        parcel = parcels.wrap(pack, self._settings, self._gpus > 0)
        node = self._free_node() if self._gpus else None
        # only made for it: where others have taken that GPU it trains elsewhere, in stacks that fit there
        there = NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True) if node else None
        task = self._train.options(scheduling_strategy=there) if there else self._train
        stack = packs.fitting(self._memory[node]) if node else 1
        self._running[task.remote(parcel, self._data)] = _Pack(pack, node, stack)

    def wait(self) -> list[Ended]:
        if not self._running:
            time.sleep(0.1)
            return []
        done, rest = ray.wait(list(self._running), timeout=LOOK_SECONDS)
        done += ray.wait(rest, num_returns=len(rest), timeout=0)[0] if done and rest else []
        return [self._ended(results) for results in done]

    def _ended(self, results: Any) -> Ended:
        """The next result of a pack: there is one."""
        jobs = self._running[results].jobs
        try:
            trained = ray.get(next(results))
        except tuple(DEATHS) as error:
            began = (
                0 if isinstance(error, exceptions.TaskUnschedulableError) else self._running[results].stack
            )
            self._forget(results)
            reason = next(reason for kind, reason in DEATHS.items() if isinstance(error, kind))
            return jobs, Death(reason, began)
        except exceptions.RayError as error:
            raise EngineError(f"{self._where}: a worker cannot train ({_one_line(error)})") from None
        ended, rest = jobs[: len(trained)], jobs[len(trained) :]
        if rest:
            self._running[results].jobs = rest
        else:
            del self._running[results]
        records: list[Record] = parcels.unwrap(ended, trained)
        return ended, records

    def _forget(self, results: Any) -> None:
        """Of a pack that died also its node until that answers: Ray learns of a node's end only after a while."""
        node = self._running.pop(results).node
        with contextlib.suppress(Exception):  # only its results may be lost: it is dead, as a rule
            ray.cancel(results, force=True)
        if node:
            for known in (self._places, self._memory, self._asked):
                known.pop(node, None)

    def _look(self) -> dict[str, int]:
        """Counts the packs that the nodes can take at a time."""
        if self._places and time.monotonic() - self._looked < LOOK_SECONDS:
            return self._places
        self._looked = time.monotonic()
        there = {node["NodeID"]: self._places_on(node["Resources"]) for node in self._nodes()}
        if there:
            self._seen = self._looked
        elif self._looked - self._seen > PATIENCE_SECONDS:
            wanted = f"{self._settings.cpus} CPU, {self._gpus} GPU and {self._settings.memory or 0} bytes"
            raise EngineError(
                f"{self._where}: no node there with {wanted} for a pack within {PATIENCE_SECONDS:g} s; "
                "what is done is kept, the same command goes on"
            )
        if self._gpus:
            self._ask(list(there))
            there = {node: places for node, places in there.items() if node in self._memory}
        self._places = there
        return there

    def _ask(self, there: list[str]) -> None:
        """Asks new nodes for their GPU's memory; each answers once the GPU is free, whoever has it now."""
        for node in there:
            if node not in self._asked:
                place = NodeAffinitySchedulingStrategy(node, soft=False)
                task = self._task(nodes.gpu_memory).options(scheduling_strategy=place)
                self._asked[node] = task.remote()
        for node in set(there) - self._memory.keys():
            if ray.wait([self._asked[node]], timeout=0)[0]:
                try:
                    self._memory[node] = ray.get(self._asked[node])
                except tuple(DEATHS):
                    del self._asked[node]  # to be asked again if it is still there
                    self._mute[node] += 1
                except exceptions.RayError as error:
                    raise EngineError(f"{self._where}: a worker cannot train ({_one_line(error)})") from None

    def _nodes(self) -> list[dict[str, Any]]:
        """Nodes that can take a pack."""
        return [
            node
            for node in ray.nodes()
            if node["Alive"] and self._places_on(node["Resources"]) and self._mute[node["NodeID"]] < ASKED
        ]

    def _places_on(self, resources: dict[str, float]) -> int:
        wanted = {"CPU": self._settings.cpus, "GPU": self._gpus, "memory": self._settings.memory or 0}
        return min(int(resources.get(name, 0) // amount) for name, amount in wanted.items() if amount)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing left to cancel
            for reference in self._running:
                ray.cancel(reference, force=True)
        self._running.clear()
        ray.shutdown()


def _train(parcel: Parcel, data: list[Any]) -> Iterator[list[Trained]]:
    """On the worker; the data set stays in Ray's object store unless this node has none."""

    def supply() -> bytes:
        files: bytes = ray.get(data[0])
        return files

    yield from parcels.train(parcel, supply if data else None)


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
