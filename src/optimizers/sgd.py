"""Stochastic gradient descent, with momentum and weight decay as torch.optim.SGD has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from src.checks import boolean, real
from src.errors import InputError
from src.kernels import compiled
from src.optimizers import COMMON, Hyper, Optimizer, add_scaled

OPTIONS = {**COMMON, "momentum": real(0, 1, below=True), "nesterov": boolean}


def check(options: dict[str, Any]) -> None:
    if options["nesterov"] and not options["momentum"]:
        raise InputError("optimizer.nesterov", True, "needs optimizer.momentum above 0")


class SGD(Optimizer):
    """g ← g + λw;  v ← μv + g;  w ← w - lr·v, or with Nesterov's momentum w ← w - lr·(g + μv).

    λ `weight_decay` (L2 in the gradient), μ `momentum`; v is 0 before the first step. Equal to torch.optim.SGD with
    dampening 0. Source: Sutskever et al. 2013, in torch's form.
    """

    def __init__(
        self, parameters: Tensor, options: Sequence[dict[str, Any]], shapes: Sequence[torch.Size]
    ) -> None:
        super().__init__(parameters, options, shapes)
        self.momentum = self.hyper("momentum")
        self.nesterov = self.hyper("nesterov") if any(own["nesterov"] for own in options) else None
        self._velocity = torch.zeros_like(parameters) if any(own["momentum"] for own in options) else None
        self._descend = self._compiled()

    def _compiled(self) -> Callable[[Tensor, float], None] | None:
        """The step of one run with momentum in one pass over the memory, for what are four in `update`; None for
        others. In one thread, as runs on a CPU have."""
        w, v, momentum = self.parameters, self._velocity, self.momentum
        decay = 0.0 if self.weight_decay is None else self.weight_decay
        is_flat = w.device.type == "cpu" and w.dtype is torch.float32 and w.is_contiguous()
        descend = compiled.descent() if is_flat and self.nesterov is None else None
        if descend is None or v is None or not isinstance(momentum, float) or not isinstance(decay, float):
            return None
        return lambda gradients, lr: descend(w, v, gradients, momentum, decay, lr)

    @property
    def plain(self) -> bool:
        # of a subclass nothing is known
        bare = type(self) is SGD
        return bare and self._velocity is None and self.weight_decay is None and self._cap is None

    def update(self, gradients: Tensor, lr: Hyper) -> None:
        if self._descend and isinstance(lr, float) and gradients.is_contiguous():
            self._descend(gradients, lr)
            return
        if self.weight_decay is not None:
            add_scaled(gradients, self.parameters, self.weight_decay)
        update = gradients
        if self._velocity is not None:
            update = self._velocity.mul_(self.momentum).add_(gradients)
            if self.nesterov is not None:
                ahead = add_scaled(gradients, self._velocity, self.momentum)
                # nesterov is 1 or 0, which gives one or the other exactly
                update = torch.lerp(self._velocity, ahead, self.nesterov, out=gradients)
        add_scaled(self.parameters, update, -lr)
