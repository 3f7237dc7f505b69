"""How far a sweep is, for whoever watches it: `.progress.json` in its folder, only while its process goes on.

A process that was killed leaves the file behind; `read` then says that nobody is at it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from src.runs import store

FILE = ".progress.json"


@dataclass(frozen=True)
class Progress:
    """What the main process of a sweep says of it."""

    started: float
    """Seconds since 1970, as in `written`."""
    runs: int
    """In all, as far as is known; of a search and of looks also those that are to come, at most."""
    left: float | None
    """Seconds, from `written` on; None while nothing can be said."""
    written: float
    host: str
    process: int


def write(folder: Path, started: float, runs: int, left: float | None) -> None:
    progress = Progress(started, runs, left, time.time(), socket.gethostname(), os.getpid())
    store.write_whole(folder / FILE, json.dumps(asdict(progress)) + "\n")


def end(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)


def read(folder: Path) -> Progress | None:
    """None where no process is at the sweep. Of another machine's process nobody here knows whether it lives."""
    try:
        progress = Progress(**json.loads((folder / FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    is_dead = progress.host == socket.gethostname() and not store.is_alive(progress.process)
    return None if is_dead else progress
