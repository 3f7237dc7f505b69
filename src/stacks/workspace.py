"""Memory for what a multilayer perceptron computes in a step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class Workspace:
    """Where the intermediates of batches of n images are kept, the same in each step.

    Args:
        n: images in a batch.
        weights: of the three layers, (out, in) or (R, out, in).
    """

    def __init__(self, n: int, weights: Sequence[Tensor]) -> None:
        lead = weights[0].shape[:-2]
        widths = [W.shape[-2] for W in weights]
        hidden, like = widths[:-1], weights[0]
        # over few classes softmax is six times faster on a CPU when the images of each lie side by side
        logits = like.new_empty(*lead, widths[-1], n).mT
        self.outputs = [*(like.new_empty(*lead, n, width) for width in hidden), logits]
        self.into = [like.new_empty(0), *(like.new_empty(*lead, n, width) for width in hidden)]
        self.columns = like.new_empty(*lead, widths[-1], n)
        self.minus_one = like.new_full((*lead, 1, n), -1)
