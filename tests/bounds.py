"""Numbers with a bound on what float32 may have made of them: running error analysis in float64.

u = 2^-24 is float32's unit roundoff. A sum of k products is off by at most ku/(1 - ku) of the sum of their sizes,
in whatever order it is computed, with fused operations or without (Higham 2002, "Accuracy and Stability of
Numerical Algorithms", section 3.1). Roundings that are independent of each other stay below λ√k u but once in
exp(λ²/2)/2 sums: with λ = 9, once in 2e17 (Higham & Mary 2019, "A new approach to probabilistic rounding error
analysis", theorem 2.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

UNIT = 2.0**-24
ELEMENTARY = 8 * UNIT
"""Of exp and log: vector libraries promise four units in the last place."""


def gamma(k: int) -> float:
    """Bound on the relative error of k roundings."""
    return min(k, 9 * math.sqrt(k)) * UNIT * (1 + 1e-3)


@dataclass(frozen=True)
class Bounded:
    """A tensor in float64, and how far float32's may be from it: `error` of the same shape, or 0."""

    value: Tensor
    error: Tensor

    @classmethod
    def exact(cls, value: Tensor) -> Bounded:
        return cls(value.double(), torch.zeros_like(value, dtype=torch.float64))

    @property
    def size(self) -> Tensor:
        return self.value.abs() + self.error

    @property
    def mT(self) -> Bounded:  # noqa: N802 (as torch's)
        return Bounded(self.value.mT, self.error.mT)

    def __matmul__(self, other: Bounded) -> Bounded:
        sizes = self.size @ other.size
        inherited = sizes - self.value.abs() @ other.value.abs()
        return Bounded(self.value @ other.value, inherited + gamma(self.value.shape[-1] + 1) * sizes)

    def __add__(self, other: Bounded) -> Bounded:
        value, error = self.value + other.value, self.error + other.error
        return Bounded(value, error + gamma(2) * (self.size + other.size))

    def __mul__(self, factor: Tensor | float) -> Bounded:
        """Times a factor that is itself within one rounding of exact."""
        factor = torch.as_tensor(factor, dtype=torch.float64)
        return Bounded(self.value * factor, (self.error + gamma(3) * self.size) * factor.abs())

    def sum(self, dim: int) -> Bounded:
        return Bounded(
            self.value.sum(dim), self.error.sum(dim) + gamma(self.value.shape[dim]) * self.size.sum(dim)
        )

    def relu(self) -> Bounded:
        return Bounded(self.value.relu(), self.error)

    def where_positive(self, z: Bounded) -> Bounded:
        """This gradient where z > 0, else 0; where rounding decides the sign of z it may be either."""
        on = self.value * (z.value > 0)
        unsure = (z.value.abs() <= z.error) * self.size
        return Bounded(on, torch.maximum(self.error * (z.value > -z.error), unsure))

    def log_softmax(self) -> Bounded:
        """Over the last dimension."""
        log_p = torch.log_softmax(self.value, -1)
        inherited = self.error + self.error.amax(-1, keepdim=True)
        spread = self.value.amax(-1, keepdim=True) - self.value
        rounding = gamma(self.value.shape[-1] + 4) + ELEMENTARY + gamma(4) * (spread + log_p.abs())
        return Bounded(log_p, inherited + rounding)

    def exp(self) -> Bounded:
        value = self.value.exp()
        return Bounded(value, value * (torch.expm1(self.error) + ELEMENTARY * self.error.exp()))

    def holds(self, values: Tensor) -> bool:
        """Whether what float32 gave lies within the bound."""
        return bool(((values.double() - self.value).abs() <= self.error).all())
