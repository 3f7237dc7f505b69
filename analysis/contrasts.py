"""Arms and their paired contrasts: one kind of contrast, one function that makes a family of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import measures, runs
from analysis.arm_stats import ArmStats, bounded
from analysis.looks import Look
from analysis.measures import CLASSES, Measure
from analysis.tables import Table
from src import stats
from src.runs import store
from src.runs.broken import broke_down
from src.stats import Paired, Verdict, common_seeds, paired, rounded_differences, summarise

Sample = NDArray[np.float64]
"""A value a seed, shape (n,)."""
Values = Mapping[int, float]
"""A measure's values in one arm, by seed."""
Arm = Mapping[str, Any]
"""Values of some swept keys, such as {"dropout1": 0.2, "dropout2": 0.5}."""


@dataclass(frozen=True)
class Contrast:
    """What is subtracted from what."""

    a: str
    b: str
    """Names of the arms, or of what takes their place."""
    setting: tuple[str, ...]
    """Where both were measured, from the general to the special; each part in words."""
    measure: Measure
    sides: tuple[Values, Values]
    """Of a and of b."""
    look: Look | None = None
    """Where the sweep ended once this was decided."""
    added: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Names of the arms that each side adds up, where these are several."""

    @property
    def arms(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the arms of each side."""
        return self.added[0] or (self.a,), self.added[1] or (self.b,)

    @property
    def is_interaction(self) -> bool:
        """Whether it is (a - b) - (c - d)."""
        return bool(self.added[0])

    @property
    def seeds(self) -> list[int]:
        """Those that both have, in the order of a."""
        return [seed for seed in self.sides[0] if seed in self.sides[1]]

    def looked_at(self, look: Look | None) -> Contrast:
        """Over the seeds that the sweep looked at, where it did, to be judged as the sweep did."""
        if look is None:
            return self
        a, b = ({seed: of[seed] for seed in look.seeds if seed in of} for of in self.sides)
        return replace(self, sides=(a, b), look=look)


@dataclass(frozen=True)
class Result:
    """A contrast over its common seeds."""

    contrast: Contrast
    samples: tuple[Sample, Sample]
    """Of a and of b."""
    paired: Paired
    """Its interval is simultaneous over the family."""
    p: float | None
    """Of the paired t-test, as adjusted as the interval is; None for less than two seeds."""
    family: int
    """Contrasts that interval and p are adjusted for; 1 where they are not."""
    margin: float | None = None
    """As stored; None where the contrast is described and not judged."""
    verdict: Verdict | None = None

    @property
    def measure(self) -> Measure:
        return self.contrast.measure

    @property
    def level(self) -> float:
        """Nominal, of the interval: of the look that decided, or of one contrast of the family."""
        look = self.contrast.look
        return look.level if look else stats.ALPHA / self.family

    @property
    def differences(self) -> Sample:
        """a - b, shape (n,)."""
        return rounded_differences(*self.samples)

    @property
    def means(self) -> tuple[float, float]:
        """Of a and of b over the common seeds."""
        return summarise(self.samples[0]).mean, summarise(self.samples[1]).mean

    @property
    def half_width(self) -> float | None:
        interval = self.paired.interval
        return None if interval is None else (interval.upper - interval.lower) / 2

    @property
    def side(self) -> int:
        """1 where the interval lies above 0, -1 below, 0 where it holds 0 or is missing."""
        interval = self.paired.interval
        return int(interval.lower > 0) - int(interval.upper < 0) if interval else 0

    @property
    def gain(self) -> int:
        """`side` with 1 for better."""
        return self.side * self.measure.sign

    def said(self, word: str) -> str:
        """A verdict's word as it is said of this contrast, see `Measure.word`."""
        return self.measure.word(word, self.contrast.is_interaction)

    def excludes(self, word: str) -> bool:
        """Whether the verdict leaves out that a is better, or worse, by the margin."""
        at = self.verdict
        return at is not None and (
            word in at.excluded or at.word == stats.EQUIVALENT or (at.decided and at.word != word)
        )


