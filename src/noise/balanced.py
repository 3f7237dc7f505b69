"""Balanced dropout: each unit is dropped in the same share of the images of every batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import LEVELS, Rate

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
        count = site.uniform((*h.shape[:-2], 1, h.shape[-1])).add_(keep * n).floor_().to(torch.int64)
        count.clamp_(max=n)  # where the rate is 0, n plus almost 1 rounds to n + 1 in float32
        # images are ranked by random numbers; among equal ones, of 65,536 there are, by their order in the batch
        keys = site.uniform(h.shape).mul_(LEVELS * n).add_(torch.arange(n, device=h.device).unsqueeze(-1))
        last = torch.gather(_sorted(keys), -2, (count - 1).clamp_(min=0))
        return keys.le(last).logical_and_(count > 0).to(h.dtype).div_(keep)


def _sorted(keys: Tensor) -> Tensor:
    """Each column in ascending order."""
    if keys.device.type != "cpu":
        return keys.sort(-2).values
    # numpy's sort of numbers side by side takes a tenth of torch's
    return torch.from_numpy(np.sort(keys.mT.contiguous().numpy(), axis=-1)).mT
