"""Any `nn.Module`s, R of them, trained by autograd one after the other within each step.

Their authors write no line for it: the modules' parameters become views of the stack's flat tensor, and every
`nn.Dropout` in them draws its mask from the run's own stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.noise import Noise
from src.stacks import PLACES, DrawsAt, flatten, views
from src.streams import Rate


class _StreamDropout(nn.Dropout):
    """An `nn.Dropout` whose mask comes from the run's stream; `place` counts the module's dropouts from 1."""

    place: int
    draws: DrawsAt
    noise: Noise

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or not self.noise.has("factor"):
            return h
        factor = self.noise.factor(h, float(self.p), self.draws(self.place))
        return h if factor is None else h * factor


class Modules:
    """Stack of R modules of one class, each (n, features) -> logits (n, classes).

    The first and the second `nn.Dropout` of a module follow `dropout1` and `dropout2` and their schedules; any
    further one keeps its own rate. Other random functions that a module calls draw from torch's global
    generator, which is seeded for each run and step.
    """

    noises: tuple[str, ...] | None = ("dropout", "none")
    """Noises that it can inject: those that `nn.Dropout` can stand for."""
    autograd = True

    def __init__(self, nets: Sequence[nn.Module], noise: Noise, device: torch.device) -> None:
        self.parameters = flatten(nets, device)
        self.gradients = torch.empty_like(self.parameters)
        self.nets = [net.to(device) for net in nets]
        self._dropouts: list[list[_StreamDropout]] = []
        parameters = self.parameters if len(nets) > 1 else [self.parameters]
        gradients = self.gradients if len(nets) > 1 else [self.gradients]
        for net, flat, flat_gradients in zip(self.nets, parameters, gradients, strict=True):
            own = list(net.parameters())
            shapes = [parameter.shape for parameter in own]
            for parameter, values, gradient in zip(
                own, views(flat, shapes), views(flat_gradients, shapes), strict=True
            ):
                parameter.data, parameter.grad = values, gradient
            self._dropouts.append(_adopt_dropouts(net, noise))

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        self.gradients.zero_()
        found = []
        for run, net in enumerate(self.nets):
            images, labels = (x, y) if len(self.nets) == 1 else (x[run], y[run])
            net.train()
            self._prepare(run, rates, draws)
            log_p = F.log_softmax(net(images), -1)
            F.nll_loss(log_p, labels).backward()
            found.append(log_p.detach())
        return self._joined(found)

    def descend(
        self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt, lr: float | Tensor
    ) -> Tensor:
        log_p = self.differentiate(x, y, rates, draws)
        self.parameters.sub_(self.gradients.mul_(lr))
        return log_p

    def logits(self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None) -> Tensor:
        found = []
        with torch.no_grad():
            for run, net in enumerate(self.nets):
                net.train(rates is not None)
                if rates is not None and draws is not None:
                    self._prepare(run, rates, draws)
                found.append(net(x))
        return self._joined(found)

    def hidden(
        self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None
    ) -> list[Tensor]:
        """Inputs (noise off) or outputs (noise on) of the first two `nn.Dropout`; empty where there are fewer."""
        found = []
        for run, (net, dropouts) in enumerate(zip(self.nets, self._dropouts, strict=True)):
            noisy = rates is not None and draws is not None
            net.train(noisy)
            if rates is not None and draws is not None:
                self._prepare(run, rates, draws)
            seen: list[Tensor] = []
            hooks = [
                dropout.register_forward_hook(
                    lambda module, inputs, output, seen=seen: seen.append(output.detach())
                )
                for dropout in dropouts[: PLACES - 1]
            ]
            with torch.no_grad():
                net(x)
            for hook in hooks:
                hook.remove()
            found.append(seen)
        return [self._joined(list(layer)) for layer in zip(*found, strict=True)]

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else torch.stack(tensors)

    def _prepare(self, run: int, rates: Sequence[Rate], draws: DrawsAt) -> None:
        """Points the run's dropouts, and torch's global generator, to the run's numbers for this step."""
        draws(0).of(run).seed_torch()
        for dropout in self._dropouts[run]:
            if dropout.place < PLACES:
                rate = rates[dropout.place]
                dropout.p = rate if isinstance(rate, float) else float(rate[run])
            dropout.draws = lambda place: draws(place).of(run)


def _adopt_dropouts(net: nn.Module, noise: Noise) -> list[_StreamDropout]:
    found: list[_StreamDropout] = []
    for module in net.modules():
        if type(module) is nn.Dropout:
            module.__class__ = _StreamDropout
            assert isinstance(module, _StreamDropout)
            found.append(module)
            module.noise, module.place = noise, len(found)
    return found
