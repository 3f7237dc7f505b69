"""Stacks: R nets that train together, behind one interface. A run alone is a stack of one.

Of a stack of one, tensors have no run axis and rates are floats; of a larger one, tensors have R in front and
rates are (R, 1, 1). Parameters and gradients are flat, (P,) or (R, P), so that an optimizer is a few calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from src.noise import Site
from src.streams import Draws, Rate

PLACES = 3
"""Where noise may act: 0 the input, 1 and 2 the hidden layers."""

DrawsAt = Callable[[int], Draws]
"""The random numbers of this step for a place in the net."""


class Stack(Protocol):
    """What the trainer asks of a stack."""

    parameters: Tensor
    """(P,) or (R, P), float32; the nets compute with views of it."""
    gradients: Tensor
    """Like `parameters`; filled by `differentiate`."""
    autograd: bool
    """Whether autograd computes any of its gradients: then it cannot train in torch's inference mode."""

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        """Forward and backward pass of one batch with the noise on.

        Args:
            x: images (n, features) or (R, n, features).
            y: labels (n,) or (R, n).
            rates: rate at each place.
            draws: random numbers at each place.

        Returns:
            Log-probabilities of the classes, (n, classes) or (R, n, classes), in memory of their own: loss and
            accuracy are counted once an epoch.
        """
        ...

    def descend(
        self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt, lr: float | Tensor
    ) -> Tensor:
        """`differentiate`, and at once the step parameters ← parameters - lr · gradient, lr a float or (R, 1).

        What `gradients` holds afterwards means nothing.
        """
        ...

    def logits(self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None) -> Tensor:
        """Logits of images (n, features), with the noise on where rates are given: (..., n, classes)."""
        ...

    def hidden(
        self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None
    ) -> list[Tensor]:
        """The hidden layers after activation (and after the noise, where rates are given): (..., n, units)."""
        ...

    def keep_runs(self, runs: Sequence[int]) -> None:
        """Of R runs goes on with these, two or more; `parameters` is another tensor then."""
        ...

    def sites(self) -> list[Mapping[int, Site]]:
        """By place, where the noise acts: of all runs together, or a mapping a run."""
        ...


Learned = Mapping[tuple[int, str], Tensor]
"""A noise's parameters of one run by place and name: see `Noise.parameters`."""

OF_NOISE = "noise/"
"""Begins the keys of a noise's parameters in saved weights, `noise/PLACE/NAME`: no module's key has a slash."""


def flatten(nets: Sequence[nn.Module], device: torch.device, learned: Sequence[Learned] = ()) -> Tensor:
    """Parameters of R nets as one tensor, (P,) for one net, (R, P) for more; those of their noise come last."""
    further = learned or [{}] * len(nets)
    tensors = [
        [tensor.detach().flatten() for tensor in (*net.parameters(), *values.values())]
        for net, values in zip(nets, further, strict=True)
    ]
    flat = torch.empty(len(nets), sum(tensor.numel() for tensor in tensors[0]))
    for row, of_net in zip(flat, tensors, strict=True):
        torch.cat(of_net, out=row)
    return flat[0].to(device) if len(nets) == 1 else flat.to(device)


def learned_views(flat: Tensor, learned: Sequence[Learned]) -> dict[int, dict[str, Tensor]]:
    """A noise's parameters inside `flat`, by place and name: (rows, columns) or (R, rows, columns)."""
    by_place: dict[int, dict[str, Tensor]] = {}
    if not learned or not learned[0]:
        return by_place
    shapes = [value.shape for value in learned[0].values()]
    tail = flat[..., flat.shape[-1] - sum(shape.numel() for shape in shapes) :]
    for (place, name), view in zip(learned[0], views(tail, shapes), strict=True):
        by_place.setdefault(place, {})[name] = view
    return by_place


def views(flat: Tensor, shapes: Iterable[torch.Size]) -> list[Tensor]:
    """The parameters inside `flat`: each of its shape, with R in front in a stack."""
    tensors, start = [], 0
    for shape in shapes:
        # no unflatten, which knows no shape of a single number, ()
        tensors.append(flat[..., start : start + shape.numel()].view(flat.shape[:-1] + shape))
        start += shape.numel()
    return tensors
