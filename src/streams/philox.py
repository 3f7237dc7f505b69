"""Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in plain torch.

For devices on which there is neither numpy's generator nor Triton: some 50 passes over 64-bit integers a round.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_M0, _M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def levels(keys: Tensor, step: int, start: int, count: int) -> Tensor:
    """The next 16-bit numbers, those that numpy's generator yields: (R, count) int32.

    Args:
        keys: (R, 2) int64, see `key_words`.
        step: the counter's second word.
        start: counters of this step that are used up.
    """
    blocks = -(-count // 16)
    index = torch.arange(start + 1, start + blocks + 1, device=keys.device).expand(len(keys), blocks)
    zero = torch.zeros_like(index)
    k0, k1 = keys[:, :1], keys[:, 1:]
    c0, c1, c2, c3 = index, zero + step, zero, zero
    for _ in range(10):
        high0, low0 = _multiply(c0, _M0)
        high1, low1 = _multiply(c2, _M1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _signed(_W0), k1 + _signed(_W1)
    words = torch.stack((c0, c1, c2, c3), -1).reshape(len(keys), 4 * blocks)
    # lowest bits first, as numpy views them
    return (words.view(torch.int16).to(torch.int32) & 0xFFFF)[:, :count]


@lru_cache(maxsize=1024)
def key_words(keys: tuple[int, ...], device: torch.device) -> Tensor:
    """Low and high word of R keys, (R, 2) int64; kept on the device, as every upload makes the host wait."""
    return torch.tensor([[_signed(key & (2**64 - 1)), _signed(key >> 64)] for key in keys], device=device)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _multiply(a: Tensor, constant: int) -> tuple[Tensor, Tensor]:
    """High and low 64 bits of the unsigned product a * constant, from 32-bit halves."""
    mask = 0xFFFFFFFF
    a_low, a_high = a & mask, (a >> 32) & mask
    b_low, b_high = constant & mask, constant >> 32
    low_low, high_low = a_low * b_low, a_high * b_low
    low_high, high_high = a_low * b_high, a_high * b_high
    middle = (high_low & mask) + (low_high & mask) + ((low_low >> 32) & mask)
    high = high_high + ((high_low >> 32) & mask) + ((low_high >> 32) & mask) + ((middle >> 32) & mask)
    return high, a * _signed(constant)
