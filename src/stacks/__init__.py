"""Stacks: R nets that train together, behind one interface. A run alone is a stack of one.

Of a stack of one, tensors have no run axis and rates are floats; of a larger one, tensors have R in front and
rates are (R, 1, 1). Parameters and gradients are flat, (P,) or (R, P), so that an optimizer is a few calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from src.noise import Noise, Site
from src.stacks.objective import Objective
from src.streams import Draws, Rate

PLACES = 3
"""Where noise may act: 0 the input, 1 and 2 the hidden layers."""

DrawsAt = Callable[[int], Draws]
"""The random numbers of this step for a place in the net."""

Learned = Mapping[tuple[int, str], Tensor]
"""A noise's parameters of one run by place and name: see `Noise.parameters`."""

OF_NOISE = "noise/"
"""Begins the keys of a noise's parameters in saved weights, `noise/PLACE/NAME`: no module's key has a slash."""


class Stack:
    """What the trainer asks of a stack.

    Args:
        nets: the R nets.
        noise: what is injected while they train.
        device: where to train.
        objective: what a step minimises.
        learned: the noise's own parameters, a mapping a run.
    """

    parameters: Tensor
    """(P,) or (R, P), float32; the nets compute with views of it."""
    gradients: Tensor
    """Like `parameters`; filled by `differentiate`."""
    autograd: bool
    """Whether autograd computes any of its gradients: then it cannot train in torch's inference mode."""

    def __init__(
        self,
        nets: Sequence[nn.Module],
        noise: Noise,
        device: torch.device,
        objective: Objective = Objective(),  # noqa: B008 (it is frozen)
        learned: Sequence[Learned] = (),
    ) -> None:
        self.noise, self._objective, self._learned = noise, objective, learned
        parameters = flatten(nets, device, learned)
        self._take(nets, device)
        self._hold(parameters)

    def _take(self, nets: Sequence[nn.Module], device: torch.device) -> None:
        """What there is to do once, of the nets as they were built."""
        raise NotImplementedError

    def _hold(self, parameters: Tensor) -> None:
        """Computes with these from here on."""
        raise NotImplementedError

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        """Forward and backward pass of one batch with the noise on.

        Args:
            x: images (n, features) or (R, n, features); a noise on the input may work in this memory.
            y: labels (n,) or (R, n).
            rates: rate at each place.
            draws: random numbers at each place.

        Returns:
            Log-probabilities of the classes, (n, classes) or (R, n, classes), in memory of their own: loss and
            accuracy are counted once an epoch.
        """
        raise NotImplementedError

    def descend(
        self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt, lr: float | Tensor
    ) -> Tensor:
        """`differentiate`, and at once the step parameters ← parameters - lr · gradient, lr a float or (R, 1).

        What `gradients` holds afterwards means nothing.
        """
        log_p = self.differentiate(x, y, rates, draws)
        self.parameters.sub_(self.gradients.mul_(lr))
        return log_p

    def logits(self, x: Tensor, rates: Sequence[Rate] = (), draws: DrawsAt | None = None) -> Tensor:
        """Logits of images (n, features), with the noise on where draws are given: (..., n, classes)."""
        raise NotImplementedError

    def hidden(self, x: Tensor, rates: Sequence[Rate] = (), draws: DrawsAt | None = None) -> list[Tensor]:
        """The hidden layers after activation (and after the noise, where draws are given): (..., n, units)."""
        raise NotImplementedError

    def keep_runs(self, runs: Sequence[int]) -> None:
        """Of R runs goes on with these, two or more; `parameters` is another tensor then."""
        self._hold(self.parameters[list(runs)])

    def sites(self) -> list[Mapping[int, Site]]:
        """By place, where the noise acts: of all runs together, or a mapping a run."""
        raise NotImplementedError


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
    of_run = learned[0] if learned else {}
    shapes = [value.shape for value in of_run.values()]
    tail = flat[..., flat.shape[-1] - sum(shape.numel() for shape in shapes) :]
    for (place, name), view in zip(of_run, views(tail, shapes), strict=True):
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
