"""Metrics of one's own: numbers that a noise, an optimizer or a model logs at the end of each epoch, beside ours.

The component's file declares them, `METRICS = {"gate": "higher", "share": None}`: a name, and where it is better
(`"higher"`, `"lower"`, or None for neither). Its class gives them by `metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from src import components
from src.config import Run
from src.noise import Noise
from src.optimizers import Optimizer
from src.stacks import Stack

Column = list[float | None]
"""One number a run; None where there is none."""


def of_epoch(
    run: Run, noise: Noise, optimizer: Optimizer, stack: Stack, nets: Sequence[nn.Module]
) -> dict[str, Column]:
    """The columns that the components of these runs declare.

    Args:
        run: the first of them; their components are the same.
        nets: one a run; they are given their weights of now.

    Raises:
        ValueError: if a component gives a number that it does not declare, or not one a run.
    """
    columns: dict[str, Column] = {}
    for group, ask in (
        ("noise", lambda: [noise.metrics(sites) for sites in stack.sites()]),
        ("optimizer", lambda: [optimizer.metrics()]),
        ("model", lambda: _of_nets(stack, nets)),
    ):
        name = getattr(run, group).name
        declared = components.metrics(group, name)
        if declared:
            with torch.no_grad():
                columns |= _columns(ask, declared, len(nets), f"metrics of {group}={name}")
    return columns


def _of_nets(stack: Stack, nets: Sequence[nn.Module]) -> list[Mapping[str, Any]]:
    given = []
    for net, flat in zip(nets, stack.parameters.reshape(len(nets), -1), strict=True):
        nn.utils.vector_to_parameters(flat.detach(), net.parameters())
        method: Any = net.metrics
        given.append(method())
    return given


def _columns(
    ask: Callable[[], list[Mapping[str, Any]]], declared: Mapping[str, Any], runs: int, source: str
) -> dict[str, Column]:
    """What is given, of all runs together or a part a run, as a column a declared name."""
    parts = ask()
    unknown = sorted({name for part in parts for name in part} - declared.keys())
    if unknown:
        raise ValueError(f"{source}: {unknown[0]} is not in its METRICS")
    columns: dict[str, Column] = {}
    for name in declared:
        numbers = [
            _numbers(part.get(name), runs if len(parts) == 1 else 1, f"{source}: {name}") for part in parts
        ]
        columns[name] = [number for of_part in numbers for number in of_part]
    return columns


def _numbers(value: Any, runs: int, source: str) -> Column:
    """A number a run; what is no finite number is none."""
    if value is None:
        return [None] * runs
    tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if tensor.numel() not in (1, runs):
        raise ValueError(f"{source} has the shape {tuple(tensor.shape)} and must be one number a run")
    numbers = tensor.reshape(-1).tolist()
    numbers = numbers * runs if len(numbers) < runs else numbers
    return [float(number) if math.isfinite(number) else None for number in numbers]
