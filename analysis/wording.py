"""Numbers in words: how a value, an interval, a difference and its evidence are written in every report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis import runs
from analysis.measures import Measure
from analysis.statistics import Interval, Paired, Summary


def value(number: float, measure: Measure) -> str:
    """A stored value with its unit: "87.12%", "0.3512 nats"."""
    return f"{measure.shown(number)}{'%' if measure.unit == '%' else ' ' + measure.unit}"


def difference(number: float, measure: Measure) -> str:
    """A stored difference with its sign and unit: "+0.54 pp"."""
    return f"{measure.shown(number, signed=True)} {measure.difference_unit}"


def size(number: float, measure: Measure) -> str:
    """A stored difference without its sign: "0.54 pp"."""
    return f"{measure.shown(abs(number))} {measure.difference_unit}"


def interval(found: Interval | None, measure: Measure, *, signed: bool = False) -> str:
    """ "86.90 to 87.31"; a dash for None."""
    if found is None:
        return "–"
    ends = [measure.shown(end, signed=signed) for end in (found.lower, found.upper)]
    mark = {"BCa": "", "t": "", "constant": " (all equal)"}[found.method]
    return f"{ends[0]} to {ends[1]}{mark}"


def mean_with_interval(summary: Summary, measure: Measure) -> str:
    """ "87.12% (95% interval 86.90 to 87.31, 5 seeds)"."""
    seeds = count(summary.n, "seed")
    if summary.interval is None:
        return f"{value(summary.mean, measure)} ({seeds})"
    return f"{value(summary.mean, measure)} (95% interval {interval(summary.interval, measure)}, {seeds})"


def evidence(found: Paired, measure: Measure, p: float | None = None) -> str:
    """ "+0.54 pp, 95% interval −0.14 to +1.23, p = 0.093, 5 common seeds"; without p where it is None."""
    parts = [difference(found.difference, measure)]
    if found.interval is not None:
        parts.append(f"95% interval {interval(found.interval, measure, signed=True)}")
    if p is not None:
        parts.append(f"p = {p_value(p)}".replace("= <", "< "))
    return ", ".join([*parts, count(found.n, "common seed")])


def p_value(number: float | None) -> str:
    if number is None:
        return "–"
    return "<0.001" if number < 0.001 else f"{number:.3f}"


def count(number: int, noun: str) -> str:
    """ "1 seed", "2,000 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some(parts: Sequence[str], most: int = 4) -> str:
    """The first of the parts, and how many more there are."""
    more = f"; and {len(parts) - most} more" if len(parts) > most else ""
    return "; ".join(parts[:most]) + more


def listing(values: Sequence[Any], most: int = 12) -> str:
    """Values as typed on a command line; of a long list the ends."""
    names = [runs.shown(each) for each in values]
    if len(names) > most:
        return f"{', '.join(names[:3])}, …, {names[-1]} ({len(names)} values)"
    return ", ".join(names)


def distinct(texts: pd.Series) -> str:
    """Each different text once."""
    return "; ".join(sorted({str(text) for text in texts.dropna()}))


def ends(numbers: pd.Series) -> str:
    """ "10", or "10 to 100, by arm" where they differ."""
    if numbers.empty:
        return ""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}, by arm"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
