"""A search: Optuna proposes settings, a campaign trains them, Optuna is told, and so on.

    python -m src.train -m hydra/sweeper=optuna data.validation=10000 'dropout1=interval(0,0.8)'

Trials are asked for as workers become free, or in batches, which make the search reproducible. They train through
one campaign, so ids, skipping, packs and isolation are those of `src.sweeping.campaign`.
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
from optuna.trial import FrozenTrial, TrialState

from src.errors import SOME_RUNS_LOST, InputError
from src.runs import store
from src.runs.job import Job, Record, final_record, ready
from src.sweeping import dry_run, planning, samplers, search_options, study, sweep
from src.sweeping.campaign import Campaign
from src.sweeping.display import Display, outcome
from src.sweeping.space import Space
from src.sweeping.space import parse as parse_space

MOST_SHOWN = 10
FIRST_SEEDS = 4
"""Of a trial that may be pruned: with fewer no rank test can be below the pruner's threshold of 0.1."""


def search(sweeper: Any, arguments: Sequence[str]) -> None:
    """The Optuna sweeper's work; `sweeper` is set up by Hydra.

    Raises:
        InputError: before anything is written, for the first thing that is wrong.
        SystemExit: with code 1, once all trials have ended, if one has no result.
    """
    options = search_options.parse(sweeper.options)
    space = parse_space(sweep.parsed(sweeper, arguments)[1])
    search_options.check(options, space)
    planner, chosen = sweep.planner_of(sweeper), sweep.packed(sweeper.config)
    folder = sweep.checked_folder(sweeper.config)
    with sweep.started(None if sweeper.plan else chosen) as engine:
        corners = search_options.corners(planner, space)
        before, about = study.begun(folder), search_options.about(space, options)
        search_options.check_same(folder, before, about)
        search_options.check_runs(folder, before, planner, space)
        if sweeper.plan:
            ended = sum(trial.state.is_finished() for trial in before.trials) if before else 0
            runs = [
                max(1, len(space.seeds)) * trials for trials in (search_options.total(space, options), ended)
            ]
            dry_run.show(corners, folder, chosen, *runs)
            return
        ready([job.run for job in corners], here=sweep.trains_here(chosen))
        options = search_options.batched(options, chosen, corners[0].run)
        with _alone(folder):
            sweep.claim(sweeper.config, corners[0].run)
            sweep.save_multirun(folder, sweeper.config)
            grid = space.points() if options.sampler == "grid" else {}
            sampler = samplers.sampler_by_name(options.sampler, options.seed, options.batch_size, grid)
            memory = study.Study(folder, options.directions, space.distributions, sampler, about)
            searching = Search(planner, space, options, memory)
            display = Display([axis.key for axis in space.axes], best=searching.best_line)
            with sweep.campaign_of(sweeper, engine, display, searching.at_once, searching.kept) as campaign:
                searching.run(campaign)
    if searching.end():
        raise SystemExit(SOME_RUNS_LOST)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process from the folder's search; the system frees a dead owner's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".search.lock", timeout=0):
            yield
    except Timeout:
        right = "another process is at this search; wait for its end, or end it"
        raise InputError(f"{folder}: {right}") from None


