"""Gaussian DropConnect: a mask on the weights for each example, by the two moments of the product it gives."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, alpha
from src.streams import Draws, Rate

RATE = real(0, 1, below=True)

TINY = 1e-12
"""Added to the variance, whose square root has no gradient at 0 (a layer that is all zero)."""


class GaussianDropConnect(Noise):
    """z ~ N(Wx + b, α·(W ⊙ W)(x ⊙ x)), drawn per example and unit; α = p/q, q = 1 - p.

    The rate `dropoutN` is that of hidden layer N's own weights. Train: mean Wx + b and the variance of
    DropConnect with a mask for each example, without drawing one; the gradient goes through both moments. Test:
    the identity. p = 1 would need an infinite variance and is refused.

    Source: Wan et al. 2013, section 3.2, for the moments of the product; Kingma et al. 2015, "Variational
    dropout and the local reparameterization trick", section 2.2, for drawing the product instead of weights.
    """

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, draws: Draws) -> Tensor:
        mean = torch.matmul(x, W.mT) + b.unsqueeze(-2)
        variance = torch.matmul(x.square(), W.square().mT) * alpha(rate)
        return mean + (variance + TINY).sqrt() * draws.normal(mean.shape)
