"""Cosine: falls from the configured rate to 0 along half a wave, slowly at both ends."""

import numpy as np


def rate(progress: np.ndarray, configured: float) -> np.ndarray:
    """p(u) = p (1 + cos πu)/2.

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate at u = 0.

    >>> rate(np.array([0.0, 0.25, 0.5, 1.0]), 0.5).round(4)
    array([0.5   , 0.4268, 0.25  , 0.    ])
    """
    return configured * (1 + np.cos(np.pi * progress)) / 2
