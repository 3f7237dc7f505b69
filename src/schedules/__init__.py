"""Schedules: how the rates move over training, one file each.

A schedule's file holds one pure function, `rate(progress, configured, **options)`: progress u in [0, 1), the
share of training's steps already done, shape (steps,); the configured rate p, a float; it returns the rate used
in each step, shape (steps,). Everything is evaluated before training begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from src.components import find


def rates(options: Mapping[str, Any], configured: float, steps: int) -> np.ndarray:
    """Rate used in each of a run's steps: (steps,) float64, in [0, 1].

    Args:
        options: the config's group `schedule`, checked.
        configured: p, the rate that the config names.
        steps: number of optimizer steps of the whole run.
    """
    arguments = {key: value for key, value in options.items() if key != "name"}
    progress = np.arange(steps) / steps
    used = find("schedule", options["name"]).rate(progress, configured, **arguments)
    return np.asarray(np.broadcast_to(used, (steps,)), dtype=np.float64)
