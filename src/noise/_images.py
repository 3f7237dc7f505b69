"""What noises on the pixels of an image share."""

from __future__ import annotations

from math import isqrt

from src.noise import UndefinedError


def side(units: int, what: str) -> int:
    """Pixels along the side of a square image in shades of grey.

    Raises:
        UndefinedError: if the units are no such image's.

    >>> side(784, "dropblock")
    28
    """
    pixels = isqrt(units)
    if pixels * pixels != units:
        raise UndefinedError(f"{what} needs square images with one channel, and {units} values are none")
    return pixels
