"""What a run leaves beside its metrics, probes and weights: `run.json`, `train.log` and `.hydra/`."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from src import config
from src.config import Run
from src.errors import MachineError, is_of_the_disk, writing
from src.runs import declared, store
from src.runs.job import Job, Record

Row = Mapping[str, Any]
"""Metrics of a run and epoch."""


def make_record(
    job: Job,
    state: str,
    error: str | None = None,
    *,
    rows: Sequence[Row] = (),
    seconds: float = 0.0,
    parameters: int | None = None,
    files: Mapping[str, str] | None = None,
    began: bool = True,
) -> Record:
    """A run's record.

    Args:
        error: why it has no result.
        parameters: how many its net has.
        files: digests of what it leaves beside its metrics.
        began: whether it trained in this process: else it names the device as it was asked for, which may not be
            on this machine.
    """
    final = {**dict.fromkeys(store.METRICS), **rows[-1]} if rows else {}
    return {
        "id": job.id,
        "state": state,
        "config": job.config,
        "overrides": job.overrides,
        "final": {
            key: value if value is None or math.isfinite(value) else None for key, value in final.items()
        },
        "seconds": seconds,
        "parameters": parameters,
        **({"metrics": metrics} if (metrics := declared.metrics(job.run)) else {}),
        "versions": versions(),
        **job.provenance.record(),
        **(_machine(job.run) if began else {"device": job.run.device}),
        "error": error,
        "files": dict(files or {}),
    }


def record_death(job: Job, reason: str) -> Record:
    """Writes the record of a run that took its process with it; whoever survived calls it."""
    record = make_record(job, store.FAILED, reason, began=False)
    try:
        with writing(job.folder / "train.log"):
            job.folder.mkdir(parents=True, exist_ok=True)
            with (job.folder / "train.log").open("a", encoding="utf-8") as log:
                log.write(f"failed: {reason}\n")
        store.write_record(job.folder, record)
    except OSError as error:
        return record_broken(job, error)
    return record


def record_broken(job: Job, error: OSError) -> Record:
    """Writes the record of a run whose folder or file is something else, or cannot be read or written.

    Raises:
        OSError: the error itself, where the disk gave out and no run is to blame.
    """
    if is_of_the_disk(error):
        raise error
    runs = job.folder.parent
    if runs.exists() and not runs.is_dir():  # no other run would fare better
        raise MachineError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(runs)) from error
    message = f"{error.filename or job.folder}: {error.strerror or error}"
    record = make_record(job, store.FAILED, f"{message}; remove what stands there, or free it", began=False)
    with contextlib.suppress(OSError):  # `run.json` itself may be what is broken
        store.write_record(job.folder, record)
    return record


def _machine(run: Run) -> dict[str, Any]:
    """What a run's last digits depend on: the GPU, or the processor and the kernel of products."""
    device = config.resolve_device(run.device)
    if device != "cpu":
        import torch

        return {"device": f"{device} ({torch.get_device_module(device).get_device_name()})"}
    from src import kernels

    return {"device": "cpu", "processor": kernels.processor(), "matmul": kernels.resolve(run.matmul)}


@cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("torch", "numpy", "torchvision", "hydra-core", "omegaconf")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def epoch_line(row: Row, epochs: int) -> str:
    """An epoch in plain text."""
    val = "" if row.get("val_acc") is None else f"  val acc {row['val_acc']:.4f}"
    return (
        f"epoch {row['epoch']}/{epochs}  train loss {row['train_loss']:.4f}  train acc {row['train_acc']:.4f}{val}"
        f"  test loss {row['test_loss']:.4f}  test acc {row['test_acc']:.4f}  {row['seconds']:.2f} s"
    )


class _LogFile(logging.FileHandler):
    """Raises what goes wrong, as any file of a run does; logging itself would print a trace and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - it is called so
        with writing(Path(self.baseFilename)):
            raise


@contextlib.contextmanager
def run_log(job: Job) -> Iterator[logging.Logger]:
    """The run's `train.log`, begun anew, beside its `.hydra`; nothing goes to the process's root logger."""
    begin(job)
    log = logging.Logger(job.id)
    handler = _LogFile(job.folder / "train.log", mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.info("run %s: %s", job.id, " ".join(job.overrides) or "the book's experiment")
    try:
        yield log
    finally:
        with contextlib.suppress(OSError):  # each line was flushed before
            handler.close()


def begin(job: Job) -> None:
    """Begins the run's folder anew: no `run.json`, no half files, and `.hydra/` as this job has it."""
    (job.folder / "run.json").unlink(missing_ok=True)
    for folder in (job.folder, job.folder / ".hydra"):
        store.sweep_up(folder)
    if job.hydra:  # else it trains for another process, which writes them where the run belongs
        _write_hydra(job)


def _write_hydra(job: Job) -> None:
    """`.hydra/` as Hydra writes it; from plain dicts and in C, since OmegaConf's dump costs 30 ms a run."""
    folder = job.folder / ".hydra"
    folder.mkdir(exist_ok=True)
    differing: dict[str, Any] = {
        "overrides": {**job.hydra["overrides"], "task": job.overrides},
        "runtime": {**job.hydra["runtime"], "output_dir": str(job.folder.resolve())},
        "job": {**job.hydra["job"], "override_dirname": ",".join(job.overrides)},
    }
    if job.number is not None:
        differing["job"] |= {"id": job.number, "num": job.number}
    shared = {key: value for key, value in job.hydra.items() if key not in (*differing, "help", "hydra_help")}
    # most of it is the same for every run of a sweep, and dumping it costs as much as three small runs' files
    hydra = "hydra:\n" + indent(_shared_yaml(json.dumps(shared)) + _yaml(differing), "  ")
    texts = {"config": _yaml(job.config), "hydra": hydra, "overrides": _yaml(job.overrides)}
    for name, text in texts.items():
        store.write_whole(folder / f"{name}.yaml", text)


@cache
def _shared_yaml(shared: str) -> str:
    return _yaml(json.loads(shared))


def _yaml(content: Any) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True)
