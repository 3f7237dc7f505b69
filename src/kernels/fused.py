"""What a GPU does in one pass over its memory and torch in several, by Triton: random numbers, batches, gradients.

A step's matrix products take two thirds of its time on a GPU; the rest is passes over memory. Tensors lie there
without gaps unless said otherwise: a kernel reads memory as it lies.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 64
"""Counters of a program of Philox: 1024 numbers."""

ELEMENTS = 1024
"""Numbers of a program of the others."""

M0, M1 = tl.constexpr(0xD2E7470EE14C6C93), tl.constexpr(0xCA5A826395121157)
W0, W1 = tl.constexpr(0x9E3779B97F4A7C15), tl.constexpr(0xBB67AE8584CAA73B)
LEVELS, KEEP, DROP = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
ROUND = tl.constexpr(1.5 * 2**52)
"""Added to a small number of float64 and taken away again: rounds it to a whole one, halves to even."""


def levels(keys: Tensor, step: int, start: int, count: int) -> Tensor:
    """The next 16-bit numbers: (R, count) int32.

    Args:
        keys: (R, 2) int64, see `philox.key_words`.
        step: the counter's second word.
        start: counters of this step that are used up.
    """
    out = torch.empty(len(keys), count, dtype=torch.int32, device=keys.device)
    _philox[_grid(out)](out, keys, None, None, step, start, count, LEVELS, BLOCKS)
    return out


def keep(keys: Tensor, step: int, start: int, count: int, rates: Tensor) -> Tensor:
    """1 where the next 16-bit number is below the threshold of its run's rate, else 0: (R, count) float32.

    Args:
        rates: (R,), contiguous; see `streams.keep_threshold` for the rounding.
    """
    out = torch.empty(len(keys), count, device=keys.device)
    _check(keys, rates)
    _philox[_grid(out)](out, keys, rates, None, step, start, count, KEEP, BLOCKS)
    return out


def drop_(h: Tensor, keys: Tensor, step: int, start: int, rates: Tensor) -> Tensor:
    """h ← h · keep · 65536/threshold in place; 0 where the rate is 1.

    Args:
        h: (R, ...), contiguous, float32; R may be left out where it is 1.

    Returns:
        65536/threshold, (R,) float32.
    """
    scales = torch.empty(len(keys), device=h.device)
    _check(h, keys, rates)
    rows = h.view(len(keys), -1)
    _philox[_grid(rows)](h, keys, rates, scales, step, start, rows.shape[1], DROP, BLOCKS)
    return scales


def batch(images: Tensor, index: Tensor, scale: float) -> Tensor:
    """images[index] / scale, (..., features) float32.

    Args:
        images: (n, features), uint8 or float32, contiguous.
        index: (...), contiguous.
    """
    features = images.shape[1]
    _check(images, index)
    out = torch.empty(*index.shape, features, device=images.device)
    _batch[(index.numel(),)](out, images, index, scale, features, triton.next_power_of_2(features))
    return out


def add_relu_(z: Tensor, b: Tensor) -> Tensor:
    """z ← ReLU(z + b) in place.

    Args:
        z: (n, m) or (R, n, m), contiguous, float32.
        b: (m,) or (R, m); each run's numbers lie side by side.
    """
    count, width = z.numel(), z.shape[-1]
    _check(z)
    if b.stride(-1) != 1:
        raise ValueError(f"the biases of a run have stride {b.stride(-1)}")
    grid = (triton.cdiv(count, ELEMENTS),)
    _add_relu[grid](z, b, b.stride(0), count, z.shape[-2] * width, width, ELEMENTS)
    return z


def relu_backward_(gradient: Tensor, active: Tensor, scales: Tensor) -> Tensor:
    """gradient ← gradient · scale where `active` is above 0, else 0.

    Args:
        gradient, active: (R, ...), contiguous, float32.
        scales: R numbers.
    """
    count = gradient.numel()
    _check(gradient, active, scales)
    grid = (triton.cdiv(count, ELEMENTS),)
    _relu_backward[grid](gradient, active, scales, count, count // scales.numel(), ELEMENTS)
    return gradient


def _check(*tensors: Tensor) -> None:
    """A kernel reads memory as it lies: of a tensor with gaps it would compute other numbers, silently."""
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has gaps: strides {tensor.stride()}")


def _grid(rows: Tensor) -> tuple[int, int]:
    return triton.cdiv(triton.cdiv(rows.shape[1], 16), BLOCKS), len(rows)


@triton.jit(do_not_specialize=["step", "start", "count"])
def _philox(out, keys, rates, scales, step, start, count, mode: tl.constexpr, BLOCKS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Philox4x64-10, see `philox`; a program for `BLOCKS` counters of one run."""
    run = tl.program_id(1).to(tl.int64)
    first = tl.program_id(0).to(tl.int64) * BLOCKS
    k0 = tl.load(keys + 2 * run).to(tl.uint64, bitcast=True)
    k1 = tl.load(keys + 2 * run + 1).to(tl.uint64, bitcast=True)
    m0, m1 = tl.full([BLOCKS], M0, tl.uint64), tl.full([BLOCKS], M1, tl.uint64)
    c0 = (first + tl.arange(0, BLOCKS) + start + 1).to(tl.uint64)
    c1 = tl.zeros([BLOCKS], tl.uint64) + step.to(tl.uint64)
    c2 = tl.zeros([BLOCKS], tl.uint64)
    c3 = tl.zeros([BLOCKS], tl.uint64)
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(c0, m0), c0 * m0
        high1, low1 = tl.umulhi(c2, m1), c2 * m1
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += W0
        k1 += W1
    # numpy views the four words of a counter as sixteen numbers, lowest bits first
    words = tl.reshape(tl.join(tl.join(c0, c2), tl.join(c1, c3)), [BLOCKS, 4, 1])
    shifts = (16 * tl.arange(0, 4)).to(tl.uint64)
    numbers = tl.reshape(((words >> shifts[None, None, :]) & 0xFFFF).to(tl.int32), [16 * BLOCKS])
    position = first * 16 + tl.arange(0, 16 * BLOCKS)
    inside = position < count
    pointer = out + run * count + position
    if mode == LEVELS:
        tl.store(pointer, numbers, mask=inside)
    else:
        rate = tl.load(rates + run).to(tl.float64)
        rounded = ((1 - rate) * 65536 + ROUND) - ROUND
        threshold = tl.where(rate < 1, tl.maximum(rounded, 1), 0)
        kept = (numbers < threshold.to(tl.int32)).to(tl.float32)
        if mode == DROP:
            scale = tl.div_rn(65536.0, tl.maximum(threshold, 1).to(tl.float32))
            scale = tl.where(threshold > 0, scale, 0.0)
            kept = tl.load(pointer, mask=inside) * kept * scale
            tl.store(scales + run, scale)
        tl.store(pointer, kept, mask=inside)


