"""The trials of a search: from the asking to the telling, with the runs of each in between."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from src.engines import Engine
from src.engines.settings import Settings
from src.errors import InputError
from src.runs import store
from src.runs.job import Job, Record, final_record
from src.sweeping import planning, search_options, study
from src.sweeping.campaign import Campaign, Launched
from src.sweeping.display import Display, outcome
from src.sweeping.space import Space

MOST_SHOWN = 10
FIRST_SEEDS = 4
"""Of a trial that may be pruned: with fewer no rank test can be below the pruner's threshold of 0.1."""


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
        self._waits: dict[int, set[str]] = {}
        """Of each trial under way the IDs of the runs that it waits for."""
        self._begun: dict[int, int] = {}
        """Of each trial under way its runs so far, those that it waits for included."""
        self._released: list[Job] = []
        """Jobs of trials under way that the campaign has not taken yet."""
        self._total = search_options.total(space, options)
        self._campaign: Campaign

    def run(self, engine: Engine | None, chosen: Settings | None, sweeper: Any) -> list[list[Record]]:
        """Go on to the last trial, on the engine, or without one by Hydra's launcher; the runs' records."""
        swept = [axis.key for axis in self._space.axes]
        display = Display(swept, best=self._best_line)
        if engine is not None and chosen is not None:
            self._campaign = Campaign(
                self._folder,
                swept,
                engine,
                display,
                pack_size=chosen.pack_size,
                at_once=(self._options.batch_size or self._total) * len(self._seeds),
                kept=self._kept,
            )
        else:
            launcher = sweeper.hydras_launcher()
            self._campaign = Launched(
                self._folder, swept, launcher, display, self._overrides, kept=self._kept
            )
        self._records = self._campaign.table.records
        self._campaign.table.runs_of_trial = len(self._seeds)
        with self._campaign as campaign:
            self._take_up()
            campaign.follow(self, self._tell)
        return [list(self._records.values())]

    def _overrides(self, job: Job) -> list[str]:
        trial, seed = divmod(job.number or 0, len(self._seeds))
        return [*self._space.overrides(self._study.trials[trial].params), *self._seeds[seed]]

    def _kept(self) -> str:
        done = sum(trial.state.is_finished() for trial in self._study.trials)
        return f"{done} of {self._total} trials are done and kept"

    def _take_up(self) -> None:
        """Jobs and records of the trials of an earlier start; what is left of them goes first."""
        table, display = self._campaign.table, self._campaign.display
        begin: list[int] = []
        again: list[int] = []
        for trial in self._study.trials:
            jobs = self._plan(trial)
            if not trial.state.is_finished():
                begin.append(trial.number)
            elif trial.state == TrialState.COMPLETE and not self._is_there(trial):
                again.append(trial.number)  # it was told before, but its runs are gone
            else:
                for job in jobs:
                    if record := _record(job):
                        table.extend([job])
                        self._campaign.keep(job, record)
        going = {*begin, *again}
        every = [(number, job) for number, jobs in self._jobs.items() for job in jobs]
        planned = [job for number, job in every if number in going or job.id in self._records]
        display.add(planned, to_come=self._total * len(self._seeds) - len(planned))
        for record in self._records.values():
            display.skip(record)
        for number in [*again, *begin]:
            self._begin(number)

    def _is_there(self, trial: FrozenTrial) -> bool:
        """Whether the runs that a complete trial was judged by are all there; one may have been pruned."""
        jobs = self._jobs.get(trial.number, [])
        records = [record for record in itertools.takewhile(bool, map(final_record, jobs)) if record]
        if len(records) == len(jobs):
            return True
        is_pruned = self._options.pruner is not None and len(records) >= FIRST_SEEDS
        return is_pruned and self._told_of(records)[1] == trial.values

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
        state, values = self._told_of(records)
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
        size, metric, direction = (
            self._options.batch_size,
            self._options.metrics[0],
            self._options.directions[0],
        )
        sign = 1 if direction == "maximize" else -1
        before = self._study.trials[: number // size * size] if size else self._study.trials
        whole = [
            [self._records[job.id]["final"][metric] for job in self._jobs[trial.number]]
            for trial in before
            if trial.state == TrialState.COMPLETE
            and all(job.id in self._records for job in self._jobs.get(trial.number, ()))
        ]
        if not whole:
            return False
        best = max(whole, key=lambda values: sign * math.fsum(values))
        return study.is_worse([record["final"][metric] for record in records], best, direction)

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
        return f"{values}  trial {shown(trial)}: {' '.join(self._axes_of(trial))}"

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
        told = [{"trial": shown(t), "values": t.values, "overrides": self._axes_of(t)} for t in best]
        outcome(list(results.values()), self._folder, trials=len(trials), best=told)
        return any(trial.state != TrialState.COMPLETE for trial in trials)


def shown(trial: FrozenTrial) -> int:
    """A trial's number for people, from 1 as in what the display counts; Optuna's own is from 0."""
    return trial.number + 1


def _record(job: Job) -> Record | None:
    try:
        return store.read_record(job.folder)
    except (store.Damaged, OSError):
        return None
