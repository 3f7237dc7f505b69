"""Metrics of one's own: numbers that a noise, an optimizer or a model logs at the end of each epoch, beside ours.

The component's file declares them, `METRICS = {"gate": "higher", "share": None}`: a name, and where it is better
(`"higher"`, `"lower"`, or None for neither). Its class gives them by `metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from src import components
from src.config import Run
from src.errors import InputError
from src.optimizers import Optimizer
from src.stacks import Stack

Column = list[float | None]
"""One number a run; None where there is none."""


class WrongMetricsError(InputError):
    """What is wrong with the numbers that a component gives."""


def of_epoch(run: Run, optimizer: Optimizer, stack: Stack, nets: Sequence[nn.Module]) -> dict[str, Column]:
    """The columns that the components of these runs declare.

    Args:
        run: the first of them; their components are the same.
        nets: one a run; they are given their weights of now.

    Raises:
        WrongMetricsError: if a component gives no numbers, one that it does not declare, or not one a run.
    """
    columns: dict[str, Column] = {}
    for group, ask in (
        ("noise", lambda: [stack.noise.metrics(sites) for sites in stack.sites()]),
        ("optimizer", lambda: [optimizer.metrics()]),
        ("model", lambda: _of_nets(stack, nets)),
    ):
        name = getattr(run, group).name
        declared = components.metrics(group, name)
        if not declared:
            continue
        file = components.shown_path(group, name)
        try:
            with torch.no_grad():
                columns |= _columns(ask(), declared, len(nets))
        except _Problem as problem:
            raise WrongMetricsError(group, name, f"{file}: {problem}") from None
        except components.RAISED as error:
            raise WrongMetricsError(group, name, components.located(error, file)) from error
    return columns


class _Problem(Exception):
    """The end of a sentence about a component's file."""


def _of_nets(stack: Stack, nets: Sequence[nn.Module]) -> list[Any]:
    given = []
    for net, flat in zip(nets, stack.parameters.reshape(len(nets), -1), strict=True):
        nn.utils.vector_to_parameters(flat.detach(), net.parameters())
        method: Any = getattr(net, "metrics", None)
        if not callable(method):
            raise _Problem("has METRICS, and its net no method metrics that gives them")
        given.append(method())
    return given


def _columns(parts: list[Any], declared: Mapping[str, Any], runs: int) -> dict[str, Column]:
    """What is given, of all runs together or a part a run, as a column a declared name."""
    for part in parts:
        if not isinstance(part, Mapping):
            raise _Problem(
                f"metrics gave {type(part).__name__}; it must give a dict of numbers by their names"
            )
        if unknown := [name for name in part if name not in declared]:
            raise _Problem(f"metrics gave {unknown[0]}, which is not in its METRICS")
    count = runs if len(parts) == 1 else 1
    return {
        name: [number for part in parts for number in _numbers(part.get(name), count, name)]
        for name in declared
    }


def _numbers(value: Any, runs: int, name: str) -> Column:
    """A number a run; what is no finite number is none."""
    if value is None:
        return [None] * runs
    try:
        tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise _Problem(f"metrics gave {value!r} as {name}, which must be a number") from None
    if tensor.numel() not in (1, runs):
        shape = tuple(tensor.shape)
        raise _Problem(f"metrics gave {name} of shape {shape}, which must be one number a run")
    numbers = tensor.reshape(-1).expand(runs).tolist()
    return [float(number) if math.isfinite(number) else None for number in numbers]
