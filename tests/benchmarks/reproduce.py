"""How long `make reproduce ONLY=N` takes here: run-epochs of the committed tables, at an epoch's time of each kind.

A kind is a sweep and a noise. One epoch of its run with the most noise is trained on each of two workers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from analysis import exercises, tables
from src.errors import REPOSITORY
from src.sweeping.naming import sweep_file

RESULTS = Path(tables.__file__).parent / "results"
WITHOUT_EFFECT = {"seed", "data.split", "epochs"}
"""Keys of a run that do not change how long an epoch takes."""

Kind = tuple[str, ...]
"""Overrides of the default config."""


def kinds(sweep: str) -> Iterator[tuple[Kind, int]]:
    """Each kind of run in a committed table, and its run-epochs."""
    table = tables.load(RESULTS, sweep)
    swept = [key for key in table.keys if key not in table.runs]
    runs = table.runs.merge(table.final[["id", *swept]], on="id")
    file = sweep_file(REPOSITORY / "sweeps" / f"{sweep}.yaml")
    params: Any = OmegaConf.to_container(OmegaConf.select(file, "hydra.sweeper.params"), resolve=False)
    for _, of_kind in runs.groupby("noise" if "noise" in runs else "data"):
        run = of_kind.sort_values([key for key in swept if "dropout" in key] or "id").iloc[-1]
        keys = {**params, **{key: run[key] for key in table.keys if run[key] != ""}}
        kind = (_override(key, value) for key, value in keys.items() if key not in WITHOUT_EFFECT)
        yield tuple(kind), int(of_kind["epochs"].sum())


def _override(key: str, value: Any) -> str:
    missing = value is None or value != value
    return f"{key}={'null' if missing else value}"


def seconds(run_epoch: Callable[[Kind], float]) -> Iterator[tuple[int, str, int, float]]:
    """Of each exercise its number, its name, its run-epochs, and the seconds that they take.

    Args:
        run_epoch: measures the seconds per run-epoch of a kind.
    """
    for number, name in enumerate(exercises.names(), 1):
        found = [of_kind for sweep in exercises.load(name).SWEEPS for of_kind in kinds(sweep)]
        yield (
            number,
            name,
            sum(count for _, count in found),
            sum(count * run_epoch(kind) for kind, count in found),
        )
