"""Gaussian dropout: each activation is multiplied by a normal number of mean 1."""

from __future__ import annotations

from torch import Tensor

from src.checks import real
from src.noise import Noise, Site, alpha
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True)}
RATE = real(0, 1, below=True)


class Gaussian(Noise):
    """h' = h · N(1, α), drawn per example and unit; α = p/q, q = 1 - p.

    Train: mean h, variance α·h², both those of Bernoulli dropout at rate p. Test: the identity. p = 1 would need
    an infinite variance and is refused. The normal numbers are 65,536 quantiles, at most 4.33 SD from the mean.

    Source: Srivastava et al. 2014, JMLR 15, section 10 (there with SD σ; α = σ²).
    """

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        return site.normal(h.shape).mul_(alpha(rate) ** 0.5).add_(1)
