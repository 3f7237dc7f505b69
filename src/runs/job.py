"""A run to be done: its config, its folder, what must be right before it trains, and whether it is done already."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from src import config, loggers, provenance
from src.config import Run
from src.errors import InputError, MachineError, writing
from src.provenance import Provenance
from src.runs import declared, store

Record = dict[str, Any]
"""Content of a `run.json`."""

LOCKS = ".locks"
"""Below the output folder; a file a run, so that no run is trained twice at the same time."""


@dataclass(frozen=True)
class Job:
    """One run to be done: its checked config, and how it was asked for."""

    run: Run
    config: dict[str, Any]
    """The resolved config as plain dicts, for `run.json` and `.hydra/config.yaml`."""
    overrides: list[str]
    hydra: dict[str, Any]
    """Hydra's own config as plain dicts, for `.hydra/hydra.yaml`; empty where another process writes `.hydra/`."""
    number: int | None = None
    """In the sweep, from 0; None for a single run."""
    provenance: Provenance = None  # type: ignore[assignment]
    """The code and data that it is to be trained with; not given, those of the process that makes the job."""

    def __post_init__(self) -> None:
        if self.provenance is None:
            object.__setattr__(self, "provenance", provenance.of(self.run))

    @cached_property
    def id(self) -> str:
        return store.run_id(config.result_config(self.run, self.provenance))

    @property
    def folder(self) -> Path:
        return store.run_folder(self.run.output, self.id)


def ready(runs: Sequence[Run], here: bool = True, writes: bool = True) -> None:
    """Everything that must be right before anything trains and that a config alone does not tell.

    The trackers that are asked for are installed, the device and the kernel of products are there, the output
    folder can be written, the data set is here or can be fetched, no batch is larger than the training set, no rate
    above 0 would move nothing in its model, and components give the metrics that they declare. Where others are to
    train, and not this machine (`here`), its devices and kernels do not matter; where nothing is to be written, nor
    does the output folder.

    Raises:
        InputError: naming the key, its value and what would be right.
    """
    from src.data import load_bytes
    from src.training import places, rehearsal

    for logger in {run.logger for run in runs}:
        loggers.check(logger)
    for run in runs:
        declared.metrics(run)

    hardware = {(run.device, run.matmul, run.precision) for run in runs} if here else set()
    for device, matmul, precision in hardware:
        from src import kernels

        kernels.check_precision(precision, resolved := config.resolve_device(device))
        if resolved == "cpu":
            kernels.resolve(matmul)
    for run in {repr(run.data): run for run in runs}.values():
        data = load_bytes(**run.data)
        images, shape = len(data.train_images), data.train_images.shape[1:]
        same = [other for other in runs if other.data == run.data]
        for other in same:
            if other.batch_size > images:
                right = f"must be at most {images}, the number of training images"
                raise InputError("batch_size", other.batch_size, right)
            if other.probe.train > images:  # true is 1
                right = f"must be at most {images}, the number of training images, or true for all of them"
                raise InputError("probe.train", other.probe.train, right)
        places.check(same, shape, data.classes)
        rehearsal.check(same, shape, data.classes)
    # last, as it makes the folders: what is refused for another reason leaves nothing behind
    for output in {run.output for run in runs} if writes else ():
        for folder in (Path(output), Path(output) / "runs", Path(output) / LOCKS):
            _check_writable(folder, output)


def _check_writable(folder: Path, output: str) -> None:
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
    except MachineError:
        raise
    except OSError as error:
        right = f"must be a folder that can be written ({folder}: {error.strerror})"
        raise InputError("output", output, right) from None


def final_record(job: Job) -> Record | None:
    """The job's record if it need not be trained again: it is finished, or diverges (each time alike).

    Every file that its config asks for is there then, and whole.
    """
    if not job.run.resume:
        return None
    try:
        record = store.read_record(job.folder)
        # the ID knows nothing of it: the run may have been trained without
        if record and job.run.save_model and record["state"] == store.FINISHED:
            store.check_file(job.folder, store.WEIGHTS, record)
    except store.Damaged:
        return None
    return record if record and is_final(record) else None


def is_final(record: Record) -> bool:
    """Whether another try would end alike."""
    return record["state"] in (store.FINISHED, store.DIVERGED)
