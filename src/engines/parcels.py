"""A pack on its way to another machine, and its results on their way back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from src import packs
from src import run as runs
from src.checks import ConfigError
from src.engines import nodes
from src.engines.nodes import Supply
from src.engines.settings import PREFIX, Settings
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


def train(parcel: Parcel, supply: Supply | None = None) -> Iterator[list[Trained]]:
    """On the worker: train the jobs, in a private folder where the output folder is not in reach.

    Yields:
        What has trained together, as soon as it has: on a CPU a run each, on a GPU as many as fit this one, which
        may be smaller than the one the pack was made for. All in the jobs' order.
    """
    jobs = parcel.jobs
    if parcel.data_root is not None:
        root = nodes.held_data(parcel.data_root, supply)
        jobs = [_with(job, data=job.run.data.changed(root=root)) for job in jobs]
    size = packs.fitting(nodes.gpu_memory()) if jobs[0].run.device == "cuda" else 1
    stacks = (jobs[at : at + size] for at in range(0, len(jobs), size))
    if parcel.shared:
        yield from ([Trained(record, {}) for record in runs.train_jobs(stack)] for stack in stacks)
        return
    for stack in stacks:
        with tempfile.TemporaryDirectory(prefix="dropout-sweeps-") as folder:
            private = [_with(job, output=folder) for job in stack]
            records = runs.train_jobs(private)
            trained = [Trained(record, _files(job)) for job, record in zip(private, records, strict=True)]
        yield trained


def train_all(parcel: Parcel) -> list[Trained]:
    """`train`, for who takes the results of all the jobs at once."""
    return [trained for stack in train(parcel) for trained in stack]


def _files(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in job.folder.iterdir() if path.is_file()}


def _with(job: Job, **changes: object) -> Job:
    return replace(job, run=replace(job.run, **changes))  # type: ignore[arg-type]


def unwrap(jobs: Sequence[Job], trained: Sequence[Trained]) -> list[Record]:
    """Back in the main process: the records, once the files that came with them are written."""
    return [
        runs.receive(job, one.files) if one.files else one.record
        for job, one in zip(jobs, trained, strict=True)
    ]
