"""Numbers as they are written: the filters of the templates. A language has its words and sentences there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from analysis import runs
from analysis.arm_stats import ArmStats
from analysis.contrasts import Result
from analysis.measures import Measure
from src.stats import Interval, Summary

SPECIAL = re.compile(r"([\\`*\[\]|$~]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown, or GitHub's mathematics, would not print as it is; an underscore inside a word is safe."""
NUMBER = re.compile(r"−?\d+(?:\.\d+)?")
UNIT = re.compile(r"(.+) \(([^()\d]+)\)")
"""A figure's label with a unit."""

NAMES: dict[str, str] = yaml.safe_load(
    (Path(__file__).parent / "templates" / "noises.yaml").read_text(encoding="utf-8")
)
"""Of noises, by their files."""


def named(name: str) -> str:
    """A noise in words; those without an entry of their own go by the name of their file."""
    return NAMES.get(name, name.replace("_", " "))


def plain(text: object) -> Markup:
    """A text as Markdown that shows it as it is, in one line, in a table's cell as well."""
    words = re.sub(r"\s+", " ", str(text))
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(SPECIAL.sub(r"\\\1", words))


def mean(summary: Summary | None, measure: Measure) -> str:
    """ "87.12 ± 0.50", without its unit."""
    if summary is None:
        return "–"
    spread = f" ± {measure.shown(summary.sd)}" if summary.sd is not None and not measure.log else ""
    return measure.shown(summary.mean) + spread


def p_value(number: float | None) -> str:
    if number is None:
        return "–"
    return "<0.001" if number < 0.001 else f"{number:.3f}"


def correlation(number: float | None) -> str:
    return "–" if number is None else f"{round(number, 2) + 0.0:.2f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """ "1 seed", "2,000 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def distinct(texts: Iterable[object]) -> str:
    """Each different text once."""
    return "; ".join(sorted({str(text) for text in texts if text and not pd.isna(text)}))


def ends(numbers: Iterable[float]) -> str:
    """ "10", or "10–100" where they differ."""
    known = [int(number) for number in numbers if not pd.isna(number)]
    if not known:
        return ""
    return f"{min(known):,}" if min(known) == max(known) else f"{min(known):,}–{max(known):,}"


def recorded(runs: pd.DataFrame) -> dict[str, Any]:
    """What runs were of, on what, and how long they took; empty where it is not recorded."""
    texts = {column: distinct(runs[column]) for column in ("data", "device", "versions")}
    numbers = {column: ends(runs[column]) for column in ("epochs", "parameters")}
    return {**texts, **numbers, "seconds": float(runs["seconds"].sum())}


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


