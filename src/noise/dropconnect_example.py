"""DropConnect with a mask for each example: each weight of a hidden layer dropped for each image anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from src.checks import real
from src.kernels import LANES, compiled, sum_in_order, sum_lanes
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
    million a step, so that an epoch takes 20 s, and without a C compiler more than a minute. q is rounded to
    1/65536, and the product is divided by the rounded q. Test: the identity. p = 1 is refused.

    Source: Wan et al. 2013, "Regularization of neural networks using DropConnect", section 3 and algorithm 1; at
    test time they sample a normal approximation, of which this is the mean before the activation function.
    """

    def product(
        self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor | None, Tensor, Tensor]]]:
        shape = (*x.shape[:-1], *W.shape[-2:])
        threshold = keep_threshold(rate)
        # divides the examples' products, which are smaller than the weights
        scale = LEVELS / threshold
        scale = scale.to(x.dtype) if isinstance(scale, Tensor) else scale
        z, dW = site.workspace("z", x, shape[:-1]), site.workspace("dW", W)
        dx = None if site.first else site.workspace("dx", x)
        passes = compiled.passes()
        bits = site.keep_bits(shape, rate) if x.dtype == W.dtype == torch.float32 else None
        if passes and bits is not None:
            x, W = x.contiguous(), W.contiguous()
            passes.masked_product(z, bits, W, x)
        else:
            by_run = rate.unsqueeze(-1) if isinstance(rate, Tensor) else rate
            masked = _Masked(site.keep_bytes(shape, by_run), W, x, site)
            masked.product(z)

        def backward(delta: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
            scaled = delta * scale
            if passes and bits is not None:
                passes.masked_gradients(dx, dW, bits, W, x, scaled.contiguous())
            else:
                masked.gradients(dx, dW, scaled)
            return dx, dW, delta.sum(-2)

        return z.mul_(scale).add_(b.unsqueeze(-2)), backward


class _Masked:
    """The products and their gradients by torch, a few images at a time.

    Of one run's float32 on a CPU, whose masks are bytes, it adds up in the order of the compiled passes: the same
    numbers to the last bit.

    Args:
        masks: (..., n, out, in), as bytes or of W's type.
        W: (..., out, in).
        x: (..., n, in).
    """

    def __init__(self, masks: Tensor, W: Tensor, x: Tensor, site: Site) -> None:
        self._masks, self._W, self._images = masks.movedim(-3, 0), W, x.movedim(-2, 0).unsqueeze(-2)
        self._in_order = masks.dtype == torch.uint8 and W.dtype == torch.float32
        at_once = max(1, CACHED // W.numel()) if x.device.type == "cpu" else AT_ONCE
        self._parts = [slice(start, start + at_once) for start in range(0, len(self._images), at_once)]
        width = -(-W.shape[-1] // LANES) * LANES if self._in_order else W.shape[-1]
        self._memory = site.workspace("masked", W, (at_once, *W.shape[:-1], width))
        self._memory[..., W.shape[-1] :] = 0

    def product(self, z: Tensor) -> None:
        """z_i ← (M_i ⊙ W) x_i."""
        z = z.movedim(-2, 0)
        for part in self._parts:
            images, weights = self._images[part], self._masked(part, self._W)
            if self._in_order:
                weights.mul_(images)
                z[part] = sum_lanes(self._memory[: len(images)])
            else:
                z[part] = torch.matmul(images, weights.mT).squeeze(-2)

    def gradients(self, dx: Tensor | None, dW: Tensor, delta: Tensor) -> None:
        """dx_i ← (M_i ⊙ W)ᵀ δ_i, dW ← Σ M_i ⊙ (δ_i x_iᵀ)."""
        delta = delta.movedim(-2, 0)
        dW.zero_()
        for part in self._parts:
            if dx is not None:
                weights, into = self._masked(part, self._W), dx.movedim(-2, 0)
                if self._in_order:
                    into[part] = sum_in_order(weights.mul_(delta[part].unsqueeze(-1)))
                else:
                    into[part] = torch.matmul(delta[part].unsqueeze(-2), weights).squeeze(-2)
            for pixels, column in zip(self._masked(part, self._images[part]), delta[part], strict=True):
                if self._in_order:  # `addcmul_` may round once, where the processor can
                    dW.add_(pixels.mul_(column.unsqueeze(-1)))
                else:
                    dW.addcmul_(pixels, column.unsqueeze(-1))

    def _masked(self, part: slice, factor: Tensor) -> Tensor:
        """The masks of some images times their weights or pixels, in memory that the next call uses again."""
        mask = self._masks[part]
        out = self._memory[: len(mask), ..., : mask.shape[-1]]
        if mask.dtype == factor.dtype:
            return torch.mul(mask, factor, out=out)
        return out.copy_(mask).mul_(factor)  # bytes times numbers in one pass takes longer
