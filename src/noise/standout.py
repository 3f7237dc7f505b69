"""Standout: dropout that keeps a unit the more likely, the higher its activation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from src.checks import real
from src.noise import Backward, Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True), "slope": real()}
RATE = real(0, 1, below=True)


class Standout(Noise):
    """h' = h · m/q(h), m ~ Bernoulli(q(h)) per example and unit, q(h) = σ(slope·h + logit(1 - p)).

    A unit of activation 0 is kept with probability 1 - p, one of activation h more likely (or less, where `slope`
    is below 0); slope 0 is dropout. Train: mean h, variance h²·(1 - q)/q. The gradient takes m/q for a constant, so
    that its mean is that of the identity. Test: the identity. p = 1 is refused.

    Source: Ba & Frey 2013, "Adaptive dropout for training deep neural networks", NIPS, with the belief network tied
    to the net's own weights as they found it to become: its pre-activation is an affine function of the unit's.
    Theirs is that of the unit before ReLU, and where the two differ the unit is 0 whether it is kept or not. They
    multiply by q at test time, where ours divides by it in training, as the rest of the book's noises do.
    """

    def activation(self, h: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Backward]:
        base = (
            torch.logit(1 - rate)
            if isinstance(rate, Tensor)
            else -math.log(rate / (1 - rate))
            if rate
            else math.inf
        )
        keep = torch.mul(h, self.options["slope"], out=site.workspace("keep", h)).add_(base).sigmoid_()
        factor = site.uniform(h.shape).lt(keep).to(h.dtype).div_(keep)
        return torch.mul(h, factor, out=site.workspace("noised", h)), lambda delta: delta.mul_(factor)
