"""Curriculum: starts without noise and soon approaches the configured rate.

Source: Morerio et al. 2017, "Curriculum dropout", eq. 2; there γ is given per step, here over all of training.
"""

import numpy as np

from src.checks import real

OPTIONS = {"gamma": real(0)}


def rate(progress: np.ndarray, configured: float, gamma: float) -> np.ndarray:
    """p(u) = 1 - keep(u) with keep(u) = (1 - θ) exp(-γu) + θ and θ = 1 - p; that is, p (1 - exp(-γu)).

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate that is approached.
        gamma: γ >= 0, how fast; at the paper's 10 the last step's rate is within p/20,000 of p, at 0 it stays 0.

    >>> rate(np.array([0.0, 0.1, 0.5, 1.0]), 0.5, gamma=10).round(4)
    array([0.    , 0.3161, 0.4966, 0.5   ])
    """
    return configured * -np.expm1(-gamma * progress)
