"""A search: Optuna proposes a batch of settings, the launcher trains them, Optuna is told, and so on.

    python -m src.train -m hydra/sweeper=optuna data.validation=10000 'dropout1=interval(0,0.8)'

Each batch is launched like a sweep of its own, so ids, skipping, packs and isolation are those of `src.sweep`;
the table, the display and the worker processes last from the first batch to the last.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src import engines, planning, store, train
from src import run as runs
from src.checks import Check, ConfigError, InputError, check_keys, integer, one_of
from src.display import Display, outcome
from src.engines import settings
from src.naming import WITHOUT_EFFECT, key_of
from src.run import Job, Record
from src.sweep import Course, Table, close_engine, is_ours, save_multirun

try:
    from optuna.trial import FrozenTrial, TrialState

    from src import space, study
except ModuleNotFoundError as error:
    if error.name not in ("optuna", "sqlalchemy"):
        raise
    raise InputError(
        "hydra/sweeper=optuna: the package optuna is not installed; pip install -e '.[optuna]' brings it"
    ) from None

BETTER: dict[str, study.Direction] = {"val_acc": "maximize", "val_loss": "minimize"}
"""What a search may optimise, and where that is better. The test set is not for searching."""
LARGEST_GRID = 100_000
MOST_SHOWN = 10


@dataclass(frozen=True)
class Options:
    """`hydra.sweeper`, checked."""

    metrics: tuple[str, ...]
    directions: tuple[study.Direction, ...]
    n_trials: int
    batch_size: int
    sampler: str
    seed: int


def parse_options(raw: Mapping[str, Any]) -> Options:
    """The checked options of a search.

    Raises:
        ConfigError: for the first one that is wrong.
    """
    checks: dict[str, Check] = {
        "metric": _some_of(*BETTER, why="; the test set is not for searching"),
        "direction": lambda value: None if value is None else _some_of("maximize", "minimize")(value),
        "n_trials": integer(1),
        "batch_size": integer(1),
        "sampler": one_of("tpe", "random", "grid", "cmaes", "nsgaii"),
        "seed": integer(0, 2**32 - 1),
    }
    typed = check_keys(raw, checks, prefix="hydra.sweeper.")
    metrics = typed["metric"]
    directions = tuple(BETTER[metric] for metric in metrics)
    if typed["direction"] not in (None, directions):
        given, right = raw["direction"], directions[0] if len(directions) == 1 else _typed(directions)
        raise ConfigError(
            "hydra.sweeper.direction", _typed(given), f"must be {right} for {', '.join(metrics)}, or null"
        )
    return Options(
        metrics, directions, *(typed[key] for key in ("n_trials", "batch_size", "sampler", "seed"))
    )


def _some_of(*choices: str, why: str = "") -> Check:
    """One of a few words, or a list of different ones, as a tuple."""
    right = f"must be {' or '.join(choices)}, or a list of them{why}"

    def check(value: Any) -> tuple[str, ...]:
        found = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not found or any(word not in choices for word in found):
            raise ValueError(right)
        if len(set(found)) < len(found) and why:
            raise ValueError(right)
        return found

    return check


def _typed(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def search(sweeper: Any, launcher: Any, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """The Optuna sweeper's work; `sweeper` and `launcher` are set up by Hydra."""
    if not is_ours(sweeper.task_function):
        raise ConfigError("hydra/sweeper", "optuna", "searches among runs of src.train alone")
    raw = _plain(sweeper.options)
    if (arms := raw.pop("arms")) is not None:
        raise ConfigError(
            "hydra.sweeper.arms", arms, "a search takes no arms; give its keys a choice or an interval"
        )
    options = parse_options(raw)
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    params = [f"{key}={value}" for key, value in sweeper.params.items()]
    given = [o for o in parser.parse_overrides([*params, *arguments]) if o.key_or_group != "sweep"]
    found = space.parse(given)
    _check_space(found, options)
    packed = hasattr(launcher, "pack_size")
    if packed:
        # started first, so that the workers import while we plan
        launcher.engine = engines.start(settings.check(launcher))
    try:
        planner = planning.Planner(sweeper.hydra_context.config_loader, sweeper.config)
        here = not packed or settings.BACKENDS[launcher.backend].here
        _check_runs([planner.job(overrides, 0) for overrides in found.corners()], here)
        folder = Path(sweeper.config.hydra.sweep.dir)
        about = _about(found, options)
        _check_same(folder, about)
        with _alone(folder):
            save_multirun(folder, sweeper.config)
            memory = study.Study(
                folder,
                options.directions,
                found.distributions,
                study.sampler_by_name(
                    options.sampler, options.seed, options.batch_size, _grid(found, options)
                ),
                about,
            )
            return Search(launcher, planner, found, options, memory, folder).run()
    finally:
        close_engine(launcher)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in options.items()
    }


