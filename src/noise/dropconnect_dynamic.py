"""Dynamic DropConnect: weights with a small gradient in the step before are dropped more often."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Backward, Noise, Site
from src.streams import Rate

OPTIONS = {"gradient_rate": real(0, 1)}
RATE = real(0, 1, below=True)

TINY = 1e-9
"""Added to the standard deviation of a layer's gradients."""


class DynamicDropConnect(Noise):
    """z = (M ⊙ W)x/s + b, M ~ Bernoulli(1 - p_ij) drawn per weight, once a step; s is the share that M keeps.

    p_ij = p + r·q_ij where q_ij = 1 - σ((|g_ij| - mean)/SD) is above 1/2, else p; g is the gradient in the step
    before, mean and SD of |g| are the layer's, and r is `gradient_rate`: the smaller a weight's gradient, the more
    likely it is dropped. The rate `dropoutN` is p for hidden layer N's own weights; biases stay. In the first step
    there is no gradient yet, and p_ij = p. The gradient at the dropped weights is that at the kept ones: all of W
    learns, as if M were not there in the backward pass (g_ij is what is handed back at M ⊙ W/s). Train: mean Wx + b
    only where all p_ij are equal, as s is one for the layer. Test: the identity.

    Source: Yang & Chen 2025, "Dynamic DropConnect: enhancing neural network robustness through adaptive edge
    dropping strategies", arXiv 2502.19948, and the authors' code, whose example has p = 0.3 and r = 0.5; there the
    first step is without noise.
    """

    def weight(self, W: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Backward]:
        dropped = torch.zeros_like(W).add_(rate)
        before = site.state.get("gradient")
        if before is not None:
            # a run of a stack whose rate is 0 has no noise, as it would have alone
            dropped.add_(_unlikely(before) * (dropped > 0), alpha=self.options["gradient_rate"])
        mask = site.uniform(W.shape).ge_(dropped)
        share = mask.mean((-2, -1), keepdim=True).clamp_(min=1 / torch.Size(W.shape[-2:]).numel())
        noisy = torch.mul(W, mask, out=site.workspace("noisy", W)).div_(share)

        def backward(gradient: Tensor) -> Tensor:
            if site.learning:
                site.state["gradient"] = site.workspace("gradient", W).copy_(gradient)
            return gradient

        return noisy, backward


def _unlikely(gradient: Tensor) -> Tensor:
    """q_ij where it is above 1/2, else 0.

    >>> _unlikely(torch.tensor([[0.0, -1.0, 2.0]]))
    tensor([[0.7311, 0.0000, 0.0000]])
    """
    size = gradient.abs()
    deviation = size.std((-2, -1), keepdim=True) + TINY
    q = torch.sigmoid((size.mean((-2, -1), keepdim=True) - size) / deviation)
    return q.mul_(q > 0.5)