class Phrases:
    """Numbers with words around them.

    Args:
        words: the language's words by the English ones; a number in these stands as {}. Others stay as they are.
    """

    def __init__(self, words: Mapping[str, str] | None = None) -> None:
        self._words = words or {}

    def say(self, text: str) -> str:
        """The language's word for an English one, such as a measure's name or "100 epochs"."""
        if text in self._words:
            return self._words[text]
        words = self._words.get(NUMBER.sub("{}", text))
        return words.format(*NUMBER.findall(text)) if words else text

    def where(self, setting: Sequence[str]) -> str:
        """The parts of a contrast's setting."""
        return self.say(", ").join(map(self.say, setting))

    def arm(self, name: str) -> str:
        """An arm's name, of which each part may have a word."""
        return self.say(named(name)) if ", " not in name else self.where(re.split(r", (?![^(]*\))", name))

    def label(self, text: str) -> str:
        """A text of a figure, part by part: names, their unit in brackets, what commas or signs divide."""
        line = " ".join(text.split())
        said = self.say(line)
        if said != line or not self._words:
            return said if said != line else text
        if unit := UNIT.fullmatch(line):
            said = self.say(unit[2]).removeprefix("个")  # no measure word without a number
            return f"{self.label(unit[1])}{self._words['(']}{said}{self._words[')']}"
        for mark in (": ", ", ", " − "):
            parts = re.split(rf"{mark}(?![^(]*\))", line)
            if len(parts) > 1:
                return self.say(mark).join(map(self.label, parts))
        return text

    def value(self, number: float, measure: Measure) -> str:
        """A stored value with its unit: "87.12%", "0.3512 nats"."""
        unit = self.say(measure.unit or (measure.difference_unit if measure.log else ""))
        return f"{measure.shown(number)}{unit if unit == '%' else f' {unit}'.rstrip()}"

    def size(self, number: float, measure: Measure) -> str:
        """A stored difference without its sign: "0.54 pp"; of a ratio how far it is from 1: "10%"."""
        if measure.log:
            return f"{float(measure.shown(number)) - 1:.0%}"
        return f"{measure.shown(abs(number))} {self.say(measure.difference_unit)}".rstrip()

    def diff(self, result: Result) -> str:
        """ "+0.54 pp", "2.19 times"."""
        difference = result.measure.shown(result.paired.difference, signed=True)
        return f"{difference} {self.say(result.measure.difference_unit)}".rstrip()

    def span(self, interval: Interval | None, measure: Measure, signed: bool = False) -> str:
        """ "86.90 to 87.31"; a dash for None."""
        if interval is None:
            return "–"
        ends = (interval.lower, interval.upper)
        if signed:
            measure = measure.fine_enough(*ends)
        text = f" {self.say('to')} ".join(measure.shown(end, signed=signed) for end in ends)
        return f"{text} ({self.say('all equal')})" if interval.method == "constant" else text

    def ci(self, result: Result) -> str:
        return self.span(result.paired.interval, result.measure, signed=True)

    def evidence(self, result: Result) -> str:
        """ "+0.25 pp (95% interval −0.17 to +0.68)"."""
        if not result.paired.interval:
            return self.diff(result)
        opening, closing = self._words.get("(", " ("), self._words.get(")", ")")
        return f"{self.diff(result)}{opening}{self.say('95% interval')} {self.ci(result)}{closing}"

    def verdict(self, word: str, result: Result) -> str:
        """A verdict's word, in the language."""
        return self.say(result.said(word))

    def badge(self, result: Result) -> str:
        return self.verdict(result.verdict.word, result) if result.verdict else ""

    def remark(self, result: Result) -> str:
        """What a verdict says beside its word: how it lies to the margin, or what it excludes."""
        if result.verdict is None or not result.margin:
            return ""
        at, margin = result.verdict, self.size(result.margin, result.measure)
        if at.diverged:
            return self.say("as more runs of the side that is ahead diverged and are missing")
        if at.size:
            return self.say(f"by {at.size} than the margin of") + f" {margin}"
        words = (self.verdict(word, result) for word in at.excluded)
        return self.say(" and ").join(self.say("not {} by {}").format(word, margin) for word in words)

    def counts(self, arm: ArmStats) -> str:
        """Of how many runs, and what went wrong: "4 of 5; 1 diverged, 4 broke down"."""
        kinds = {"diverged": arm.diverged, "broke down": arm.broken, "without a result": arm.lost}
        wrong = self.say(", ").join(f"{number} {self.say(kind)}" for kind, number in kinds.items() if number)
        total = f"{arm.n} {self.say('of')} {arm.planned}" if arm.n < arm.planned else f"{arm.n}"
        return f"{total}{self.say('; ')}{wrong}" if wrong else total

    def listing(self, values: Iterable[Any], most: int = 12) -> str:
        """Values as typed on a command line; of a long list the ends."""
        names = [runs.shown(value) for value in values]
        if len(names) > most:
            return f"{', '.join(names[:3])}, …, {names[-1]} ({len(names)} {self.say('values')})"
        return ", ".join(names)

    def either(self, words: Sequence[str]) -> str:
        """ "a, b and c"."""
        *first, last = words
        return self.say(" and ").join(filter(None, [self.say(", ").join(first), last]))

    @property
    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the name that templates use."""
        names = (
            "say label where arm value size diff span ci evidence verdict badge remark counts listing either"
        )
        wordless = {
            "mean": mean,
            "p": p_value,
            "correlation": correlation,
            "count": count,
            "duration": duration,
        }
        return {name: getattr(self, name) for name in names.split()} | wordless


ENGLISH = Phrases()
