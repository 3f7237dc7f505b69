"""Noises: what is injected into a net while it trains, one file each.

A noise is a subclass of `Noise` that overrides the one hook it needs. A hook is handed what it changes, the rate
and its `Site`, the place in the net where it acts; it draws from the site and from nothing else, so that a run's
noise depends on its seed alone, and what it keeps between steps it keeps there.

Shapes: a single run hands (n, units) tensors and a float rate; a stack of R runs may hand (R, n, units) tensors and
a rate of shape (R, 1, 1). Code that works on the last two dimensions serves both. In a plain `nn.Module` units are
whatever the tensor has beside its first dimension, laid side by side.

Beside its hook a noise may have several masks of each image in a step (`masks`, `merge`, `shares`), parameters of
its own (`parameters`), which the run's optimizer trains beside the weights, and a term of the loss (`penalty`).

What is not built, and where it will find its place without a change of these signatures:

- Labels: `site.labels`, (n,) or (R, n), beside the draws.
- A second pass: `Noise.passes`; `site.number` is that of the pass, and `site.gradient` what the one before left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from src.components import RAISED, find_class, located, shown_path
from src.errors import InputError
from src.streams import Draws, Rate

HOOKS = ("drop", "factor", "activation", "weight", "product")
"""`activation`, `weight` and `product`; `factor` is an `activation` that is quicker to write and to compute, and
`drop` is the fast form of a `factor`."""

Backward = Callable[[Tensor], Any]
"""A hook's gradient by hand: from the gradient at what it gave to that at what it was given. It must be linear: a
plain step of SGD hands it the gradient times -lr (`stacks.Stack.descend`)."""


class UndefinedError(ValueError):
    """Raised by a hook whose formula is not defined for what it is handed: the end of a sentence about the
    noise."""


class Site:
    """A place in the net, as the noise that acts there sees it: its random numbers in this step and its memory.

    Args:
        place: k is the output of hidden layer k, 0 the input; in a plain module the k-th call of a dropout.
        draws: the random numbers of this step.
        first: nobody reads the gradient at `product`'s x.
    """

    def __init__(self, place: int, draws: Draws | None = None, *, first: bool = False) -> None:
        self.place, self.first = place, first
        self.learning = True
        """False while a probe looks at the net: a noise that keeps track of what it sees must not, then."""
        self.state: dict[str, Tensor] = {}
        """What the noise keeps from one step to the next; empty when a run begins."""
        self.parameters: Mapping[str, Tensor] = {}
        """What the noise learns here, by the names of `Noise.parameters`; with R in front in a stack."""
        self._workspaces: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        if draws is not None:
            self.at(draws)

    def at(self, draws: Draws) -> Site:
        """This site with the random numbers of another step."""
        self.draws = draws
        return self

    def keep(self, shape: Sequence[int], rate: Rate) -> Tensor:
        """See `Draws.keep`, as for the others."""
        return self.draws.keep(shape, rate)

    def factor(self, shape: Sequence[int], rate: Rate) -> Tensor:
        return self.draws.factor(shape, rate)

    def keep_bytes(self, shape: Sequence[int], rate: Rate) -> Tensor:
        return self.draws.keep_bytes(shape, rate)

    def keep_bits(self, shape: Sequence[int], rate: Rate) -> Tensor | None:
        return self.draws.keep_bits(shape, rate)

    def uniform(self, shape: Sequence[int], high: Rate = 1.0) -> Tensor:
        return self.draws.uniform(shape, high)

    def normal(self, shape: Sequence[int]) -> Tensor:
        return self.draws.normal(shape)

    def drop_(self, h: Tensor, rate: Rate) -> Rate:
        return self.draws.drop_(h, rate)

    def apart(self) -> Site:
        return self.at(self.draws.apart())

    def keep_runs(self, runs: Sequence[int], count: int) -> None:
        """Of a stack of `count` runs goes on with these."""
        for name, tensor in self.state.items():
            if tensor.dim() and len(tensor) == count:
                self.state[name] = tensor[list(runs)]
        self._workspaces.clear()

    def workspace(self, name: str, like: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """Memory of `like`'s shape, or of `shape`, that is the same in each step and holds whatever was left in it.

        Filling new memory takes longer than the sums.
        """
        shape = tuple(like.shape if shape is None else shape)
        memory = self._workspaces.get((name, shape))
        if memory is None:
            memory = self._workspaces[name, shape] = like.new_empty(shape)
        return memory


class Noise:
    """Identity in every hook; the base of all noises.

    Layers are numbered 1, 2, 3 and place k is the output of hidden layer k (0: the input). The rate at place k
    is `dropout1`, `dropout2`, … (0: the noise's `input_rate`). A single run whose rate is 0, and every run at test
    time, goes on without any hook.

    `activation`, `weight` and `product` give a tensor, which autograd differentiates, or a pair: the tensor and its
    `Backward` (None: the identity). A pair is not differentiated by autograd, which allocates everything anew:
    worth it in a noise that is swept much. Without need of autograd a run trains in torch's inference mode. A
    noise gives the one or the other, always.
    """

    options: Mapping[str, Any]
    reads = False
    """`weight` and `product` act where place k is made (False: layer k) or read (True: layer k + 1)."""

    drops_input = False
    """`drop` does on the input, too, what `factor` does there, and may take its place."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    @property
    def masks(self) -> int:
        """How often a step sees each image, each time with draws of its own: a hook gets so many batches at once,
        one behind the other along the dimension of the images. Probes and evaluations see it once."""
        return 1

    def merge(self, log_p: Tensor) -> Tensor:
        """Of several masks' log-probabilities (..., masks, n, classes) those whose loss is minimised, (..., n,
        classes): their mean, so that the loss is the mean of the losses."""
        return log_p.mean(-3)

    def shares(self, log_p: Tensor) -> Tensor:
        """The derivative of `merge`: of each class's merged log-probability at that of each mask, of `log_p`'s
        shape."""
        return torch.full_like(log_p, 1 / log_p.shape[-3])

    def parameters(self, shape: Sequence[int]) -> Mapping[str, Tensor]:
        """What it learns at a place: initial values by name, each of two dimensions, so that (rows, columns) of a
        run and (R, rows, columns) of a stack broadcast as activations do.

        They are trained by the run's optimizer at its learning rate, without weight decay and max-norm. Where the
        rate is 0 they stand still. Random values come from torch's global generator, which is seeded for the run.
        Such a noise is differentiated by autograd: no `factor`, and no gradient by hand.

        Args:
            shape: (units,) of the activations, or (out, in) of the layer's weights.
        """
        return {}

    def penalty(self, W: Tensor | None, rate: Rate, site: Site) -> Tensor:
        """What it adds to the loss at a place, in nats for the whole training set: the mean loss of a step gets 1/N
        of it, N the number of training images. A scalar, or (R,) in a stack: the sum over the last two dimensions.

        Args:
            W: weights (..., out, in) that `product` or `weight` acts in; None for a noise on activations.
        """
        raise NotImplementedError

    @property
    def learns(self) -> bool:
        """Whether it has parameters of its own, or a term of the loss."""
        return self.has("parameters") or self.has("penalty")

    @property
    def in_layers(self) -> bool:
        """Whether it acts inside layers, on weights or products, and not on activations."""
        return self.has("weight") or self.has("product")

    def drop(self, h: Tensor, rate: Rate, site: Site) -> Rate:
        """Sets some of h to 0 and multiplies the rest by one constant, in place; returns that constant.

        The fastest hook: of a ReLU's output, what is left of h is all that the gradient needs. Where it cannot be
        used (in a plain module; on the input, see `drops_input`) `factor` must do the same.
        """
        raise NotImplementedError

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        """A random factor of h's shape that does not depend on h: the noised activations are h * factor.

        Fast, since its gradient is the factor itself. None for the factor 1.
        """
        raise NotImplementedError

    def activation(self, h: Tensor, rate: Rate, site: Site) -> Any:
        """Noised activations, of h's shape; or a pair, with the gradient at h by hand."""
        raise NotImplementedError

    def weight(self, W: Tensor, rate: Rate, site: Site) -> Any:
        """Noised weights (..., out, in), used for the whole batch; or a pair, with the gradient at W by hand."""
        raise NotImplementedError

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site) -> Any:
        """Noised pre-activations of a layer from its input x (..., n, in); or a pair.

        W is (..., out, in) and b is (..., out). Without noise: x Wᵀ + b. By hand it is the gradients at x, W and b,
        a triple; that at x may be None where `site.first`.
        """
        raise NotImplementedError

    def metrics(self, sites: Mapping[int, Site]) -> Mapping[str, Any]:
        """Numbers to be logged at the end of an epoch, by the names of its file's `METRICS`.

        Each is a float or a tensor, of a single run with one element, of a stack with one a run.

        Args:
            sites: by place, with what the noise keeps there; it must leave all as it is.
        """
        return {}

    @classmethod
    def has(cls, hook: str) -> bool:
        """Whether this noise overrides the hook."""
        return getattr(cls, hook) is not getattr(Noise, hook)


