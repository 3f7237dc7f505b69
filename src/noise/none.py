"""No noise: the net as it is, whatever the rates say."""

from src.noise import Noise


class NoNoise(Noise):
    """h' = h."""
