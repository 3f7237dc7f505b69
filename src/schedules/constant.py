"""Constant: the configured rate in every step, as in the book."""

import numpy as np


def rate(progress: np.ndarray, configured: float) -> np.ndarray:
    """p(u) = p.

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1].

    >>> rate(np.array([0.0, 0.5]), 0.2)
    array([0.2, 0.2])
    """
    return np.full_like(progress, configured)
