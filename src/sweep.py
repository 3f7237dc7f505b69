"""A sweep from its overrides to `runs.csv`: plan, skip what is finished, train the rest, say what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src import engines, planning, store, train, workers
from src import run as runs
from src.checks import ConfigError
from src.display import Display, summary
from src.engines import Engine, settings
from src.packs import Queue
from src.run import Job, Record
from src.workers import Ended

TABLE_EVERY = 1.0
"""Seconds between two writings of `runs.csv` while the sweep goes on, at least."""

TABLE_SHARE = 0.05
"""Of the main process's time, at most, for those writings: each costs some 20 µs a row, the unfinished included."""

KEPT = ("id", "state", "final", "seconds", "error")
"""What a sweep keeps in memory of a run's record, 1 kB; with the config and the versions it is 8 kB."""


class Table:
    """`runs.csv` of a sweep: a row a run, in the sweep's order, whatever has ended so far."""

    def __init__(self, folder: Path, jobs: Sequence[Job], swept: Sequence[str]) -> None:
        self.folder, self.swept = folder, list(swept)
        self._jobs = list(jobs)
        self.records: dict[str, Record] = {}
        self._next = 0.0

    def extend(self, jobs: Sequence[Job]) -> None:
        """More rows, below the others."""
        self._jobs += jobs

    def add(self, record: Record) -> None:
        kept = {key: record[key] for key in KEPT if key in record}
        # a record that was read or sent brings names of its own, each time; these are one for all runs
        kept["final"] = {sys.intern(name): value for name, value in (record.get("final") or {}).items()}
        self.records[record["id"]] = kept
        if time.monotonic() > self._next:
            self.write()

    def write(self) -> None:
        started = time.monotonic()
        found = [(job, self.records.get(job.id)) for job in self._jobs]
        keys = [key for key in self.swept if key != "seed"]
        extra = {name: None for _, record in found for name in _metrics(record)}
        metrics = [_metric_column(name, self.swept) for name in (*store.METRICS, *extra)]
        columns = list(dict.fromkeys(["id", "state", *keys, "seed", *metrics]))
        # a row at a time, as all together take 2 kB each
        rows = (_row(job, record, self.swept) for job, record in found)
        store.write_whole(self.folder / "runs.csv", store.csv_text(columns, rows))
        ended = time.monotonic()
        self._next = ended + max(TABLE_EVERY, (ended - started) / TABLE_SHARE)


def _metric_column(name: str, swept: Sequence[str]) -> str:
    """A metric's own name, but `_used` where a swept key has that name (a rate: configured, used)."""
    return f"{name}_used" if name in swept else name


def _metrics(record: Record | None) -> Mapping[str, Any]:
    """What a run ended with; nothing of one that is not finished."""
    return record["final"] if record is not None and record["state"] == store.FINISHED else {}


def _row(job: Job, record: Record | None, swept: Sequence[str]) -> dict[str, Any]:
    return {
        **{_metric_column(name, swept): value for name, value in _metrics(record).items()},
        "id": job.id,
        "state": record["state"] if record else store.UNFINISHED,
        **{key: _configured(job, key) for key in swept},
        "seed": job.run.seed,
    }


def _configured(job: Job, key: str) -> Any:
    """A swept key's value; of a group its choice."""
    value: Any = job.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        return job.hydra["runtime"]["choices"].get(key, value.get("name"))
    return value


