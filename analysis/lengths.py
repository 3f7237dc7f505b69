"""How long the exercises take: training time by the kind of device, and what their run-epochs take on two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.tables import Table

CORES = 2
TRAINING = ["id", "seconds"]
"""What tells trainings apart: a run that sweeps share has one time, a run that was trained for each has several."""


@dataclass(frozen=True)
class Length:
    """Of some runs."""

    runs: int
    run_epochs: int
    times: Mapping[str, tuple[int, float]]
    """Runs and their seconds by the kind of device: those of a CPU and of a GPU have no common sum."""
    on_cores: float | None
    """Seconds that so many run-epochs take on `CORES` of the CPU's cores, at what they took there, or else at what
    others took on as many images; None where a CPU trained neither."""


def trained(read: Mapping[str, Table], images: Mapping[str, object]) -> pd.DataFrame:
    """Every training of some sweeps once, with the size of its training set in a column images.

    Args:
        images: the sizes, by the sweep's name.
    """
    runs = pd.concat([table.runs.assign(images=str(images[sweep])) for sweep, table in read.items()])
    kinds = runs["device"].fillna("").astype(str).str.partition(" ")[0]
    return runs.assign(kind=kinds).drop_duplicates(TRAINING)


def length(runs: pd.DataFrame, rates: Mapping[str, float]) -> Length:
    """Of these runs.

    Args:
        runs: `trained`.
        rates: `core_rates` of all that there are.
    """
    rates = {**rates, **core_rates(runs)}
    by_images = runs.groupby("images")["epochs"].sum()
    known = set(by_images.index) <= rates.keys()
    seconds = sum(epochs * rates[images] for images, epochs in by_images.items()) if known else None
    return Length(
        runs=len(runs),
        run_epochs=int(runs["epochs"].sum()),
        times={kind: (len(of), float(of["seconds"].sum())) for kind, of in runs.groupby("kind")},
        on_cores=None if seconds is None else seconds / CORES,
    )


def core_rates(runs: pd.DataFrame) -> dict[str, float]:
    """Seconds of a core for a run-epoch, by the size of the training set, of the runs that a CPU trained.

    Args:
        runs: `trained`.
    """
    sums = runs[runs["kind"] == "cpu"].groupby("images")[["seconds", "epochs"]].sum()
    return (sums["seconds"] / sums["epochs"]).to_dict()
