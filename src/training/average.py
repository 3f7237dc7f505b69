"""An average of the weights beside the training: `probe.ema`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from src.stacks import Stack
from src.training.evaluation import evaluate
from src.training.images import Images


class WeightAverage:
    """The exponential moving average of a stack's parameters θ, which training knows nothing of.

    After step t = 1, 2, … it is a = Σ_s d^(t - s)·θ_s·(1 - d)/(1 - dᵗ), over s = 1, …, t, with d the `decay`: the
    weights before the first step have no part in it.

    Source: Polyak & Juditsky 1992, for averages of the iterates; Kingma & Ba 2015, section 3, for 1 - dᵗ.
    """

    def __init__(self, stack: Stack, decay: float) -> None:
        self._stack, self._decay = stack, decay
        self._power = 1.0
        self.parameters = torch.zeros_like(stack.parameters)

    def follow(self) -> None:
        """Takes in the parameters after a step."""
        self._power *= self._decay
        self.parameters.lerp_(self._stack.parameters, (1 - self._decay) / (1 - self._power))

    def keep_runs(self, runs: Sequence[int]) -> None:
        """Goes on with these runs, after the stack."""
        self.parameters = self.parameters[list(runs)]

    def evaluate(self, images: Images) -> dict[str, Tensor]:
        """Columns of an epoch's metrics, each () or (R,): test and validation set by the averaged weights.

        Buffers of a module, such as running statistics, are those of the training.
        """
        trained = self._stack.parameters.clone()
        self._stack.parameters.copy_(self.parameters)
        try:
            return {f"ema_{name}": column for name, column in evaluate(self._stack, images, False).items()}
        finally:
            self._stack.parameters.copy_(trained)
