"""How long `make reproduce ONLY=N` and `make noises ONLY=PART` take here: run-epochs, each at its kind's time.

The run-epochs are those of the committed tables. A kind of run is a sweep and a noise, and whether a rate is above
0; its run with the highest rates stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from analysis import equal_time, exercises, race, races, tables
from analysis.runs import shown
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
    return _kinds(runs, table.keys, params)


def kinds_raced(of: races.Source) -> Iterator[tuple[Kind, int]]:
    """Each kind of run in the committed table of a race, and its run-epochs."""
    runs = race.read_table(race.RESULTS / f"{of.name}.csv")
    keys = list(runs)[: list(runs).index("seed")]
    # as they are typed: a whole number is one, though a cell of its column is empty
    typed = {key: runs[key].map(lambda value: "" if pd.isna(value) else shown(value)) for key in keys}
    return _kinds(runs.assign(**typed), keys, of.planned.fixed)


def _kinds(runs: pd.DataFrame, keys: Sequence[str], fixed: Mapping[str, Any]) -> Iterator[tuple[Kind, int]]:
    """Of runs, a row each with its epochs and the keys in which they differ."""
    rates = [key for key in keys if key in RATES or key == "noise.input_rate"]
    # where rates are 0 nothing is drawn, which takes less
    has_noise = (runs[rates].apply(pd.to_numeric) > 0).any(axis=1) if rates else runs["data"].notna()
    for _, group in runs.groupby(["noise" if "noise" in runs else "data", has_noise.rename("has noise")]):
        run = group.sort_values(rates or "id", key=pd.to_numeric if rates else None).iloc[-1]
        values = {**fixed, **{key: run[key] for key in keys if run[key] != ""}}
        kind = (_override(key, value) for key, value in values.items() if key not in WITHOUT_EFFECT)
        yield tuple(kind), int(group["epochs"].sum())


def _override(key: str, value: Any) -> str:
    missing = value is None or value != value
    return f"{key}={'null' if missing else value}"


def by_command() -> Iterator[tuple[str, list[tuple[Kind, int]]]]:
    """Of each exercise and each part of the comparison of noises the command, and its kinds of run."""
    for name in exercises.names():
        module = exercises.load(name)
        of_sweeps = [kind for sweep in module.SWEEPS for kind in kinds(sweep)]
        yield f"`make reproduce ONLY={module.NUMBER}`, {name}", of_sweeps
    ratios = equal_time.read_ratios(race.RESULTS / equal_time.RATIOS)
    for of in races.sources(races.all_races(ratios), ratios):
        yield f"`make noises ONLY={of.name}`", list(kinds_raced(of))
