"""Annealed: falls in a straight line to 0, which it reaches before the end of training.

Source: Rennie et al. 2014, "Annealed dropout training of deep networks".
"""

import numpy as np

from src.checks import real

OPTIONS = {"until": real(0, 1, above=True)}


def rate(progress: np.ndarray, configured: float, until: float) -> np.ndarray:
    """p(u) = p max(0, 1 - u/until).

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate at u = 0.
        until: in (0, 1], the share of training after which the rate is 0; 1 is the schedule `linear`.

    >>> rate(np.array([0.0, 0.25, 0.5, 0.75]), 0.4, until=0.5)
    array([0.4, 0.2, 0. , 0. ])
    """
    return configured * np.maximum(0, 1 - progress / until)
