"""Piecewise: any schedule, drawn through points."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from src.checks import real

_unit = real(0, 1)


def _points(value: Any) -> list[list[float]]:
    """[progress, factor] pairs in the order of progress."""
    right = "must be a list of points [progress, factor], both from 0 to 1, with progress never falling"
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(right)
    if any(not isinstance(point, list | tuple) or len(point) != 2 for point in value):
        raise ValueError(right)
    try:
        points = [[_unit(number) for number in point] for point in value]
    except ValueError:
        raise ValueError(right) from None
    if any(later[0] < earlier[0] for earlier, later in pairwise(points)):
        raise ValueError(right)
    return points


OPTIONS = {"points": _points}


def rate(progress: np.ndarray, configured: float, points: Sequence[Sequence[float]]) -> np.ndarray:
    """p(u) = p f(u), with f the straight lines between the points (u, f); f is level before and after them.

    Of two points at one u, a jump, the second holds at u itself.

    Args:
        progress: u in [0, 1].
        configured: p in [0, 1], the rate where f is 1.
        points: [u, f] pairs, at least one, both in [0, 1], u never falling.

    >>> rate(np.array([0.0, 0.25, 0.5, 0.75]), 0.4, points=[[0, 0], [0.5, 1], [1, 0]])
    array([0. , 0.2, 0.4, 0.2])
    >>> rate(np.array([0.0, 0.25, 0.5, 0.75]), 0.4, points=[[0.5, 1], [0.5, 0.5]])
    array([0.4, 0.4, 0.2, 0.2])
    """
    at, factors = np.array(points, dtype=np.float64).T
    return configured * np.interp(progress, at, factors).clip(0, 1)  # a last bit may be rounded out of [0, 1]
