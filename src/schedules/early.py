"""Early: noise at the beginning of training only, against underfitting.

Source: Liu et al. 2023, "Dropout reduces underfitting".
"""

import numpy as np

from src.checks import boolean, real

OPTIONS = {"cutoff": real(0, 1, above=True), "linear": boolean}


def rate(progress: np.ndarray, configured: float, cutoff: float, linear: bool) -> np.ndarray:
    """p(u) = p for u < cutoff, then 0; with `linear`, p (1 - u/cutoff) for u < cutoff, then 0.

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate at u = 0.
        cutoff: in (0, 1], the share of training with noise.
        linear: fall in a straight line until `cutoff`, instead of all at once there.

    >>> rate(np.array([0.0, 0.25, 0.5, 0.75]), 0.4, cutoff=0.5, linear=False)
    array([0.4, 0.4, 0. , 0. ])
    >>> rate(np.array([0.0, 0.25, 0.5, 0.75]), 0.4, cutoff=0.5, linear=True)
    array([0.4, 0.2, 0. , 0. ])
    """
    if linear:
        return configured * np.maximum(0, 1 - progress / cutoff)
    return configured * (progress < cutoff)
