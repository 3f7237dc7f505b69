"""How long the exercises took: training time by the kind of device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

TRAINING = ["id", "seconds"]
"""What tells trainings apart: a run that sweeps share has one time, a run that was trained for each has several."""


@dataclass(frozen=True)
class Length:
    """How long some runs took."""

    runs: int
    run_epochs: int
    times: Mapping[str, tuple[int, float]]
    """Runs and their seconds by the kind of device: those of a CPU and of a GPU have no common sum."""


def length(listed: Iterable[pd.DataFrame]) -> Length:
    """Of runs, a row each: id, epochs, seconds, device; each training counts once."""
    runs = pd.concat(listed, ignore_index=True).drop_duplicates(TRAINING)
    kinds = runs["device"].fillna("").astype(str).str.partition(" ")[0]
    return Length(
        runs=len(runs),
        run_epochs=int(runs["epochs"].sum()),
        times={kind: (len(of), float(of["seconds"].sum())) for kind, of in runs.groupby(kinds)},
    )