def sweep(sweeper: Any, launcher: Any, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """The sweeper's work: expand the overrides, check every job, and launch all as one batch."""
    if sweeper.arms is None:
        raise ConfigError("hydra.sweeper.arms", None, "this sweep's arms must be given; its file says how")
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    params = [f"{key}={value}" for key, value in sweeper.params.items()]
    overrides = [o for o in parser.parse_overrides([*params, *arguments]) if o.key_or_group != "sweep"]
    job_overrides = planning.expand(overrides, [parser.parse_overrides(arm.split()) for arm in sweeper.arms])
    folder = Path(sweeper.config.hydra.sweep.dir)
    if not is_ours(sweeper.task_function):
        save_multirun(folder, sweeper.config)
        return [launcher.launch(job_overrides, initial_job_idx=0)]

    packed = hasattr(launcher, "pack_size")
    if packed:
        launcher.engine = engines.start(settings.check(launcher))
    try:
        jobs = plan(sweeper, job_overrides)
        runs.ready([job.run for job in jobs], here=not packed or settings.BACKENDS[launcher.backend].here)
    except BaseException:
        close_engine(launcher)
        raise
    save_multirun(folder, sweeper.config)
    if packed:
        launcher.jobs = jobs
        return [launcher.launch(job_overrides, initial_job_idx=0)]
    returns = launcher.launch(job_overrides, initial_job_idx=0)
    table = Table(folder, jobs, planning.swept_keys(job_overrides))
    for returned in returns:
        table.add(returned.return_value)
    _end(table, jobs)
    return [returns]


def plan(plugin: Any, job_overrides: Sequence[Sequence[str]], first_number: int = 0) -> list[Job]:
    """Checked jobs of these overrides; `plugin` is a sweeper or launcher that Hydra has set up."""
    planner = planning.Planner(plugin.hydra_context.config_loader, plugin.config)
    return [planner.job(overrides, number) for number, overrides in enumerate(job_overrides, first_number)]


@dataclass
class Course:
    """What outlives a launch where a sweep is launched in batches: a search, see `src.search`."""

    table: Table
    display: Display
    ended: Ended
    """Told of each job of a batch: as it ends, or at once where it need not be trained."""
    at_once: int
    """Runs in a full batch. As many workers are kept for a smaller one, since new ones take seconds to start."""


def launch_packed(
    launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> Sequence[JobReturn]:
    """The packed launcher's work: train what is not finished, each run once, in packs on worker processes."""
    checked = settings.check(launcher)
    jobs: list[Job] | None = getattr(launcher, "jobs", None)
    if jobs is None:  # another sweeper than ours
        jobs = plan(launcher, job_overrides, initial_job_idx)
        runs.ready([job.run for job in jobs], here=settings.BACKENDS[checked.backend].here)
    course: Course | None = getattr(launcher, "course", None)
    if course is not None:
        _launch_batch(launcher, jobs, course)
        return [_job_return(job, course.table.records[job.id]) for job in jobs]
    swept = planning.swept_keys(job_overrides)
    folder = Path(launcher.config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    table = Table(folder, jobs, swept)
    different = {job.id: job for job in jobs}
    for job in different.values():
        if record := runs.ended(job):
            table.add(record)
    waiting = [job for job in different.values() if job.id not in table.records]

    try:
        if waiting:
            table.write()
            with Display(different.values(), swept, skipped=table.records.values()) as display:

                def ended(job: Job, record: Record) -> None:
                    table.add(record)
                    display.ended(job, record)

                _train(launcher, waiting, len(waiting), ended)
    except KeyboardInterrupt:
        table.write()
        print(
            f"interrupted: {len(table.records)} of {len(different)} runs are done and kept; "
            "the same command goes on from here",
            file=sys.stderr,
        )
        raise
    finally:
        close_engine(launcher)
    _end(table, jobs)
    return [_job_return(job, table.records[job.id]) for job in jobs]


def _launch_batch(launcher: Any, jobs: Sequence[Job], course: Course) -> None:
    """Train one batch of several; the table, the display and the worker processes stay for the next one."""
    waiting = []
    for job in {job.id: job for job in jobs}.values():
        record = course.table.records.get(job.id)
        if record is not None and record["state"] in (store.FINISHED, store.DIVERGED):
            course.ended(job, record)  # an earlier batch had the same run
        elif record := runs.ended(job):
            course.table.add(record)
            course.display.skip(record)
            course.ended(job, record)
        else:
            waiting.append(job)

    def ended(job: Job, record: Record) -> None:
        course.table.add(record)
        course.ended(job, record)
        course.display.ended(job, record)

    if waiting:
        _train(launcher, waiting, course.at_once, ended)


def _train(launcher: Any, waiting: Sequence[Job], at_once: int, ended: Ended) -> None:
    """Train jobs where the launcher's engine has its workers; it is started where nothing has started it yet."""
    checked = settings.check(launcher)
    engine: Engine | None = getattr(launcher, "engine", None)
    if engine is None:
        launcher.engine = engine = engines.start(checked)
    engine.prepare(waiting, at_once)
    queue = Queue(
        waiting,
        engine.workers,
        checked.pack_size,
        pack_seconds=engine.pack_seconds,
        largest=engine.largest_pack,
    )
    workers.train(engine, queue, ended)


def close_engine(launcher: Any) -> None:
    """Ends what the launcher's engine runs, if it has one."""
    engine: Engine | None = getattr(launcher, "engine", None)
    if engine is not None:
        engine.close()
        launcher.engine = None


def is_ours(task_function: Any) -> bool:
    return hasattr(task_function, "is_dropout_sweeps_task")


def save_multirun(folder: Path, hydra_config: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    store.sweep_up(folder)
    store.write_whole(folder / "multirun.yaml", OmegaConf.to_yaml(hydra_config))


def _end(table: Table, jobs: Sequence[Job]) -> None:
    """What is left when nothing is left to train: the whole table, a summary, the exit code."""
    table.write()
    different = {job.id: job for job in jobs}
    summary([(job, table.records[job.id]) for job in different.values()], table.swept, table.folder)
    train.fail(any(record["state"] != store.FINISHED for record in table.records.values()))


def _job_return(job: Job, record: Record) -> JobReturn:
    returned = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name="train")
    returned.status, returned.return_value = JobStatus.COMPLETED, record
    return returned
