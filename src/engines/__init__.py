"""Where packs run: `hydra.launcher.backend`. An engine runs them and says what came of each; `src.workers` decides.

An engine is one file here, imported only when it is chosen, with a class `Backend` in it:

    Backend(settings)    start, or connect to what runs already; workers import while the sweep is planned
    prepare(jobs, …)     told what is waiting, once, before the first pack
    room()               how many more packs it can take now
    submit(pack)         send one on its way
    wait()               wait for news: jobs that have ended, with their records or with a Death
    close()              cancel what is queued, end what runs, leave nothing behind
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from src.checks import ConfigError
from src.engines.settings import BACKENDS, Settings
from src.errors import MachineError
from src.packs import LARGEST_CPU_PACK, PACK_SECONDS
from src.run import Job, Record


@dataclass(frozen=True)
class Death:
    """Jobs gave no records because what ran them is gone; another try may go well."""

    reason: str
    """In a few words, for people: "killed, out of memory?"."""
    began: int | None = None
    """How many of the jobs, the first ones, may have been at it; the others cannot be to blame. None: all may."""


Ended = tuple[list[Job], list[Record] | Death]
"""A pack or a part of it, and each of these jobs' records or what became of their worker."""


class EngineError(MachineError):
    """The engine cannot train any more, or not yet: one line; the same command goes on from where it was."""


class Engine(ABC):
    """What the policy in `src.workers` knows of an engine."""

    workers = 1
    """Packs that train at the same time, as far as it is known before the first one; right after `prepare`."""
    gpu_memory: int | None = None
    """Bytes free on the GPU that the next pack goes to; None for a CPU. Right after `room` found a place for it."""
    shares_fate = False
    """Whether a worker that dies takes all packs under way with it."""
    pack_seconds, largest_pack = PACK_SECONDS, LARGEST_CPU_PACK
    """How long a pack may train on a CPU, seconds, and how many runs may be in it."""

    @abstractmethod
    def __init__(self, settings: Settings) -> None:
        """Start or connect.

        Raises:
            ConfigError, EngineError: if that cannot be.
        """

    is_prepared = False
    """Whether `prepare` has been called."""

    @abstractmethod
    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        """Told what is waiting, once, before the first pack; sets `workers`.

        A search brings its jobs in batches: those of the first are told, and `at_once` is how many there are in a
        full one.
        """

    @abstractmethod
    def room(self) -> int:
        """How many more packs it can take now.

        Raises:
            EngineError: if nothing is left that could train.
        """

    @abstractmethod
    def submit(self, pack: list[Job]) -> None:
        """Send a pack of one kind on its way; returns at once. What goes wrong with it is told by `wait`."""

    @abstractmethod
    def wait(self) -> list[Ended]:
        """Jobs that have ended since the last call; waits a while for one, and may come back with none.

        Where workers have no disk in common with us jobs come as they end (on a GPU as their stack does), so that
        what came is not lost with the worker.
        """

    @abstractmethod
    def close(self) -> None:
        """Cancel what is queued and end what runs, at once, in the middle of whatever it does."""


def start(settings: Settings) -> Engine:
    """The engine that `hydra.launcher.backend` names, started.

    Raises:
        EngineError: if its package is not installed; ConfigError: if an option does not fit it.
    """
    package = BACKENDS[settings.backend].package
    if importlib.util.find_spec(package) is None:
        what = f"pip install -e '.[{settings.backend}]'"
        raise ConfigError("hydra.launcher.backend", settings.backend, f"{package} is not installed: {what}")
    module = importlib.import_module(f"src.engines.{settings.backend}")
    engine: Engine = module.Backend(settings)
    return engine
