"""Additive noise: a normal number is added to each activation, in proportion to its unit's own spread."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1), "momentum": real(0, 1, above=True)}


class Additive(Noise):
    """h' = h + p·s·ε, ε ~ N(0, 1) drawn per example and unit; s is the running SD of each unit.

    Train: mean h, variance p²s². Test: the identity. The rate is the noise's SD as a share of the unit's own,
    so that no unit can outgrow it; it matches Bernoulli dropout's mean, not its variance. s starts as the
    first batch's SD and then moves by `momentum` towards each batch's (n in the denominator); the gradient
    takes it for a constant, so it is that of the identity.

    Source: Camuto et al. 2020, "Explicit regularisation in Gaussian noise injections", for plain additive
    noise on activations; scaling by the running SD is our choice, as a fixed SD means another strength in
    every layer.
    """

    def activation(self, h: Tensor, rate: Rate, site: Site) -> tuple[Tensor, None]:
        # Tensor.var takes fifteen times as long over rows
        off = torch.sub(h, h.mean(-2, keepdim=True), out=site.workspace("off", h))
        seen = off.square_().mean(-2, keepdim=True)
        known = site.state.get("variance")
        variance = seen if known is None else torch.lerp(known, seen, self.options["momentum"])
        if site.learning:
            site.state["variance"] = variance
        elif known is not None:
            variance = known
        noise = site.normal(h.shape)
        return torch.addcmul(h, noise, variance.sqrt().mul_(rate), out=noise), None