def family(
    contrasts: Iterable[Contrast], margin: float, diverged: Mapping[str, int] | None = None
) -> list[Result]:
    """Contrasts that are judged, one family: simultaneous intervals and p-values (Bonferroni), a verdict each.

    An arm is not better because more of its runs diverged and are missing.

    Args:
        contrasts: those without a common seed are left out.
        margin: smallest difference that matters, as shown (percentage points, nats).
        diverged: runs by the arm's name.
    """
    lost = diverged or {}
    samples = _samples(contrasts)
    tested = max(1, sum(len(of[0]) > 1 for _, of in samples))
    results = []
    for contrast, of in samples:
        comparison = paired(*of, alpha=stats.ALPHA / tested)
        p = None if comparison.p is None else min(1.0, comparison.p * tested)
        stored = contrast.measure.stored(margin)
        verdict = stats.judge(comparison.interval, p, stored, contrast.measure.sign > 0)
        ahead, behind = (sum(lost.get(arm, 0) for arm in side) for side in contrast.arms)
        if verdict.word == stats.WORSE:
            ahead, behind = behind, ahead
        if verdict.decided and ahead > behind:
            verdict = Verdict(stats.UNDECIDED, diverged=True)
        if contrast.look is not None:
            comparison, verdict = contrast.look.judged(paired(*of), stored, contrast.measure)
            p = comparison.p
        results.append(Result(contrast, of, comparison, p, tested, stored, verdict))
    return results


def described(contrasts: Iterable[Contrast]) -> list[Result]:
    """Contrasts that are shown and not judged: each with its own 95% interval and raw p, not adjusted."""
    pairs = [(contrast, of, paired(*of)) for contrast, of in _samples(contrasts)]
    return [Result(contrast, of, comparison, comparison.p, 1) for contrast, of, comparison in pairs]


def _samples(contrasts: Iterable[Contrast]) -> list[tuple[Contrast, tuple[Sample, Sample]]]:
    samples = [(contrast, common_seeds(*contrast.sides)) for contrast in contrasts]
    return [(contrast, of) for contrast, of in samples if len(of[0])]


