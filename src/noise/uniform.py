"""Uniform noise: each activation is multiplied by a uniform number of mean 1."""

from __future__ import annotations

from torch import Tensor

from src.checks import real
from src.noise import Noise, Site, alpha
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True)}
RATE = real(0, 1, below=True)


class Uniform(Noise):
    """h' = h · U(1 - b, 1 + b), drawn per example and unit; b = √(3α), α = p/q, q = 1 - p.

    Train: mean h, variance b²/3·h² = α·h², both those of Bernoulli dropout at rate p. Test: the identity. Beyond
    p = 1/4, b > 1 and a factor may be negative. p = 1 would need an infinite b and is refused.

    Source: the same two moments as Srivastava et al. 2014, section 10, with the bounded distribution.
    """

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        b = (3 * alpha(rate)) ** 0.5
        return site.uniform(h.shape).mul_(2 * b).add_(1 - b)
