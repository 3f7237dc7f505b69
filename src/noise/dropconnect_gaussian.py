"""Gaussian DropConnect: a mask on the weights for each example, by the two moments of the product it gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from src.checks import real
from src.kernels import multiply
from src.noise import Noise, Site, alpha
from src.streams import Rate

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

    def product(
        self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor | None, Tensor, Tensor]]]:
        squares, weight_squares = (
            torch.square(t, out=site.workspace(n, t)) for n, t in (("x²", x), ("W²", W))
        )
        shape, first = (*x.shape[:-1], W.shape[-2]), site.first
        mean, variance = (site.workspace(name, x, shape) for name in ("mean", "variance"))
        multiply(variance, squares, weight_squares.mT)
        deviation = variance.mul_(alpha(rate)).add_(TINY).sqrt_()
        noise = site.normal(shape)
        z = multiply(mean, x, W.mT).add_(b.unsqueeze(-2)).addcmul_(deviation, noise)

        def backward(delta: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
            # the 1/2 of the root's derivative goes with the 2 of the squares'
            into_variance = noise.mul_(delta).div_(deviation).mul_(alpha(rate))
            dW, of_variance = site.workspace("dW", W), site.workspace("dW by variance", W)
            multiply(of_variance, into_variance.mT, squares)
            multiply(dW, delta.mT, x).addcmul_(W, of_variance)
            dx = None if first else multiply(squares, into_variance, weight_squares).mul_(x)
            if dx is not None:
                dx.add_(multiply(site.workspace("dx", x), delta, W))
            return dx, dW, delta.sum(-2)

        return z, backward
