"""DropBlock: squares of the input image are zero; in hidden layers, dropout."""

from __future__ import annotations

import functools
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from src.checks import integer, real
from src.noise import Noise, Site, UndefinedError
from src.noise.dropout import dropout_factor
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True), "block": integer(1)}


class DropBlock(Noise):
    """On the input x' = x ⊙ M · size(M)/sum(M): M is 0 in squares of `block` pixels along the side; behind it,
    dropout.

    A square begins at each pixel from which it fits into the image with probability γ = p/b² · s²/(s - b + 1)², b
    the block's side and s the image's; p is `input_rate`, about the share that is dropped (squares overlap). Drawn
    per example; size and sum go over the whole batch, so that its mean factor is 1. `dropoutN` are dropout's own
    rates. b = 1 is dropout of pixels, divided by the share that was kept in place of q. Test: the identity.

    Source: Ghiasi et al. 2018, "DropBlock: a regularization method for convolutional networks", algorithm 1 and
    equation 1; there on feature maps of convolutions. A multilayer perceptron has an image at its input alone.
    """

    def drop(self, h: Tensor, rate: Rate, site: Site) -> Rate:
        return site.drop_(h, rate)

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        if site.place > 0:
            return dropout_factor(h, rate, site)
        pixels, block = side(h.shape[-1], "dropblock"), self.options["block"]
        starts = pixels - block + 1
        if starts < 1:
            raise UndefinedError(
                f"dropblock needs blocks of at most {pixels} pixels, the image's side, not {block}"
            )
        gamma = rate * (pixels / (block * starts)) ** 2
        gamma = gamma.clamp(max=1) if isinstance(gamma, Tensor) else min(gamma, 1.0)
        begins = 1 - site.keep((*h.shape[:-1], starts * starts), gamma)
        dropped = F.pad(begins.view(-1, starts, starts), [block - 1] * 4)
        # rows and then columns: torch's max_pool2d takes eight times as long on a CPU
        for dim in (-2, -1):
            shifted = [dropped.narrow(dim, shift, pixels) for shift in range(block)]
            dropped = functools.reduce(torch.maximum, shifted)
        mask = (1 - dropped).reshape(h.shape)
        return mask.div_(mask.mean((-2, -1), keepdim=True).clamp_(min=1 / torch.Size(h.shape[-2:]).numel()))


def side(units: int, what: str) -> int:
    """Pixels along the side of a square image in shades of grey.

    Raises:
        UndefinedError: if the units are no such image's.

    >>> side(784, "dropblock")
    28
    """
    pixels = isqrt(units)
    if pixels * pixels != units:
        raise UndefinedError(f"{what} needs square images with one channel, and {units} values are none")
    return pixels
