"""How long an epoch with a noise takes beside one with dropout, and how many take as long as dropout's.

`ratios.csv` has it, of a quiet core: `python -m tests.benchmarks.throughput --noises --to FILE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis import parsing
from analysis.families import DROPOUT
from src.checks import real
from src.errors import InputError

RATIOS = "ratios.csv"
"""What an epoch with each noise takes over one without any, columns noise, ratio, machine and date: of a quiet core
(`python -m tests.benchmarks.throughput --noises --to FILE`). Older ones lack the last two."""

RATIOS_RIGHT = "columns noise and ratio, and a row a noise, dropout among them, are right"

SAME_TIME = 1.05
"""An epoch that takes up to so many times another's, or it so many times this one, takes as long: of 45 epochs that
is two, less than what a second race would tell apart. Such a noise is at equal time where it is at equal steps."""


def read_ratios(path: Path) -> dict[str, float] | None:
    """What an epoch takes by noise; None without such a table.

    Raises:
        InputError: if it cannot be read, says nothing of dropout, or has a noise twice or a ratio that is none.
    """
    if not path.exists():
        return None
    table = parsing.read(path, RATIOS_RIGHT, ["noise", "ratio"])
    values = parsing.checked(table["ratio"], path, real(0, above=True))
    for noise in table["noise"][table["noise"].duplicated()]:
        raise InputError(f"{path}: noise={noise} is there twice; {RATIOS_RIGHT}")
    ratios = dict(zip(table["noise"], values, strict=True))
    if DROPOUT not in ratios:
        raise InputError(f"{path}: noise={DROPOUT} is not there; {RATIOS_RIGHT}")
    return ratios


def timed_on(path: Path) -> dict[str, list[str]]:
    """By machine and day of the measurement the noises that were measured then; last those without, under ""."""
    table = parsing.read(path, RATIOS_RIGHT) if path.exists() else pd.DataFrame(columns=["noise"])
    table = table.reindex(columns=["noise", "machine", "date"], fill_value="")
    named = (table["machine"] != "") & (table["date"] != "")
    table["on"] = (table["machine"] + ", " + table["date"]).where(named, "")
    by_machine = {str(on): list(of) for on, of in table.groupby("on")["noise"]}
    return dict(sorted(by_machine.items(), key=lambda item: (not item[0], item[0])))


def slowness(ratios: Mapping[str, float] | None, noise: str) -> float | None:
    """What an epoch with the noise takes over one with dropout; None if unknown."""
    return ratios[noise] / ratios[DROPOUT] if ratios and noise in ratios else None


def at_equal_time(epochs: int, slower: float) -> int:
    """Epochs of a noise that take as long as these with dropout."""
    return max(1, round(epochs / slower))


def is_same(slower: float) -> bool:
    """Whether an epoch takes as long as dropout's, see `SAME_TIME`."""
    return max(slower, 1 / slower) <= SAME_TIME
