"""Looks at growing numbers of seeds: levels at which intervals stay right however often one looks.

After each look k an interval of the mean, Student's t at the nominal level a_k, is drawn from the pairs so far. The
levels are such that all of them together hold the true mean with probability 1 - alpha (repeated confidence
intervals, Jennison & Turnbull 1989), so one may stop as soon as the interval says enough, for whatever reason.

Pocock (1977) has the same level at each look, O'Brien & Fleming (1979) next to none at first and nearly alpha at
the last. Their tables are for known variances and let 5.6% through with t quantiles at 10, 20, 30, 45 and 60 pairs;
here the levels come from a seeded simulation of the t statistic's own paths, in about a second for 60 pairs.

Pairs may be lost on the way. What is spent of alpha then goes by the pairs that are there (Lan & DeMets 1983): as
much as the plan would have spent at so many, and at the last look all the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from src.stats import ALPHA, UNDECIDED, Interval, Verdict, judge, t_interval

POCOCK, OBRIEN_FLEMING = "pocock", "obrien-fleming"
SPENDING = (POCOCK, OBRIEN_FLEMING)

PATHS = 2**18
"""Simulated; the error that 0.05 stands for is known to 0.0004 with them."""
FEWEST_REJECTED = 1_000
"""Paths beyond the levels, which are known to 3% then; a smaller alpha is shared between the looks (Bonferroni)."""


@dataclass(frozen=True)
class Looks:
    """A plan of looks for one mean.

    Looks((10, 20, 30, 45, 60), 0.05).levels((10, 19, 29))  # nominal levels after three looks, two pairs lost
    """

    planned: tuple[int, ...]
    """Pairs at each look, ascending, at least 2."""
    alpha: float = ALPHA
    """Probability, at most, that any of the intervals misses the mean; above 0, below 1."""
    spending: str = POCOCK

    def levels(self, usable: Sequence[int]) -> tuple[float, ...]:
        """Nominal two-sided levels of the looks so far.

        Args:
            usable: pairs at each look so far, at most as many as planned, not descending.

        Returns:
            As many levels, in [0, alpha]; 0 where fewer than two pairs are usable.
        """
        return _levels(self, tuple(usable))

    def interval(self, differences: ArrayLike, usable: Sequence[int]) -> Interval | None:
        """Of the mean at the latest look; differences of shape (usable[-1],), None for fewer than two."""
        level = self.levels(usable)[-1]
        return t_interval(differences, level) if level else None

    def verdict(
        self, interval: Interval | None, usable: Sequence[int], margin: float, higher_is_better: bool = True
    ) -> Verdict:
        """`stats.judge` by the interval at the latest look; margin above 0, in its unit.

        Equal differences have no t interval: they decide only if as many of one sign would be rarer than the level.
        """
        is_constant = interval is not None and interval.method == "constant"
        if is_constant and 2.0 ** (1 - usable[-1]) >= self.levels(usable)[-1]:
            return Verdict(UNDECIDED)
        # p is asked for equal differences alone, of which this has said enough
        return judge(interval, None if interval is None else 0.0, margin, higher_is_better)


@lru_cache(maxsize=1024)
def _plan(looks: Looks) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Levels where no pair is lost, and what is spent of alpha up to each look."""
    planned, alpha = looks.planned, looks.alpha
    shapes = [math.sqrt(planned[-1] / n) if looks.spending == OBRIEN_FLEMING else 1.0 for n in planned]

    def levels(bound: float) -> NDArray[np.float64]:
        return 2 * stats.norm.sf(bound * np.array(shapes))

    if _is_coarse(alpha):
        shares = levels(optimize.brentq(lambda bound: levels(bound).sum() - alpha, 0, 40))
        return tuple(map(float, shares)), tuple(map(float, np.minimum(np.cumsum(shares), alpha)))
    tails, highest = _tails(planned[-1], alpha), np.zeros(PATHS)
    for n, shape in zip(planned, shapes, strict=True):
        paths, p = tails[n]
        highest[paths] = np.maximum(highest[paths], stats.norm.isf(p / 2) / shape)
    beyond = math.floor(alpha * PATHS)
    bound = float(np.partition(highest, -beyond - 1)[-beyond - 1])
    nominal = [min(alpha, _rounded(level)) for level in levels(bound)]
    rejected, spent = np.zeros(PATHS, bool), []
    for n, level in zip(planned, nominal, strict=True):
        paths, p = tails[n]
        rejected[paths[p < level]] = True
        spent.append(min(alpha, float(rejected.mean())))
    return tuple(nominal), tuple(spent)


@lru_cache(maxsize=65_536)
def _levels(looks: Looks, usable: tuple[int, ...]) -> tuple[float, ...]:
    planned, alpha, (levels, spent) = looks.planned, looks.alpha, _plan(looks)
    if usable == planned[: len(usable)]:
        return levels[: len(usable)]
    rejected, before, nominal = np.zeros(PATHS, bool), 0.0, list[float]()
    for look, n in enumerate(usable):
        target = (
            alpha if n and look == len(planned) - 1 else float(np.interp(n, (0, *planned), (0.0, *spent)))
        )
        # of the same pairs nothing new is said
        level = nominal[-1] if look and n == usable[look - 1] else 0.0
        if usable[: look + 1] == planned[: look + 1]:
            level = levels[look]
        elif n >= 2 and _is_coarse(alpha):
            level += target - before
        elif n >= 2:
            amount = target - float(rejected.mean())
            paths, p = _tails(planned[-1], alpha)[n]
            alive = np.sort(p[~rejected[paths]])
            count = round(amount * PATHS)
            beyond = float(alive[count]) if 0 < count < len(alive) else 0.0
            level = max(level, amount, beyond)  # a level of the amount itself is always low enough
        nominal.append(min(alpha, _rounded(level)))
        before = target if n >= 2 else 0.0
        if not _is_coarse(alpha):
            paths, p = _tails(planned[-1], alpha)[n]
            rejected[paths[p < nominal[-1]]] = True
    return tuple(nominal)


def _is_coarse(alpha: float) -> bool:
    return alpha * PATHS < FEWEST_REJECTED


def _rounded(level: float) -> float:
    """To four digits, so that it does not depend on the last digits of a processor's logarithm."""
    return float(f"{level:.4g}")


@lru_cache(maxsize=4)
def _tails(last: int, alpha: float) -> list[tuple[NDArray[np.int32], NDArray[np.float64]]]:
    """Of each number of pairs up to `last` the paths whose p-value is below alpha, and these p-values.

    A path is of the t-test's p-values after 2, 3, … standard normal differences.
    """
    random = np.random.default_rng(0)
    total, squares, x = (np.zeros(PATHS) for _ in range(3))
    tails = [(np.zeros(0, np.int32), np.zeros(0))] * 2  # none of no pairs, and of one
    for n in range(1, last + 1):
        random.standard_normal(out=x)
        total += x
        squares += np.square(x, out=x)
        if n > 1:
            # t squared is above its quantile
            quantile = float(stats.t.isf(alpha / 2, n - 1)) ** 2
            share = n * quantile / (n - 1 + quantile)
            paths = np.flatnonzero(np.square(total, out=x) > share * squares).astype(np.int32)
            between = x[paths] / n
            t = np.sqrt((n - 1) * between / (squares[paths] - between))
            tails.append((paths, 2 * stats.t.sf(t, n - 1)))
    return tails
