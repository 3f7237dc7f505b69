"""A search: Optuna proposes a batch of settings, a campaign trains them, Optuna is told, and so on.

    python -m src.train -m hydra/sweeper=optuna data.validation=10000 'dropout1=interval(0,0.8)'

Each batch is trained like a sweep of its own, so ids, skipping, packs and isolation are those of
`src.sweeping.campaign`; the table, the display and the worker processes last from the first batch to the last.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial, TrialState

from src.engines import Engine
from src.engines.settings import Settings
from src.errors import SOME_RUNS_LOST, InputError
from src.runs import store, sweep_folder
from src.runs.job import Job, Record, final_record, ready
from src.sweeping import dry_run, planning, search_options, study
from src.sweeping.campaign import Campaign, Launched
from src.sweeping.display import Display, outcome
from src.sweeping.space import Space
from src.sweeping.space import parse as parse_space
from src.sweeping.sweep import packed, save_multirun, started, text_of, trains_here

MOST_SHOWN = 10


def search(sweeper: Any, arguments: Sequence[str]) -> list[list[Record]]:
    """The Optuna sweeper's work; `sweeper` is set up by Hydra.

    Raises:
        InputError: before anything is written, for the first thing that is wrong.
        SystemExit: with code 1, once all trials have ended, if one has no result.
    """
    options = search_options.parse(sweeper.options)
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    params = [f"{key}={value}" for key, value in sweeper.params.items()]
    given = [o for o in parser.parse_overrides([*params, *arguments]) if o.key_or_group != "sweep"]
    space = parse_space(given)
    search_options.check_space(space, options)
    chosen, folder = packed(sweeper.config), Path(sweeper.config.hydra.sweep.dir)
    planner = planning.Planner(sweeper.hydra_context.config_loader, sweeper.config)
    sweep_folder.check(folder, text_of(sweeper.config))
    if sweeper.plan:
        total, done = search_options.total(space, options), search_options.ended_before(folder)
        dry_run.show(_corners(planner, space), folder, chosen, total, done)
        return []
    with started(chosen) as engine:
        corners = _corners(planner, space)
        ready([job.run for job in corners], here=trains_here(chosen))
        about = search_options.about(space, options)
        search_options.check_same(folder, about)
        with _alone(folder):
            sweep_folder.claim(folder, text_of(sweeper.config), corners[0].run.output)
            save_multirun(folder, sweeper.config)
            sampler = study.sampler_by_name(
                options.sampler, options.seed, options.batch_size, search_options.grid(space, options)
            )
            memory = study.Study(folder, options.directions, space.distributions, sampler, about)
            searching = Search(planner, space, options, memory, folder)
            returned = searching.run(searching.campaign(engine, chosen, sweeper))
    if searching.end():
        raise SystemExit(SOME_RUNS_LOST)
    return returned


def _corners(planner: planning.Planner, space: Space) -> list[Job]:
    """Jobs that show what is wrong with any value of the space."""
    corners = [planner.job(overrides, 0) for overrides in space.corners()]
    search_options.check_validation(corners)
    return corners


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
        planner: makes the trials' jobs.
        space: what is searched over.
        options: how.
        memory: the study, with the trials of an earlier start.
        folder: the sweep's.
    """

    def __init__(
        self,
        planner: planning.Planner,
        space: Space,
        options: search_options.Options,
        memory: study.Study,
        folder: Path,
    ) -> None:
        self._planner, self._space, self._options = planner, space, options
        self._study, self._folder = memory, folder
        self._jobs: dict[int, Job] = {}
        """By the trial's number; a trial whose settings do not go together has none."""
        self._records: dict[str, Record] = {}
        """What the campaign's table keeps of each run."""
        self._running: dict[str, list[int]] = {}
        """Trials that wait for the run of this ID."""
        self._again: list[int] = []
        """Trials that were told before, but whose runs are gone."""
        self._total = search_options.total(space, options)

    def campaign(self, engine: Engine | None, chosen: Settings | None, sweeper: Any) -> Campaign:
        """What trains this search's batches: on the engine, or without one by the launcher that Hydra has."""
        swept = [axis.key for axis in self._space.axes]
        display = Display(swept, best=self._best_line)
        if engine is not None and chosen is not None:
            return Campaign(
                self._folder,
                swept,
                engine,
                display,
                pack_size=chosen.pack_size,
                at_once=self._options.batch_size,
                kept=self._kept,
            )
        return Launched(
            self._folder, swept, sweeper.hydras_launcher(), display, self._overrides, kept=self._kept
        )

    def run(self, campaign: Campaign) -> list[list[Record]]:
        """Go on to the last trial; the runs' records, a batch at a time."""
        returned: list[list[Record]] = []
        self._records = campaign.table.records
        with campaign:
            self._take_up(campaign)
            while (batch := self._next_batch(campaign)) is not None:
                returned.append(self._train(batch, campaign))
        return returned

    def _overrides(self, job: Job) -> list[str]:
        return self._space.overrides(self._study.trials[job.number or 0].params)

    def _kept(self) -> str:
        done = sum(trial.state.is_finished() for trial in self._study.trials)
        return f"{done} of {self._total} trials are done and kept"

    def _take_up(self, campaign: Campaign) -> None:
        """Jobs and records of the trials of an earlier start."""
        for trial in self._study.trials:
            job = self._plan(trial, campaign)
            if job is None:
                continue
            if trial.state == TrialState.COMPLETE and final_record(job) is None:
                self._again.append(trial.number)
            elif trial.state.is_finished() and (record := _record(job)):
                self._records[job.id] = record
        campaign.display.add(self._jobs.values(), to_come=self._total - len(self._jobs))
        for record in self._records.values():
            campaign.display.skip(record)

    def _plan(self, trial: FrozenTrial, campaign: Campaign) -> Job | None:
        """The trial's job, with a row of its own in the table; None where its settings do not go together."""
        try:
            job = self._planner.job(self._space.overrides(trial.params), trial.number)
        except InputError as error:
            if trial.state == TrialState.RUNNING:
                print(f"trial {trial.number} cannot be run: {error}", file=sys.stderr)
            return None
        self._jobs[trial.number] = job
        campaign.table.extend([job])
        return job

    def _next_batch(self, campaign: Campaign) -> list[int] | None:
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
            job = self._plan(self._study.trials[trial.number], campaign)
            if job is not None:
                trial.set_user_attr("run", job.id)
        self._study.write()
        self._again = []
        return [*waiting, *new]

    def _train(self, batch: Sequence[int], campaign: Campaign) -> list[Record]:
        for number in set(batch) - self._jobs.keys():
            self._study.tell(number, TrialState.FAIL)
        jobs = [self._jobs[number] for number in batch if number in self._jobs]
        if not jobs:
            return []
        for job in jobs:
            if not self._study.trials[job.number or 0].state.is_finished():
                self._running.setdefault(job.id, []).append(job.number or 0)
        campaign.display.add(jobs, to_come=self._total - len(self._study.trials))
        return campaign.train(jobs, self._tell)

    def _tell(self, job: Job, record: Record) -> None:
        """Tell the study how a job ended.

        A run that failed says nothing about its settings, and FAIL is what samplers leave out. One that diverged
        says that they are bad: PRUNED without a value is what TPE ranks below every other trial.
        """
        state, values = TrialState.FAIL, None
        if record["state"] == store.FINISHED:
            values = [record["final"][metric] for metric in self._options.metrics]
            state = TrialState.COMPLETE
        if record["state"] == store.DIVERGED or (values and None in values):
            state, values = TrialState.PRUNED, None
        for number in self._running.pop(job.id, []):
            self._study.tell(number, state, values)

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

    def end(self) -> bool:
        """A summary; whether a trial has no result."""
        trials, best = self._study.trials, self._study.best()
        if len(self._options.metrics) == 1:
            for trial in best:
                print(f"best of {len(trials)} trials: {self._told(trial)}")
        else:
            print(f"{len(best)} of {len(trials)} trials that no other one beats in all of the metrics:")
            for trial in best[:MOST_SHOWN]:
                print(f"  {self._told(trial)}")
        records = self._records
        results = {job.id: (job, records[job.id]) for job in self._jobs.values() if job.id in records}
        outcome(list(results.values()), self._folder)
        return any(trial.state != TrialState.COMPLETE for trial in trials)


def _record(job: Job) -> Record | None:
    try:
        return store.read_record(job.folder)
    except (store.Damaged, OSError):
        return None
