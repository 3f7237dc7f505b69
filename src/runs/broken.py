"""Runs that broke down: their training fell apart, or they ended where guessing would.

A run that diverged has no result at all; these have numbers, which must not pass for those of a run that trained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

FALL = 0.05
"""By how much the running train accuracy falls below its best earlier epoch in a run that broke down."""
NEAR_CHANCE = 1.5
"""Final test accuracy, over that of guessing, at which a run is counted as ended at chance."""
CLASSES = {"fashion_mnist": 10, "digits": 10}
"""Classes of the known data sets, for what chance alone reaches."""


def broke_down(train_acc: ArrayLike, test_acc: float, classes: int | None) -> bool:
    """Whether a run with these numbers did.

    Args:
        train_acc: running train accuracy of each epoch, in [0, 1], shape (epochs,).
        test_acc: of the last epoch.
        classes: of the data set; None if unknown, then no run is said to have ended at chance.
    """
    accuracy = np.asarray(train_acc, dtype=float)
    fell = (np.fmax.accumulate(accuracy) - accuracy > FALL).any()
    return bool(fell or (classes is not None and test_acc <= NEAR_CHANCE / classes))
