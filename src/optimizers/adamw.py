"""AdamW, as torch.optim.AdamW has it: weight decay is apart from the gradient."""

from __future__ import annotations

from torch import Tensor

from src.optimizers import Hyper
from src.optimizers.adam import OPTIONS as OPTIONS
from src.optimizers.adam import Adam


class AdamW(Adam):
    """w ← w - lr·λw, then Adam's step with the plain gradient.

    λ `weight_decay`; what decays in a step is lr·λ, so it follows the learning rate's course. Equal to
    torch.optim.AdamW. Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
    """

    def decay(self, gradients: Tensor, lr: Hyper) -> None:
        if self.weight_decay is not None:
            self.parameters.mul_(1 - lr * self.weight_decay)