def _check_space(found: space.Space, options: Options) -> None:
    """What the sampler and common sense ask of a search space."""
    if not found.axes:
        raise InputError("a search needs a key to search over, such as dropout1=interval(0,0.8)")
    for axis in found.axes:
        if axis.key == "seed":
            right = (
                "takes one value in a search: the luckiest seed is no setting; sweep the best setting's seeds"
            )
            raise ConfigError("seed", axis.typed, right)
        if options.sampler == "cmaes" and not axis.is_number:
            raise ConfigError(axis.setting, axis.typed, "the sampler cmaes needs a range or an interval")
        if options.sampler == "grid" and axis.points() is None:
            raise ConfigError(axis.setting, axis.typed, "the sampler grid needs a choice or a range")
    right = ""
    if options.sampler == "cmaes":
        if find_spec("cmaes") is None:
            right = "the package cmaes is not installed; pip install -e '.[optuna]' brings it"
        elif len(options.metrics) > 1:
            right = "takes one metric; for several take nsgaii or tpe"
        elif len(found.axes) < 2:
            right = "needs two keys to search over; for one take tpe"
    elif options.sampler == "grid" and (found.size() or 0) > LARGEST_GRID:
        right = (
            f"the grid has {found.size():,} points; at most {LARGEST_GRID:,}, or another sampler, is right"
        )
    if right:
        raise ConfigError("hydra.sweeper.sampler", options.sampler, right)


def _check_runs(jobs: Sequence[Job], here: bool) -> None:
    for job in jobs:
        if job.run.data["validation"] == 0:
            right = "must be above 0, such as 10000, in a search: the test set is not for searching"
            raise ConfigError("data.validation", 0, right)
    runs.ready([job.run for job in jobs], here=here)


def _grid(found: space.Space, options: Options) -> dict[str, list[Any]] | None:
    return {axis.key: axis.points() or [] for axis in found.axes} if options.sampler == "grid" else None


def _about(found: space.Space, options: Options) -> dict[str, Any]:
    """What makes it the same search when it is started again; JSON that is equal after a round trip."""
    fixed = [
        override
        for override in found.fixed
        if key_of(override) not in WITHOUT_EFFECT and not key_of(override).startswith(("hydra.", "hydra/"))
    ]
    return {
        "metric": list(options.metrics),
        "sampler": options.sampler,
        "seed": options.seed,
        "space": {key: repr(distribution) for key, distribution in found.distributions.items()},
        "fixed": fixed,
    }


