"""Random rate: dropout at a rate that is drawn for each image."""

from __future__ import annotations

from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True)}
RATE = real(0, 1, below=True)


class RandomRate(Noise):
    """h' = h · Bernoulli(1 - r)/(1 - r), r ~ U(0, p) drawn per example and place, the mask per unit.

    Train: mean h, variance (-ln(1 - p)/p - 1)·h², the mean of r/(1 - r): about half of dropout's at rate p, which
    is the largest rate. Units of an image are uncorrelated, yet not independent: some images lose many units and
    some almost none. Test: the identity. p = 1 would need an infinite variance and is refused.

    Source: Bouthillier et al. 2015, "Dropout as data augmentation", section 4, for a level drawn from U(0, p) in
    place of a fixed one.
    """

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        level = site.uniform((*h.shape[:-1], 1), high=rate)
        return site.uniform(h.shape).ge(level).to(h.dtype).div_(1 - level)
