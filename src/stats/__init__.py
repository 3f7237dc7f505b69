"""Statistics of a comparison: intervals, paired differences, verdicts by where an interval lies.

Pure functions of arrays with a value a run (a seed); every one gives the same result whatever the order of
the seeds and however often it is called. The intervals say how far the mean over new seeds (initial weights,
order of the images, noise) may lie; that the test images are a sample too is what `binomial_se` measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
RESAMPLES = 9_999
RESAMPLED_AT_ONCE = 2**21
"""Values of resamples in memory at a time, 16 MB: all those of 2,000 seeds take 160 MB, several times over."""
SMALLEST_BOOTSTRAP, LARGEST_BOOTSTRAP = 20, 2_000
"""Fewest and most values that are resampled: see `mean_interval`."""

BETTER, WORSE, EQUIVALENT, UNDECIDED, UNTESTED = "better", "worse", "equivalent", "undecided", "not tested"
"""Words of a verdict, see `judge`."""
LARGER, SMALLER = "larger", "smaller"
"""Words for better and worse of a measure that is better on neither side."""
OPEN = "open"
"""Word of a pair that is not decided before the last look."""
DECIDED = (BETTER, WORSE, LARGER, SMALLER, EQUIVALENT)

FLIPS = 2**12
"""Most sign patterns that are gone through one by one, those of 12 seeds; of more, as many are drawn."""


@dataclass(frozen=True)
class Interval:
    lower: float
    upper: float
    method: str
    """"BCa", "t" or "constant", see `mean_interval` and `t_interval`; of a share "exact"."""

    def excludes(self, value: float) -> bool:
        return not self.lower <= value <= self.upper

    @property
    def reach(self) -> float:
        """The smallest margin that holds the interval: what it is equivalent within."""
        return max(abs(self.lower), abs(self.upper))


@dataclass(frozen=True)
class Summary:
    """An arm's values: in the metric's own unit."""

    mean: float
    sd: float | None
    """Sample standard deviation (n - 1); None for one value."""
    n: int
    interval: Interval | None


@dataclass(frozen=True)
class Paired:
    """Differences a - b over n common seeds, in the metric's own unit."""

    n: int
    difference: float
    """Mean of a - b; NaN for n = 0."""
    sd: float | None
    """Of the differences (n - 1); None for n < 2."""
    interval: Interval | None
    """Student's t interval of the mean; None for n < 2."""
    superiority: float
    """P(a > b): share of the seeds on which a > b, ties counted half; NaN for n = 0."""
    effect: float | None
    """Cohen's d_z: mean of the differences over their SD; None for n < 2 or equal differences."""
    p: float | None
    """Two-sided, of the paired t-test; None for n < 2."""
    correlation: float | None
    """Pearson's, of a and b over the seeds: what pairing gains; None where undefined."""


@dataclass(frozen=True)
class Verdict:
    """What an interval says of a over b, see `judge`."""

    word: str
    size: str = ""
    """Of "better" and "worse": "more" or "less" than the margin for certain, otherwise empty."""
    excluded: tuple[str, ...] = ()
    """Of "undecided": "better" where a is not better by the margin, "worse" where it is not worse by it."""
    diverged: bool = False
    """Of "undecided": one side would be ahead, but more of its runs diverged, and these are missing."""

    @property
    def decided(self) -> bool:
        return self.word in (BETTER, WORSE)