def _check_same(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuses to go on with another search's study: trials of two searches tell a sampler nothing."""
    for key, was in study.recorded(folder).items():
        if about.get(key) != was:
            raise ConfigError(
                f"hydra.sweeper.{key}" if key in ("metric", "sampler", "seed") else f"the search's {key}",
                _typed(about.get(key)),
                f"{folder} holds a search with {_typed(was)}; take that, or another hydra.sweep.dir",
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process from the folder's search; the system frees a dead owner's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".search.lock", timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"{folder}: another process is at this search; wait for its end, or end it"
        ) from None


class Search:
    """A search that goes on: from the trials of its study to `n_trials` of them.

    Args:
        launcher: trains each batch.
        planner: makes the trials' jobs.
        found: what is searched over.
        options: how.
        memory: the study, with the trials of an earlier start.
        folder: the sweep's.
    """

    def __init__(
        self,
        launcher: Any,
        planner: planning.Planner,
        found: space.Space,
        options: Options,
        memory: study.Study,
        folder: Path,
    ) -> None:
        self._launcher, self._planner, self._space, self._options = launcher, planner, found, options
        self._study, self._folder = memory, folder
        self._table = Table(folder, [], [axis.key for axis in found.axes])
        self._jobs: dict[int, Job] = {}
        """By the trial's number; a trial whose settings do not go together has none."""
        self._running: dict[str, list[int]] = {}
        """Trials that wait for the run of this ID."""
        self._again: list[int] = []
        """Trials that were told before, but whose runs are gone."""
        self._total = (
            min(options.n_trials, found.size() or 0) if options.sampler == "grid" else options.n_trials
        )

    def run(self) -> list[Sequence[JobReturn]]:
        """Go on to the last trial; what the launcher returned, a batch at a time."""
        self._take_up()
        returned: list[Sequence[JobReturn]] = []
        try:
            with ExitStack() as stack:
                if hasattr(self._launcher, "pack_size"):
                    stack.enter_context(self._begin_course())
                while (batch := self._next_batch()) is not None:
                    returned.append(self._launch(batch))
        except KeyboardInterrupt:
            self._table.write()
            ended = sum(trial.state.is_finished() for trial in self._study.trials)
            print(
                f"interrupted: {ended} of {self._total} trials are done and kept; "
                "the same command goes on from here",
                file=sys.stderr,
            )
            raise
        self._end()
        return returned

    def _take_up(self) -> None:
        """Jobs and records of the trials of an earlier start."""
        for trial in self._study.trials:
            job = self._plan(trial)
            if job is None:
                continue
            if trial.state == TrialState.COMPLETE and runs.ended(job) is None:
                self._again.append(trial.number)
            elif trial.state.is_finished() and (record := _record(job)):
                self._table.records[job.id] = record

    def _plan(self, trial: FrozenTrial) -> Job | None:
        """The trial's job, with a row of its own in the table; None where its settings do not go together."""
        try:
            job = self._planner.job(self._space.overrides(trial.params), trial.number)
        except ConfigError as error:
            if trial.state == TrialState.RUNNING:
                print(f"trial {trial.number} cannot be run: {error}", file=sys.stderr)
            return None
        self._jobs[trial.number] = job
        self._table.extend([job])
        return job

    def _next_batch(self) -> list[int] | None:
        """Numbers of the trials to launch next; None at the end.

        Batches are of the trials 0 to `batch_size` - 1 and so on, so that a search that goes on after a kill
        first completes the batch that was under way, and is asked then with the same trials told.
        """
        waiting = self._again + [t.number for t in self._study.trials if not t.state.is_finished()]
        asked = len(self._study.trials)
        size = self._options.batch_size
        end = -(-asked // size) * size if waiting else (asked // size + 1) * size
        new = range(asked, min(end, self._total))
        if not waiting and not new:
            return None
        for _ in new:
            trial = self._study.ask()
            job = self._plan(self._study.trials[trial.number])
            if job is not None:
                trial.set_user_attr("run", job.id)
        self._study.write()
        self._again = []
        return [*waiting, *new]

    def _launch(self, batch: Sequence[int]) -> Sequence[JobReturn]:
        for number in set(batch) - self._jobs.keys():
            self._study.tell(number, TrialState.FAIL)
        jobs = [self._jobs[number] for number in batch if number in self._jobs]
        if not jobs:
            return []
        for job in jobs:
            if not self._study.trials[job.number or 0].state.is_finished():
                self._running.setdefault(job.id, []).append(job.number or 0)
        course: Course | None = getattr(self._launcher, "course", None)
        if course is not None:
            course.display.add(jobs, to_come=self._total - len(self._study.trials))
            self._launcher.jobs = jobs
        overrides = [self._space.overrides(self._study.trials[job.number or 0].params) for job in jobs]
        returned: Sequence[JobReturn] = self._launcher.launch(overrides, initial_job_idx=batch[0])
        for job, each in zip(jobs, returned, strict=True):
            record = each.return_value if each.status == JobStatus.COMPLETED else None
            if course is None and record is not None:
                self._table.add(record)
            self._ended(job, record)
        return returned

    def _ended(self, job: Job, record: Record | None) -> None:
        """Tell the study what came of a job.

        A run that failed says nothing about its settings, and FAIL is what samplers leave out. One that diverged
        says that they are bad: PRUNED without a value is what TPE ranks below every other trial.
        """
        state, values = TrialState.FAIL, None
        if record is not None and record["state"] == store.FINISHED:
            values = [record["final"][metric] for metric in self._options.metrics]
            state = TrialState.COMPLETE
        if record is not None and (record["state"] == store.DIVERGED or (values and None in values)):
            state, values = TrialState.PRUNED, None
        for number in self._running.pop(job.id, []):
            self._study.tell(number, state, values)

    def _begin_course(self) -> Display:
        """What the launches of all batches share; entered, it is the display."""
        display = Display(
            self._jobs.values(),
            self._table.swept,
            skipped=self._table.records.values(),
            to_come=self._total - len(self._jobs),
            best=self._best_line,
        )
        self._launcher.course = Course(self._table, display, self._ended, self._options.batch_size)
        return display

    def _best_line(self) -> str:
        best = self._study.best()
        if len(self._options.metrics) > 1:
            return f"{len(best)} trials that no other one beats" if best else ""
        return f"best so far {self._told(best[0])}" if best else ""

    def _told(self, trial: FrozenTrial) -> str:
        """A complete trial in one line."""
        values = " ".join(f"{m} {v:.4f}" for m, v in zip(self._options.metrics, trial.values, strict=True))
        return f"{values}  trial {trial.number}: {' '.join(self._axes_of(trial))}"

    def _axes_of(self, trial: FrozenTrial) -> list[str]:
        return [axis.override(trial.params[axis.key]) for axis in self._space.axes]

    def _end(self) -> None:
        self._table.write()
        trials, best = self._study.trials, self._study.best()
        if len(self._options.metrics) == 1:
            for trial in best:
                print(f"best of {len(trials)} trials: {self._told(trial)}")
        else:
            print(f"{len(best)} of {len(trials)} trials that no other one beats in all of the metrics:")
            for trial in best[:MOST_SHOWN]:
                print(f"  {self._told(trial)}")
        records = self._table.records
        ended = {job.id: (job, records[job.id]) for job in self._jobs.values() if job.id in records}
        outcome(list(ended.values()), self._folder)
        train.fail(any(trial.state != TrialState.COMPLETE for trial in trials))


def _record(job: Job) -> Record | None:
    try:
        return store.read_record(job.folder)
    except (store.Damaged, OSError):
        return None
