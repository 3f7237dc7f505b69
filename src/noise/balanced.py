"""Balanced dropout: each unit is dropped in the same share of the images of every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True)}
RATE = real(0, 1, below=True)


class Balanced(Noise):
    """h' = h · m/q, m dropout's mask, drawn so that each unit is kept in qn of the n images; q = 1 - p.

    Where qn is no whole number, in one of the two beside it, with probabilities that make it qn in the mean. Each
    number of a mask is Bernoulli(q), so mean h and variance α·h² are dropout's, α = p/q; two images' masks of a
    unit have a covariance of about -pq/(n - 1), so that what dropout adds to the sum of a unit over a batch is next
    to nothing. Test: the identity; a batch of one image has dropout itself. p = 1 is refused, as nothing would be
    left.

    Source: ours, by stratified sampling (Cochran 1977, "Sampling techniques", chapter 5).
    """

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        n, keep = h.shape[-2], 1 - rate
        count = site.uniform((*h.shape[:-2], 1, h.shape[-1])).add_(keep * n).floor_()
        order = site.uniform(h.shape).argsort(stable=True, dim=-2)
        chosen = torch.arange(n, device=h.device).unsqueeze(-1) < count
        return torch.zeros_like(h).scatter_(-2, order, chosen.to(h.dtype)).div_(keep)
