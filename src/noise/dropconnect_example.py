"""DropConnect with a mask for each example: each weight of a hidden layer dropped for each image anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import LEVELS, Rate, keep_threshold

RATE = real(0, 1, below=True)

AT_ONCE = 4
"""Images that a GPU multiplies by their masks in one call."""

CACHED = 1 << 17
"""Weights that a CPU masks in one call, an image's at least: they are multiplied while its cache has them."""


class ExampleDropConnect(Noise):
    """z_i = (M_i ⊙ W)x_i/q + b, M_i ~ Bernoulli(q) drawn per weight for each example i; q = 1 - p.

    The rate `dropoutN` is that of hidden layer N's own weights; biases stay. Train: mean Wx + b, variance α·(W ⊙
    W)(x ⊙ x), α = p/q, independent between examples; `dropconnect_gaussian` has the same two moments without the
    masks, and `dropconnect` one mask a step. It draws a number for each weight and image: of the book's net 67
    million a step, so that an epoch takes a minute. q is rounded to 1/65536, and the product is divided by the
    rounded q. Test: the identity. p = 1 is refused.

    Source: Wan et al. 2013, "Regularization of neural networks using DropConnect", section 3 and algorithm 1; at
    test time they sample a normal approximation, of which this is the mean before the activation function.
    """

    def product(
        self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor | None, Tensor, Tensor]]]:
        by_run = rate.unsqueeze(-1) if isinstance(rate, Tensor) else rate
        masks = site.keep_bytes((*x.shape[:-1], *W.shape[-2:]), by_run).movedim(-3, 0)
        threshold, first = keep_threshold(rate), site.first
        # divides the examples' products, which are smaller than the weights
        scale = LEVELS / threshold
        scale = scale.to(x.dtype) if isinstance(scale, Tensor) else scale
        z, dx = site.workspace("z", x, (*x.shape[:-1], W.shape[-2])), site.workspace("dx", x)
        at_once = max(1, CACHED // W.numel()) if x.device.type == "cpu" else AT_ONCE
        parts = [slice(start, start + at_once) for start in range(0, len(masks), at_once)]
        images = x.movedim(-2, 0).unsqueeze(-2)
        memory = site.workspace("masked", W, (at_once, *W.shape))

        def masked(part: slice, factor: Tensor) -> Tensor:
            """The masks of some images times their weights or pixels, in memory that the next call uses again."""
            mask = masks[part]
            out = memory[: len(mask)]
            if mask.dtype == factor.dtype:
                return torch.mul(mask, factor, out=out)
            return out.copy_(mask).mul_(factor)  # bytes times numbers in one pass takes longer

        for part in parts:
            z.movedim(-2, 0)[part] = torch.matmul(images[part], masked(part, W).mT).squeeze(-2)

        def backward(delta: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
            scaled = (delta * scale).movedim(-2, 0)
            dW = site.workspace("dW", W).zero_()
            for part in parts:
                if not first:
                    row = scaled[part].unsqueeze(-2)
                    dx.movedim(-2, 0)[part] = torch.matmul(row, masked(part, W)).squeeze(-2)
                for pixels, column in zip(masked(part, images[part]), scaled[part], strict=True):
                    dW.addcmul_(pixels, column.unsqueeze(-1))
            return None if first else dx, dW, delta.sum(-2)

        return z.mul_(scale).add_(b.unsqueeze(-2)), backward