def rows_of(frame: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows whose keys have these values, of which None is an empty cell; a key that is no column matches every
    row."""
    chosen = np.ones(len(frame), bool)
    for key, value in arm.items():
        if key in frame:
            column = frame[key]
            if value is None:
                chosen &= column.isna() | (column.astype(str) == "")
                continue
            is_number = pd.api.types.is_numeric_dtype(column) and not isinstance(value, str)
            chosen &= (
                np.isclose(column, value, equal_nan=True) if is_number else (column.astype(str) == str(value))
            )
    return frame[chosen]


def by_seed(frame: pd.DataFrame, measure: Measure) -> dict[int, float]:
    """A measure's finite values by seed, of rows that are one a seed; logarithms where the measure has them."""
    if measure.column not in frame:
        return {}
    pairs = zip(frame["seed"], measure.compared(frame[measure.column]), strict=True)
    return {int(seed): float(value) for seed, value in pairs if np.isfinite(value)}


def with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns of `measures.GAP` and `measures.QUIET_GAP`."""
    quiet = frame.get("eval_train_acc", np.nan)
    return frame.assign(gap=frame["train_acc"] - frame["test_acc"], quiet_gap=quiet - frame["test_acc"])


@dataclass(frozen=True)
class Arms:
    """The named arms of a table, at the last epoch."""

    table: Table
    named: Mapping[str, Arm]

    @cached_property
    def final(self) -> pd.DataFrame:
        return with_gaps(self.table.final)

    @cached_property
    def broken(self) -> frozenset[str]:
        """Ids of the runs that broke down."""
        names = self.table.runs["data"].dropna().unique()
        return broken(self.table.epochs, CLASSES.get(str(names[0])) if len(names) == 1 else None)

    def rows(self, name: str) -> pd.DataFrame:
        return rows_of(self.final, self.named[name])

    def values(self, name: str, measure: Measure) -> dict[int, float]:
        return by_seed(self.rows(name), measure) if name in self.named else {}

    def contrast(self, a: str, b: str, measure: Measure, *setting: str) -> Contrast:
        return self.contrast_of((a, b), measure, *setting)

    def contrast_of(self, names: Sequence[str], measure: Measure, *setting: str) -> Contrast:
        """a - b of two arms; (a - b) - (c - d) of four, as (a + d) - (b + c); of one arm given twice the noise on
        minus the noise off."""
        values: list[Values] = [self.values(name, measure) for name in names]
        a, b = names[:2]
        added: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        if len(names) == 4:
            values = [_sum(values[0], values[3]), _sum(values[1], values[2])]
            added = (a, names[3]), (b, names[2])
            a, b = map(" + ".join, added)
        elif a == b:
            noisy = measures.noisy(measure)
            values[0] = self.values(a, noisy) if noisy else {}
            a, b = f"{a}, noise on", f"{b}, noise off"
        contrast = Contrast(a, b, setting, measure, (values[0], values[1]), added=added)
        return contrast.looked_at(self.look(names, measure))

    def has(self, names: Sequence[str], measure: Measure) -> bool:
        """Whether the runs have what a contrast of these arms takes: of one arm with itself the noise on, too."""
        noisy, of_one = measures.noisy(measure), len(names) == 2 and names[0] == names[1]
        return not of_one or (noisy is not None and bool(self.values(names[0], noisy)))

    def look(self, names: Sequence[str], measure: Measure) -> Look | None:
        """The sweep's own last look at these arms, if it took one; of two arms in either order."""
        arms = [self.named.get(name) for name in names]
        looks = [
            look for look in self.table.looks if look.metric == measure.column and len(look.arms) == len(arms)
        ]
        for look in [*looks, *(look.turned for look in looks if len(arms) == 2)]:
            pairs = zip(look.arms, arms, strict=True)
            if all(arm is not None and matches(values, arm) for values, arm in pairs):
                return look
        return None

    @property
    def diverged(self) -> dict[str, int]:
        """Diverged runs of each arm."""
        return {stats.name: stats.diverged for stats in self.stats(())}

    def stats(self, measures: Sequence[Measure]) -> list[ArmStats]:
        """Counts and summaries of each arm that the sweep has."""
        return [stats for name in self.named if (stats := self._stats(name, measures)).planned]

    def _stats(self, name: str, measures: Sequence[Measure]) -> ArmStats:
        arm, rows = self.named[name], self.rows(name)
        problems = [problem for problem in self.table.problems if matches(problem.arm, arm)]
        diverged = sum(problem.kind == store.DIVERGED for problem in problems)
        values = {measure: list(by_seed(rows, measure).values()) for measure in measures}
        return ArmStats(
            name,
            planned=len(rows) + len(problems),
            diverged=diverged,
            broken=sum(run in self.broken for run in rows["id"]),
            lost=len(problems) - diverged,
            summaries={measure: bounded(summarise(of), measure) for measure, of in values.items() if of},
        )


def broken(epochs: pd.DataFrame, classes: int | None) -> frozenset[str]:
    """Ids of the runs that broke down.

    Args:
        epochs: a row a run and epoch, a run's together and in order: id, train_acc, test_acc, both in [0, 1].
        classes: of the data set; None if unknown.
    """
    ids = epochs["id"].to_numpy()
    starts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    train, test = (np.split(epochs[name].to_numpy(float), starts) for name in ("train_acc", "test_acc"))
    runs = zip(ids[[0, *starts]] if len(ids) else (), train, test, strict=False)
    return frozenset(run for run, rows, last in runs if broke_down(rows, last[-1], classes))


def _sum(first: Values, second: Values) -> Values:
    """On the seeds that both have."""
    return {seed: first[seed] + second[seed] for seed in first if seed in second}


def matches(values: Arm, arm: Arm) -> bool:
    """Whether swept values are those of an arm; a key that was not swept matches."""
    return all(_same(values[key], value) for key, value in arm.items() if key in values)


def _same(first: Any, second: Any) -> bool:
    if any(isinstance(value, str | bool) for value in (first, second)):
        # a swept number that some arms do not have is text in a table's column
        return runs.shown(first) == runs.shown(second)
    return bool(np.isclose(np.float64(first), np.float64(second), equal_nan=True))
