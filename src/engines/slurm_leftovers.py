"""What jobs of a sweep have left whose main process was killed: runs that have ended, and that nobody has taken."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from src import run as runs
from src.engines import parcels
from src.engines.child import answered
from src.engines.parcels import Trained
from src.run import Job, Record


class Leftovers:
    """Results stay on disk until the run is asked for, by this sweep or by a later one."""

    def __init__(self) -> None:
        self._file_of: dict[str, Path] = {}  # by run
        self._runs_in: dict[Path, set[str]] = {}

    def add(self, folder: Path) -> None:
        """A sweep's folder whose jobs have ended or are cancelled; what is no result in it is removed."""
        results = [*(folder / "results").glob("[!.]*"), *(folder / "jobs").glob("*_result.pkl")]
        for path in results:
            ids = {one.record["id"] for one in _read(path) if one.files and runs.is_final(one.record)}
            self._file_of |= dict.fromkeys(ids, path)
            self._runs_in[path] = ids
        for path in [path for path in results if not self._runs_in[path]]:
            self._done(path)
        (folder / "data").unlink(missing_ok=True)
        shutil.rmtree(folder / "code", ignore_errors=True)
        _remove_if_empty(folder)

    def take(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Record]]:
        """Those of the jobs that have ended, and their records, once their files are where they belong."""
        taken: list[Job] = []
        records: list[Record] = []
        wanted = [job for job in jobs if job.run.resume and job.id in self._file_of]
        for path in dict.fromkeys(self._file_of[job.id] for job in wanted):
            found = {one.record["id"]: one for one in _read(path)}
            own = [job for job in wanted if self._file_of[job.id] == path and job.id in found]
            records += parcels.unwrap(own, [found[job.id] for job in own])
            taken += own
            self._runs_in[path] -= {job.id for job in own}
            if not self._runs_in[path]:
                self._done(path)
        for job in wanted:
            del self._file_of[job.id]
        return taken, records

    def _done(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        del self._runs_in[path]
        _remove_if_empty(path.parent.parent)


def remove(folder: Path) -> None:
    """A job that has been cancelled may still be writing into it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)
    with contextlib.suppress(OSError):  # another sweep's is beside it
        folder.parent.rmdir()


def _remove_if_empty(folder: Path) -> None:
    if not any([*(folder / "results").glob("[!.]*"), *(folder / "jobs").glob("*_result.pkl")]):
        remove(folder)


def _read(path: Path) -> list[Trained]:
    """Nothing where the file is gone, damaged or of another version: its runs are trained again."""
    try:
        found = pickle.loads(path.read_bytes())
        if path.parent.name == "jobs":
            found = answered(found[1]) if found[0] == "success" else []
        return [one for one in found if one.record["id"]]
    except Exception:
        return []
