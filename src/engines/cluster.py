"""What Dask and Ray have in common: workers on other machines, which come and go."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from src.engines import Engine, EngineError, Outcome, Slot, nodes, parcels
from src.engines.parcels import Trained
from src.engines.queue import GPU_MEMORY
from src.engines.settings import PREFIX, Settings
from src.runs.job import Job, Record

CONNECT_SECONDS = 15
PATIENCE_SECONDS = 60.0
"""How long we wait for a worker when there is none: one may be about to start, or to be started again."""

LOOK_SECONDS = 0.5
"""Seconds between two looks at which workers there are."""


class Cluster(Engine):
    """Which GPU a pack gets is not known before: its worker trains the first runs, as many as fit, and tells."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        key, value = ("address", settings.address) if settings.address else ("backend", settings.backend)
        self._where = f"{PREFIX}{key}={value}"
        self._running: dict[Any, list[Job]] = {}  # each pack by what the engine knows it by
        self._gpus = settings.gpus or 0
        self._gpu_memory = 0  # the most that a worker has told of
        self._data: Any = None  # what `_put` gave
        self._places = 0
        self._looked, self._seen = 0.0, time.monotonic()

    @abstractmethod
    def _count(self) -> int:
        """Packs that the workers which are there can take at a time."""

    @abstractmethod
    def _put(self, data: bytes) -> Any:
        """Put the data set where a worker can take it from."""

    @abstractmethod
    def _outcomes(self) -> list[Outcome]:
        """What `wait` returns while something runs."""

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self._gpus = parcels.gpus(self._settings, jobs)
        root = nodes.data_root(jobs)
        if root and self._data is None:
            self._data = self._put(nodes.data_files(root))
        while not self._look():
            time.sleep(0.1)
        self.workers = min(self._places, self._settings.n_jobs or self._places)

    def slot(self) -> Slot | None:
        # no more than can train: to hand out late costs less than a pack that waits at a busy worker
        if len(self._running) >= min(self._look(), self._settings.n_jobs or self._places):
            return None
        return Slot(self._gpu_memory or GPU_MEMORY) if self._gpus else Slot()

    def wait(self) -> list[Outcome]:
        if not self._running:
            time.sleep(0.1)
            return []
        return self._outcomes()

    def _look(self) -> int:
        """`_count`, at most LOOK_SECONDS old."""
        if self._places and time.monotonic() - self._looked < LOOK_SECONDS:
            return self._places
        self._places, self._looked = self._count(), time.monotonic()
        if self._places:
            self._seen = self._looked
        elif self._looked - self._seen > PATIENCE_SECONDS:
            lacking = f"{self._settings.cpus} CPU, {self._gpus} GPU and {self._settings.memory or 0} bytes"
            raise EngineError(
                f"{self._where}: no worker there with {lacking} for a pack within {PATIENCE_SECONDS:g} s; "
                "what is done is kept, the same command goes on"
            )
        return self._places

    def _records(self, pack: list[Job], result: tuple[int, list[Trained]]) -> list[Record]:
        """What `parcels.train` returned, once its files are written."""
        gpu_memory, trained = result
        self._gpu_memory = max(self._gpu_memory, gpu_memory)
        return parcels.unwrap(pack[: len(trained)], trained)
