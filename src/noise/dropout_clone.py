"""Dropout by another noise stream: dropout under other masks; what is called better must beat this, too."""

from __future__ import annotations

from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.noise.dropout import dropout_factor
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1)}


class DropoutClone(Noise):
    """h' = h · Bernoulli(q) / q as `dropout`, of masks that dropout at the same seed does not draw.

    Same mean, variance and rates; a run differs from dropout's of the same seed by its masks alone. A control:
    how far two arms of equal worth come apart.

    Source: Srivastava et al. 2014, JMLR 15, of dropout itself.
    """

    drops_input = True

    def drop(self, h: Tensor, rate: Rate, site: Site) -> Rate:
        return site.apart().drop_(h, rate)

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        return dropout_factor(h, rate, site.apart())
