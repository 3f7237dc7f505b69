"""What a sweep that ended once it was decided (`hydra.sweeper.until`) says of its contrasts: its `looks.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.measures import Measure
from src.errors import InputError
from src.stats import (
    ALPHA,
    BETTER,
    LARGER,
    SMALLER,
    UNDECIDED,
    WORSE,
    Interval,
    Paired,
    Verdict,
    judge,
)

FILE = "looks.csv"


@dataclass(frozen=True)
class Look:
    """The latest look at a contrast, of what JSON holds."""

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    """Values of the swept keys."""
    metric: str
    seeds: Sequence[int]
    """Those that were looked at; of the arms there may be more, for other pairs."""
    ends: Sequence[float] | None
    """Of the interval, which holds at all looks and for all contrasts together; None for fewer than two seeds."""
    level: float
    """Nominal, of the t interval with these ends."""
    verdict: str
    further: Sequence[Mapping[str, Any]] = ()
    """c and d of an interaction (a - b) - (c - d)."""

    @property
    def arms(self) -> tuple[Mapping[str, Any], ...]:
        return self.a, self.b, *self.further

    @property
    def turned(self) -> Look:
        """The same look at b - a, of two arms."""
        words = {BETTER: WORSE, WORSE: BETTER, LARGER: SMALLER, SMALLER: LARGER}
        ends = self.ends and [-self.ends[1], -self.ends[0]]
        return replace(self, a=self.b, b=self.a, ends=ends, verdict=words.get(self.verdict, self.verdict))

    def judged(self, plain: Paired, margin: float, measure: Measure) -> tuple[Paired, Verdict]:
        """A comparison over these seeds with the repeated interval, a p-value below 0.05 where that leaves out 0,
        and the sweep's own verdict, beside what it says of the margin (as stored)."""
        interval = None
        if self.ends:
            lower, upper = self.ends
            interval = Interval(lower, upper, "constant" if lower == upper else "t")
        p = None if plain.p is None or interval is None else min(1.0, plain.p * ALPHA / self.level)
        verdict = judge(interval, p, margin, measure.sign > 0)
        if self.verdict not in (verdict.word, measure.word(verdict.word, bool(self.further))):
            verdict = Verdict(UNDECIDED, excluded=verdict.excluded, diverged="broke" in self.verdict)
        return replace(plain, interval=interval, p=p), verdict


def read(folder: Path, listed: pd.DataFrame, keys: Sequence[str]) -> tuple[Look, ...]:
    """The latest look at each contrast of a sweep's arms.

    Args:
        listed: its runs in their order, with the swept keys and seed.

    Raises:
        InputError: if the file cannot be read.
    """
    path = folder / FILE
    seeds: dict[tuple[Any, ...], list[int]] = {}
    for row in listed.to_dict("records"):
        seeds.setdefault(tuple(row[key] for key in keys), []).append(int(row["seed"]))
    try:
        texts = dict.fromkeys(("a", "b", "verdict"), str)
        rows = pd.read_csv(path, dtype=texts).drop_duplicates(["a", "b"], keep="last")
        return tuple(_look(row, keys, seeds) for row in rows.to_dict("records"))
    except (ValueError, KeyError, IndexError, OSError) as error:
        right = "the file that the sweep wrote is right; the same command writes it anew"
        raise InputError(f"{path} cannot be read ({error}); {right}") from None


def _look(row: Mapping[Any, Any], keys: Sequence[str], seeds: Mapping[tuple[Any, ...], list[int]]) -> Look:
    """A row, where a and b are numbers of arms: "1" and "0", or "3-1" and "2-0"."""
    numbers = [int(number) for side in ("a", "b") for number in str(row[side]).split("-")]
    arms = [list(seeds)[number] for number in numbers]
    a, b, *further = (dict(zip(keys, arm, strict=True)) for arm in arms)
    return Look(
        a,
        b,
        row["metric"],
        seeds[arms[0]][: row["seeds"]],
        None if pd.isna(row["lower"]) else [float(row["lower"]), float(row["upper"])],
        float(row["level"]),
        row["verdict"],
        further,
    )
