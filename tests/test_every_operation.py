"""A small run and a small sweep, ended at each of their file operations: what is begun again has the same files.

The shim counts whatever Python opens for writing, renames, removes and makes below the output folder, and each half
of what it writes. It ends the process there, or raises what a full disk raises.
"""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from configs import DIGITS, make_job
from omegaconf import OmegaConf

from src.engines import Engine, Outcome, Slot
from src.errors import is_of_the_disk
from src.runs import pack, store, sweep_folder
from src.runs.curves import draw_curves
from src.runs.job import Job, final_record, ready
from src.sweeping.campaign import Campaign
from src.sweeping.display import Display
from src.sweeping.sweep import save_multirun

KILLED, NOT_REACHED, GAVE_OUT, WENT_ON, WRONG = 9, 0, 3, 4, 1
MOST = 300
HYDRA: dict[str, Any] = {"overrides": {}, "runtime": {}, "job": {}}


class Here(Engine):
    """Trains in this process."""

    def __init__(self) -> None:
        self._packs: list[list[Job]] = []

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        pass

    def slot(self) -> Slot | None:
        return None if self._packs else Slot()

    def submit(self, pack: list[Job]) -> None:
        self._packs.append(pack)

    def wait(self) -> list[Outcome]:
        jobs = self._packs.pop()
        return [(jobs, pack.train_jobs(jobs))]

    def close(self) -> None:
        pass


def job(output: Path, number: int, **changes: Any) -> Job:
    small = {
        "data": DIGITS,
        "model": {"hidden1": 4, "hidden2": 4},
        "epochs": 1,
        "batch_size": 1437,
        "seed": number,
        "output": str(output),
        **changes,
    }
    return make_job(number, [f"seed={number}"], HYDRA, **small)


def run(output: Path) -> None:
    whole = job(output, 0, save_model=True, probe={"every": "epoch"})
    if final_record(whole) is None:
        ready([whole.run])
        pack.train_jobs([whole])


def curves(output: Path) -> None:
    """Of a finished run."""
    folder = output / "runs" / job(output, 0).id
    if not (folder / "curves.png").exists():
        draw_curves(folder)


def sweep(output: Path) -> None:
    folder, jobs = output / "sweeps" / "seeds", [job(output, 0), job(output, 1)]
    sweep_folder.check(folder, "seed=0,1")
    ready([job.run for job in jobs])
    sweep_folder.claim(folder, "seed=0,1", output)
    save_multirun(folder, OmegaConf.create({"hydra": {}}))
    with Campaign(folder, ["seed"], Here(), Display(["seed"]), pack_size=1) as campaign:
        campaign.train(jobs)


class Shim:
    """Does something before the operation of this number, and counts them all."""

    def __init__(self, output: Path, number: int, act: Callable[[], None]) -> None:
        self._root, self._left, self._act = str(output), number, act
        sys.addaudithook(self._heard)
        write, emit = Path.write_bytes, logging.StreamHandler.emit

        def write_bytes(path: Path, content: bytes) -> int:
            if not str(path).startswith(self._root):
                return write(path, content)
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                self.count()
                return file.write(content[len(content) // 2 :])

        def emitted(handler: Any, record: Any) -> None:
            try:
                self.count()
            except OSError:
                handler.handleError(record)
            emit(handler, record)

        Path.write_bytes = write_bytes  # type: ignore[method-assign, assignment]
        logging.StreamHandler.emit = emitted  # type: ignore[method-assign]

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            counts = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            path, counts = arguments[0] if arguments else "", event in CHANGES
        if (
            counts
            and isinstance(path, str | bytes | os.PathLike)
            and os.fsdecode(path).startswith(self._root)
        ):
            self.count()

    @property
    def has_acted(self) -> bool:
        return self._left < 0

    def count(self) -> None:
        self._left -= 1
        if self._left == -1:
            self._act()


CHANGES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.utime",
)


def die() -> None:
    os._exit(KILLED)


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def child(work: Callable[[Path], None], output: Path, number: int, act: Callable[[], None]) -> int:
    """Does the work in a process of its own up to the operation of this number; its exit code."""
    process = os.fork()
    if process == 0:
        code = WRONG
        try:
            shim = Shim(output, number, act)
            work(output)
            code = WENT_ON if shim.has_acted else NOT_REACHED
        except OSError as error:
            code = GAVE_OUT if is_of_the_disk(error) else WRONG
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def is_finished(folder: Path) -> bool:
    """Whether a run is whole and finished; a damaged one is trained again."""
    try:
        record = store.read_record(folder)
    except store.Damaged:
        return False
    return record is not None and record["state"] == store.FINISHED


def files(output: Path) -> dict[str, Any]:
    """Every file, without what time it took."""
    return {
        str(path.relative_to(output)): untimed(path) for path in sorted(output.rglob("*")) if path.is_file()
    }


def untimed(path: Path) -> Any:
    if path.name in ("runs.csv", "metrics.csv"):
        with path.open(newline="") as file:
            return [{**row, "seconds": ""} for row in csv.DictReader(file)]
    if path.name == "run.json":
        record = json.loads(path.read_bytes())
        files = {**record["files"], "metrics.csv": ""}  # a digest of a file with times
        return {**record, "seconds": 0, "final": {**record["final"], "seconds": 0}, "files": files}
    if path.name == "train.log":
        return re.sub(r"(?m)^[-\d]+ [\d:,]+|[\d.]+ s$", "", path.read_text())
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("act", [die, full])
@pytest.mark.parametrize("work", [run, curves, pytest.param(sweep, marks=pytest.mark.slow)])
def test_what_is_begun_again_ends_in_the_same_files(
    tmp_path: Path, work: Callable[[Path], None], act: Callable[[], None]
) -> None:
    output, before = tmp_path / "outputs", tmp_path / "before"
    before.mkdir()
    if work is curves:
        pack.train_jobs([job(output, 0)])
        before.rmdir()
        output.rename(before)
    shutil.copytree(before, output)
    work(output)
    whole = files(output)
    for number in range(MOST):
        shutil.rmtree(output)
        shutil.copytree(before, output)
        code = child(work, output, number, act)
        left = [path for path in output.glob("runs/*/run.json") if is_finished(path.parent)]
        times = {path: path.stat().st_mtime_ns for path in left}
        if code == NOT_REACHED:
            break
        assert code in ((KILLED,) if act is die else (GAVE_OUT, WENT_ON)), number
        work(output)
        assert files(output) == whole, number
        assert {path: path.stat().st_mtime_ns for path in left} == times, "a finished run was trained again"
    assert files(output) == whole
    assert 3 <= number < MOST
