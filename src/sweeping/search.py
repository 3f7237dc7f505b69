"""A search: Optuna proposes a batch of settings, a campaign trains them, Optuna is told, and so on.

    python -m src.train -m hydra/sweeper=optuna data.validation=10000 'dropout1=interval(0,0.8)'

Each batch is trained like a sweep of its own, so ids, skipping, packs and isolation are those of
`src.sweeping.campaign`; the table, the display and the worker processes last from the first batch to the last.
"""

from __future__ import annotations

import itertools
import math
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
from src.runs import store, sweep_folder, tags
from src.runs.job import Job, Record, final_record, ready
from src.sweeping import dry_run, planning, search_options, study
from src.sweeping.campaign import Campaign, Launched
from src.sweeping.display import Display, outcome
from src.sweeping.space import Space
from src.sweeping.space import parse as parse_space
from src.sweeping.sweep import packed, save_multirun, started, text_of, trains_here

MOST_SHOWN = 10
FIRST_SEEDS = 4
"""Of a trial that may be pruned: with fewer no rank test can be below the pruner's threshold of 0.1."""


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
    seeds, given = search_options.seeds(given)
    space = parse_space(given)
    search_options.check_space(space, options)
    search_options.check_pruner(options, seeds)
    chosen, folder = packed(sweeper.config), Path(sweeper.config.hydra.sweep.dir)
    planner = planning.Planner(sweeper.hydra_context.config_loader, sweeper.config)
    sweep_folder.check(folder, text_of(sweeper.config))
    if sweeper.plan:
        runs_of = max(1, len(seeds))
        total, done = search_options.total(space, options), search_options.ended_before(folder)
        dry_run.show(
            search_options.corners(planner, space, seeds), folder, chosen, runs_of * total, runs_of * done
        )
        return []
    with started(chosen) as engine:
        corners = search_options.corners(planner, space, seeds)
        ready([job.run for job in corners], here=trains_here(chosen))
        about = search_options.about(space, options, seeds)
        search_options.check_same(folder, about)
        with _alone(folder):
            first = corners[0].run
            sweep_folder.claim(folder, text_of(sweeper.config), first.output)
            tags.add(folder, first.tags, first.note)
            save_multirun(folder, sweeper.config)
            sampler = study.sampler_by_name(
                options.sampler, options.seed, options.batch_size, search_options.grid(space, options)
            )
            memory = study.Study(folder, options.directions, space.distributions, sampler, about)
            searching = Search(planner, space, options, memory, folder, seeds)
            returned = searching.run(searching.campaign(engine, chosen, sweeper))
    if searching.end():
        raise SystemExit(SOME_RUNS_LOST)
    return returned


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
        seeds: overrides of the runs of a trial, where it has several; its objective is their mean.
    """

    def __init__(
        self,
        planner: planning.Planner,
        space: Space,
        options: search_options.Options,
        memory: study.Study,
        folder: Path,
        seeds: Sequence[str] = (),
    ) -> None:
        self._seeds = [[seed] for seed in seeds] or [[]]
        self._planner, self._space, self._options = planner, space, options
        self._study, self._folder = memory, folder
        self._jobs: dict[int, list[Job]] = {}
        """By the trial's number, a job a seed; a trial whose settings do not go together has none."""
        self._records: dict[str, Record] = {}
        """What the campaign's table keeps of each run."""
        self._running: dict[int, set[str]] = {}
        """Of each trial that goes on the IDs of the runs that it waits for."""
        self._again: list[int] = []
        """Trials that were told before, but whose runs are gone."""
        self._total = search_options.total(space, options)

    def campaign(self, engine: Engine | None, chosen: Settings | None, sweeper: Any) -> Campaign:
        """What trains this search's batches: on the engine, or without one by the launcher that Hydra has."""
        swept = [axis.key for axis in self._space.axes]
        display = Display(swept, best=self._best_line)
        if engine is not None and chosen is not None:
            campaign = Campaign(
                self._folder,
                swept,
                engine,
                display,
                pack_size=chosen.pack_size,
                at_once=self._options.batch_size * len(self._seeds),
                kept=self._kept,
            )
        else:
            launcher = sweeper.hydras_launcher()
            campaign = Launched(self._folder, swept, launcher, display, self._overrides, kept=self._kept)
        campaign.table.runs_of_trial = len(self._seeds)
        return campaign

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
        trial, seed = divmod(job.number or 0, len(self._seeds))
        return [*self._space.overrides(self._study.trials[trial].params), *self._seeds[seed]]

    def _kept(self) -> str:
        done = sum(trial.state.is_finished() for trial in self._study.trials)
        return f"{done} of {self._total} trials are done and kept"

    def _take_up(self, campaign: Campaign) -> None:
        """Jobs and records of the trials of an earlier start."""
        for trial in self._study.trials:
            jobs = self._plan(trial, campaign)
            if trial.state == TrialState.COMPLETE and not self._is_there(trial):
                self._again.append(trial.number)
            elif trial.state.is_finished():
                self._records |= {job.id: record for job in jobs if (record := _record(job))}
                campaign.table.extend([job for job in jobs if job.id in self._records])
        going = {trial.number for trial in self._study.trials if not trial.state.is_finished()}
        every = [(number, job) for number, jobs in self._jobs.items() for job in jobs]
        planned = [job for number, job in every if number in going or job.id in self._records]
        campaign.display.add(planned, to_come=self._total * len(self._seeds) - len(planned))
        for record in self._records.values():
            campaign.display.skip(record)

    def _is_there(self, trial: FrozenTrial) -> bool:
        """Whether the runs that a complete trial was judged by are all there; one may have been pruned."""
        jobs = self._jobs.get(trial.number, [])
        records = [record for record in itertools.takewhile(bool, map(final_record, jobs)) if record]
        if len(records) == len(jobs):
            return True
        is_pruned = self._options.pruner is not None and len(records) >= FIRST_SEEDS
        return is_pruned and self._told_of(records)[1] == trial.values

    def _plan(self, trial: FrozenTrial, campaign: Campaign) -> list[Job]:
        """The trial's jobs; none where its settings do not go together. Those that will be trained for certain get
        rows in the table."""
        settings, first = self._space.overrides(trial.params), trial.number * len(self._seeds)
        try:
            jobs = [self._planner.job([*settings, *seed], first + i) for i, seed in enumerate(self._seeds)]
        except InputError as error:
            if trial.state == TrialState.RUNNING:
                print(f"trial {trial.number} cannot be run: {error}", file=sys.stderr)
            return []
        self._jobs[trial.number] = jobs
        campaign.table.extend(jobs[self._rounds[0]])
        return jobs

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
            jobs = self._plan(self._study.trials[trial.number], campaign)
            if len(jobs) == 1:
                trial.set_user_attr("run", jobs[0].id)
            elif jobs:
                trial.set_user_attr("runs", [job.id for job in jobs])
        self._study.write()
        self._again = []
        return [*waiting, *new]

    def _train(self, batch: Sequence[int], campaign: Campaign) -> list[Record]:
        for number in set(batch) - self._jobs.keys():
            self._study.tell(number, TrialState.FAIL)
        for number in batch:
            if number in self._jobs and not self._study.trials[number].state.is_finished():
                self._running[number] = {job.id for job in self._jobs[number]}
        again = [number for number in batch if number in self._jobs and number not in self._running]
        records: list[Record] = []
        for seeds in self._rounds:
            going = [number for number in batch if number in self._running or number in again]
            if not going:
                break
            jobs = [job for number in going for job in self._jobs[number][seeds]]
            rest = len(going) * (len(self._seeds) - seeds.stop)
            to_come = (self._total - len(self._study.trials)) * len(self._seeds) + rest
            campaign.display.add(jobs, to_come=to_come)
            records += campaign.train(jobs, self._tell)
            self._prune(seeds.stop)
        return records

    @property
    def _rounds(self) -> list[slice]:
        """Seeds that trials are trained on before each is asked whether it goes on."""
        count = len(self._seeds)
        if self._options.pruner is None:
            return [slice(0, count)]
        return [slice(0, FIRST_SEEDS), *(slice(seed, seed + 1) for seed in range(FIRST_SEEDS, count))]

    def _prune(self, seeds: int) -> None:
        """Tell the study of each running trial that needs no more than these first seeds, by their mean."""
        for number in sorted(self._running):
            records = [self._records[job.id] for job in self._jobs[number][:seeds]]
            state, values = self._told_of(records)
            if state != TrialState.COMPLETE or self._is_worse(number, records):
                del self._running[number]
                self._study.tell(number, state, values)

    def _is_worse(self, number: int, records: Sequence[Record]) -> bool:
        """Whether a trial is clearly worse than the best one of the batches before with all seeds.

        Not of its own: which of these ends first depends on the workers.
        """
        metric, direction = self._options.metrics[0], self._options.directions[0]
        sign = 1 if direction == "maximize" else -1
        begin = number // self._options.batch_size * self._options.batch_size
        whole = [
            [self._records[job.id]["final"][metric] for job in self._jobs[trial.number]]
            for trial in self._study.trials[:begin]
            if trial.state == TrialState.COMPLETE
            and all(job.id in self._records for job in self._jobs.get(trial.number, ()))
        ]
        if not whole:
            return False
        best = max(whole, key=lambda values: sign * math.fsum(values))
        return study.is_worse([record["final"][metric] for record in records], best, direction)

    def _tell(self, job: Job, record: Record) -> None:
        """Tell the study of each trial whose last run this was."""
        for number in [number for number, waiting in self._running.items() if job.id in waiting]:
            self._running[number].remove(job.id)
            if not self._running[number]:
                del self._running[number]
                self._study.tell(
                    number, *self._told_of([self._records[job.id] for job in self._jobs[number]])
                )

    def _told_of(self, records: Sequence[Record]) -> tuple[TrialState, list[float] | None]:
        """State and objectives of a trial by its runs: the means over its seeds.

        A run that failed says nothing about its settings, and FAIL is what samplers leave out. One that diverged
        says that they are bad: PRUNED without a value is what TPE ranks below every other trial.
        """
        states = {record["state"] for record in records}
        if store.DIVERGED in states:
            return TrialState.PRUNED, None
        if states != {store.FINISHED}:
            return TrialState.FAIL, None
        values = [[record["final"][metric] for record in records] for metric in self._options.metrics]
        if any(None in of_metric for of_metric in values):
            return TrialState.PRUNED, None
        return TrialState.COMPLETE, [math.fsum(of_metric) / len(of_metric) for of_metric in values]

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
        jobs = itertools.chain(*self._jobs.values())
        results = {job.id: (job, records[job.id]) for job in jobs if job.id in records}
        told = [{"trial": t.number, "values": t.values, "overrides": self._axes_of(t)} for t in best]
        outcome(list(results.values()), self._folder, trials=len(trials), best=told)
        return any(trial.state != TrialState.COMPLETE for trial in trials)


def _record(job: Job) -> Record | None:
    try:
        return store.read_record(job.folder)
    except (store.Damaged, OSError):
        return None
