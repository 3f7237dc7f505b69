"""Any `nn.Module`s, R of them, trained by autograd one after the other within each step.

Their authors write no line for it: the modules' parameters become views of the stack's flat tensor, and the noise
acts where they call a dropout, or in their layers, with random numbers of the run's own stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.noise import Site
from src.stacks import DrawsAt, Stack, learned_views, views
from src.stacks.injector import Injector
from src.stacks.objective import by_mask, repeated
from src.streams import Rate


class Modules(Stack):
    """R modules of one class, each images (n, ...) -> logits (n, classes).

    `Injector` says where the noise acts. Other random functions that a module calls draw from torch's global
    generator, which is seeded for each run and step.
    """

    autograd = True

    def _take(self, nets: Sequence[nn.Module], device: torch.device) -> None:
        self.nets = [net.to(device) for net in nets]
        self._injectors = [Injector(net, self.noise) for net in self.nets]

    def _hold(self, parameters: Tensor) -> None:
        """Makes the parameters of nets and noise views of these."""
        self.parameters, self.gradients = parameters, torch.empty_like(parameters)
        rows = (flat.view(len(self.nets), -1) for flat in (parameters, self.gradients))
        for injector, flat, flat_gradients in zip(self._injectors, *rows, strict=True):
            leaves = list(injector.net.parameters())
            shapes = [leaf.shape for leaf in leaves]
            parts = zip(leaves, views(flat, shapes), views(flat_gradients, shapes), strict=True)
            for leaf, values, gradient in parts:
                leaf.data, leaf.grad = values, gradient
            of_noise = learned_views(flat_gradients, self._learned)
            for place, learned in learned_views(flat, self._learned).items():
                for name, value in learned.items():
                    learned[name] = value.data.requires_grad_()
                    learned[name].grad = of_noise[place][name]
                injector.learns(place, learned)

    def keep_runs(self, runs: Sequence[int]) -> None:
        self.nets = [self.nets[run] for run in runs]
        self._injectors = [self._injectors[run] for run in runs]
        super().keep_runs(runs)

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        self.gradients.zero_()
        log_ps = []
        for run, injector in enumerate(self._injectors):
            images, labels = (x, y) if len(self.nets) == 1 else (x[run], y[run])
            images = repeated(images, self.noise.masks)
            log_p = F.log_softmax(injector.train_pass(images, *_of_run(run, rates, draws)), -1)
            if self.noise.masks > 1:
                log_p = self.noise.merge(by_mask(log_p, self.noise.masks))
            loss = self._objective.loss(log_p, labels)
            for penalty in injector.penalties:
                loss = loss + penalty / self._objective.images
            loss.backward()
            log_ps.append(log_p.detach())
        return _joined(log_ps)

    def logits(self, x: Tensor, rates: Sequence[Rate] = (), draws: DrawsAt | None = None) -> Tensor:
        runs = enumerate(self._injectors)
        return _joined([injector.eval_pass(x, *_of_run(run, rates, draws)) for run, injector in runs])

    def hidden(self, x: Tensor, rates: Sequence[Rate] = (), draws: DrawsAt | None = None) -> list[Tensor]:
        """What the calls of dropouts give, each (..., n, units), in their order; none where there are none."""
        runs = enumerate(self._injectors)
        layers = zip(
            *(injector.hidden(x, *_of_run(run, rates, draws)) for run, injector in runs), strict=True
        )
        return [_joined(layer) for layer in layers]

    def sites(self) -> list[Mapping[int, Site]]:
        return [injector.sites for injector in self._injectors]


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors))


def _of_run(run: int, rates: Sequence[Rate], draws: DrawsAt | None) -> tuple[list[float], Any]:
    """One run's rates and random numbers; without these the noise is off."""
    of_run = [rate if isinstance(rate, float) else float(rate[run]) for rate in rates]
    return of_run, draws and (lambda place: draws(place).of(run))
