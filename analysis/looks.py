"""What a sweep that ended once it was decided (`hydra.sweeper.until`) says of its pairs: its `looks.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import runs
from src.stats import ALPHA, UNDECIDED, Interval, Paired, Verdict, judge

FILE = "looks.csv"


@dataclass(frozen=True)
class Look:
    """The latest look at a pair of arms."""

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    """Values of the swept keys."""
    metric: str
    seeds: tuple[int, ...]
    """Those that were looked at; of the arms there may be more, for other pairs."""
    ends: tuple[float, float] | None
    """Of the interval, which holds at all looks and for all pairs together; None for fewer than two pairs."""
    level: float
    """Nominal, of the t interval with these ends."""
    verdict: str

    def judged(self, plain: Paired, margin: float, higher_is_better: bool) -> tuple[Paired, Verdict]:
        """A comparison over these seeds with the repeated interval, a p-value below 0.05 where that leaves out 0,
        and the sweep's own verdict, beside what it says of the margin (as stored)."""
        interval = self.ends and Interval(*self.ends, "constant" if self.ends[0] == self.ends[1] else "t")
        p = None if plain.p is None or interval is None else min(1.0, plain.p * ALPHA / self.level)
        verdict = judge(interval, p, margin, higher_is_better)
        if verdict.word != self.verdict:
            verdict = Verdict(UNDECIDED, excluded=verdict.excluded, diverged="broke" in self.verdict)
        return replace(plain, interval=interval, p=p), verdict


def read(folder: Path) -> tuple[Look, ...]:
    """The latest look at each pair of a sweep's arms; none where the sweep has no looks.

    Raises:
        InputError: if the file cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return ()
    listed, keys = runs.read_list(folder)
    seeds: dict[tuple[Any, ...], list[int]] = {}
    for row in listed.to_dict("records"):
        seeds.setdefault(tuple(row[key] for key in keys), []).append(int(row["seed"]))
    arms = list(seeds)
    try:
        rows = pd.read_csv(path, dtype={"verdict": str}).drop_duplicates(["a", "b"], keep="last")
        return tuple(
            Look(
                dict(zip(keys, arms[row["a"]], strict=True)),
                dict(zip(keys, arms[row["b"]], strict=True)),
                row["metric"],
                tuple(seeds[arms[row["a"]]][: row["seeds"]]),
                None if pd.isna(row["lower"]) else (float(row["lower"]), float(row["upper"])),
                float(row["level"]),
                row["verdict"],
            )
            for row in rows.to_dict("records")
        )
    except (ValueError, KeyError, IndexError, OSError) as error:
        right = "the file that the sweep wrote is right; the same command writes it anew"
        raise runs.InputError(f"{path} cannot be read ({error}); {right}") from None


def from_json(kept: Sequence[Mapping[str, Any]]) -> tuple[Look, ...]:
    """As a kept table has them, see `dataclasses.asdict`."""
    return tuple(
        Look(**{**look, "seeds": tuple(look["seeds"]), "ends": look["ends"] and tuple(look["ends"])})
        for look in kept
    )