class Search:
    """A search that goes on: from the trials of its study, those of an earlier start, to `n_trials` of them."""

    def __init__(
        self,
        planner: planning.Planner,
        space: Space,
        options: search_options.Options,
        memory: study.Study,
    ) -> None:
        self._planner, self._space, self._options, self._study = planner, space, options, memory
        self._seeds = [[seed] for seed in space.seeds] or [[]]
        self._jobs: dict[int, list[Job]] = {}
        """By the trial's number, a job a seed; a trial whose settings do not go together has none."""
        self._records: dict[str, Record] = {}
        """What the campaign's table keeps of each run."""
        self._waits: dict[int, set[str]] = {}
        """Of each trial under way the IDs of the runs that it waits for."""
        self._begun: dict[int, int] = {}
        """Of each trial under way its runs so far, those that it waits for included."""
        self._released: list[Job] = []
        """Jobs of trials under way that the campaign has not taken yet."""
        self._total = search_options.total(space, options)
        self._campaign: Campaign

    def run(self, campaign: Campaign) -> None:
        """Go on to the last trial."""
        self._campaign, self._records = campaign, campaign.table.records
        campaign.table.runs_of_trial = len(self._seeds)
        self._take_up()
        campaign.follow(self, self._tell)

    @property
    def at_once(self) -> int:
        """Runs that may train at the same time."""
        return (self._options.batch_size or self._total) * len(self._seeds)

    def kept(self) -> str:
        done = sum(trial.state.is_finished() for trial in self._study.trials)
        return f"{done} of {self._total} trials are done and kept"

    def _take_up(self) -> None:
        """Jobs and records of the trials of an earlier start; what is left of them goes first."""
        table, display = self._campaign.table, self._campaign.display
        ended: list[tuple[Job, Record]] = []
        for trial in self._study.trials:
            jobs = self._plan(trial)
            # one that was told before may have lost its runs
            if not trial.state.is_finished() or not self._is_there(trial):
                self._begin(trial.number)
            else:
                ended += [(job, record) for job in jobs if (record := _record(job))]
        table.extend([job for job, _ in ended])
        for job, record in ended:
            self._campaign.keep(job, record)
        display.add([job for job, _ in ended], to_come=self._to_come() + len(self._released))
        for record in self._records.values():
            display.skip(record)

    def _is_there(self, trial: FrozenTrial) -> bool:
        """Whether the runs that an ended trial was judged by are all there; one may have been pruned."""
        if trial.state != TrialState.COMPLETE:
            return True
        jobs = self._jobs.get(trial.number, [])
        records = [record for record in itertools.takewhile(bool, map(final_record, jobs)) if record]
        if len(records) == len(jobs):
            return True
        is_pruned = self._options.pruner is not None and len(records) >= FIRST_SEEDS
        return is_pruned and self._outcome(records)[1] == trial.values

    def _plan(self, trial: FrozenTrial) -> list[Job]:
        """The trial's jobs; none where its settings do not go together. Those that will be trained for certain get
        rows in the table."""
        settings, first = self._space.overrides(trial.params), trial.number * len(self._seeds)
        try:
            jobs = [self._planner.job([*settings, *seed], first + i) for i, seed in enumerate(self._seeds)]
        except InputError as error:
            if trial.state == TrialState.RUNNING:
                print(f"trial {shown(trial)} cannot be run: {error}", file=sys.stderr)
            return []
        self._jobs[trial.number] = jobs
        self._campaign.table.extend(jobs[: self._first])
        return jobs

    @property
    def _first(self) -> int:
        """Seeds that a trial is trained on before it is asked whether it goes on."""
        return len(self._seeds) if self._options.pruner is None else FIRST_SEEDS

    def more(self, count: int) -> list[Job]:
        """Jobs of trials under way, and of new ones: with batches as soon as none is under way."""
        while self._options.batch_size or not self._released:
            new = self._next_numbers(max(1, count // self._first))
            if not new:
                break
            for _ in new:
                trial = self._study.ask()
                jobs = self._plan(self._study.trials[trial.number])
                trial.set_user_attr("trial", trial.number + 1)
                if len(jobs) == 1:
                    trial.set_user_attr("run", jobs[0].id)
                elif jobs:
                    trial.set_user_attr("runs", [job.id for job in jobs])
            self._study.write()
            for number in new:
                self._begin(number)
        released, self._released = self._released, []
        self._campaign.display.add(released, to_come=self._to_come())
        return released

    def _next_numbers(self, count: int) -> range:
        """Numbers of the trials to be asked for now.

        Batches are of the trials 0 to `batch_size` - 1 and so on, so that a search that goes on after a kill
        first completes the batch that was under way, and is asked then with the same trials told.
        """
        asked, size = len(self._study.trials), self._options.batch_size
        end = asked + count
        if size:
            is_going = not all(trial.state.is_finished() for trial in self._study.trials)
            end = -(-asked // size) * size if is_going or self._waits else (asked // size + 1) * size
        return range(asked, min(end, self._total))

    def available(self) -> int:
        if self._options.batch_size and self._waits:
            return len(self._released)
        return len(self._released) + max(0, self._total - len(self._study.trials)) * len(self._seeds)

    def _to_come(self) -> int:
        """Runs that are still to be released, as far as is known."""
        begun = sum(len(self._jobs[number]) - count for number, count in self._begun.items())
        return begun + max(0, self._total - len(self._study.trials)) * len(self._seeds)

    def _begin(self, number: int) -> None:
        if number in self._jobs:
            self._release(number, self._first)
        else:
            self._study.tell(number, TrialState.FAIL)

    def _release(self, number: int, count: int) -> None:
        """The trial's runs are to be this many."""
        jobs = self._jobs[number][self._begun.get(number, 0) : count]
        self._begun[number], self._waits[number] = count, {job.id for job in jobs}
        self._released += jobs

    def _tell(self, job: Job, record: Record) -> None:
        """A run has ended: each trial that waited for it alone is told, or goes on to a further seed."""
        for number in [number for number, waiting in self._waits.items() if job.id in waiting]:
            self._waits[number].remove(job.id)
            if not self._waits[number]:
                self._advance(number)

    def _advance(self, number: int) -> None:
        trial, begun = self._study.trials[number], self._begun[number]
        records = [self._records[job.id] for job in self._jobs[number][:begun]]
        state, values = self._outcome(records)
        is_over = trial.values == values if trial.state.is_finished() else self._is_worse(number, records)
        if state == TrialState.COMPLETE and begun < len(self._seeds) and not is_over:
            self._release(number, begun + 1)
            return
        del self._waits[number], self._begun[number]
        if not trial.state.is_finished():
            self._study.tell(number, state, values)

    def _is_worse(self, number: int, records: Sequence[Record]) -> bool:
        """Whether the pruner ends a trial: it is clearly worse than the best one before with all seeds.

        With batches not than one of its own: which of these ends first depends on the workers.
        """
        if self._options.pruner is None or any(record["state"] != store.FINISHED for record in records):
            return False
        options, trials = self._options, self._study.trials
        size, metric, direction = options.batch_size, options.metric[0], options.directions[0]
        complete = [
            self._jobs[trial.number]
            for trial in (trials[: number // size * size] if size else trials)
            if trial.state == TrialState.COMPLETE and trial.number in self._jobs
        ]
        whole = [
            [self._records[job.id]["final"][metric] for job in jobs]
            for jobs in complete
            if all(job.id in self._records for job in jobs)
        ]
        if not whole:
            return False
        best = (max if direction == "maximize" else min)(whole, key=math.fsum)
        return study.is_worse([record["final"][metric] for record in records], best, direction)

    def _outcome(self, records: Sequence[Record]) -> tuple[TrialState, list[float] | None]:
        """State and objectives of a trial by its runs: the means over its seeds.

        A run that failed says nothing about its settings, and FAIL is what samplers leave out. One that diverged
        says that they are bad: PRUNED without a value is what TPE ranks below every other trial.
        """
        states = {record["state"] for record in records}
        if store.DIVERGED in states:
            return TrialState.PRUNED, None
        if states != {store.FINISHED}:
            return TrialState.FAIL, None
        values = [[record["final"][metric] for record in records] for metric in self._options.metric]
        if any(None in of_metric for of_metric in values):
            return TrialState.PRUNED, None
        return TrialState.COMPLETE, [math.fsum(of_metric) / len(of_metric) for of_metric in values]

    def best_line(self) -> str:
        best = self._study.best()
        if len(self._options.metric) > 1:
            return f"{len(best)} trials that no other one beats" if best else ""
        return f"best so far {self._text(best[0])}" if best else ""

    def _text(self, trial: FrozenTrial) -> str:
        """A complete trial in one line."""
        values = " ".join(f"{m} {v:.4f}" for m, v in zip(self._options.metric, trial.values, strict=True))
        return f"{values}  trial {shown(trial)}: {' '.join(self._axes_of(trial))}"

    def _axes_of(self, trial: FrozenTrial) -> list[str]:
        return [axis.override(trial.params[axis.key]) for axis in self._space.axes]

    def end(self) -> bool:
        """A summary; whether a trial has no result."""
        trials, best = self._study.trials, self._study.best()
        if len(self._options.metric) == 1:
            for trial in best:
                print(f"best of {len(trials)} trials: {self._text(trial)}")
        else:
            print(f"{len(best)} of {len(trials)} trials that no other one beats in all of the metrics:")
            for trial in best[:MOST_SHOWN]:
                print(f"  {self._text(trial)}")
        records = self._records
        jobs = itertools.chain(*self._jobs.values())
        results = {job.id: (job, records[job.id]) for job in jobs if job.id in records}
        of_best = [{"trial": shown(t), "values": t.values, "overrides": self._axes_of(t)} for t in best]
        outcome(list(results.values()), self._campaign.table.folder, trials=len(trials), best=of_best)
        return any(trial.state != TrialState.COMPLETE for trial in trials)


def shown(trial: FrozenTrial) -> int:
    """A trial's number for people, from 1 as in what the display counts; Optuna's own is from 0."""
    return trial.number + 1


def _record(job: Job) -> Record | None:
    try:
        return store.read_record(job.folder)
    except (store.Damaged, OSError):
        return None