@triton.jit
def _batch(out, images, index, scale, features, FEATURES: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, FEATURES)
    inside = column < features
    image = tl.load(index + row).to(tl.int64)
    pixels = tl.load(images + image * features + column, mask=inside).to(tl.float32)
    tl.store(out + row * features + column, tl.div_rn(pixels, scale), mask=inside)


@triton.jit
def _add_relu(z, b, stride, count, of_run, width, ELEMENTS: tl.constexpr):  # type: ignore[no-untyped-def]
    position = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = position < count
    bias = tl.load(b + (position // of_run) * stride + position % width, mask=inside)
    added = tl.load(z + position, mask=inside) + bias
    tl.store(z + position, tl.where(added < 0, 0.0, added), mask=inside)  # so a NaN passes, as in torch


@triton.jit
def _relu_backward(gradient, active, scales, count, of_run, ELEMENTS: tl.constexpr):  # type: ignore[no-untyped-def]
    position = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = position < count
    scale = tl.load(scales + position // of_run, mask=inside)
    scaled = tl.load(gradient + position, mask=inside) * scale
    # not `active > 0`: a NaN must pass, as in torch
    tl.store(
        gradient + position,
        tl.where(tl.load(active + position, mask=inside) <= 0, 0.0, scaled),
        mask=inside,
    )
