"""Blend: each activation moves some way towards the same unit's activation on another image of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise
from src.streams import Draws, Rate

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

    def activation(self, h: Tensor, rate: Rate, draws: Draws) -> Tensor:
        n = h.shape[-2]
        if n == 1:
            return h
        shift = (draws.uniform((*h.shape[:-1], 1)) * (n - 1)).floor().to(torch.int64) + 1
        other = (torch.arange(n, device=h.device).unsqueeze(-1) + shift) % n
        partner = h.index_select(0, other.squeeze(-1)) if h.dim() == 2 else h.gather(1, other.expand_as(h))
        return h + (draws.uniform(h.shape) * rate) * (partner - h)
