"""How often sweeps that end once decided (`hydra.sweeper.until`) are wrong, how often right, after how many seeds.

    python -m tests.benchmarks.looks

Paired differences are drawn, in points of accuracy, and judged look after look as a sweep judges them, by the
levels of `src.stats.looks`; beside it peeking after every seed from the fifth on with plain 95% intervals, and a
fixed 30 seeds. Prints the table of tests/benchmarks/LOOKS.md; ends with code 1 if a sweep of ours is wrong more
often than in 5% and two standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from src.stats import ALPHA
from src.stats.looks import OBRIEN_FLEMING, POCOCK, Looks

PLAN = (10, 20, 30, 45, 60)
PEEKS = tuple(range(5, 61))
FIXED = 30
MARGIN = 0.2
SDS = (0.25, 1.1)
DIFFERENCES = (0.0, 0.1, 0.2, 0.3)
SAMPLES, SAMPLES_WITH_LOSSES = 20_000, 4_000
GRID = 100 / 360
"""Points that one of the 360 test images of the digits is worth: many differences tie."""
LOST = 0.05
"""Share of an arm's runs that diverge."""

Numbers = NDArray[np.float64]
OPEN, BETTER, WORSE, EQUIVALENT = range(4)


@dataclass(frozen=True)
class Samples:
    differences: Numbers
    """Of shape (samples, seeds), in points."""
    diverged: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """Runs of a and of b, of the same shape each."""


def draw(kind: str, sd: float, difference: float) -> Samples:
    """Differences with this mean and, but for ties, this standard deviation."""
    count = SAMPLES_WITH_LOSSES if "diverge" in kind else SAMPLES
    random = np.random.default_rng([len(kind), round(100 * sd), round(10 * difference)])
    shape = (count, PLAN[-1])
    if kind == "heavy tails":  # Student's t with 3 degrees of freedom
        values = difference + sd * random.standard_t(3, shape) / math.sqrt(3)
    else:
        values = random.normal(difference, sd, shape)
    if kind == "ties":  # to the grid, up or down by chance, so that the mean stays
        values = GRID * np.floor(values / GRID + random.random(shape))
    # the same runs for every difference, as their levels take the time
    lost = np.random.default_rng(0).random((2, *shape)) < LOST
    none = np.zeros(shape, bool)
    return Samples(
        values,
        (
            lost[0] if kind in ("a diverges", "both diverge") else none,
            lost[1] if kind == "both diverge" else none,
        ),
    )


KINDS = ("normal", "heavy tails", "ties", "both diverge", "a diverges")

Levels = Callable[[NDArray[np.int64]], Numbers]
"""Levels at each look by the usable pairs at each look, both of shape (samples, looks)."""


def levels_of(plan: Looks) -> Levels:
    def levels(usable: NDArray[np.int64]) -> Numbers:
        patterns, where = np.unique(usable, axis=0, return_inverse=True)
        return np.array([plan.levels(tuple(map(int, pattern))) for pattern in patterns])[where.reshape(-1)]

    return levels


RULES: dict[str, tuple[tuple[int, ...], Levels]] = {
    "until, Pocock": (PLAN, levels_of(Looks(PLAN, ALPHA, POCOCK))),
    "until, O'Brien-Fleming": (PLAN, levels_of(Looks(PLAN, ALPHA, OBRIEN_FLEMING))),
    "peeking": (PEEKS, lambda usable: np.full(usable.shape, ALPHA)),
    "fixed": ((FIXED,), lambda usable: np.full(usable.shape, ALPHA)),
}


def judged(
    samples: Samples, looks: Sequence[int], levels: Levels
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Verdict and seeds of each sample, both of shape (samples,)."""
    at = np.array(looks) - 1
    usable = ~(samples.diverged[0] | samples.diverged[1])
    values = np.where(usable, samples.differences, 0.0)
    n = usable.cumsum(1)[:, at]
    mean = values.cumsum(1)[:, at] / np.maximum(n, 1)
    squares = (values**2).cumsum(1)[:, at] - n * mean**2
    sd = np.sqrt(np.maximum(squares, 0) / np.maximum(n - 1, 1))
    sd[sd < 1e-9] = 0
    level = levels(n)
    half = stats.t.isf(np.maximum(level, 1e-300) / 2, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))
    broken = [of.cumsum(1)[:, at] for of in samples.diverged]
    # equal differences have no t interval, fewer than two no interval at all
    known = (n >= 2) & (level > 0) & ((sd > 0) | (2.0 ** (1 - n) < level))
    word = np.select(
        [~known, mean - half > 0, mean + half < 0, (mean - half > -MARGIN) & (mean + half < MARGIN)],
        [OPEN, BETTER, WORSE, EQUIVALENT],
        OPEN,
    )
    # an arm gains nothing by runs that diverged
    word[(word == BETTER) & (broken[0] > broken[1])] = OPEN
    word[(word == WORSE) & (broken[1] > broken[0])] = OPEN
    word[(word == EQUIVALENT) & (broken[0] != broken[1])] = OPEN
    ends = np.where((word != OPEN).any(1), (word != OPEN).argmax(1), len(looks) - 1)
    return word[np.arange(len(word)), ends], np.array(looks)[ends]


WRONG = {0.0: (BETTER, WORSE), 0.1: (WORSE,), 0.2: (WORSE, EQUIVALENT), 0.3: (WORSE, EQUIVALENT)}
RIGHT = {0.0: (EQUIVALENT,), 0.1: (BETTER, EQUIVALENT), 0.2: (BETTER,), 0.3: (BETTER,)}
"""By the true difference; at the margin itself, equivalent is wrong."""


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.benchmarks.looks", description=__doc__).parse_args()
    print(f"| SD | differences | true | {' | '.join(RULES)} |")
    print(f"| --- | --- | --- |{' --- |' * len(RULES)}")
    failed = []
    for sd in SDS:
        for kind in KINDS:
            for difference in DIFFERENCES:
                samples, cells = draw(kind, sd, difference), []
                for rule, (looks, levels) in RULES.items():
                    word, seeds = judged(samples, looks, levels)
                    wrong = float(np.isin(word, WRONG[difference]).mean())
                    right = float(np.isin(word, RIGHT[difference]).mean())
                    cells.append(f"{wrong:.1%}, {right:.1%}, {seeds.mean():.1f}")
                    if rule.startswith("until") and wrong > ALPHA + 2 * math.sqrt(
                        ALPHA * (1 - ALPHA) / len(word)
                    ):
                        failed.append(f"{rule}, {kind}, SD {sd}, true difference {difference}: {wrong:.2%}")
                print(f"| {sd} | {kind} | {difference} | {' | '.join(cells)} |", flush=True)
    for line in failed:
        print(f"wrong too often: {line}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
