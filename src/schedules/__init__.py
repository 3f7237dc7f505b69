"""Schedules: how the rates move over training, one file each.

A schedule's file holds one pure function, `rate(progress, configured, **options)`: progress u in [0, 1), the
share of training's steps already done, shape (steps,); the configured rate p, a float; it returns the rate used
in each step, shape (steps,), which is 0 where p is 0. Everything is evaluated before training begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from src.components import RAISED, find, located
from src.errors import InputError

TRIED = 16
"""Steps on which a schedule is tried."""

ROUNDING = 1e-9
"""By how much a rate may miss [0, 1]."""


def rates(options: Mapping[str, Any], configured: float, steps: int) -> np.ndarray:
    """Rate used in each of a run's steps: (steps,) float64, in [0, 1].

    Args:
        options: the config's group `schedule`, checked.
        configured: p, the rate that the config names.
        steps: number of optimizer steps of the whole run.

    Raises:
        InputError: if the schedule gives something else.
    """
    name = options["name"]
    arguments = {key: value for key, value in options.items() if key != "name"}
    module, path = find("schedule", name), f"src/schedules/{name}.py"
    try:
        output = np.asarray(module.rate(np.arange(steps) / steps, configured, **arguments))
        if output.dtype.kind not in "biuf" or output.shape not in ((), (1,), (steps,)):
            given = f"{output.dtype} of shape {output.shape}" if output.shape else repr(output.item())
            right = f"a number, or one for each of the {steps} steps"
            raise InputError("schedule", name, f"{path} gave {given}; its rate must return {right}")
        used = np.broadcast_to(output, (steps,)).astype(np.float64)
    except InputError:
        raise
    except RAISED as error:
        raise InputError("schedule", name, located(error, path)) from error
    within = (used >= -ROUNDING) & (used <= 1 + ROUNDING)
    wrong = used[~within] if configured else used[used != 0]
    if len(wrong):
        right = "rates from 0 to 1" if configured else "0 throughout"
        message = f"{path} gave {wrong[0]:g} for the configured rate {configured:g}; it must give {right}"
        raise InputError("schedule", name, message)
    return used.clip(0, 1)


def check(options: Mapping[str, Any], configured: float) -> None:
    """Tries a schedule before anything trains.

    Raises:
        InputError: as `rates`, and if it does not give the same rates each time, or gives the same for another
            configured rate.
    """
    first, again, _, half = (rates(options, p, TRIED) for p in (configured, configured, 0.0, configured / 2))
    name = options["name"]
    if not np.array_equal(first, again):
        raise InputError("schedule", name, f"src/schedules/{name}.py gives other rates each time it is asked")
    if first.any() and np.array_equal(first, half):
        both = f"src/schedules/{name}.py gives the same rates for {configured:g} and {configured / 2:g}"
        raise InputError("schedule", name, f"{both}; they must follow the configured one")
