"""A pack on its way to another machine, and its results on their way back."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from src import run as runs
from src.checks import ConfigError
from src.engines import nodes
from src.engines.nodes import Supply
from src.engines.settings import PREFIX, Settings
from src.packs import GPU_MEMORY_PER_RUN
from src.run import Job, Record


@dataclass(frozen=True)
class Parcel:
    """Jobs of one kind as a worker gets them: absolute paths, its own device."""

    jobs: list[Job]
    shared: bool
    """Whether the worker sees the output folder and writes into it."""
    data_root: str | None


@dataclass(frozen=True)
class Trained:
    """What a worker gives back for a job: its record, and where it does not share our disk, the run's files."""

    record: Record
    files: dict[str, bytes]


def gpus(settings: Settings, jobs: Sequence[Job]) -> int:
    """GPUs that each of these packs takes: what is asked for, else 1 with device=cuda.

    Raises:
        ConfigError: if it does not go with the device.
    """
    device = jobs[0].run.device
    wanted = int(device == "cuda") if settings.gpus is None else settings.gpus
    if wanted and device == "cpu":
        raise ConfigError(PREFIX + "gpus", wanted, "a run with device=cpu takes none; add device=cuda")
    if not wanted and device == "cuda":
        raise ConfigError(PREFIX + "gpus", wanted, "a run with device=cuda takes 1")
    return wanted


def wrap(pack: Sequence[Job], settings: Settings, gpu: bool) -> Parcel:
    """A pack for the way. The device is what the engine reserves: `auto` might find another sweep's GPU."""
    jobs = []
    for job in pack:
        output, device = str(Path(job.run.output).absolute()), "cuda" if gpu else "cpu"
        run = replace(job.run, output=output, device=device)
        # without a common disk this process writes .hydra/, which names the run's folder as it is here
        jobs.append(replace(job, run=run, hydra=job.hydra if settings.shared else {}))
    return Parcel(jobs, settings.shared, nodes.data_root(pack))


def train(parcel: Parcel, supply: Supply | None = None) -> list[Trained]:
    """On the worker: train the jobs, in a private folder where the output folder is not in reach."""
    jobs = parcel.jobs
    if parcel.data_root is not None:
        root = nodes.held_data(parcel.data_root, supply)
        jobs = [_with(job, data={**job.run.data, "root": root}) for job in jobs]
    if parcel.shared:
        return [Trained(record, {}) for record in _records(jobs)]
    with tempfile.TemporaryDirectory(prefix="dropout-sweeps-") as folder:
        jobs = [_with(job, output=folder) for job in jobs]
        return [
            Trained(record, {path.name: path.read_bytes() for path in job.folder.iterdir() if path.is_file()})
            for job, record in zip(jobs, _records(jobs), strict=True)
        ]


def _records(jobs: list[Job]) -> list[Record]:
    """Train them; on a GPU in parts that fit it, which may be smaller than the one the pack was made for."""
    size = len(jobs)
    if jobs[0].run.device == "cuda" and (memory := nodes.gpu_memory()):
        size = max(1, memory // GPU_MEMORY_PER_RUN)
    return [record for at in range(0, len(jobs), size) for record in runs.train_jobs(jobs[at : at + size])]


def _with(job: Job, **changes: object) -> Job:
    return replace(job, run=replace(job.run, **changes))  # type: ignore[arg-type]


def unwrap(pack: Sequence[Job], trained: Sequence[Trained]) -> list[Record]:
    """Back in the main process: the records, once the files that came with them are written."""
    return [
        runs.receive(job, one.files) if one.files else one.record
        for job, one in zip(pack, trained, strict=True)
    ]
