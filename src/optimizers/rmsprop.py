"""RMSprop, as torch.optim.RMSprop has it: weight decay is L2 in the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from src.checks import real
from src.optimizers import COMMON, Hyper, Optimizer, add_scaled

OPTIONS = {
    **COMMON,
    "alpha": real(0, 1, below=True),
    "eps": real(1e-20),  # at 0 a weight whose gradient is always 0 would become 0/0
    "momentum": real(0, 1, below=True),
}


class RMSprop(Optimizer):
    """g ← g + λw;  s ← αs + (1-α)g²;  v ← μv + g/(√s + ε);  w ← w - lr·v.

    λ `weight_decay`, μ `momentum`; s and v are 0 before the first step. Equal to torch.optim.RMSprop, not centred.
    Source: Tieleman & Hinton 2012, lecture 6.5, in torch's form.
    """

    def __init__(
        self, parameters: Tensor, options: Sequence[dict[str, Any]], shapes: Sequence[torch.Size]
    ) -> None:
        super().__init__(parameters, options, shapes)
        self.new = self.column(1 - own["alpha"] for own in options)
        self.eps, self.momentum = self.hyper("eps"), self.hyper("momentum")
        self._square, self._root = torch.zeros_like(parameters), torch.empty_like(parameters)
        self._velocity = torch.zeros_like(parameters) if any(own["momentum"] for own in options) else None

    def update(self, gradients: Tensor, lr: Hyper) -> None:
        if self.weight_decay is not None:
            add_scaled(gradients, self.parameters, self.weight_decay)
        self._square.lerp_(torch.mul(gradients, gradients, out=self._root), self.new)
        update = gradients.div_(torch.sqrt(self._square, out=self._root).add_(self.eps))
        if self._velocity is not None:
            update = self._velocity.mul_(self.momentum).add_(update)
        add_scaled(self.parameters, update, -lr)
