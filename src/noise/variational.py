"""Variational dropout: Gaussian noise on the weights whose variance is learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site, alpha, where_it_acts
from src.noise.dropconnect_gaussian import TINY
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 0.5), "kl": real(0)}
RATE = real(0, 0.5)
METRICS = {f"learned_alpha{place}": None for place in range(3)}

COEFFICIENTS = (1.16145124, -1.50204118, 0.58629921)
"""c₁, c₂, c₃ of the KL's approximation, for α from 0 to 1."""

LOWEST, HIGHEST = -30.0, 5.0
"""Logits of α where it begins: the first for the rate 0 of a run in a stack, no noise in float32; the other for the
rate 1/2, whose α is 1."""


class Variational(Noise):
    """z ~ N(Wx + b, α·(W ⊙ W)(x ⊙ x)), drawn per example and unit; α of each layer is learned, between 0 and 1.

    logit α = logit of the configured rate's p/(1 - p) + a parameter that begins at 0. Rates are at most 1/2, where
    α begins at 0.993, as the paper's α is at most 1. The rate at place k acts in the weights of the layer that
    reads it; in a step whose rate is 0 nothing acts. With α fixed it is `dropconnect_gaussian`.

    Loss: kl·KL/N, with KL = -(½ ln α + c₁α + c₂α² + c₃α³) nats for each weight, up to a constant; `kl` = 1 is the
    variational bound. Its pull is towards α = 1, that of the data towards 0. Test: the identity.

    Source: Kingma, Salimans & Welling 2015, "Variational dropout and the local reparameterization trick", arXiv
    1506.02557, sections 3.1 (independent weight noise), 3.3 and 3.4; the logit for "at most 1" is our choice.
    """

    reads = True

    def parameters(self, shape: Sequence[int]) -> Mapping[str, Tensor]:
        return {"logit": torch.zeros(1, 1)}

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site) -> Tensor:
        mean = torch.matmul(x, W.mT) + b.unsqueeze(-2)
        a = torch.sigmoid(self._logit(rate, site))
        if site.learning:
            site.state["learned"] = where_it_acts(a.detach(), rate)
        variance = a * torch.matmul(x.square(), W.square().mT)
        return mean + site.normal(mean.shape) * (variance + TINY).sqrt()

    def penalty(self, W: Tensor | None, rate: Rate, site: Site) -> Tensor:
        """KL in nats without its constant, times `kl`: () or (R,)."""
        assert W is not None
        logit = self._logit(rate, site)
        a, (c1, c2, c3) = torch.sigmoid(logit), COEFFICIENTS
        kl = -(0.5 * torch.nn.functional.logsigmoid(logit) + a * (c1 + a * (c2 + a * c3)))
        count = self.options["kl"] * W.shape[-1] * W.shape[-2]
        # a run of a stack whose rate is 0 has no such term, as it would have alone
        return (count * kl * (torch.as_tensor(rate) > 0)).sum((-2, -1))

    def metrics(self, sites: Mapping[int, Site]) -> Mapping[str, Tensor]:
        """α in the last step at the input and the two places behind it, where it acts."""
        known = {place: site.state["learned"] for place, site in sites.items() if "learned" in site.state}
        return {f"learned_alpha{place}": value for place, value in known.items() if place < 3}

    def _logit(self, rate: Rate, site: Site) -> Tensor:
        """logit α, (1, 1) or (R, 1, 1)."""
        learned = site.parameters["logit"]
        if isinstance(rate, Tensor):
            return torch.logit(rate / (1 - rate)).clamp(LOWEST, HIGHEST) + learned
        a = alpha(rate)
        return learned + (LOWEST if a == 0 else HIGHEST if a == 1 else min(math.log(a / (1 - a)), HIGHEST))
