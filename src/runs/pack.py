"""Trains a pack of jobs and writes what they leave; a run that fails touches no other."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from src import components, config, provenance
from src.errors import InputError, MachineError, is_of_the_disk, writing
from src.runs import store
from src.runs.job import LOCKS, Job, Record, final_record
from src.runs.record import Row, begin, epoch_line, make_record, record_broken, run_log

if TYPE_CHECKING:
    from src.training.trainer import Trained

_gpu_lost = False
"""Whether an assertion has failed on this process's GPU, which then gives it nothing but errors."""


class GpuLostError(RuntimeError):
    """This process can train nothing on its GPU any more; another process can."""


Progress = Callable[[Job, Row], None]
"""Is told each job's row after each of its epochs."""


def train_jobs(jobs: Sequence[Job], progress: Progress | None = None) -> list[Record]:
    """Train and record a pack of jobs that can train together; one that fails does not touch the others.

    On a CPU they train one after the other: a core runs these products at its peak already, and a killed pack
    loses one run's work instead of all. On a GPU they train as one stack.

    Args:
        jobs: checked jobs, all of one kind (see `queue.kind`).
        progress: told of each epoch.

    Returns:
        Each job's record, in order. A job that another process finished in the meantime is not trained again.

    Raises:
        GpuLostError: if a run of a stack has cost this process its GPU, or an earlier one has: which run it was
            is seen where each trains alone.
    """
    device = config.resolve_device(jobs[0].run.device)
    if device == "cuda" and _gpu_lost:
        raise GpuLostError
    stacks = [[job] for job in jobs] if device == "cpu" else [jobs]
    return [record for stack in stacks for record in _train_stack(stack, device, progress)]


def receive(job: Job, files: Mapping[str, bytes]) -> Record:
    """Write the files of a run that was trained where this disk is not; `run.json` last, each in one step.

    Returns:
        The run's record; that of another process which finished the run in the meantime, if one did.
    """
    try:
        with _lock(job):
            if record := final_record(job):
                return record
            begin(job)
            for name in sorted(files, key=lambda name: name == "run.json"):
                store.write_whole(job.folder / name, files[name])
    except OSError as error:
        return record_broken(job, error)
    return json.loads(files["run.json"])


def gpu_lost() -> bool:
    """Whether a run has cost this process its GPU."""
    return _gpu_lost


def _loses_gpu() -> bool:
    """Looks, after an error, whether the GPU still answers this process."""
    import torch

    global _gpu_lost
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        _gpu_lost = True
    return _gpu_lost


def _lock(job: Job) -> FileLock:
    lock = Path(job.run.output) / LOCKS / job.id
    for folder in (job.folder, lock.parent):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _train_stack(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    done: dict[str, Record] = {}
    with contextlib.ExitStack() as locks:
        # every process takes its locks in this order, so that no two wait for each other
        for job in sorted({job.id: job for job in jobs}.values(), key=lambda job: job.id):
            try:
                locks.enter_context(_lock(job))
                job.folder.mkdir(exist_ok=True)  # `src.clean` may have had the lock before
                record = final_record(job)  # another process may have finished it while we waited
            except OSError as error:
                record = record_broken(job, error)
            if record:
                done[job.id] = record
        waiting = [job for job in jobs if job.id not in done]
        if waiting:
            trained = _train_locked(waiting, device, progress)
            done |= {job.id: record for job, record in zip(waiting, trained, strict=True)}
    return [done[job.id] for job in jobs]


def _train_locked(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    try:
        return _train_together(jobs, device, progress)
    except OSError as error:
        if len(jobs) == 1 or is_of_the_disk(error):
            return [record_broken(jobs[0], error)]
        return _apart(jobs, device, progress)  # the folder of one of these is broken


def _apart(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    """In two halves: of R runs one that is at fault costs 2 log₂ R smaller stacks, not R runs alone."""
    half = len(jobs) // 2
    return [record for part in (jobs[:half], jobs[half:]) for record in _train_locked(part, device, progress)]


def _train_together(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    import torch

    from src.data import load_bytes
    from src.training.trainer import train

    started = time.perf_counter()
    if device == "cpu":
        torch.set_num_threads(1)
    rows: list[list[Row]] = [[] for _ in jobs]
    with contextlib.ExitStack() as open_logs:
        logs = [open_logs.enter_context(run_log(job)) for job in jobs]

        def report(epoch_rows: Sequence[Row]) -> None:
            for job, row, job_rows, log in zip(jobs, epoch_rows, rows, logs, strict=True):
                if job_rows and not math.isfinite(job_rows[-1]["train_loss"] + job_rows[-1]["test_loss"]):
                    continue
                job_rows.append(row)
                store.write_metrics(job.folder, job_rows)
                log.info(epoch_line(row, job.run.epochs))
                if progress:
                    progress(job, row)

        try:
            for job in jobs:
                provenance.check(job.run, job.provenance)
            data = load_bytes(**jobs[0].run.data)
            trained = train([job.run for job in jobs], _images(data, device), data.classes, report)
        except MachineError:
            raise  # it is not the runs' fault
        except components.RAISED as error:
            lost = device == "cuda" and _loses_gpu()
            if len(jobs) > 1:  # a run of the stack is at fault, and only training them apart tells which
                if lost:
                    raise GpuLostError from error
                return _apart(jobs, device, progress)
            return [_failed(jobs[0], rows[0], error, logs[0], time.perf_counter() - started)]
        seconds = (time.perf_counter() - started) / len(jobs)
        return [
            _ended(job, trained, number, rows[number], logs[number], seconds)
            for number, job in enumerate(jobs)
        ]


@lru_cache(maxsize=2)  # a sweep may try many splits of a data set
def _images(data: Any, device: str) -> Any:
    import torch

    from src.training.images import Images

    return Images(data, torch.device(device))


def _failed(
    job: Job, rows: Sequence[Row], error: BaseException, log: logging.Logger, seconds: float
) -> Record:
    """Records a run in which an exception was raised."""
    log.error("failed: %s", error, exc_info=error)
    store.write_metrics(job.folder, rows)
    names = {group: getattr(job.run, group).name for group in provenance.GROUPS}
    message = str(error) if isinstance(error, InputError) else components.in_hook(error, names)
    record = make_record(job, store.FAILED, message, rows=rows, seconds=seconds)
    store.write_record(job.folder, record)
    return record


def _ended(
    job: Job, trained: Trained, number: int, rows: Sequence[Row], log: logging.Logger, seconds: float
) -> Record:
    """Records a run that finished or diverged, the stack's run of this number, and writes what else it leaves."""
    import torch

    from src.training.probes import of_run

    epoch = trained.diverged_in[number]
    error = f"the loss ceased to be finite in epoch {epoch}" if epoch else None
    contents: dict[str, bytes] = {}
    if error:
        log.error("diverged: %s", error)
    elif job.run.save_model:
        weights = io.BytesIO()
        torch.save(trained.state(number), weights)
        contents[store.WEIGHTS] = weights.getvalue()
    for name, table in zip(store.PROBES, (trained.probed, trained.test_time), strict=True):
        if table:
            contents[name] = store.csv_text(list(table[0][1]), of_run(table, number)).encode()
    for name, content in contents.items():
        store.write_whole(job.folder / name, content)
    contents["metrics.csv"] = (job.folder / "metrics.csv").read_bytes()
    record = make_record(
        job,
        store.DIVERGED if epoch else store.FINISHED,
        error,
        rows=rows,
        seconds=seconds,
        parameters=trained.parameters,
        files={name: store.digest(content) for name, content in contents.items()},
    )
    store.write_record(job.folder, record)
    return record
