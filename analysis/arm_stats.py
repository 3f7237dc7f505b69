"""What there is to say of one arm alone: its runs, those that went wrong, and its means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from analysis.measures import Measure
from src.stats import ALPHA, Interval, Summary


@dataclass(frozen=True)
class ArmStats:
    """One arm's runs: how many there are, how many went wrong and how, and what the others reached."""

    name: str
    planned: int
    """Runs of the arm in the sweep, with or without a result."""
    diverged: int
    broken: int
    """Runs with a result that broke down, see `src.runs.broken`; they count in every number."""
    lost: int
    """Failed, unfinished, damaged or missing."""
    summaries: Mapping[Measure, Summary]

    @property
    def n(self) -> int:
        return self.planned - self.diverged - self.lost

    @property
    def bad(self) -> int:
        """Diverged or broken down."""
        return self.diverged + self.broken

    @property
    def bad_share(self) -> Interval:
        """Exact 95% interval of the share of new runs that go wrong (Clopper and Pearson 1934)."""
        if self.lost == self.planned:
            return Interval(0.0, 1.0, "exact")
        ends = binomtest(self.bad, self.planned - self.lost).proportion_ci(1 - ALPHA)
        return Interval(ends.low, ends.high, "exact")

    @property
    def whole_failure(self) -> bool:
        """Whether every run of several did."""
        return self.bad == self.planned > 1


def bounded(summary: Summary, measure: Measure) -> Summary:
    """The summary of a share, whose interval ends at 0 and 100%."""
    if measure.unit != "%" or summary.interval is None:
        return summary
    low, high = np.clip([summary.interval.lower, summary.interval.upper], 0, 1)
    return replace(summary, interval=replace(summary.interval, lower=float(low), upper=float(high)))
