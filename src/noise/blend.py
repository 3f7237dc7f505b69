"""Blend: each activation moves some way towards the same unit's activation on another image of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Backward, Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1)}


class Blend(Noise):
    """h'_i = h_i + λ(h_j - h_i), j a random other image of the batch, λ ~ U(0, p) drawn per image and unit.

    Train: mean over j and λ: h_i + p/2·(m_i - h_i), with m_i the mean over the other images: biased towards the
    batch's mean, so nothing is matched to dropout at rate p but its being the identity at 0. The rate is the
    largest share of another image that a unit can take on. The gradient reaches both images. Test: the
    identity; so is a batch of one image.

    Source: ours; kin to mixup in hidden layers (Verma et al. 2019, "Manifold mixup"), without mixing labels and
    with a share for each unit.
    """

    def activation(self, h: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Backward | None]:
        n = h.shape[-2]
        if n == 1:
            return h, None
        ahead = site.uniform((*h.shape[:-1], 1), high=n - 1).to(torch.int64)
        other = ahead.add_(torch.arange(1, n + 1, device=h.device).unsqueeze(-1)).remainder_(n).expand_as(h)
        share = site.uniform(h.shape, high=rate)
        partner = torch.gather(h, -2, other, out=site.workspace("partner", h))

        def backward(delta: Tensor) -> Tensor:
            passed = torch.mul(delta, share, out=partner)
            return delta.sub_(passed).scatter_add_(-2, other, passed)

        return torch.lerp(h, partner, share, out=site.workspace("noised", h)), backward
