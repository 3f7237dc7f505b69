"""Stochastic gradient descent, with momentum and weight decay as torch.optim.SGD has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from src.checks import real
from src.optimizers import COMMON, Hyper, Optimizer

OPTIONS = {**COMMON, "momentum": real(0, 1, below=True)}


class SGD(Optimizer):
    """g ← g + λw;  v ← μv + g (first step v ← g);  w ← w - lr·v.

    λ `weight_decay` (L2 in the gradient, biases included), μ `momentum`; v = g without momentum. Equal to
    torch.optim.SGD with dampening 0 and no Nesterov. Source: Sutskever et al. 2013, in torch's form.
    """

    def __init__(self, parameters: Tensor, options: list[dict[str, Any]]) -> None:
        super().__init__(parameters, options)
        self.momentum = self.hyper("momentum")
        self.weight_decay = self.hyper("weight_decay")
        self._decays = any(option["weight_decay"] for option in options)
        self._velocity = torch.zeros_like(parameters) if any(o["momentum"] for o in options) else None

    def step(self, gradients: Tensor, lr: Hyper) -> None:
        if self._decays:
            if isinstance(self.weight_decay, float):
                gradients.add_(self.parameters, alpha=self.weight_decay)
            else:
                gradients.addcmul_(self.parameters, self.weight_decay)
        update = gradients
        if self._velocity is not None:
            update = self._velocity.mul_(self.momentum).add_(gradients)
        if isinstance(lr, float):
            self.parameters.add_(update, alpha=-lr)
        else:
            self.parameters.addcmul_(update, -lr)