def mean_interval(values: ArrayLike, resamples: int = RESAMPLES) -> Interval | None:
    """95% confidence interval of the mean.

    From 20 values on it is the BCa bootstrap (Efron 1987), with a fixed random generator. Fewer get Student's t
    interval, for the bootstrap's is too short there: of normal values it held the true mean in 80% (n = 4),
    82% (5), 89% (10) and 92% (20) of 2,000 simulated samples. So do more than 2,000, where the ends of the two
    differ by less than a thirtieth of the width even for exponential values, and BCa takes time that grows with n
    squared, as it leaves out each value once. Equal values get the interval of that one point, method "constant",
    as neither is defined there. One value gets None.

    Args:
        values: shape (n,), finite.
        resamples: of the bootstrap.
    """
    interval, sample = t_interval(values), np.sort(np.asarray(values, dtype=float))
    is_t = interval is not None and interval.method == "t"
    if not (is_t and SMALLEST_BOOTSTRAP <= len(sample) <= LARGEST_BOOTSTRAP):
        return interval
    # Sorted, and turned so that the sample and its mirror image are resampled alike: the interval then
    # depends neither on the order of the seeds nor, but for its sign, on which arm is taken from which.
    mirror = -sample[::-1]
    sign = -1 if tuple(mirror) < tuple(sample) else 1
    with np.errstate(all="ignore"):
        ends = stats.bootstrap(
            (sample if sign > 0 else mirror,),
            np.mean,
            n_resamples=resamples,
            confidence_level=1 - ALPHA,
            method="BCa",
            batch=max(1, RESAMPLED_AT_ONCE // len(sample)),  # the numbers are the same, whatever it is
            rng=np.random.default_rng(0),
        ).confidence_interval
    if not np.isfinite(ends).all():
        return interval
    low, high = sorted(sign * float(end) for end in ends)
    mean = _mean(sample)  # rounding can put that of nearly equal values a last digit outside
    return Interval(min(low, mean), max(high, mean), "BCa")


def _mean(sample: NDArray[np.float64]) -> float:
    """Summed exactly, so that neither the order nor the sign of the values moves its last digit."""
    return math.fsum(sample) / len(sample)


def _sd(sample: NDArray[np.float64]) -> float:
    """Sample standard deviation, as exact as `_mean`."""
    mean = _mean(sample)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in sample) / (len(sample) - 1))


def summarise(values: ArrayLike) -> Summary:
    """Mean, SD, n and 95% confidence interval of an arm's values, shape (n,), n at least 1."""
    sample = np.sort(np.asarray(values, dtype=float))
    sd = float(sample.std(ddof=1)) if len(sample) > 1 else None
    return Summary(_mean(sample), sd, len(sample), mean_interval(sample))


def common_seeds(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[NDArray, NDArray]:
    """Values of two arms, given by seed, on the m seeds that both have: two arrays of shape (m,)."""
    seeds = [seed for seed in a if seed in b]
    values = np.array([[arm[seed] for seed in seeds] for arm in (a, b)], dtype=float)
    return values[0], values[1]


def t_interval(values: ArrayLike, alpha: float = ALPHA) -> Interval | None:
    """Student's t interval of the mean of values, shape (n,), at the confidence 1 - alpha; None for n < 2.

    It holds 0 if and only if the t-test's p is at least alpha. Equal values give that one point, "constant".
    """
    sample = np.sort(np.asarray(values, dtype=float))
    if len(sample) < 2:
        return None
    mean = _mean(sample)
    if sample[0] == sample[-1]:
        return Interval(mean, mean, "constant")
    half = float(stats.t.ppf(1 - alpha / 2, len(sample) - 1) * _sd(sample) / math.sqrt(len(sample)))
    return Interval(mean - half, mean + half, "t")


def paired(a: ArrayLike, b: ArrayLike, alpha: float = ALPHA) -> Paired:
    """Paired comparison of two arms; interval and p are of one method, the paired t-test.

    Args:
        a, b: shape (n,), entry i of both from the same seed; n may be 0.
        alpha: of the interval; 0.05 over the number of comparisons makes intervals simultaneous (Bonferroni).

    Raises:
        ValueError: if the shapes differ.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"arms of shapes {first.shape} and {second.shape}; one value a common seed is right")
    differences = np.sort(rounded_differences(first, second))
    n, sd = len(differences), _sd(differences) if len(differences) > 1 else None
    mean = _mean(differences) if n else math.nan
    return Paired(
        n=n,
        difference=mean,
        sd=sd,
        interval=t_interval(differences, alpha),
        superiority=float(np.mean(differences > 0) + np.mean(differences == 0) / 2) if n else math.nan,
        effect=mean / sd if sd and np.ptp(differences) else None,
        p=paired_p_value(differences),
        correlation=correlation(first, second),
    )


def rounded_differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """a - b to 12 decimals: accuracies that tie, or differ by the same, must not differ in their last digit."""
    return np.round(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 12)


def correlation(a: ArrayLike, b: ArrayLike) -> float | None:
    """Pearson's correlation of two arms over their seeds, shapes (n,); None for n < 3 or a constant arm."""
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(first) < 3 or min(np.ptp(first), np.ptp(second)) < 1e-12:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 12)  # the order of a sum moves the last digits


