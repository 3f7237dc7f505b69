"""A sweep that goes on until its pairs are decided: look by look, each a wave of runs through the campaign.

What stands in `looks.csv` follows from the plan (`until.Until`) and the finished runs alone, so that a sweep that
was killed goes on at the same look with the same rows.
"""

from __future__ import annotations

import contextlib
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from src.runs import store
from src.runs.broken import CLASSES, broke_down
from src.runs.job import Job, Record
from src.stats import BETTER, EQUIVALENT, OPEN, UNDECIDED, WORSE, Interval, Verdict
from src.sweeping.arms import Arm
from src.sweeping.campaign import Campaign
from src.sweeping.display import MOST_ARMS, PLAIN_WIDTH
from src.sweeping.until import Until

FILE = "looks.csv"
DECIDED = (BETTER, WORSE, EQUIVALENT)


@dataclass(frozen=True)
class Look:
    """A pair after so many seeds: a row of `looks.csv`."""

    number: int
    seeds: int
    pair: tuple[int, int]
    n: int
    """Seeds of which both arms have a result."""
    estimate: float
    """Mean of a - b, in the metric's own unit; NaN for n = 0."""
    interval: Interval | None
    level: float
    verdict: str
    broken: tuple[int, int]
    """Runs of a and of b that diverged or broke down."""

    def row(self, metric: str, arms: Sequence[Arm], trained: int, saved: int) -> dict[str, Any]:
        a, b = self.pair
        interval = self.interval
        return {
            "look": self.number,
            "seeds": self.seeds,
            "a": a,
            "b": b,
            "arm_a": arms[a].name,
            "arm_b": arms[b].name,
            "metric": metric,
            "n": self.n,
            "estimate": None if math.isnan(self.estimate) else self.estimate,
            "lower": interval and interval.lower,
            "upper": interval and interval.upper,
            "level": self.level,
            "verdict": self.verdict,
            "broken_a": self.broken[0],
            "broken_b": self.broken[1],
            "trained": trained,
            "saved": saved,
        }


COLUMNS = (
    *(
        "look",
        "seeds",
        "a",
        "b",
        "arm_a",
        "arm_b",
        "metric",
        "n",
        "estimate",
        "lower",
        "upper",
        "level",
        "verdict",
    ),
    *("broken_a", "broken_b", "trained", "saved"),
)


