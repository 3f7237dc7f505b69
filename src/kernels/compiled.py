"""What a CPU does in one pass over its memory, where numpy and torch take several: masks, batches, steps.

The machine's own C compiler compiles `compiled.c` once, in a second. Its numbers are numpy's and
torch's to the last bit, which each process checks: without a compiler a run takes longer, and nothing else changes.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from ctypes import CDLL, c_float, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.kernels import LANES, sum_in_order, sum_lanes

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".c")

FLAGS = ("-O3", "-ffp-contract=off", "-fno-fast-math", "-fPIC", "-shared")
"""No -march=native: nodes with other processors may share the folder. No product and sum in one rounding. With
-ffast-math, which CC may name, a library sets the smallest numbers of whoever loads it to 0."""

BITS = 32
"""Images whose masks share a word."""

COMPILE_S = 30
"""Longest wait for the compiler; seconds."""

_COUNTER = (c_uint64,) * 4
_ARGUMENTS = {
    "philox": (c_void_p, c_size_t, *_COUNTER),
    "factors": (c_void_p, c_size_t, *_COUNTER, c_uint32, c_float),
    "look_up": (c_void_p, c_size_t, *_COUNTER, c_void_p),
    "keep_bits": (c_void_p, c_size_t, c_size_t, *_COUNTER, c_uint32),
    "drop": (c_void_p, c_size_t, *_COUNTER, c_uint32, c_float),
    "add_relu": (c_void_p, c_void_p, c_size_t, c_size_t),
    "relu_backward": (c_void_p, c_void_p, c_void_p, c_size_t, c_size_t),
    "at_labels": (c_void_p, c_void_p, c_void_p, c_size_t, c_size_t, c_float),
    "batch": (c_void_p, c_void_p, c_void_p, c_size_t, c_size_t, c_float),
    "descend": (*(c_void_p,) * 3, c_size_t, *(c_float,) * 3),
    "masked_product": (*(c_void_p,) * 4, *(c_size_t,) * 3),
    "masked_gradients": (*(c_void_p,) * 6, *(c_size_t,) * 3),
}

Place = tuple[int, int, int]
"""Where to draw: a stream's key of 128 bits, the step, and how many counters of this step are used up."""


