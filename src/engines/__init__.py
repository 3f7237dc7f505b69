"""Where packs run: `hydra.launcher.backend`. An engine runs them and reports; `src.engines.policy` decides.

An engine is one file here, imported only when it is chosen, with a subclass of `Engine` named `Backend` in it.
Starting loky's imports no torch: its workers import it at the same time as this process does, and not after it.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from src.engines.queue import LARGEST_CPU_PACK, PACK_SECONDS
from src.engines.settings import BACKENDS, Settings
from src.errors import InputError, MachineError

if TYPE_CHECKING:
    from src.runs.job import Job, Record


@dataclass(frozen=True)
class Slot:
    """Free capacity for one more pack."""

    gpu_memory: int | None = None
    """Bytes free on its GPU, as far as is known; None for a CPU."""


@dataclass(frozen=True)
class Death:
    """Jobs gave no records because what ran them is gone; another try may go well."""

    reason: str
    """In a few words, for people: "killed, out of memory?"."""


Outcome: TypeAlias = "tuple[list[Job], list[Record] | Death]"
"""Jobs of a pack, and what happened to their worker, or the records of the first of them, in order.

Jobs that lack one had not begun: they are handed back.
"""


class EngineError(MachineError):
    """The engine cannot train any more, or not yet: one line; the same command goes on from where it was."""


class Engine(ABC):
    """What the policy in `src.engines.policy` knows of an engine.

    An engine starts, or connects to what runs, as it is made: its workers import while the sweep is planned.
    """

    workers = 1
    """Packs that train at the same time, as far as the last `prepare` could tell."""
    shares_fate = False
    """Whether a worker that dies takes all packs under way with it."""
    pack_seconds, largest_pack = PACK_SECONDS, LARGEST_CPU_PACK
    """How long a pack may train on a CPU, seconds, and how many runs may be in it."""

    @abstractmethod
    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        """Learn what is waiting, before any of it is submitted; may be called again.

        A search brings its jobs bit by bit: `at_once` is how many of them may train at the same time. While packs
        are under way it does not change.
        """

    @abstractmethod
    def slot(self) -> Slot | None:
        """Where one more pack can train; None while none can.

        Raises:
            EngineError: if nothing is left that could train.
        """

    @abstractmethod
    def submit(self, pack: list[Job]) -> None:
        """Send a pack of one kind on its way to a free slot. `wait` reports what goes wrong with it."""

    @abstractmethod
    def wait(self) -> list[Outcome]:
        """Outcomes since the last call; waits a while for one, and may come back with none."""

    @abstractmethod
    def close(self) -> None:
        """Cancel what is queued, end what runs in the middle of whatever it does, leave nothing behind."""


def start(settings: Settings) -> Engine:
    """The engine that `hydra.launcher.backend` names, started.

    Raises:
        EngineError: if it cannot be used.
        InputError: if its package is not installed, or an option does not fit.
    """
    package = BACKENDS[settings.backend].package
    if importlib.util.find_spec(package) is None:
        what = f"pip install -e '.[{settings.backend}]'"
        raise InputError("hydra.launcher.backend", settings.backend, f"{package} is not installed: {what}")
    module = importlib.import_module(f"src.engines.{settings.backend}")
    return module.Backend(settings)