class Decisions:
    """The looks of one sweep.

    Args:
        until: the plan.
        arms: as many as it speaks of.
        folder: the sweep's; `looks.csv` is written there.
    """

    def __init__(self, until: Until, arms: Sequence[Arm], folder: Path) -> None:
        self.until, self.arms, self._folder = until, arms, folder
        self._plan = until.plan
        self._records: dict[str, Record] = {}
        self._broken: dict[str, bool] = {}
        self._usable: dict[tuple[int, int], list[int]] = {pair: [] for pair in until.pairs}
        self._looks: list[list[Look]] = []
        self._open: list[tuple[int, int]] = list(until.pairs)

    @property
    def first(self) -> list[Job]:
        """Jobs of the first look."""
        return self._wave(0)

    @property
    def most(self) -> list[Job]:
        """Jobs of a sweep that is carried to its last look."""
        return [job for arm in self.arms for job in arm.jobs(self.until.looks[-1])]

    @property
    def largest_wave(self) -> int:
        looks = self.until.looks
        return len(self.arms) * max(n - before for before, n in zip((0, *looks), looks, strict=False))

    @property
    def left(self) -> int:
        """Runs that are still to come, at most."""
        seeds = self.until.looks[len(self._looks) - 1] if self._looks else 0
        return len(self.until.arms_of(self._open)) * (self.until.looks[-1] - seeds)

    def run(self, campaign: Campaign) -> tuple[list[Job], list[Record]]:
        """Train until every pair is decided, or to the last look; the jobs and their records."""
        trained: list[Job] = []
        self._records = campaign.table.records
        while self._open and len(self._looks) < len(self.until.looks):
            self.write()
            wave = self._wave(len(self._looks))
            campaign.display.add(wave, to_come=self.left - len(wave))
            campaign.train(wave)
            trained += wave
            self._look()
            campaign.display.add([], to_come=self.left)
            print(self.line(), flush=True)
        self.write()
        return trained, [self._records[job.id] for job in trained]

    def line(self) -> str:
        """How far it is."""
        done, last = len(self._looks), self.until.looks[-1]
        seeds = self.until.looks[done - 1] if done else 0
        decided = sum(look.verdict in DECIDED for look in self.final)
        pairs = f"{decided} of {len(self.until.pairs)} pairs decided"
        return f"look at {seeds} of at most {last} seeds: {pairs}, at most {self.left} more runs"

    def _wave(self, look: int) -> list[Job]:
        """The jobs that the look takes beside those of the looks before."""
        before = self.until.looks[look - 1] if look else 0
        arms = self.until.arms_of(self._open)
        return [job for arm in arms for job in self.arms[arm].jobs(self.until.looks[look])[before:]]

    def _look(self) -> None:
        """Judge every open pair by the runs that have ended."""
        number = len(self._looks) + 1
        looks = [self._judged(pair, number) for pair in self._open]
        self._looks.append(looks)
        self._open = [look.pair for look in looks if look.verdict == OPEN]

    def _judged(self, pair: tuple[int, int], number: int) -> Look:
        until, seeds = self.until, self.until.looks[number - 1]
        sides = [[self._value(job) for job in self.arms[arm].jobs(seeds)] for arm in pair]
        differences = [
            round(a - b, 12) for a, b in zip(*sides, strict=True) if a is not None and b is not None
        ]
        usable = self._usable[pair]
        usable.append(len(differences))
        broken = tuple(sum(map(self._is_broken, self.arms[arm].jobs(seeds))) for arm in pair)
        margin = until.margin / until.scale
        interval = self._plan.interval(differences, usable)
        verdict = self._plan.verdict(interval, usable, margin, until.higher_is_better)
        return Look(
            number=number,
            seeds=seeds,
            pair=pair,
            n=len(differences),
            estimate=math.fsum(differences) / len(differences) if differences else math.nan,
            interval=interval,
            level=self._plan.levels(usable)[-1],
            verdict=worded(verdict, broken, seeds, is_last=number == len(until.looks)),
            broken=(broken[0], broken[1]),
        )

    def _value(self, job: Job) -> float | None:
        record = self._records[job.id]
        value = record["final"].get(self.until.metric) if record["state"] == store.FINISHED else None
        return float(value) if value is not None and math.isfinite(value) else None

    def _is_broken(self, job: Job) -> bool:
        """Whether it diverged or broke down; one that failed says nothing about its settings."""
        record = self._records[job.id]
        if record["state"] != store.FINISHED:
            return bool(record["state"] == store.DIVERGED)
        if job.id not in self._broken:
            self._broken[job.id] = False
            with contextlib.suppress(OSError, ValueError, KeyError):
                rows = list(csv.DictReader((job.folder / "metrics.csv").read_text().splitlines()))
                self._broken[job.id] = broke_down(
                    [float(row["train_acc"]) for row in rows],
                    float(record["final"]["test_acc"]),
                    CLASSES.get(job.run.data.name),
                )
        return self._broken[job.id]

    def write(self) -> None:
        """`looks.csv`, with the looks so far."""
        rows = []
        for number, looks in enumerate(self._looks):
            going_on = {arm for look in looks if look.verdict == OPEN for arm in look.pair}
            left = self.until.looks[-1] - self.until.looks[number]
            for look in looks:
                saved = sum(left for arm in look.pair if arm not in going_on)
                rows.append(look.row(self.until.metric, self.arms, trained=2 * look.seeds, saved=saved))
        store.write_whole(self._folder / FILE, store.csv_text(COLUMNS, rows))

    @property
    def final(self) -> list[Look]:
        """The latest look at each pair, in the order of the pairs."""
        latest = {look.pair: look for looks in self._looks for look in looks}
        return [latest[pair] for pair in self.until.pairs if pair in latest]

    def show(self) -> None:
        """The verdicts, as a table."""
        until, final = self.until, self.final
        print(
            f"{until.metric}, intervals at {1 - until.alpha:.0%} for all pairs and looks together, "
            f"margin {until.margin:g} {until.unit}"
        )
        table = Table()
        for column in ("a", "b", "n", f"a - b ({until.unit})", "interval", "verdict"):
            table.add_column(column, justify="left" if column in ("a", "b", "verdict") else "right")
        for look in final[:MOST_ARMS]:
            a, b = (escape(self.arms[arm].name) for arm in look.pair)
            estimate = "–" if math.isnan(look.estimate) else self._shown(look.estimate)
            ends = (
                look.interval and f"{self._shown(look.interval.lower)} to {self._shown(look.interval.upper)}"
            )
            table.add_row(a, b, str(look.n), estimate, ends or "–", look.verdict)
        Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)
        if len(final) > MOST_ARMS:
            print(f"… and {len(final) - MOST_ARMS} more pairs in {FILE}")
        trained = sum(look.seeds for look in self._ends().values())
        most = len(self.arms) * until.looks[-1]
        print(f"{trained} runs of at most {most}")

    def _ends(self) -> Mapping[int, Look]:
        """Of each arm its latest look."""
        return {arm: look for looks in self._looks for look in looks for arm in look.pair}

    def _shown(self, value: float) -> str:
        digits = 2 if self.until.scale == 100 else 4
        return f"{value * self.until.scale:+.{digits}f}"


def worded(verdict: Verdict, broken: Sequence[int], seeds: int, is_last: bool) -> str:
    """The verdict on a pair, where an arm cannot gain by runs that broke while fewer of the other arm did.

    Args:
        broken: runs of a and of b that diverged or broke down.
        seeds: runs of each.
    """
    worst = max(broken)
    gains = {BETTER: broken[0] > broken[1], WORSE: broken[1] > broken[0], EQUIVALENT: broken[0] != broken[1]}
    if gains.get(verdict.word):
        return f"{UNDECIDED}, {worst} of {seeds} broke" if is_last else OPEN
    if verdict.word in DECIDED:
        return verdict.word
    return UNDECIDED if is_last else OPEN
