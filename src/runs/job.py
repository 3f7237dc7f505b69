"""From a checked config to a trained, recorded run: the only place where training meets the disk."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml
from filelock import FileLock

from src import config, provenance
from src.config import Run
from src.errors import InputError, MachineError, is_of_the_disk, writing
from src.provenance import Provenance
from src.runs import store

Record = dict[str, Any]
"""Content of a `run.json`."""


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
    """Its place in the sweep; None for a single run."""
    planned: Provenance | None = None
    """The code and data that it is to be trained with: those of the process that makes the job."""

    def __post_init__(self) -> None:
        if self.planned is None:
            object.__setattr__(self, "planned", provenance.of(self.run))

    @property
    def provenance(self) -> Provenance:
        assert self.planned is not None
        return self.planned

    @cached_property
    def id(self) -> str:
        return store.run_id(config.result_config(self.run, self.planned))

    @property
    def folder(self) -> Path:
        return store.run_folder(self.run.output, self.id)


LOCKS = ".locks"
"""Below the output folder; a file a run, so that no run is trained twice at the same time."""

Progress = Callable[[Job, Mapping[str, Any]], None]
"""Is told each job's row after each of its epochs."""


def ready(runs: Sequence[Run], here: bool = True, writes: bool = True) -> None:
    """Everything that must be right before anything trains and that a config alone does not tell.

    The device and the kernel of products are there, the output folder can be written, the data set is here or can
    be fetched, no batch is larger than the training set, and no rate above 0 would move nothing in its model. Where
    others are to train, and not this machine (`here`), its devices and kernels do not matter; where nothing is to
    be written, nor does the output folder.

    Raises:
        InputError: naming the key, its value and what would be right.
    """
    from src.training import places

    for device, matmul, precision in (
        {(run.device, run.matmul, run.precision) for run in runs} if here else ()
    ):
        from src import kernels

        kernels.check_precision(precision, resolved := config.resolve_device(device))
        if resolved == "cpu":
            kernels.resolve(matmul)
    for run in {repr(run.data): run for run in runs}.values():
        data = _data(run)
        images, shape = len(data.train_images), data.train_images.shape[1:]
        same = [other for other in runs if other.data == run.data]
        for other in same:
            if other.batch_size > images:
                right = f"must be at most {images}, the number of training images"
                raise InputError("batch_size", other.batch_size, right)
        places.check(same, shape, data.classes)
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


def _data(run: Run) -> Any:
    from src.data import load_bytes

    return load_bytes(**run.data)


@lru_cache(maxsize=2)  # a sweep may try many splits of a data set
def _images(data: Any, device: str) -> Any:
    import torch

    from src.training.trainer import Images

    return Images(data, torch.device(device))


def ended(job: Job) -> Record | None:
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


def train_jobs(jobs: Sequence[Job], progress: Progress | None = None) -> list[Record]:
    """Train and record a pack of jobs that can train together; one that fails does not touch the others.

    On a CPU they train one after the other: a core runs these products at its peak already, and a killed pack
    loses one run's work instead of all. On a GPU they train as one stack.

    Args:
        jobs: checked jobs, all of one kind (see `packs.kind`).
        progress: told of each epoch.

    Returns:
        Each job's record, in order. A job that another process finished in the meantime is not trained again.
    """
    device = config.resolve_device(jobs[0].run.device)
    if device == "cpu":
        return [_train_stack([job], device, progress)[0] for job in jobs]
    return _train_stack(jobs, device, progress)


