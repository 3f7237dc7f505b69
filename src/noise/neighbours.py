"""Neighbours: a pixel of the input takes the value of one beside it; in hidden layers, dropout."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from src.checks import real
from src.noise import Backward, Noise, Site
from src.noise.dropblock import side
from src.noise.dropout import dropout_factor
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1), "pixel_rate": real(0, 1)}

STEPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1), (0, 0))
"""To the eight pixels around one, in rows and columns, and to itself."""


class Neighbours(Noise):
    """On the input x'_j = x_k with probability p, k one of the eight pixels around j, else x_j; behind it, dropout.

    Drawn per example and pixel; p is `input_rate`. Beyond the edge of the image the pixel at the edge stands for
    its neighbour. Train: mean (1 - p)·x_j + p·(the mean of the eight). The pixels are then dropped by dropout at
    rate `pixel_rate`, where input_rate is above 0 in this step. `dropoutN` are dropout's own rates. Test: the
    identity.

    Source: ours; a local jitter of the image, kin to the elastic distortions of Simard et al. 2003, "Best practices
    for convolutional neural networks applied to visual document analysis". It knows that the input is an image, as
    augmentation does, so its control is dropout at the same rates, without the jitter.
    """

    def activation(self, h: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Backward]:
        if site.place > 0:
            factor = dropout_factor(h, rate, site)
            if factor is None:
                return h, lambda delta: delta
            return torch.mul(h, factor, out=site.workspace("noised", h)), lambda delta: delta.mul_(factor)
        around = _around(side(h.shape[-1], "neighbours"), h.device)
        # one number says whether a pixel moves, below the rate, and whereto
        moves = (
            site.uniform(h.shape).mul_(len(around) - 1).div_(rate).clamp_(max=len(around) - 1).to(torch.int64)
        )
        pixel_rate: Rate = self.options["pixel_rate"]
        if isinstance(rate, Tensor):  # a run of a stack whose rate is 0 stays as it would alone
            moves = torch.where(rate > 0, moves, len(around) - 1)
            pixel_rate = pixel_rate * (rate > 0)
        origin = around[moves, torch.arange(h.shape[-1], device=h.device)]
        noised = torch.gather(h, -1, origin, out=site.workspace("noised", h))
        kept = dropout_factor(h, pixel_rate, site)
        if kept is not None:
            noised.mul_(kept)

        def backward(delta: Tensor) -> Tensor:
            passed = delta if kept is None else delta * kept
            return torch.zeros_like(delta).scatter_add_(-1, origin, passed)

        return noised, backward


@cache
def _around(pixels: int, device: torch.device) -> Tensor:
    """By the numbers of STEPS each pixel's neighbour in that direction: (9, pixels²)."""
    with torch.inference_mode(False):  # it outlives the run that is first to use it
        rows, columns = torch.meshgrid(torch.arange(pixels), torch.arange(pixels), indexing="ij")
        moved = [
            (rows + down).clamp(0, pixels - 1) * pixels + (columns + right).clamp(0, pixels - 1)
            for down, right in STEPS
        ]
        return torch.stack(moved).flatten(1).to(device)
