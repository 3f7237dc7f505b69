"""Linear: falls in a straight line from the configured rate to 0."""

import numpy as np


def rate(progress: np.ndarray, configured: float) -> np.ndarray:
    """p(u) = p (1 - u).

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate at u = 0.

    >>> rate(np.array([0.0, 0.25, 0.5, 1.0]), 0.5)
    array([0.5  , 0.375, 0.25 , 0.   ])
    """
    return configured * (1 - progress)
