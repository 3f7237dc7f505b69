"""Adam, as torch.optim.Adam has it: weight decay is L2 in the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from src.checks import real
from src.optimizers import COMMON, Hyper, Optimizer, add_scaled

OPTIONS = {
    **COMMON,
    "beta1": real(0, 1, below=True),
    "beta2": real(0, 1, below=True),
    "eps": real(1e-20),  # at 0 a weight whose gradient is always 0 would become 0/0
}


class Adam(Optimizer):
    """g ← g + λw;  m ← β₁m + (1-β₁)g;  s ← β₂s + (1-β₂)g²;  w ← w - lr·m̂/(√ŝ + ε).

    λ `weight_decay`; m̂ = m/(1-β₁ᵗ) and ŝ = s/(1-β₂ᵗ) in step t = 1, 2, …; m and s are 0 before it. Equal to
    torch.optim.Adam. Source: Kingma & Ba 2015, algorithm 1.
    """

    def __init__(
        self, parameters: Tensor, options: Sequence[dict[str, Any]], shapes: Sequence[torch.Size]
    ) -> None:
        super().__init__(parameters, options, shapes)
        # 1 - β in float64: of 0.999 in float32, its fourth digit would be wrong
        self.new1, self.new2 = (self.column(1 - own[beta] for own in options) for beta in ("beta1", "beta2"))
        self.beta1, self.beta2, self.eps = (
            self.column((own[name] for own in options), torch.float64) for name in ("beta1", "beta2", "eps")
        )
        self._power1 = self._power2 = self.column([1.0] * len(options), torch.float64)
        self._mean, self._square = torch.zeros_like(parameters), torch.zeros_like(parameters)

    def update(self, gradients: Tensor, lr: Hyper) -> None:
        self.decay(gradients, lr)
        self._mean.lerp_(gradients, self.new1)
        self._square.lerp_(gradients.square_(), self.new2)
        self._power1, self._power2 = self._power1 * self.beta1, self._power2 * self.beta2
        # the corrections of m and s, one number a run, moved out of the P quotients
        root = (1 - self._power2) ** 0.5
        quotient = torch.sqrt(self._square, out=gradients).add_(_single(root * self.eps))
        torch.div(self._mean, quotient, out=quotient)
        add_scaled(self.parameters, quotient, _single(-lr * root / (1 - self._power1)))

    def decay(self, gradients: Tensor, lr: Hyper) -> None:
        if self.weight_decay is not None:
            add_scaled(gradients, self.parameters, self.weight_decay)


def _single(value: Hyper) -> Hyper:
    """In the parameters' precision."""
    return value if isinstance(value, float) else value.float()
