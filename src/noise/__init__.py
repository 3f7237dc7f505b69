"""Noises: what is injected into a net while it trains, one file each.

A noise is a subclass of `Noise` that overrides the one hook it needs. It draws from the `Draws` it is handed
and from nothing else, so that a run's noise depends on its seed alone.

Shapes: a single run hands (n, units) tensors and a float rate; a stack of R runs hands (R, n, units) tensors and
a rate of shape (R, 1, 1). Code that works on the last two dimensions serves both.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from src.components import find_class
from src.streams import Draws, Rate


class Noise:
    """Identity in every hook; the base of all noises.

    Layers are numbered 1, 2, 3 and place k is the output of hidden layer k (0: the input). The rate at place k
    is `dropout1`, `dropout2` (0: the noise's `input_rate`). At test time no hook is called.
    """

    options: dict[str, Any]

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def factor(self, h: Tensor, rate: Rate, draws: Draws) -> Tensor | None:
        """A random factor of h's shape that does not depend on h: the noised activations are h * factor.

        The fastest hook, since its gradient is the factor itself. None for the factor 1.
        """
        raise NotImplementedError

    def activation(self, h: Tensor, rate: Rate, draws: Draws) -> Tensor:
        """Noised activations, of h's shape; autograd differentiates whatever is written here."""
        raise NotImplementedError

    def weight(self, W: Tensor, rate: Rate, draws: Draws) -> Tensor:
        """Noised weights (..., out, in) of hidden layer k, used for the whole batch; by autograd."""
        raise NotImplementedError

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, draws: Draws) -> Tensor:
        """Noised pre-activations of hidden layer k from its input x (..., n, in); by autograd.

        W is (..., out, in) and b is (..., out). Without noise: x Wᵀ + b.
        """
        raise NotImplementedError

    def has(self, hook: str) -> bool:
        """Whether this noise overrides the hook."""
        return getattr(type(self), hook) is not getattr(Noise, hook)


def make(options: dict[str, Any]) -> Noise:
    """The noise of this config: the one subclass of `Noise` that the file of its name defines."""
    return find_class("noise", options["name"], Noise)(options)
