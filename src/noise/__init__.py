"""Noises: what is injected into a net while it trains, one file each.

A noise is a subclass of `Noise` that overrides the one hook it needs. It draws from the `Draws` it is handed
and from nothing else, so that a run's noise depends on its seed alone.

Shapes: a single run hands (n, units) tensors and a float rate; a stack of R runs hands (R, n, units) tensors and
a rate of shape (R, 1, 1). Code that works on the last two dimensions serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from src.components import find_class
from src.streams import Draws, Rate

HOOKS = ("drop", "factor", "activation", "weight", "product")

Backward = Callable[[Tensor], Any]
"""A hook's gradient by hand: from the gradient at what it gave to that at what it was given. It must be linear: a
plain step of SGD hands it the gradient times -lr (`stacks.Stack.descend`)."""


class Noise:
    """Identity in every hook; the base of all noises.

    Layers are numbered 1, 2, 3 and place k is the output of hidden layer k (0: the input). The rate at place k
    is `dropout1`, `dropout2` (0: the noise's `input_rate`). A single run whose rate is 0, and every run at test
    time, goes on without any hook.
    """

    options: Mapping[str, Any]
    place: int
    """Place that the hook is called for."""
    learning = True
    """False while a probe looks at the net: a noise that keeps track of what it sees must not, then."""
    by_hand = False
    """`activation`, `weight` and `product` give a pair, the result and its `Backward` (None: the identity), and are
    not differentiated by autograd, which allocates everything anew: worth it in a noise that is swept much.
    There is no autograd inside these either: without need of it a run trains in torch's inference mode."""
    reads = False
    """`weight` and `product` act where place k is made (False: layer k) or read (True: layer k + 1)."""

    first = False
    """`product` is called for the net's first layer: nobody reads the gradient at its x."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self._rooms: dict[tuple[int, str, tuple[int, ...]], Tensor] = {}

    def room(self, name: str, like: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """Memory of `like`'s shape, or of `shape`, that is the same in each step.

        Filling new memory takes longer than the sums. What it holds is whatever was left in it; it is one of this
        name at each place.
        """
        shape = tuple(like.shape if shape is None else shape)
        found = self._rooms.get((self.place, name, shape))
        if found is None:
            found = self._rooms[self.place, name, shape] = like.new_empty(shape)
        return found

    def drop(self, h: Tensor, rate: Rate, draws: Draws) -> Rate:
        """Sets some of h to 0 and multiplies the rest by one constant, in place; returns that constant.

        The fastest hook: of a ReLU's output, what is left of h is all that the gradient needs. Where it cannot be
        used (on the input, in a plain module) `factor` must do the same.
        """
        raise NotImplementedError

    def factor(self, h: Tensor, rate: Rate, draws: Draws) -> Tensor | None:
        """A random factor of h's shape that does not depend on h: the noised activations are h * factor.

        Fast, since its gradient is the factor itself. None for the factor 1.
        """
        raise NotImplementedError

    def activation(self, h: Tensor, rate: Rate, draws: Draws) -> Any:
        """Noised activations, of h's shape; autograd differentiates whatever is written here, see `by_hand`."""
        raise NotImplementedError

    def weight(self, W: Tensor, rate: Rate, draws: Draws) -> Any:
        """Noised weights (..., out, in), used for the whole batch; by autograd, see `by_hand`."""
        raise NotImplementedError

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, draws: Draws) -> Any:
        """Noised pre-activations of a layer from its input x (..., n, in); by autograd, see `by_hand`.

        W is (..., out, in) and b is (..., out). Without noise: x Wᵀ + b. By hand it is the gradient at x, W and b.
        """
        raise NotImplementedError

    def has(self, hook: str) -> bool:
        """Whether this noise overrides the hook."""
        return getattr(type(self), hook) is not getattr(Noise, hook)


def alpha(rate: Rate) -> Rate:
    """α = p/(1 - p): the variance of Bernoulli dropout's factor at rate p < 1."""
    return rate / (1 - rate)


def make(options: Mapping[str, Any]) -> Noise:
    """The noise of this config: the one subclass of `Noise` that the file of its name defines."""
    return find_class("noise", options["name"], Noise)(options)
