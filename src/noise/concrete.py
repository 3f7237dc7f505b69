"""Concrete dropout: a rate of each layer's input that is learned, by masks that are nearly 0 or 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from src.checks import real
from src.noise import Noise, Site, where_it_acts
from src.streams import Rate

OPTIONS = {
    "input_rate": real(0, 1, below=True),
    "temperature": real(0, above=True),
    "length": real(0),
}
RATE = real(0, 1, below=True)
METRICS = {f"learned_rate{place}": None for place in range(3)}

FARTHEST = 30.0
"""Logits are kept this near 0: where a run of a stack has rate 0, its mask is then exactly 1."""


class Concrete(Noise):
    """z = W(x ⊙ (1 - d))/(1 - p) + b with d = σ((logit p + logit u)/t), u ~ U(0, 1) per example and unit.

    p is the layer's own rate and is learned: logit p = logit of the configured rate + a parameter that begins at 0.
    t is `temperature`: as it goes to 0, 1 - d becomes dropout's mask, 0 with probability p. The rate at place k
    acts in the layer that reads it; in a step whose rate is 0 nothing acts.

    Loss: KL/N, with KL = l²·ΣW²/(2(1 - p)) - K·H(p) nats for each layer; K is its inputs, l the `length` scale of
    the weights' prior, H(p) = -p ln p - (1 - p) ln(1 - p). The entropy draws p towards 1/2, the loss towards 0.
    Test: the identity.

    Source: Gal, Hron & Kendall 2017, "Concrete dropout", arXiv 1705.07832, equations 3 to 5, for weights that are
    divided by 1 - p in training: W = (1 - p)M with the paper's M. Temperature 0.1 and length 1e-4 are the authors'
    own.
    """

    reads = True

    def parameters(self, shape: Sequence[int]) -> Mapping[str, Tensor]:
        return {"logit": torch.zeros(1, 1)}

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site) -> Tensor:
        logit = self._logit(rate, site)
        if site.learning:
            site.state["learned"] = where_it_acts(torch.sigmoid(logit.detach()), rate)
        u = site.uniform(x.shape)
        keep = torch.sigmoid(-(logit + torch.logit(u)) / self.options["temperature"])
        return torch.matmul(x * keep / torch.sigmoid(-logit), W.mT) + b.unsqueeze(-2)

    def penalty(self, W: Tensor | None, rate: Rate, site: Site) -> Tensor:
        """KL in nats, () or (R,)."""
        assert W is not None
        logit = self._logit(rate, site)
        weights = self.options["length"] ** 2 / 2 * W.square().sum((-2, -1), keepdim=True)
        entropy = F.softplus(logit) - logit * torch.sigmoid(logit)
        kl = weights / torch.sigmoid(-logit) - W.shape[-1] * entropy
        # a run of a stack whose rate is 0 has no such term, as it would have alone
        return (kl * (torch.as_tensor(rate) > 0)).sum((-2, -1))

    def metrics(self, sites: Mapping[int, Site]) -> Mapping[str, Tensor]:
        """p in the last step at the input and the two places behind it, where it acts."""
        known = {place: site.state["learned"] for place, site in sites.items() if "learned" in site.state}
        return {f"learned_rate{place}": value for place, value in known.items() if place < 3}

    def _logit(self, rate: Rate, site: Site) -> Tensor:
        """logit p, (1, 1) or (R, 1, 1)."""
        learned = site.parameters["logit"]
        if isinstance(rate, Tensor):
            return torch.logit(rate).clamp(-FARTHEST, FARTHEST) + learned
        return learned + (math.log(rate / (1 - rate)) if rate else -FARTHEST)
