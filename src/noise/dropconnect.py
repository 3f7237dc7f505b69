"""DropConnect: each weight of a hidden layer is zero with probability p, else divided by 1 - p."""

from __future__ import annotations

import torch
from torch import Tensor

from src.noise import Backward, Noise, Site
from src.noise.dropout import dropout_factor
from src.streams import Rate


class DropConnect(Noise):
    """z = (M ⊙ W)x/q + b, M ~ Bernoulli(q) drawn per weight, once a step; q = 1 - p.

    The rate `dropoutN` is that of hidden layer N's own weights, where dropout's is that of its output; biases
    stay. Train: mean Wx + b; the variance of one product is α·Σ w²x², α = p/q, but the images of a batch share
    a mask. Test: the identity (Wan et al. sample a normal approximation instead; the mean is exact for the
    product and costs one pass). p = 1 leaves the biases alone.

    Source: Wan et al. 2013, "Regularization of neural networks using DropConnect", section 3; there a mask for
    each example, which `dropconnect_example` has, and `dropconnect_gaussian` by its moments.
    """

    def weight(self, W: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Backward]:
        factor = dropout_factor(W, rate, site)
        if factor is None:
            return W, lambda gradient: gradient
        return torch.mul(W, factor, out=site.workspace("noisy", W)), lambda gradient: gradient.mul_(factor)
