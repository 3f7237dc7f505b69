"""Runs that broke down: their training fell apart, or they ended where guessing would.

A run that diverged has no result at all and is a `runs.Problem`; these have numbers, which must not pass for
those of a run that trained.
"""

from __future__ import annotations

import pandas as pd

FALL = 0.05
"""By how much the running train accuracy falls below its best earlier epoch in a run that broke down."""
NEAR_CHANCE = 1.5
"""Final test accuracy, over that of guessing, at which a run is counted as ended at chance."""


def broken(epochs: pd.DataFrame, classes: int | None) -> frozenset[str]:
    """Ids of the runs that broke down.

    Args:
        epochs: a row a run and epoch, in order: id, train_acc, test_acc, both in [0, 1].
        classes: of the data set; None if unknown, then no run is said to have ended at chance.
    """
    best = epochs.groupby("id", sort=False)["train_acc"].cummax()
    fell = epochs.loc[best - epochs["train_acc"] > FALL, "id"]
    last = epochs.groupby("id", sort=False).tail(1)
    at_chance = last.loc[last["test_acc"] <= NEAR_CHANCE / classes, "id"] if classes else fell[:0]
    return frozenset(fell) | frozenset(at_chance)
