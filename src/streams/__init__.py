"""A run's random numbers: each is a pure function of (seed, purpose, step, position); see `draws`."""

from src.streams.draws import (
    FAR,
    LEVELS,
    Draws,
    Rate,
    generator,
    keep_threshold,
    key,
    torch_seed,
)

__all__ = ["FAR", "LEVELS", "Draws", "Rate", "generator", "keep_threshold", "key", "torch_seed"]
