"""A sweep that goes on until its contrasts are decided: look by look, each a wave of runs through the campaign.

What stands in `looks.csv` follows from the plan (`until.Until`) and the finished runs alone, so that a sweep that
was killed goes on at the same look with the same rows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.runs import store
from src.runs.broken import CLASSES, broke_down
from src.runs.job import Job, Record
from src.stats import BETTER, DECIDED, EQUIVALENT, OPEN, UNDECIDED, WORSE, Interval, Verdict
from src.sweeping.arms import Arm
from src.sweeping.campaign import Campaign
from src.sweeping.display import show_table
from src.sweeping.until import Contrast, Until, combined, sides

FILE = "looks.csv"


@dataclass(frozen=True)
class Look:
    """A contrast after so many seeds: a row of `looks.csv`."""

    number: int
    seeds: int
    contrast: Contrast
    n: int
    """Seeds of which all its arms have a result."""
    estimate: float
    """Mean, in the metric's own unit, of a variance of the ratio's logarithm; NaN for n = 0."""
    interval: Interval | None
    level: float
    verdict: str
    broken: tuple[int, int]
    """Runs that diverged or broke down, of the arms that raise the contrast and of those that lower it."""

    def names(self, arms: Sequence[Arm]) -> tuple[str, str]:
        """What is subtracted from what."""
        a, b = ([arms[number].name for number in side] for side in self._sides)
        marks = (", noise on", ", noise off") if a == b else ("", "")
        return " - ".join(a) + marks[0], " - ".join(b) + marks[1]

    @property
    def _sides(self) -> tuple[Contrast, Contrast]:
        half = len(self.contrast) // 2
        return self.contrast[:half], self.contrast[half:]

    def row(self, metric: str, arms: Sequence[Arm], trained: int, saved: int) -> dict[str, Any]:
        numbers = ("-".join(map(str, side)) for side in self._sides)
        ends = (self.interval.lower, self.interval.upper) if self.interval else (None, None)
        estimate = None if math.isnan(self.estimate) else self.estimate
        contrast = (self.number, self.seeds, *numbers, *self.names(arms), metric)
        result = (self.n, estimate, *ends, self.level, self.verdict, *self.broken)
        return dict(zip(COLUMNS, (*contrast, *result, trained, saved), strict=True))


COLUMNS = (
    *("look", "seeds", "a", "b", "arm_a", "arm_b", "metric", "n", "estimate", "lower", "upper", "level"),
    *("verdict", "broken_a", "broken_b", "trained", "saved"),
)


class Decisions:
    """The looks of one sweep, by its plan; `looks.csv` is written to the sweep's folder."""

    def __init__(self, until: Until, arms: Sequence[Arm], folder: Path) -> None:
        self.until, self.arms, self._folder = until, arms, folder
        self._plan = until.plan
        self._records: dict[str, Record] = {}
        self._usable: dict[Contrast, list[int]] = {contrast: [] for contrast in until.contrasts}
        self._looks: list[list[Look]] = []
        self._open: list[Contrast] = list(until.contrasts)
        compared = until.arms_of(until.contrasts)
        self._seeds = [until.looks[-1 if arm in compared else 0] for arm in range(len(arms))]
        """Of each arm, at most; those in no contrast have the seeds of the first look."""
        self.most = sum(self._seeds)
        """Runs of a sweep that is carried to its last look."""
        self._trained = 0

    @property
    def first(self) -> list[Job]:
        """Jobs of the first look."""
        return self._wave(0)

    @property
    def every(self) -> list[Job]:
        """Jobs of a sweep that is carried to its last look."""
        return [job for arm, seeds in zip(self.arms, self._seeds, strict=True) for job in arm.jobs(seeds)]

    @property
    def largest_wave(self) -> int:
        looks = self.until.looks
        return len(self.arms) * max(n - before for before, n in zip((0, *looks), looks, strict=False))

    @property
    def left(self) -> int:
        """Runs that are still to come, at most."""
        if not self._looks:
            return self.most
        seeds = self.until.looks[-1] - self._looks[-1][0].seeds
        return seeds * len(self.until.arms_of(self._open))

    def run(self, campaign: Campaign) -> list[Job]:
        """Train until every contrast is decided, or to the last look; the jobs."""
        trained: list[Job] = []
        self._records = campaign.table.records
        while self._open and len(self._looks) < len(self.until.looks):
            self.write()
            wave = self._wave(len(self._looks))
            campaign.display.add(wave, to_come=self.left - len(wave))
            campaign.train(wave)
            trained += wave
            self._trained = len(trained)
            self._look()
            campaign.display.add([], to_come=self.left)
            print(self.line(), flush=True)
        self.write()
        return trained

    def line(self) -> str:
        """How far it is."""
        seeds, last = self._looks[-1][0].seeds if self._looks else 0, self.until.looks[-1]
        decided = sum(look.verdict in DECIDED for look in self.final)
        pairs = f"{decided} of {len(self.until.contrasts)} {self.until.kind}s decided"
        return f"look at {seeds} of at most {last} seeds: {pairs}, at most {self.left} more runs"

    def _wave(self, look: int) -> list[Job]:
        """The jobs that the look takes beside those before; arms in no contrast have the first alone."""
        before = self.until.looks[look - 1] if look else 0
        arms = self.until.arms_of(self._open) if look else range(len(self.arms))
        return [job for arm in arms for job in self.arms[arm].jobs(self.until.looks[look])[before:]]

    def _look(self) -> None:
        """Judge what is open by the runs that have ended."""
        number = len(self._looks) + 1
        looks = [self._judged(contrast, number) for contrast in self._open]
        self._looks.append(looks)
        self._open = [look.contrast for look in looks if look.verdict == OPEN]

    def _judged(self, contrast: Contrast, number: int) -> Look:
        until, seeds = self.until, self.until.looks[number - 1]
        jobs = [self.arms[arm].jobs(seeds) for arm in contrast]
        values = [
            [self._value(job, column) for job in of_arm]
            for of_arm, column in zip(jobs, until.columns(contrast), strict=True)
        ]
        of_seeds = [of_seed for of_seed in zip(*values, strict=True) if all(map(math.isfinite, of_seed))]
        differences = [combined(of_seed) for of_seed in of_seeds]
        usable = self._usable[contrast]
        usable.append(len(differences))
        broken = sides([sum(map(self._is_broken, of_arm)) for of_arm in jobs])
        interval = self._plan.interval(differences, usable)
        margin, is_last = until.measure.stored(until.margin), number == len(until.looks)
        verdict = self._plan.verdict(interval, usable, margin, until.measure.sign > 0)
        word = worded(verdict, broken, seeds * len(contrast) // 2, is_last)
        return Look(
            number=number,
            seeds=seeds,
            contrast=contrast,
            n=len(differences),
            estimate=math.fsum(differences) / len(differences) if differences else math.nan,
            interval=interval,
            level=self._plan.levels(usable)[-1],
            verdict=until.measure.word(word, len(contrast) == 4),
            broken=broken,
        )

    def _value(self, job: Job, column: str) -> float:
        """As it is compared; not finite where there is none."""
        record = self._records[job.id]
        recorded = record["final"].get(column) if record["state"] == store.FINISHED else None
        return math.nan if recorded is None else float(self.until.measure.compared(recorded))

    def _is_broken(self, job: Job) -> bool:
        """Whether it diverged or broke down; one that failed says nothing about its settings."""
        record = self._records[job.id]
        if record["state"] != store.FINISHED:
            return bool(record["state"] == store.DIVERGED)
        return _broke_down(job.folder, float(record["final"]["test_acc"]), job.run.data.name)

    def write(self) -> None:
        """`looks.csv`, with the looks so far."""
        rows = []
        for looks in self._looks:
            going_on = {arm for look in looks if look.verdict == OPEN for arm in look.contrast}
            for look in looks:
                arms, left = {*look.contrast}, self.until.looks[-1] - look.seeds
                trained, saved = len(arms) * look.seeds, len(arms - going_on) * left
                rows.append(look.row(self.until.measure.column, self.arms, trained=trained, saved=saved))
        store.write_whole(self._folder / FILE, store.csv_text(COLUMNS, rows))

    @property
    def final(self) -> list[Look]:
        """The latest look at each contrast, in their order."""
        latest = {look.contrast: look for looks in self._looks for look in looks}
        return [latest[contrast] for contrast in self.until.contrasts if contrast in latest]

    def show(self) -> None:
        """The verdicts, as a table."""
        until, final, measure = self.until, self.final, self.until.measure
        print(
            f"{measure.column}, intervals at {1 - until.alpha:.0%} for all {until.kind}s and looks together, "
            f"margin {measure.size(until.margin)}"
        )
        unit = f" ({measure.difference_unit})" if measure.difference_unit else ""
        columns = ("a", "b", "n", f"a {'/' if measure.log else '-'} b{unit}", "interval", "verdict")
        rows = (self._shown(look) for look in final)
        show_table(columns, rows, len(final), f"{until.kind}s in {FILE}")
        print(f"{self._trained} runs of at most {self.most}")

    def _shown(self, look: Look) -> tuple[str, ...]:
        measure, ends = self.until.measure, "–"
        if look.interval:
            both = (look.interval.lower, look.interval.upper)
            ends = " to ".join(measure.fine_enough(*both).shown(end, signed=True) for end in both)
        estimate = measure.shown(look.estimate, signed=True)
        return *look.names(self.arms), str(look.n), estimate, ends, look.verdict


@cache
def _broke_down(folder: Path, test_acc: float, data: str) -> bool:
    """Whether a finished run did; no where its file cannot be read."""
    try:
        rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
        return broke_down([float(row["train_acc"]) for row in rows], test_acc, CLASSES.get(data))
    except (OSError, ValueError, KeyError):
        return False


def worded(verdict: Verdict, broken: Sequence[int], runs: int, is_last: bool) -> str:
    """The verdict on a contrast, which cannot gain by runs that broke on one side while fewer of the other did.

    Of (a - b) - (c - d) one side is a and d, which raise it, the other one b and c, which lower it; runs that broke
    are summed over a side's arms. A side that is ahead may be so because its bad runs are missing: that stands only
    where the other one has as many; "equivalent" stands only where both have the same number.

    Args:
        broken: runs of the raising and of the lowering side that diverged or broke down.
        runs: of each side.
    """
    worst = max(broken)
    gains = {BETTER: broken[0] > broken[1], WORSE: broken[1] > broken[0], EQUIVALENT: broken[0] != broken[1]}
    if gains.get(verdict.word):
        return f"{UNDECIDED}, {worst} of {runs} broke" if is_last else OPEN
    if verdict.word in DECIDED:
        return verdict.word
    return UNDECIDED if is_last else OPEN
