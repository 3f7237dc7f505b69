"""A pack on its way to another machine, and its results on their way back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from src.data import resolve
from src.engines import nodes
from src.engines.queue import fitting
from src.engines.settings import PREFIX, Settings
from src.errors import InputError
from src.runs.job import Job, Record
from src.runs.pack import GpuLostError, receive, train_jobs

Trained = tuple[Record, dict[str, bytes]]
"""A run's record, and its files where its worker does not write into the output folder itself."""


def gpus(settings: Settings, jobs: Sequence[Job]) -> int:
    """GPUs that a pack of these jobs takes: what is asked for, else 1 with device=cuda.

    Raises:
        InputError: if it does not go with the device.
    """
    device = jobs[0].run.device
    if device == "xpu":
        raise InputError("device", device, "trains on this machine alone, by hydra.launcher.backend=loky")
    wanted = int(device == "cuda") if settings.gpus is None else settings.gpus
    if wanted and device == "cpu":
        raise InputError(PREFIX + "gpus", wanted, "a run with device=cpu takes none; add device=cuda")
    if not wanted and device == "cuda":
        raise InputError(PREFIX + "gpus", wanted, "a run with device=cuda takes 1")
    return wanted


def wrap(pack: Sequence[Job], settings: Settings, gpu: bool) -> list[Job]:
    """A pack for the way: absolute paths, and the device that the engine reserves (`auto` might find another's)."""
    device = "cuda" if gpu else "cpu"
    jobs = []
    for job in pack:
        data = job.run.data.changed(root=str(resolve(job.run.data.root)))
        output = str(Path(job.run.output).absolute())
        # without a common disk this process writes .hydra/, which names the run's folder as it is here
        hydra = job.hydra if settings.shared else {}
        jobs.append(replace(_with(job, output=output, device=device, data=data), hydra=hydra))
    return jobs


def train(jobs: Sequence[Job], shared: bool, supply: Callable[[], bytes]) -> tuple[int, list[Trained]]:
    """On the worker: train a pack, or of one that was meant for a larger GPU the first runs, as many as fit.

    Args:
        jobs: as `wrap` gave them.
        shared: whether this worker sees the output folder; else they are trained in a private one.
        supply: gives the data set, as `nodes.data_files` packed it; for a node that has none.

    Returns:
        Bytes free on the GPU, 0 for a CPU; what has been trained, in order.
    """
    gpu_memory = 0
    if jobs[0].run.device == "cuda":
        gpu_memory = nodes.gpu_memory()
        jobs = jobs[: fitting(gpu_memory)]
    if root := nodes.data_root(jobs):
        root = nodes.held_data(root, supply)
        jobs = [_with(job, data=job.run.data.changed(root=root)) for job in jobs]
    if shared:
        return gpu_memory, [(record, {}) for record in _train(jobs)]
    with tempfile.TemporaryDirectory(prefix="dropout-sweeps-") as private:
        jobs = [_with(job, output=private) for job in jobs]
        records = _train(jobs)
        return gpu_memory, [(record, _files(job.folder)) for job, record in zip(jobs, records, strict=True)]


def _train(jobs: Sequence[Job]) -> list[Record]:
    try:
        return train_jobs(jobs)
    except GpuLostError:
        os._exit(1)  # whatever starts processes here starts another one


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _with(job: Job, **changes: object) -> Job:
    return replace(job, run=replace(job.run, **changes))  # type: ignore[arg-type]


def unwrap(jobs: Sequence[Job], trained: Sequence[Trained]) -> list[Record]:
    """Back in the main process: the records, once the files that came with them are written."""
    return [
        receive(job, files) if files else record for job, (record, files) in zip(jobs, trained, strict=True)
    ]
