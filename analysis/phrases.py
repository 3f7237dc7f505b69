"""Numbers as they are written: the filters of the templates. A language has its words here, its sentences there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis import runs
from analysis.contrasts import ArmStats, Result
from analysis.measures import Measure
from src.stats import BETTER, WORSE, Interval, Summary

SPECIAL = re.compile(r"([\\`*\[\]|$~]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown, or GitHub's mathematics, would not print as it is; an underscore inside a word is safe."""


NAMES = {
    "none": "no noise",
    "dropout_clone": "dropout's clone",
    "gaussian": "Gaussian dropout",
    "uniform": "uniform noise",
    "additive": "additive noise",
    "dropconnect": "DropConnect",
    "dropconnect_gaussian": "Gaussian DropConnect",
}
"""Of noises, by their files."""


def named(name: str) -> str:
    """A noise in words; those without an entry of their own go by the name of their file."""
    return NAMES.get(name, name.replace("_", " "))


def plain(text: object) -> Markup:
    """A text as Markdown that shows it as it is, in one line, in a table's cell as well."""
    words = re.sub(r"\s+", " ", str(text))
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(SPECIAL.sub(r"\\\1", words))


def code(text: object) -> Markup:
    """A text as Markdown code."""
    words = " ".join(str(text).split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return Markup(f"{ticks}{pad}{words}{pad}{ticks}".replace("|", "\\|"))


def value(number: float, measure: Measure) -> str:
    """A stored value with its unit: "87.12%", "0.3512 nats"."""
    unit = measure.unit or (measure.difference_unit if measure.log else "")
    return f"{measure.shown(number)}{unit if unit == '%' else f' {unit}'.rstrip()}"


def size(number: float, measure: Measure) -> str:
    """A stored difference without its sign: "0.54 pp"; of a ratio how far it is from 1: "10%"."""
    if measure.log:
        return f"{float(measure.shown(number)) - 1:.0%}"
    return f"{measure.shown(abs(number))} {measure.difference_unit}"


def difference(number: float, measure: Measure) -> str:
    """ "+0.54 pp", "2.19 times"."""
    return f"{measure.shown(number, signed=True)} {measure.difference_unit}"


def span(interval: Interval | None, measure: Measure, signed: bool = False) -> str:
    """ "86.90 to 87.31"; a dash for None."""
    if interval is None:
        return "–"
    ends = " to ".join(measure.shown(end, signed=signed) for end in (interval.lower, interval.upper))
    return f"{ends}{' (all equal)' if interval.method == 'constant' else ''}"


def mean(summary: Summary | None, measure: Measure) -> str:
    """ "87.12 ± 0.50", without its unit."""
    if summary is None:
        return "–"
    spread = f" ± {measure.shown(summary.sd)}" if summary.sd is not None and not measure.log else ""
    return measure.shown(summary.mean) + spread


def diff(result: Result) -> str:
    return difference(result.paired.difference, result.measure)


def ci(result: Result) -> str:
    return span(result.paired.interval, result.measure, signed=True)


def evidence(result: Result) -> str:
    """ "+0.25 pp (95% interval −0.17 to +0.68)"."""
    return f"{diff(result)} (95% interval {ci(result)})" if result.paired.interval else diff(result)


def p_value(number: float | None) -> str:
    if number is None:
        return "–"
    return "<0.001" if number < 0.001 else f"{number:.3f}"


def badge(result: Result) -> str:
    """The verdict's word; of a measure without a better side, "larger" and "smaller"."""
    if result.verdict is None:
        return ""
    turned = {BETTER: "larger", WORSE: "smaller"} if result.measure.higher_is_better is None else {}
    return turned.get(result.verdict.word, result.verdict.word)


def remark(result: Result) -> str:
    """What a verdict says beside its word: how it lies to the margin, or what it excludes."""
    if result.verdict is None or result.margin is None:
        return ""
    margin, at = size(result.margin, result.measure), result.verdict
    turned = {BETTER: "larger", WORSE: "smaller"} if result.measure.higher_is_better is None else {}
    if at.diverged:
        return "as more runs of the side that is ahead diverged and are missing"
    if at.size:
        return f"by {at.size} than the margin of {margin}"
    return " and ".join(f"not {turned.get(word, word)} by {margin}" for word in at.excluded)


def correlation(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """ "1 seed", "2,000 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def counts(arm: ArmStats) -> str:
    """Of how many runs, and what went wrong: "4 of 5; 1 diverged, 4 broke down"."""
    kinds = {"diverged": arm.diverged, "broke down": arm.broken, "without a result": arm.lost}
    wrong = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
    total = f"{arm.n} of {arm.planned}" if arm.n < arm.planned else f"{arm.n}"
    return f"{total}; {wrong}" if wrong else total


def listing(values: Iterable[Any], most: int = 12) -> str:
    """Values as typed on a command line; of a long list the ends."""
    names = [runs.shown(each) for each in values]
    if len(names) > most:
        return f"{', '.join(names[:3])}, …, {names[-1]} ({len(names)} values)"
    return ", ".join(names)


def either(words: Sequence[str], last: str = "and") -> str:
    """ "a, b and c"."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def distinct(texts: Iterable[object]) -> str:
    """Each different text once."""
    return "; ".join(sorted({str(text) for text in texts if text and not pd.isna(text)}))


def ends(numbers: Iterable[float]) -> str:
    """ "10", or "10 to 100" where they differ."""
    known = [int(number) for number in numbers if not pd.isna(number)]
    if not known:
        return ""
    return f"{min(known):,}" if min(known) == max(known) else f"{min(known):,} to {max(known):,}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


FILTERS: Mapping[str, Any] = {
    "named": named,
    "plain": plain,
    "code": code,
    "value": value,
    "size": size,
    "difference": difference,
    "span": span,
    "mean": mean,
    "diff": diff,
    "ci": ci,
    "evidence": evidence,
    "p": p_value,
    "badge": badge,
    "remark": remark,
    "correlation": correlation,
    "count": count,
    "counts": counts,
    "listing": listing,
    "either": either,
    "duration": duration,
}
