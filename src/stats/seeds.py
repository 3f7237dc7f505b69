"""How many seeds a comparison takes: for an interval of some width, and for a test to show a true difference."""

from __future__ import annotations

import math

from scipy import stats

from src.stats import ALPHA

POWER = 0.8
"""Probability with which a test shows a true difference, see `powered_seeds`."""


def needed_seeds(sd: float, half_width: float) -> int:
    """Fewest seeds whose 95% t interval is ±half_width or shorter at this SD of the differences."""
    n = max(2, math.ceil((stats.norm.ppf(1 - ALPHA / 2) * sd / half_width) ** 2))
    while stats.t.ppf(1 - ALPHA / 2, n - 1) * sd / math.sqrt(n) > half_width:
        n += 1
    return n


def powered_seeds(sd: float, difference: float) -> int:
    """Fewest seeds with which the paired t-test (two-sided, 5%) shows a true difference with probability 80%.

    Args:
        sd: of the paired differences, above 0.
        difference: the true one, above 0.

    Source: Cohen 1988, "Statistical power analysis for the behavioral sciences", chapter 2; by the noncentral t.
    """
    ends = stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)
    n = max(2, math.ceil((ends * sd / difference) ** 2))
    while _power(n, difference / sd) < POWER:
        n += 1
    return n


def _power(n: int, effect: float) -> float:
    """Of the paired t-test with n pairs, whose true mean difference is `effect` SDs."""
    critical, shift = stats.t.ppf(1 - ALPHA / 2, n - 1), effect * math.sqrt(n)
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))
