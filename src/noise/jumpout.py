"""Jumpout: dropout whose rate is drawn anew for each step and adapted to the share of active units."""

from __future__ import annotations

from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1), "highest": real(0, 1, below=True), "power": real(0, 1)}


class Jumpout(Noise):
    """h' = h · Bernoulli(1 - r)/(1 - r)^`power`, drawn per example and unit; r anew in each step.

    r = min(|N(0, p²)|/a, `highest`): a half normal whose scale is the configured rate p, divided by the share a
    of units above 0 in the batch, so that the same share of active units is dropped whatever the layer.
    Train: mean h·(1 - r)^(1 - power): only `power` = 1 is unbiased; the paper's 0.75 lies between the power 1 that
    keeps the mean and the 0.5 that keeps the second moment. Nothing is matched to dropout at rate p: the mean rate
    is 0.8·p/a. Test: the identity.

    Source: Wang et al. 2019, "Jumpout: improved dropout for deep neural networks with ReLUs", sections 3.1
    to 3.3. The paper truncates the half normal at a lower and an upper limit for each data set; ours has the
    upper one alone, so that p = 0 is the identity.
    """

    def drop(self, h: Tensor, rate: Rate, site: Site) -> Rate:
        keep, scale = self._mask(h, rate, site)
        h.mul_(keep.mul_(scale))
        return scale

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        keep, scale = self._mask(h, rate, site)
        return keep.mul_(scale)

    def _mask(self, h: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Rate]:
        """1 for kept and 0 for dropped units, and by what the kept ones are multiplied."""
        # four times faster than counting what is above 0
        active = h.sign().clamp_(min=0).sum((-2, -1), keepdim=True).clamp_(min=h.shape[-2])
        share = active / (h.shape[-2] * h.shape[-1])
        jump = site.normal((*h.shape[:-2], 1, 1)).abs_() * rate / share
        drop = jump.clamp_(max=self.options["highest"])
        scale = (1 - drop) ** -self.options["power"]
        if h.device.type == "cpu" and h.dim() == 2:
            return site.keep(h.shape, float(drop)), float(scale)
        return site.keep(h.shape, drop), scale  # a GPU would have to wait for a float
