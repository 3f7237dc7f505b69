"""A run's random numbers: each is a pure function of (seed, purpose, step, position).

Numbers come from Philox4x64-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy
as 1, 2, 3"): the key is made of seed and purpose, the counter's second word is the step. So a run draws the
same numbers alone or in a stack, on a CPU or a GPU, and whether or not an earlier step drew any; two runs with
the same seed share every draw that their shapes allow, which pairs them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from src.kernels import compiled, gpu
from src.kernels.compiled import Place
from src.streams import philox
from src.streams.memory import MEMORY, Bits, Mask, Numbers, numbers_at

LEVELS = 1 << 16
"""Random numbers are 16 bits wide: a Bernoulli mask, a uniform or a normal number needs no more of them."""

FAR = 1 << 40
"""Steps away from any training's: see `Draws.apart`."""

Rate = float | Tensor
"""Of one run a float; of a stack of R runs a tensor (R, 1, 1)."""


def key(seed: int, purpose: str) -> int:
    """Philox key (128 bits) of one run's stream for one purpose."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def generator(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """numpy Generator on the stream, for what is drawn seldom (an epoch's order)."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose), counter=step << 64))


def torch_seed(seed: int, purpose: str, step: int = 0) -> int:
    """Seed for torch's own generators (63 bits), where a framework function draws by itself."""
    return key(seed, f"{purpose}/{step}") & (2**63 - 1)


def keep_threshold(rate: Rate) -> int | Tensor:
    """Smallest of the 65,536 levels that is dropped: a 16-bit number below it keeps its unit.

    The keep probability 1 - rate is rounded to 1/65536, but not to 0 while rate < 1: the mean stays right.
    """
    if isinstance(rate, Tensor):
        levels = torch.round((1 - rate.double()) * LEVELS)
        return torch.where(rate < 1, levels.clamp(min=1), torch.zeros_like(levels)).to(torch.int32)
    return max(1, round((1 - rate) * LEVELS)) if rate < 1 else 0


def _scale(threshold: int | Tensor) -> Rate:
    """1/q, by which what is kept is multiplied, from q's `keep_threshold`; 0 where the rate is 1."""
    if isinstance(threshold, Tensor):
        return torch.where(threshold > 0, LEVELS / threshold, 0.0).to(torch.float32)
    return LEVELS / threshold if threshold else 0.0


@cache
def _normal_quantiles(device: torch.device) -> Tensor:
    """Standard normal quantile of each 16-bit level, scaled to variance 1 exactly: (65536,) float32.

    Levels are symmetric, so the mean is 0; the largest number is 4.33.
    """
    from scipy.special import ndtri

    quantiles = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    return torch.from_numpy((quantiles / quantiles.std()).astype(np.float32)).to(device)


M = TypeVar("M", Numbers, Mask, Bits)


class Draws:
    """The random numbers of one step for one place in the net, for one run or a stack of runs.

    Shapes asked for are (n, units) for one run and (R, n, units) for a stack; a second call goes on where the
    first one stopped.
    """

    def __init__(self, keys: Sequence[int], step: int, device: torch.device) -> None:
        self._keys, self._step, self._device = keys, step, device
        self._drawn = 0
        self._fused = gpu.fused(device)
        self._is_fast = device.type == "cpu" and len(keys) == 1
        self._memory: dict[tuple[type, int, int], Any] = {}

    def at(self, step: int) -> Draws:
        """These draws at the beginning of another step; what they gave before may be overwritten."""
        self._step, self._drawn = step, 0
        return self

    def apart(self) -> Draws:
        """These draws from the beginning of a part of the stream that no training's step reaches."""
        return self.at(self._step + FAR)

    def of(self, run: int) -> Draws:
        """The same numbers for one run of the stack alone."""
        return self if len(self._keys) == 1 else Draws([self._keys[run]], self._step, self._device)

    def seed_torch(self) -> None:
        """Seeds torch's global generators for what a module draws by itself in this step."""
        seed = (self._keys[0] + self._step) & (2**63 - 1)
        torch.default_generator.manual_seed(seed)
        if self._device.type != "cpu":
            torch.get_device_module(self._device).manual_seed(seed)

    def _take(self, shape: Sequence[int]) -> tuple[int, int]:
        """Counter at which a call begins, and how many numbers each run gets."""
        start, count = self._drawn, math.prod(shape) // len(self._keys)
        self._drawn += -(-count // 16)  # 4 words of 64 bits a counter: whole blocks, as a GPU draws them
        return start, count

    def _levels(self, shape: Sequence[int]) -> Tensor:
        """Bits on any device: int32 tensor in [0, 65536)."""
        start, count = self._take(shape)
        if self._device.type == "cpu" and self._fused is None:
            numbers = [numbers_at(count, (key, self._step, start)) for key in self._keys]
            levels = torch.from_numpy(np.stack(numbers).astype(np.int32))
        else:
            draw = self._fused.levels if self._fused else philox.levels
            levels = draw(self._key_words, self._step, start, count)
        return levels.view(tuple(shape))

    def _memory_of(self, kind: type[M], shape: Sequence[int], size: int | None = None) -> tuple[M, Place]:
        """Memory for the next numbers of one run on a CPU, or of another size, and where they begin."""
        start, count = self._take(shape)
        count = count if size is None else size
        memory = self._memory.get((kind, start, count))
        if memory is None:
            memory = self._memory[kind, start, count] = kind(count)
        return memory, (self._keys[0], self._step, start)

    @property
    def _key_words(self) -> Tensor:
        return philox.key_words(tuple(self._keys), self._device)

    def _by_run(self, rate: Rate) -> Tensor:
        """A rate as (R,) numbers on the device."""
        if isinstance(rate, Tensor):
            return rate.reshape(-1).contiguous()  # a step's rates are a column of all steps'
        return torch.full((len(self._keys),), rate, dtype=torch.float64, device=self._device)

    def keep(self, shape: Sequence[int], rate: Rate) -> Tensor:
        """Bernoulli mask: float32, 1 (kept) with probability 1 - rate rounded to 1/65536, else 0.

        Valid until the same draw of another step: on a CPU its memory is used again.
        """
        if self._fused:
            start, count = self._take(shape)
            kept = self._fused.keep(self._key_words, self._step, start, count, self._by_run(rate))
            return kept.view(tuple(shape))
        threshold = keep_threshold(rate)
        if self._is_fast and isinstance(threshold, int):
            mask, at = self._memory_of(Mask, shape)
            return mask.draw(at, threshold).view(tuple(shape))
        return (self._levels(shape) < threshold).to(torch.float32)

    def factor(self, shape: Sequence[int], rate: Rate) -> Tensor:
        """Bernoulli(q)/q, q = 1 - rate rounded to 1/65536: the mask of `keep` times 1/q; 0 where the rate is 1."""
        threshold = keep_threshold(rate)
        scale = _scale(threshold)
        if self._is_fast and not isinstance(scale, Tensor):
            mask, at = self._memory_of(Mask, shape)
            return mask.draw(at, int(threshold), scale).view(tuple(shape))
        return self.keep(shape, rate).mul_(scale)

    def keep_bytes(self, shape: Sequence[int], rate: Rate) -> Tensor:
        """The mask that `keep` gives; of one run on a CPU as uint8, in a quarter of the memory."""
        if self._fused or not self._is_fast or isinstance(rate, Tensor):
            return self.keep(shape, rate)
        mask, at = self._memory_of(Mask, shape)
        return mask.draw_bytes(at, int(keep_threshold(rate))).view(tuple(shape))

    def keep_bits(self, shape: Sequence[int], rate: Rate) -> Tensor | None:
        """The mask that `keep` gives, in a bit each; None, with nothing drawn, where no compiled pass draws it.

        Args:
            shape: (n, ...), of one run on a CPU, with a multiple of 16 numbers an image.

        Returns:
            (n / 32 rounded up, numbers of an image), int32: image 32 g + k has bit k of row g.
        """
        images, count, threshold = shape[0], math.prod(shape[1:]), keep_threshold(rate)
        passes = compiled.passes()
        whole = count % 16 == 0  # or an image's numbers would begin amid a counter
        if not passes or self._fused or not self._is_fast or not whole:
            return None
        if not isinstance(threshold, int) or not threshold:
            return None
        groups = -(-images // compiled.BITS)
        bits, at = self._memory_of(Bits, shape, groups * count)
        words = bits.words.view(groups, count)
        passes.keep_bits(words, images, at, threshold)
        return words

    def drop_(self, h: Tensor, rate: Rate) -> Rate:
        """h · Bernoulli(q)/q in place, q = 1 - rate rounded to 1/65536: the same numbers as `keep` gives.

        Args:
            h: (n, units) or (R, n, units); fastest if it is contiguous float32 that requires no gradient.

        Returns:
            1/q, by which what was kept is multiplied; 0 where the rate is 1. A float, or (R, 1, 1).
        """
        # what reads memory as it lies would miss gaps, and autograd what it does there
        plain = h.is_contiguous() and h.dtype == torch.float32 and not h.requires_grad
        if self._fused and plain:
            start, _ = self._take(h.shape)
            scales = self._fused.drop_(h, self._key_words, self._step, start, self._by_run(rate))
            return scales.view(rate.shape) if isinstance(rate, Tensor) else _scale(keep_threshold(rate))
        threshold = keep_threshold(rate)
        scale = _scale(threshold)
        if not plain or not self._is_fast or isinstance(scale, Tensor) or threshold in (0, LEVELS):
            h.mul_(self.keep(h.shape, rate)).mul_(scale)
            return scale
        start, count = self._take(h.shape)
        at = self._keys[0], self._step, start
        if passes := compiled.passes():
            passes.drop_(h, at, int(threshold), scale)
            return scale
        mask = MEMORY.mask(count).draw(at, int(threshold))
        # both products in one pass, with the same digits as one after the other; scale · h alone could overflow
        torch.addcmul(MEMORY.zero, mask.view_as(h), h, value=scale, out=h)
        return scale

    def uniform(self, shape: Sequence[int], high: Rate = 1.0) -> Tensor:
        """U(0, high) in float32: the 65,536 midpoints high·(i + 1/2)/65536; of U(0, 1) mean 1/2, variance
        (1 - 2^-32)/12.

        Valid until the same draw of another step, as all draws.
        """
        if self._is_fast:
            memory, at = self._memory_of(Numbers, shape)
            for part, numbers in memory.parts(at):
                np.copyto(part, numbers)
            levels = memory.numbers.view(tuple(shape))
        else:
            levels = self._levels(shape).to(torch.float32)
        return levels.add_(0.5).mul_(high / LEVELS)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """N(0, 1) in float32, by 65,536 quantiles: mean 0, variance 1, at most 4.33 in size."""
        table = _normal_quantiles(self._device)
        if self._is_fast:
            memory, at = self._memory_of(Numbers, shape)
            if passes := compiled.passes():
                passes.look_up(memory.numbers, at, table)
            else:
                for part, numbers in memory.parts(at):
                    np.take(table.numpy(), numbers, out=part, mode="clip")
            return memory.numbers.view(tuple(shape))
        return table.index_select(0, self._levels(shape).reshape(-1)).reshape(tuple(shape))
