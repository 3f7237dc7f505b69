"""Correlated noise: units that go together are multiplied by Gaussian factors that go together."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site, alpha
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True)}
RATE = real(0, 1, below=True)


class Correlated(Noise):
    """h' = h · (1 + √α·ξ), ξ ~ N(0, Σ) per example, Σ the covariance of the units over the batch; α = p/q, q = 1 -
    p.

    Train: mean h; units that vary over the images by nothing get no noise, and two units' factors have the
    covariance αΣ of their activations. It is drawn as ξ = Cᵀε/√n with C (n, units) the activations less their mean
    and ε n standard normal numbers. The gradient takes the factor for a constant. Test: the identity; so is a batch
    of one image. With the identity for Σ it is `gaussian`, by which the rate is measured.

    Source: Khalfaoui, Boyd & Vert 2019, "ASNI: adaptive structured noise injection for shallow and deep neural
    networks", arXiv 1909.09819, and the authors' notebooks (BeyremKh/ASNI), which draw one ξ a batch, differentiate
    through Σ and add 0.001 to its diagonal so that it can be factored.
    """

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        n = h.shape[-2]
        centred = torch.sub(h, h.mean(-2, keepdim=True), out=site.workspace("centred", h))
        together = torch.matmul(site.normal((*h.shape[:-1], n)), centred)
        return together.mul_((alpha(rate) / n) ** 0.5).add_(1)
