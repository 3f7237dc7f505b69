"""Late: noise at the end of training only, against overfitting.

Source: Liu et al. 2023, "Dropout reduces underfitting".
"""

import numpy as np

from src.checks import real

OPTIONS = {"cutoff": real(0, 1)}


def rate(progress: np.ndarray, configured: float, cutoff: float) -> np.ndarray:
    """p(u) = 0 for u < cutoff, then p.

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate from `cutoff` on.
        cutoff: in [0, 1], the share of training without noise; at 1 no step has any.

    >>> rate(np.array([0.0, 0.25, 0.5, 0.75]), 0.4, cutoff=0.5)
    array([0. , 0. , 0.4, 0.4])
    """
    return configured * (progress >= cutoff)
