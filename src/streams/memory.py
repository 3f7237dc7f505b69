"""Memory for a run's draws on a CPU, filled with a stream's next numbers by the compiled passes or by numpy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from src.kernels import compiled
from src.kernels.compiled import Place

AT_ONCE = 1 << 15
"""Numbers that a CPU draws in one call: from twice as many on, malloc would map their memory anew each time."""

MOST_STATES = 64
"""Streams whose generator state a thread remembers."""


def numbers_at(count: int, at: Place) -> np.ndarray:
    """The 16-bit numbers from there on: (count,) uint16."""
    words = 4 * -(-count // 16)
    passes = compiled.passes()
    raw = passes.words(words, at) if passes else philox_at(at).random_raw(words)
    return raw.view(np.uint16)[:count]


def philox_at(at: Place) -> np.random.Philox:
    """This thread's one generator, set to a counter: ten times cheaper than making another."""
    key, step, start = at
    state = MEMORY.state(key)
    counter = state["state"]["counter"]
    counter[0], counter[1] = start, step
    MEMORY.philox.state = state
    return MEMORY.philox


class _Memory:
    """Memory for a draw on a CPU, in parts that take one call each."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def parts(self, at: Place) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each part with as many 16-bit numbers; who holds them while the next are drawn takes twice the cache."""
        key, step, start = at
        for first in range(0, len(self._array), AT_ONCE):
            part = self._array[first : first + AT_ONCE]
            yield part, numbers_at(len(part), (key, step, start + first // 16))


class Bits:
    """Masks as words, whose bits are different images'."""

    def __init__(self, count: int) -> None:
        self.words = torch.empty(count, dtype=torch.int32)


class Numbers(_Memory):
    """Uniform or normal numbers, float32."""

    def __init__(self, count: int) -> None:
        self.numbers = torch.empty(count)
        super().__init__(self.numbers.numpy())


class Mask(_Memory):
    """A mask as bytes, and the same as float32."""

    def __init__(self, count: int) -> None:
        kept = np.empty(count, bool)
        super().__init__(kept)
        # bool -> float32 is five times faster by way of uint8
        self._kept = torch.from_numpy(kept.view(np.uint8))
        with torch.inference_mode(False):  # it outlives the run that is first to use it
            self._as_numbers = torch.empty(count)

    def draw(self, at: Place, threshold: int, scale: float = 1.0) -> Tensor:
        """`scale` where the next 16-bit number is below the threshold, else 0: (count,) float32."""
        if passes := compiled.passes():
            passes.factors(self._as_numbers, at, threshold, scale)
            return self._as_numbers
        kept = self._as_numbers.copy_(self.draw_bytes(at, threshold))
        return kept if scale == 1 else kept.mul_(scale)

    def draw_bytes(self, at: Place, threshold: int) -> Tensor:
        """The same mask as uint8, 1 for what is kept."""
        for part, numbers in self.parts(at):
            # numpy compares 16-bit numbers six times faster than torch
            np.less(numbers, threshold, out=part)
        return self._kept


class _ThreadMemory(threading.local):
    """A thread's generator and what it uses again and again."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(key=0)
        self.state = lru_cache(MOST_STATES)(lambda key: np.random.Philox(key=key).state)
        self.mask = cache(Mask)
        self.zero = torch.zeros(())


MEMORY = _ThreadMemory()
