"""`hydra.sweeper.plan=true`: what a sweep would do, how long it would take and how much disk. It trains nothing."""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from src import config
from src.config import Run
from src.engines.queue import cores
from src.engines.settings import SLURM_JOBS, Settings
from src.errors import InputError, events
from src.runs import store
from src.runs.job import Job, final_record, ready

MOST_READ = 200
"""Runs on disk that are read to learn how long such runs take."""

OVERHEAD = 1.35
"""What a run on a CPU takes, as a multiple of its matrix products; measured for the book's net."""

STEP_SECONDS = 2e-4
"""What a step takes beside its products."""

BLOCK = 4096
SMALL_FILES, BYTES_AN_EPOCH = 9, 400
"""Of a run's folder: files and folders of about a block each, and what grows with every epoch."""


def show(
    jobs: Sequence[Job], folder: Path, settings: Settings | None, total: int | None = None, done: int = 0
) -> None:
    """Prints how many runs there are, how many need not be trained, and an estimate of time and disk for the rest.

    Args:
        jobs: of a sweep all, checked; of a search some of the kind that it will ask for.
        folder: the sweep's.
        settings: of our launcher; None for another one, of which one worker is reckoned with.
        total: trials of a search.
        done: of these, how many have ended.

    Raises:
        InputError: as `run.ready`; but nothing is written.
    """
    ready([job.run for job in jobs], here=settings is None or settings.here, writes=False)
    different = list({job.id: job for job in jobs}.values())
    if total is None:
        records = [record for job in different if (record := final_record(job))]
        finished = {record["id"] for record in records}
        waiting = [job for job in different if job.id not in finished]
        total, done = len(different), len(finished)
    else:
        waiting = list(itertools.islice(itertools.cycle(different), max(0, total - done)))
    print("plan: nothing is trained")
    print(f"runs: {total}, {done} of them done before, {len(waiting)} to be trained")
    estimate: dict[str, float] = {"seconds": 0.0, "workers": 0}
    if waiting:
        work, source = _seconds(waiting)
        workers = min(len(waiting), _workers(settings, [job.run for job in waiting]))
        estimate = {"seconds": work / workers, "workers": workers}
        print(f"time: about {_duration(work / workers)} with {_counted(workers, 'worker')}, {source}")
        output = waiting[0].run.output
        needed, free = store.size_text(sum(map(_bytes, waiting))), store.size_text(_free(output))
        print(f"disk: about {needed} in {output}; {free} are free")
    print(f"folder: {folder}")
    events.tell("plan", folder=folder, runs=total, done=done, to_train=len(waiting), **estimate)


def _workers(settings: Settings | None, runs: Sequence[Run]) -> int:
    """How many train at a time; 1 of a cluster whose size is not known here."""
    if settings is None or settings.address:
        return (settings.n_jobs if settings else None) or 1
    if settings.here and any(_device(run) != "cpu" for run in runs):
        return 1  # a GPU trains one stack at a time
    return settings.n_jobs or (SLURM_JOBS if settings.backend == "slurm" else cores())


def _device(run: Run) -> str:
    """The device that a run takes here; as it is written where that is for another machine to say."""
    try:
        return config.resolve_device(run.device)
    except InputError:
        return run.device


def _seconds(waiting: Sequence[Job]) -> tuple[float, str]:
    """Seconds that these jobs take one after the other, and how that is known."""
    kinds = {_kind(job.run): job.run for job in waiting}
    measured: dict[Hashable, list[float]] = {}
    for kind, seconds in _on_disk({job.run.output for job in waiting}):
        if kind in kinds:
            measured.setdefault(kind, []).append(seconds)
    an_epoch = {kind: statistics.median(seconds) for kind, seconds in measured.items()}
    unknown = {kind: _reckoned(run) for kind, run in kinds.items() if kind not in an_epoch}
    total = sum((an_epoch | unknown)[_kind(job.run)] * job.run.epochs for job in waiting)
    if not unknown:
        return total, f"as {_counted(sum(map(len, measured.values())), 'finished run')} like these took"
    return total, "reckoned from the size of the nets" + (
        ", and for some by finished runs" if an_epoch else ": no run like these has finished yet"
    )


def _kind(run: Run) -> Hashable:
    """What decides how long an epoch takes."""
    parts = (run.data.name, run.model, run.noise.name, run.optimizer.name, run.probe)
    return (repr(parts), run.batch_size, _device(run))


def _on_disk(outputs: Iterable[str]) -> Iterator[tuple[Hashable, float]]:
    """Kinds of the runs that finished, with the seconds that an epoch took; the newest ones."""
    files = [path for output in outputs for path in Path(output).glob("runs/*/run.json")]
    dated = sorted(((_modified(path), path) for path in files), reverse=True)
    for _, path in dated[:MOST_READ]:
        try:
            record = store.read_record(path.parent)
            if record and record["state"] == store.FINISHED:
                run = config.parse(record["config"])
                yield _kind(run), float(record["seconds"]) / run.epochs
        except (store.Damaged, InputError, OSError, ValueError, KeyError, TypeError):
            continue  # it says nothing (its device may be another machine's), and is no reason to say nothing


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _reckoned(run: Run) -> float:
    """Seconds of an epoch by its matrix products, and how fast this machine takes those of the book's net."""
    training, test, weights = _size_of(run)
    products = 2 * weights * (3 * training + test)
    return OVERHEAD * products / _speed() + STEP_SECONDS * math.ceil(training / run.batch_size)


def _size_of(run: Run) -> tuple[int, int, int]:
    """Images for training and for testing, and the net's parameters."""
    from src import models
    from src.data import load_bytes

    data = load_bytes(**run.data)
    net = models.build(run.model, data.train_images[0].numel(), data.classes, run.seed)
    return len(data.train_images), len(data.test_images), sum(p.numel() for p in net.parameters())


def _speed() -> float:
    """Floating-point operations a second on one thread."""
    import torch
    from torch.utils.benchmark import Timer

    x, W = torch.randn(256, 784), torch.randn(784, 256)
    timer = Timer("x @ W", globals={"x": x, "W": W})  # on one thread
    return 2 * x.numel() * W.shape[1] / timer.blocked_autorange(min_run_time=0.01).median


def _bytes(job: Job) -> int:
    """Of a run's folder; without probes, which are small beside the rest."""
    grown = BYTES_AN_EPOCH * job.run.epochs
    if job.run.save_model:
        grown += 4 * _size_of(job.run)[2]
    return SMALL_FILES * BLOCK + grown


def _free(output: str) -> int:
    folder = Path(output).absolute()
    return shutil.disk_usage(next(filter(Path.exists, (folder, *folder.parents)))).free


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