def pair(given: Any, hook: str) -> tuple[Tensor, Backward | None]:
    """A hook's value and gradient by hand, of a noise that gives such a pair.

    Raises:
        TypeError: if it gives something else.
    """
    if not isinstance(given, tuple) or len(given) != 2:
        right = "a tensor and its gradient by hand, as it did when it was tried"
        raise TypeError(f"{hook} gave {type(given).__name__} and must give a pair, {right}")
    return given


def initial_parameters(noise: Noise, shape: Sequence[int], seed: int) -> dict[str, Tensor]:
    """`Noise.parameters` for a tensor or layer of this shape, drawn by torch's global generator at this seed.

    Args:
        shape: (n, units) of activations, (out, in) of a layer's weights.

    Raises:
        ValueError: if one of them has not two dimensions.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        values = dict(noise.parameters(tuple(shape) if noise.in_layers else tuple(shape[-1:])))
    for name, value in values.items():
        if value.dim() != 2:
            raise ValueError(f"parameter {name} of shape {tuple(value.shape)} must have two dimensions")
    return {name: value.detach().to(torch.float32) for name, value in values.items()}


def where_it_acts(value: Tensor, rate: Rate) -> Tensor:
    """A number that a noise logs, (1, 1) or (R, 1, 1): NaN for the runs of a stack whose rate is 0, as the noise
    does not act in them alone."""
    return torch.where(rate > 0, value, torch.nan) if isinstance(rate, Tensor) else value


def alpha(rate: Rate) -> Rate:
    """α = p/(1 - p): the variance of Bernoulli dropout's factor at rate p < 1."""
    return rate / (1 - rate)


def make(options: Mapping[str, Any]) -> Noise:
    """The noise of this config: the one subclass of `Noise` that the file of its name defines.

    Raises:
        InputError: if its `__init__` does not make one.
    """
    name = options["name"]
    path = shown_path("noise", name)
    try:
        noise = find_class("noise", name, Noise)(options)
    except RAISED as error:
        right = "its __init__ must take the options alone, and those are the keys of its YAML"
        raise InputError("noise", name, f"{located(error, path)}; {right}") from error
    if not hasattr(noise, "options"):
        raise InputError("noise", name, f"{path}: its __init__ must call super().__init__(options)")
    return noise
