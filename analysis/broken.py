"""Which runs of a table broke down, see `src.runs.broken`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from src.runs.broken import broke_down


def broken(epochs: pd.DataFrame, classes: int | None) -> frozenset[str]:
    """Ids of the runs that broke down.

    Args:
        epochs: a row a run and epoch, a run's together and in order: id, train_acc, test_acc, both in [0, 1].
        classes: of the data set; None if unknown.
    """
    ids = epochs["id"].to_numpy()
    starts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    train, test = (np.split(epochs[name].to_numpy(float), starts) for name in ("train_acc", "test_acc"))
    firsts = ids[[0, *starts]] if len(ids) else ()
    return frozenset(
        run
        for run, rows, last in zip(firsts, train, test, strict=False)
        if broke_down(rows, last[-1], classes)
    )
