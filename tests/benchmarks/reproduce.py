"""How long `make reproduce ONLY=N` takes here: the run-epochs of the committed tables, each at its kind's time.

A kind of run is a sweep and a noise, and whether a rate is above 0; its run with the highest rates stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from analysis import exercises, tables
from src.config import RATES
from src.errors import REPOSITORY
from src.sweeping.naming import sweep_file

RESULTS = Path(tables.__file__).parent / "results"
WITHOUT_EFFECT = {"seed", "data.split", "epochs"}
"""Keys of a run that do not change how long an epoch takes."""

Kind = tuple[str, ...]
"""A kind of run: overrides of the default config."""


def kinds(sweep: str) -> Iterator[tuple[Kind, int]]:
    """Each kind of run in a sweep's committed table, and its run-epochs."""
    table = tables.load(RESULTS, sweep)
    swept = [key for key in table.keys if key not in table.runs]
    runs = table.runs.merge(table.final[["id", *swept]], on="id")
    file = sweep_file(REPOSITORY / "sweeps" / f"{sweep}.yaml")
    params: Any = OmegaConf.to_container(OmegaConf.select(file, "hydra.sweeper.params"), resolve=False)
    rates = [key for key in swept if key in RATES or key == "noise.input_rate"]
    # where rates are 0 nothing is drawn, which takes less
    has_noise = (runs[rates].apply(pd.to_numeric) > 0).any(axis=1) if rates else runs["data"].notna()
    for _, group in runs.groupby(["noise" if "noise" in runs else "data", has_noise.rename("has noise")]):
        run = group.sort_values(rates or "id").iloc[-1]
        values = {**params, **{key: run[key] for key in table.keys if run[key] != ""}}
        kind = (_override(key, value) for key, value in values.items() if key not in WITHOUT_EFFECT)
        yield tuple(kind), int(group["epochs"].sum())


def _override(key: str, value: Any) -> str:
    missing = value is None or value != value
    return f"{key}={'null' if missing else value}"


def by_exercise() -> Iterator[tuple[int, str, list[tuple[Kind, int]]]]:
    """Each exercise's number, name and kinds of run with their run-epochs."""
    for name in exercises.names():
        module = exercises.load(name)
        yield module.NUMBER, name, [kind for sweep in module.SWEEPS for kind in kinds(sweep)]
