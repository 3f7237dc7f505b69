"""Loggers: finished runs in the experiment tracker of one's choice, one file each; off by default.

`logger=NAME` asks for `src/loggers/NAME.py`. It holds `PACKAGE`, the package that must be installed, and `Tracker`,
a subclass of `Logger`. What a run is called and which numbers it has stands in a `LoggedRun`, so that such a file
knows nothing of our folders. No logger is part of an ID or a name, and none can stop a run.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from src.errors import InputError

PROJECT = "dropout-sweeps"
"""What a tracker calls all of it, unless a variable of the tracker's own says otherwise."""


@dataclass(frozen=True)
class LoggedRun:
    """A run that has ended, as a tracker is told of it."""

    id: str
    name: str
    """Its overrides, for people."""
    sweep: str
    """Of its sweep's folder the name; empty for a single run."""
    state: str
    """finished or diverged."""
    params: Mapping[str, Any]
    """The config, flat: numbers, words, truth values, None."""
    rows: Sequence[Mapping[str, float]]
    """A row an epoch: `epoch`, and the metrics that it has; NaN where the loss was."""
    ended: float
    """Seconds since 1970."""

    @property
    def diverged(self) -> bool:
        return self.state == "diverged"

    def times(self) -> list[float]:
        """When each epoch ended, in seconds since 1970."""
        left = [
            sum(row.get("seconds", 0.0) for row in self.rows[done + 1 :]) for done in range(len(self.rows))
        ]
        return [self.ended - seconds for seconds in left]


class Logger(ABC):
    """One tracker; files that it keeps on this machine stand below the output folder.

    Args:
        output: the output folder.
    """

    @abstractmethod
    def __init__(self, output: Path) -> None: ...

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it writes, and how that is shown: the end of a sentence."""

    @abstractmethod
    def known(self) -> set[str]:
        """IDs of the runs that it holds whole."""

    @abstractmethod
    def log(self, run: LoggedRun) -> None:
        """Write a run that it does not hold whole; half of it, of a process that was killed, is replaced."""


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def option(value: Any) -> tuple[str, ...]:
    """The config's `logger`: null, a name or a list of names.

    Raises:
        ValueError: saying what is right.
    """
    chosen = () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
    if any(name not in names() for name in chosen) or len(set(chosen)) < len(chosen):
        raise ValueError(f"must be null, one of {', '.join(names())}, or a list such as [mlflow,tensorboard]")
    return chosen


def check(chosen: Sequence[str], key: str = "logger") -> None:
    """Refuses a tracker whose package is not installed.

    Args:
        key: what it was asked for by.

    Raises:
        InputError: naming the package, and the extra that brings it.
    """
    for name in chosen:
        package = _module(name).PACKAGE
        if find_spec(package) is None:
            right = f"the package {package} is not installed; pip install -e '.[trackers]' brings it"
            raise InputError(key, name, right)


def make(name: str, output: Path) -> Logger:
    """The tracker of this name; its package is imported only now."""
    return _module(name).Tracker(output)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