class Passes:
    """The functions of a loaded library; a tensor with gaps or of another type is a ValueError."""

    def __init__(self, library: CDLL) -> None:
        for name, types in _ARGUMENTS.items():
            function: Any = getattr(library, name)
            function.argtypes, function.restype = types, None
        self._library = library

    def words(self, count: int, at: Place) -> np.ndarray:
        """The next 64-bit words, a multiple of four: (count,) uint64."""
        out = np.empty(count, np.uint64)
        self._library.philox(out.ctypes.data, count // 4, *_counter(at))
        return out

    def factors(self, out: Tensor, at: Place, threshold: int, scale: float) -> None:
        """out ← scale where the next 16-bit number is below the threshold, else 0; float32."""
        _check(torch.float32, out)
        self._library.factors(out.data_ptr(), out.numel(), *_counter(at), threshold, scale)

    def look_up(self, out: Tensor, at: Place, table: Tensor) -> None:
        """out ← table[number] of the next 16-bit numbers; float32, the table (65536,)."""
        _check(torch.float32, out, table)
        if len(table) != 1 << 16:
            raise ValueError(f"a table of {len(table)} numbers, and not of 65536")
        self._library.look_up(out.data_ptr(), out.numel(), *_counter(at), table.data_ptr())

    def keep_bits(self, out: Tensor, images: int, at: Place, threshold: int) -> None:
        """Of each image's next 16-bit numbers, a multiple of 16: bit k of out[g] ← 1 where that of image 32 g + k
        is below the threshold, which is not 0, else 0.

        Args:
            out: (images / 32 rounded up, numbers of an image), int32.
        """
        _check(torch.int32, out)
        self._library.keep_bits(out.data_ptr(), images, out.shape[1], *_counter(at), threshold)

    def drop_(self, h: Tensor, at: Place, threshold: int, scale: float) -> None:
        """h ← h · keep · scale in place; float32."""
        _check(torch.float32, h)
        self._library.drop(h.data_ptr(), h.numel(), *_counter(at), threshold, scale)

    def add_relu_(self, z: Tensor, b: Tensor) -> None:
        """z ← ReLU(z + b) in place; (n, m) and (m,), float32."""
        _check(torch.float32, z, b)
        self._library.add_relu(z.data_ptr(), b.data_ptr(), *z.shape)

    def relu_backward_(self, delta: Tensor, active: Tensor, sums: Tensor) -> None:
        """delta ← 0 where `active` is not above 0, in place; sums ← its sum over the rows; (n, m) and (m,)."""
        _check(torch.float32, delta, active, sums)
        self._library.relu_backward(delta.data_ptr(), active.data_ptr(), sums.data_ptr(), *delta.shape)

    def at_labels_(self, p: Tensor, labels: Tensor, sums: Tensor, scale: float) -> None:
        """p ← (p - 1 at each image's label) · scale in place; sums ← its sum over the images.

        Args:
            p: (classes, n), float32.
            labels: (n,), int64.
            sums: (classes,), float32.
        """
        _check(torch.float32, p, sums)
        _check(torch.int64, labels)
        self._library.at_labels(p.data_ptr(), labels.data_ptr(), sums.data_ptr(), *p.shape, scale)

    def batch(self, out: Tensor, images: Tensor, index: Tensor, scale: float) -> None:
        """out ← images[index] / scale.

        Args:
            out: (n, features), float32.
            images: (any number, features), uint8.
            index: (n,), int64, of images that there are.
        """
        _check(torch.float32, out)
        _check(torch.uint8, images)
        _check(torch.int64, index)
        self._library.batch(out.data_ptr(), images.data_ptr(), index.data_ptr(), *out.shape, scale)

    def descend_(
        self, w: Tensor, v: Tensor, gradients: Tensor, momentum: float, decay: float, lr: float
    ) -> None:
        """g ← g + decay · w, unless decay is 0;  v ← momentum · v + g;  w ← w - lr · v, in place; (n,), float32."""
        _check(torch.float32, w, v, gradients)
        if not w.shape == v.shape == gradients.shape:
            raise ValueError(f"shapes {w.shape}, {v.shape} and {gradients.shape}, and not one")
        pointers = (tensor.data_ptr() for tensor in (w, v, gradients))
        self._library.descend(*pointers, w.numel(), momentum, decay, lr)

    def masked_product(self, z: Tensor, kept: Tensor, W: Tensor, x: Tensor) -> None:
        """z_i ← (M_i ⊙ W) x_i for each image, with the sums of `sum_lanes`.

        Args:
            z: (n, out), float32.
            kept: the masks M, see `keep_bits`.
            W: (out, in), float32.
            x: (n, in), float32.
        """
        _check(torch.float32, z, W, x)
        _check(torch.int32, kept)
        tensors = (z, kept, W, x)
        self._library.masked_product(*(t.data_ptr() for t in tensors), len(x), *W.shape)

    def masked_gradients(
        self, dx: Tensor | None, dW: Tensor, kept: Tensor, W: Tensor, x: Tensor, delta: Tensor
    ) -> None:
        """dx_i ← (M_i ⊙ W)ᵀ δ_i for each image, output by output; dW ← Σ M_i ⊙ (δ_i x_iᵀ), image by image.

        Args:
            dx: (n, in), float32; None where nobody reads it.
            dW: (out, in), float32.
            delta: (n, out), float32; for the others see `masked_product`.
        """
        _check(torch.float32, dW, W, x, delta, *([] if dx is None else [dx]))
        _check(torch.int32, kept)
        dW.zero_()
        into = dx.zero_().data_ptr() if dx is not None else None
        tensors = (dW, kept, W, x, delta)
        self._library.masked_gradients(into, *(t.data_ptr() for t in tensors), len(x), *W.shape)


@cache
def passes() -> Passes | None:
    """The compiled passes; None where they cannot be compiled, or do not give numpy's numbers."""
    try:
        return _passes()
    except (OSError, AttributeError, ValueError, ArithmeticError, subprocess.SubprocessError) as error:
        log.debug("masks and batches take longer than they could: %s", error)
        return None


@cache
def descent() -> Callable[[Tensor, Tensor, Tensor, float, float, float], None] | None:
    """`Passes.descend_`; None where it does not give torch's numbers, which hang on how torch was compiled."""
    library = passes()
    if library and _descends(library):
        return library.descend_
    log.debug("SGD with momentum takes longer than it could: no compiled pass has torch's numbers here")
    return None


def _counter(at: Place) -> tuple[int, int, int, int]:
    """In words of 64 bits, as the library takes it."""
    key, step, start = at
    return key & (2**64 - 1), key >> 64, step, start


def _check(dtype: torch.dtype, *tensors: Tensor) -> None:
    """The library reads memory as it lies: of another tensor it would compute other numbers, silently."""
    for tensor in tensors:
        if tensor.dtype is not dtype or not tensor.is_contiguous():
            raise ValueError(f"{tensor.dtype} with strides {tensor.stride()}, and not {dtype} without gaps")


def _passes() -> Passes:
    """From the library of this source, beside what Python compiles. Its name ends in its own checksum: to load one
    that is not whole would end the process."""
    folder = SOURCE.parent / "__pycache__"
    stem = f"compiled.{sys.platform}-{platform.machine()}-{_checksum(SOURCE.read_bytes(), *FLAGS)}"
    for path in folder.glob(f"{stem}-*.so"):
        if path.stem == f"{stem}-{_checksum(path.read_bytes())}":
            return _loaded(path)
    return _compiled(folder, stem)


def _compiled(folder: Path, stem: str) -> Passes:
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as private:
        made = Path(private, f"{stem}.so")
        command = [*shlex.split(os.environ.get("CC") or "cc"), *FLAGS, "-o", str(made), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_S)
        passes = _loaded(made)
        # whole at once, and only what is right: other processes may be looking for it
        made.replace(folder / f"{stem}-{_checksum(made.read_bytes())}.so")
    return passes


def _checksum(content: bytes, *flags: str) -> str:
    return hashlib.sha256(content + " ".join(flags).encode()).hexdigest()[:16]


def _loaded(path: Path) -> Passes:
    """Raises OSError or AttributeError if it is no such library, ArithmeticError if it gives other numbers."""
    passes = Passes(CDLL(str(path)))
    if not (_agrees(passes) and _masked_agree(passes)):
        raise ArithmeticError(f"{path} gives other numbers than numpy and torch")
    return passes


def _agrees(passes: Passes) -> bool:
    """Whether each pass gives what numpy and torch give."""
    key, step, start = at = 2**100 + 3, 5, 7
    words = np.random.Philox(key=key, counter=(step << 64) + start).random_raw(80)
    numbers = words.view(np.uint16)[:310]  # more than the library draws at once, and part of a counter
    threshold = int(np.median(numbers[1:]))  # one of the numbers, which is not below it
    mask, scale = torch.from_numpy(numbers < threshold), 65_536 / threshold
    factors, h = torch.empty(310), torch.linspace(-3, 3, 310)
    images, index = torch.arange(256, dtype=torch.uint8).view(4, 64), torch.tensor([3, 0, 2])
    batch, dropped = torch.empty(3, 64), h * mask * scale
    z, delta = h.view(31, 10).clone(), h.view(31, 10).flip(0)
    b, sums = torch.linspace(-1, 1, 10), torch.empty(10)
    p, labels, sums_of_p = h[:300].view(10, 30).square(), torch.arange(30) % 10, torch.empty(10)
    at_logits = (p - (labels == torch.arange(10).unsqueeze(-1)).float()) * -0.3
    activations = (z + b).relu()
    gradient = torch.where(activations <= 0, 0.0, delta)
    passes.add_relu_(z, b)
    passes.relu_backward_(delta, z, sums)
    passes.at_labels_(p, labels, sums_of_p, -0.3)
    table, looked_up = torch.arange(65_536.0), torch.empty(310)
    passes.factors(factors, at, threshold, scale)
    passes.look_up(looked_up, at, table)
    passes.drop_(h, at, threshold, scale)
    passes.batch(batch, images, index, 255)
    return (
        np.array_equal(passes.words(80, at), words)
        and torch.equal(factors, mask * scale)
        and np.array_equal(looked_up, numbers)
        and torch.equal(h, dropped)
        and torch.equal(batch, images[index] / 255)
        and torch.equal(z, activations)
        and torch.equal(delta, gradient)
        and np.array_equal(sums, np.add.accumulate(gradient.numpy())[-1])
        and torch.equal(p, at_logits)
        and np.array_equal(sums_of_p, np.add.accumulate(at_logits.numpy(), 1)[:, -1])
    )


def _descends(passes: Passes) -> bool:
    """Whether a step gives what torch gives, with and without decay, whatever is left beside whole registers."""
    for size, decay in itertools.product((5003, *range(1, 40)), (0.0, 3e-4)):
        w, gradients = torch.linspace(-3, 3, size).cos(), torch.linspace(-2, 5, size).sin()
        v = gradients * w
        ours, velocity = w.clone(), v.clone()
        passes.descend_(ours, velocity, gradients.clone(), 0.9, decay, 0.07)
        v.mul_(0.9).add_(gradients.add_(w, alpha=decay))
        if not (torch.equal(velocity, v) and torch.equal(ours, w.add_(v, alpha=-0.07))):
            return False
    return True


def _masked_agree(passes: Passes) -> bool:
    """Whether the passes over masked weights give what numpy and torch give."""
    n, units, features = (
        34,
        8,
        34,
    )  # more images than a word has bits, and more than the library adds up at once
    key, step, start = at = 2**100 + 3, 5, 7
    words = np.random.Philox(key=key, counter=(step << 64) + start).random_raw(n * units * features // 4)
    threshold = int(np.median(words.view(np.uint16)[1:]))  # one of the numbers, which is not below it
    masks = torch.from_numpy(words.view(np.uint16) < threshold).float().view(n, units, features)
    x, W = torch.linspace(-3, 3, n * features).view(n, features), torch.linspace(-1, 2, units * features)
    W, delta = W.view(units, features), x[:, :units].cos()
    kept = torch.empty(-(-n // BITS), units * features, dtype=torch.int32)
    z, dx, dW, dW_alone = (torch.empty(shape) for shape in (delta.shape, x.shape, W.shape, W.shape))
    passes.keep_bits(kept, n, at, threshold)
    passes.masked_product(z, kept, W, x)
    passes.masked_gradients(dx, dW, kept, W, x, delta)
    passes.masked_gradients(None, dW_alone, kept, W, x, delta)
    weights, of_outputs = masks * W, delta.unsqueeze(-1)
    right_dW = sum_in_order((masks * x.unsqueeze(1) * of_outputs).flatten(1)).view_as(W)
    return (
        torch.equal(z, sum_lanes(torch.nn.functional.pad(weights * x.unsqueeze(1), (0, -features % LANES))))
        and torch.equal(dx, sum_in_order(weights * of_outputs))
        and torch.equal(dW, right_dW)
        and torch.equal(dW_alone, right_dW)
    )
