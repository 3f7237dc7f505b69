"""Optimizers: one file each, holding one subclass of `Optimizer`.

They work on a stack's parameters as one flat tensor: (P,) for one run with float hyper-parameters, (R, P) for a
stack of R runs with hyper-parameters of shape (R, 1). So runs with different learning rates train together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.checks import one_of, real
from src.components import find_class

Hyper = float | Tensor
"""Of one run a float; of a stack of R runs a tensor (R, 1)."""

COMMON = {
    "lr": real(0, above=True),
    "weight_decay": real(0),
    "decay": one_of("constant", "linear", "cosine"),
}
"""Options that every optimizer has: learning rate, L2 coefficient, and how the learning rate falls."""


class Optimizer:
    """Updates parameters in place from their gradients.

    Args:
        parameters: (P,) or (R, P) float32.
        options: one checked config a run, all of the same kind.
    """

    def __init__(self, parameters: Tensor, options: list[dict[str, Any]]) -> None:
        self.parameters = parameters
        self.options = options

    def hyper(self, name: str) -> Hyper:
        """A hyper-parameter of every run."""
        values = [float(options[name]) for options in self.options]
        if self.parameters.dim() == 1:
            return values[0]
        return torch.tensor(values, device=self.parameters.device).unsqueeze(-1)

    def step(self, gradients: Tensor, lr: Hyper) -> None:
        """One update with this step's learning rate; may overwrite `gradients`."""
        raise NotImplementedError


def learning_rates(options: dict[str, Any], steps: int) -> np.ndarray:
    """Learning rate of each step: (steps,) float64; u is the share of steps already done.

    constant: lr; linear: lr (1 - u); cosine: lr (1 + cos πu)/2 (Loshchilov & Hutter 2017, eq. 5, one cycle).
    """
    progress = np.arange(steps) / steps
    factor = {
        "constant": np.ones(steps),
        "linear": 1 - progress,
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
    }[options["decay"]]
    return np.asarray(options["lr"] * factor)


def make(parameters: Tensor, options: list[dict[str, Any]]) -> Optimizer:
    """The optimizer of these runs' configs: the one `Optimizer` that the file of its name defines."""
    return find_class("optimizer", options[0]["name"], Optimizer)(parameters, options)
