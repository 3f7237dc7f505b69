"""Advanced Dropout: masks between 0 and 1 whose distribution a small network learns from the activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from src.checks import real
from src.noise import Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True)}
RATE = real(0, 1, below=True)

REDUCTION = 16
"""Units for each number of the small network's hidden layer."""

FIRST_SIGMA = 1.2
"""Before softplus."""

FARTHEST = 30.0
"""The largest logit of a mean mask, which stands for rate 0 in a stack."""


class Advanced(Noise):
    """h' = h · σ(r)/σ(μ/√(1 + πs²/8)), r ~ N(μ, s²) per example and unit: the mask σ(r) is logit-normal.

    μ and s are one number each for a batch and place, the means over its images of v·g + c and of softplus(w·g + d)
    with g = Ah + a of a sixteenth of the units; A, a, v, c, w, d are learned. What h is divided by is about the
    mask's mean, as a constant of the gradient. c begins so that this mean is 1 - p, with p the configured rate: at
    p = 1/2 it begins as the authors' does, c = 0 and d = 1.2, the others from U(0, 0.01). Train: mean about h.
    Test: the identity.

    Source: Xie et al. 2021, "Advanced dropout: a model-free methodology for Bayesian dropout optimization", arXiv
    2010.05244, and the authors' code (PRIS-CV/AdvancedDropout), which writes 3.14 for π.
    """

    def parameters(self, shape: Sequence[int]) -> Mapping[str, Tensor]:
        units, reduced = shape[-1], max(1, shape[-1] // REDUCTION)
        return {
            "A": 0.01 * torch.rand(reduced, units),
            "a": 0.01 * torch.rand(1, 1),
            "v": 0.01 * torch.rand(1, reduced),
            "c": torch.zeros(1, 1),
            "w": 0.01 * torch.rand(1, reduced),
            "d": torch.full((1, 1), FIRST_SIGMA),
        }

    def activation(self, h: Tensor, rate: Rate, site: Site) -> Tensor:
        own = site.parameters
        g = torch.matmul(h, own["A"].mT) + own["a"]
        mu = (torch.matmul(g, own["v"].mT) + own["c"]).mean((-2, -1), keepdim=True) + _first_mu(rate)
        sigma = F.softplus(torch.matmul(g, own["w"].mT) + own["d"]).mean((-2, -1), keepdim=True)
        mask = torch.sigmoid(mu + sigma * site.normal(h.shape))
        return h * mask / torch.sigmoid(mu.detach() / _widened(sigma.detach()))


def _widened(sigma: Rate) -> Rate:
    """√(1 + πs²/8): σ(μ/√(1 + πs²/8)) is about the mean of σ(N(μ, s²))."""
    return (1 + math.pi / 8 * sigma**2) ** 0.5


def _first_mu(rate: Rate) -> Rate:
    """μ at which the mean mask is 1 - rate for the first s, a float or (R, 1, 1)."""
    width = _widened(math.log1p(math.exp(FIRST_SIGMA)))
    if isinstance(rate, Tensor):
        return torch.logit(1 - rate).clamp(max=FARTHEST) * width
    return (math.log((1 - rate) / rate) if rate else FARTHEST) * width