def _train_stack(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    with contextlib.ExitStack() as locks:
        broken: dict[str, Record] = {}
        for job in sorted({job.id: job for job in jobs}.values(), key=lambda job: job.id):
            try:
                locks.enter_context(_lock(job))
                job.folder.mkdir(exist_ok=True)  # `src.clean` may have had the lock before
            except OSError as error:
                broken[job.id] = _broken(job, error)
        # and what another process finished while we waited for its lock
        records: dict[int, Record] = {
            i: record for i, job in enumerate(jobs) if (record := broken.get(job.id) or ended(job))
        }
        waiting = [i for i in range(len(jobs)) if i not in records]
        if waiting:
            trained = _train_locked([jobs[i] for i in waiting], device, progress)
            records |= dict(zip(waiting, trained, strict=True))
        return [records[i] for i in range(len(jobs))]


def _lock(job: Job) -> FileLock:
    lock = Path(job.run.output) / LOCKS / job.id
    for folder in (job.folder, lock.parent):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _broken(job: Job, error: OSError) -> Record:
    """Record of a run whose own folder or file is something else, or cannot be read or written.

    Raises:
        OSError: the error itself, where the disk gave out and no run is to blame.
    """
    if is_of_the_disk(error):
        raise error
    said = f"{error.filename or job.folder}: {error.strerror or error}"
    record = _record(
        job, store.FAILED, [], 0.0, None, f"{said}; remove what stands there, or free it", job.run.device
    )
    with contextlib.suppress(OSError):  # it may be another file that is broken
        store.write_record(job.folder, record)
    return record


def receive(job: Job, files: Mapping[str, bytes]) -> Record:
    """Write the files of a run that was trained where this disk is not; `run.json` last, each in one step.

    Returns:
        The run's record; that of another process which finished the run in the meantime, if one did.
    """
    try:
        with _lock(job):
            if record := ended(job):
                return record
            (job.folder / "run.json").unlink(missing_ok=True)
            store.sweep_up(job.folder)
            _write_hydra(job)
            for name in sorted(files, key=lambda name: name == "run.json"):
                store.write_whole(job.folder / name, files[name])
    except OSError as error:
        return _broken(job, error)
    received: Record = json.loads(files["run.json"])
    return received


def _train_locked(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    try:
        return _train_together(jobs, device, progress)
    except OSError as error:
        if len(jobs) == 1 or is_of_the_disk(error):
            return [_broken(jobs[0], error)]
        return [_train_locked([job], device, progress)[0] for job in jobs]  # one folder of these is broken


def _train_together(jobs: Sequence[Job], device: str, progress: Progress | None) -> list[Record]:
    import torch

    from src.training.trainer import train

    started = time.perf_counter()
    if device == "cpu":
        torch.set_num_threads(1)
    rows: list[list[Mapping[str, Any]]] = [[] for _ in jobs]
    with contextlib.ExitStack() as open_logs:
        logs = [open_logs.enter_context(_run_log(job)) for job in jobs]

        def report(epoch_rows: Sequence[Mapping[str, Any]]) -> None:
            for i, row in enumerate(epoch_rows):
                if rows[i] and not _is_finite(rows[i][-1]):
                    continue
                rows[i].append(row)
                store.write_metrics(jobs[i].folder, rows[i])
                logs[i].info(epoch_line(row, jobs[i].run.epochs))
                if progress:
                    progress(jobs[i], row)

        try:
            for job in jobs:
                provenance.check(job.run, job.provenance)
            data = _data(jobs[0].run)
            trained = train([job.run for job in jobs], _images(data, device), data.classes, report)
        except MachineError:
            raise  # it is not the runs' fault
        except Exception as error:
            if len(jobs) > 1:
                # one of the stack is at fault, and only training them apart tells which
                return [_train_locked([job], device, progress)[0] for job in jobs]
            return [_failed(jobs[0], rows[0], error, logs[0], time.perf_counter() - started)]

        records = []
        for i, job in enumerate(jobs):
            files: dict[str, str] = {}

            def keep(name: str, content: bytes, job: Job = job, files: dict[str, str] = files) -> None:
                store.write_whole(job.folder / name, content)
                files[name] = store.digest(content)

            epoch = trained.diverged_in[i]
            error_text = f"the loss ceased to be finite in epoch {epoch}" if epoch else None
            if error_text:
                logs[i].error("diverged: %s", error_text)
            elif job.run.save_model:
                weights = io.BytesIO()
                torch.save(trained.state(i), weights)
                keep(store.WEIGHTS, weights.getvalue())
            for name, probed in zip(store.PROBES, (trained.probed, trained.test_time), strict=True):
                if probed:
                    keep(name, _rows_of(probed, i))
            state = store.DIVERGED if epoch else store.FINISHED
            seconds = (time.perf_counter() - started) / len(jobs)
            record = _record(job, state, rows[i], seconds, trained.parameters, error_text, files=files)
            store.write_record(job.folder, record)
            records.append(record)
        return records


def _rows_of(rows: Sequence[dict[str, Any]], run: int) -> bytes:
    """One run's part of a pack's rows, as CSV."""
    from src.training.probes import of_run

    return store.csv_text(list(rows[0]), [of_run(row, run) for row in rows]).encode()


def _failed(
    job: Job, rows: Sequence[Mapping[str, Any]], error: Exception, log: logging.Logger, seconds: float
) -> Record:
    log.error("failed: %s", error, exc_info=error)
    store.write_metrics(job.folder, rows)
    said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    record = _record(job, store.FAILED, rows, seconds, None, said)
    store.write_record(job.folder, record)
    return record


def record_death(job: Job, reason: str) -> Record:
    """Record of a run that took its process with it, written by whoever survived."""
    # as it was asked for: what died may have had a device that is not here
    record = _record(job, store.FAILED, [], 0.0, None, reason, job.run.device)
    try:
        with writing(job.folder / "train.log"):
            job.folder.mkdir(parents=True, exist_ok=True)
            with (job.folder / "train.log").open("a", encoding="utf-8") as log:
                log.write(f"failed: {reason}\n")
        store.write_record(job.folder, record)
    except OSError as error:
        return _broken(job, error)
    return record


def _record(
    job: Job,
    state: str,
    rows: Sequence[Mapping[str, Any]],
    seconds: float,
    parameters: int | None,
    error: str | None,
    device: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Record:
    final = {key: rows[-1].get(key) for key in store.METRICS} if rows else {}
    final |= {key: value for key, value in (rows[-1] if rows else {}).items() if key not in final}
    return {
        "id": job.id,
        "state": state,
        "config": job.config,
        "overrides": job.overrides,
        "final": {key: value if _finite_or_none(value) else None for key, value in final.items()},
        "seconds": seconds,
        "parameters": parameters,
        "versions": versions(),
        **job.provenance.record(),
        "device": device or device_name(job.run.device),
        **({} if device else _arithmetic(job.run)),
        "error": error,
        "files": dict(files or {}),
    }


def _arithmetic(run: Run) -> dict[str, Any]:
    """What a run's last digits depend on: the processor and the kernel of its products; none of it on a GPU."""
    if config.resolve_device(run.device) != "cpu":
        return {}
    from src import kernels

    return {"processor": kernels.processor(), "matmul": kernels.resolve(run.matmul)}


def _finite_or_none(value: Any) -> bool:
    return value is None or math.isfinite(value)


def _is_finite(row: Mapping[str, Any]) -> bool:
    return all(_finite_or_none(row[key]) for key in ("train_loss", "test_loss"))


@cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("torch", "numpy", "torchvision", "hydra-core", "omegaconf")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


@cache
def device_name(device: str) -> str:
    """What it trained on: `cpu`, or `cuda` and the card's name."""
    kind = config.resolve_device(device)
    if kind == "cpu":
        return kind
    import torch

    return f"cuda ({torch.cuda.get_device_name()})"


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """One epoch in plain text."""
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
def _run_log(job: Job) -> Iterator[logging.Logger]:
    """The run's own `train.log`, begun anew, beside its `.hydra`; nothing goes to the process's root logger."""
    (job.folder / "run.json").unlink(missing_ok=True)
    store.sweep_up(job.folder)
    store.sweep_up(job.folder / ".hydra")
    _write_hydra(job)
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


def _write_hydra(job: Job) -> None:
    """`.hydra/` as Hydra writes it; from plain dicts and in C, since OmegaConf's own dump costs 30 ms a run."""
    if not job.hydra:
        return  # it trains for another process, which writes them where the run belongs
    folder = job.folder / ".hydra"
    folder.mkdir(exist_ok=True)
    own: dict[str, Any] = {
        "overrides": {**job.hydra["overrides"], "task": job.overrides},
        "runtime": {**job.hydra["runtime"], "output_dir": str(job.folder.resolve())},
        "job": {**job.hydra["job"], "override_dirname": ",".join(job.overrides)},
    }
    if job.number is not None:
        own["job"] |= {"id": job.number, "num": job.number}
    shared = {key: value for key, value in job.hydra.items() if key not in (*own, "help", "hydra_help")}
    # most of it is the same for every run of a sweep, and dumping it costs as much as three small runs' files
    hydra = "hydra:\n" + indent(_shared_yaml(json.dumps(shared)) + yaml_text(own), "  ")
    texts = {"config": yaml_text(job.config), "hydra": hydra, "overrides": yaml_text(job.overrides)}
    for name, text in texts.items():
        store.write_whole(folder / f"{name}.yaml", text)


@cache
def _shared_yaml(shared: str) -> str:
    return yaml_text(json.loads(shared))


def yaml_text(content: Any) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return text