def paired_p_value(differences: ArrayLike) -> float | None:
    """Two-sided p-value of "the mean difference is 0", shape (n,): paired t-test; None for n < 2.

    Not a rank or sign-flip test: the smallest p-value of these is 2/2^n, so that no effect, however large,
    could be shown by 5 seeds (0.0625), nor in a family of 15 pairs by 9. The t-test asks for differences
    that are about normal, which metrics averaged over thousands of images are. Only where all differences are
    equal, and t is not defined, is it the sign-flip test's 2/2^n, or 1 if they are 0.
    """
    sample = np.sort(np.asarray(differences, dtype=float))
    if len(sample) < 2:
        return None
    if sample[0] == sample[-1]:
        return 1.0 if sample[0] == 0 else 2.0 ** (1 - len(sample))
    with np.errstate(all="ignore"):
        p = float(stats.ttest_1samp(sample, 0.0).pvalue)
    return p if math.isfinite(p) else 1.0


def judge(
    interval: Interval | None, p: float | None, margin: float, higher_is_better: bool = True
) -> Verdict:
    """The verdict on a over b by where the interval of a - b lies.

    "better" or "worse": 0 is outside. "equivalent": all of it is inside ±margin. Otherwise "undecided", with what
    is excluded. Equal differences have no t interval: they decide nothing unless the sign test does (6 seeds).

    Args:
        interval, p: of one method and one level: `paired`; p as adjusted as the interval is.
        margin: smallest difference that matters, in the unit of the interval, above 0.
    """
    if interval is None or p is None:
        return Verdict(UNTESTED)
    low, high = (interval.lower, interval.upper) if higher_is_better else (-interval.upper, -interval.lower)
    if interval.method == "constant" and abs(low) > 0 and p >= ALPHA:
        return Verdict(UNDECIDED)
    if low > 0 or high < 0:
        nearest, farthest = sorted((abs(low), abs(high)))
        size = "more" if nearest > margin else "less" if farthest < margin else ""
        return Verdict(BETTER if low > 0 else WORSE, size)
    if -margin < low and high < margin:
        return Verdict(EQUIVALENT)
    excluded = (*(["better"] if high < margin else []), *(["worse"] if low > -margin else []))
    return Verdict(UNDECIDED, excluded=excluded)


def judged_at(
    a: ArrayLike, b: ArrayLike, level: float, margin: float, higher_is_better: bool = True
) -> tuple[Paired, Verdict]:
    """`paired` at a nominal level, with p adjusted so that 0.05 stands for the level, and `judge` of both."""
    comparison = paired(a, b, level)
    p = None if comparison.p is None else min(1.0, comparison.p * ALPHA / level)
    return replace(comparison, p=p), judge(comparison.interval, p, margin, higher_is_better)


def sign_flip(
    differences: ArrayLike, margin: float, higher_is_better: bool = True, alpha: float = ALPHA
) -> str:
    """The word of `judge` by sign-flip tests in place of t-tests, at the same levels; shape (n,).

    Where the smallest p-value, 2/2^n, is not below alpha (at 0.05 with fewer than 6 seeds), nothing is decided.
    """
    sample = np.asarray(differences, dtype=float) * (1 if higher_is_better else -1)
    n = len(sample)
    if 2**n <= FLIPS:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], size=(FLIPS, n))
        signs[0] = 1

    def above(values: NDArray[np.float64]) -> float:
        return float(np.mean(signs @ values >= values.sum() - 1e-12))

    half = alpha / 2
    if above(sample) < half:
        return BETTER
    if above(-sample) < half:
        return WORSE
    return EQUIVALENT if max(above(sample + margin), above(margin - sample)) < half else UNDECIDED


def pooled_half_width(
    arms: Sequence[Summary], contrasted: int = 2, alpha: float = ALPHA
) -> tuple[float, int] | None:
    """Half the width of the t interval of a contrast of so many arms' means, and its degrees of freedom.

    The variance is pooled over all arms, which are taken to be independent and to vary alike. Where pairs do not
    correlate it says more than each contrast's own few pairs do. None where no arm has two values.
    """
    known = [arm for arm in arms if arm.sd is not None]
    free = sum(arm.n - 1 for arm in known)
    if not free:
        return None
    variance = sum((arm.n - 1) * arm.sd**2 for arm in known if arm.sd is not None) / free
    error = math.sqrt(variance * contrasted / min(arm.n for arm in known))
    return float(stats.t.ppf(1 - alpha / 2, free)) * error, free


def binomial_se(accuracy: float, images: int) -> float:
    """Standard error of an accuracy in [0, 1] measured on so many test images: 0.0031 for 0.89 on 10,000."""
    return math.sqrt(accuracy * (1 - accuracy) / images)
