"""How long the exercises took: training time by the kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.tables import Table

TRAINING = ["id", "seconds"]
"""What tells trainings apart: a run that sweeps share has one time, a run that was trained for each has several."""


@dataclass(frozen=True)
class Length:
    """Of some runs."""

    runs: int
    run_epochs: int
    times: Mapping[str, tuple[int, float]]
    """Runs and their seconds by the kind of device: those of a CPU and of a GPU have no common sum."""


def trained(read: Mapping[str, Table]) -> pd.DataFrame:
    """Every training of some sweeps once, with its kind of device in a column kind."""
    runs = pd.concat([table.runs for table in read.values()])
    kinds = runs["device"].fillna("").astype(str).str.partition(" ")[0]
    return runs.assign(kind=kinds).drop_duplicates(TRAINING)


def length(runs: pd.DataFrame) -> Length:
    """Of these runs, as `trained` gives them."""
    return Length(
        runs=len(runs),
        run_epochs=int(runs["epochs"].sum()),
        times={kind: (len(of), float(of["seconds"].sum())) for kind, of in runs.groupby("kind")},
    )
