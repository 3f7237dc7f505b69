"""Any `nn.Module`s, R of them, trained by autograd one after the other within each step.

Their authors write no line for it: the modules' parameters become views of the stack's flat tensor, and the noise
acts where they call a dropout, or in their layers, with random numbers of the run's own stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.noise import Noise, Site
from src.stacks import DrawsAt, Learned, flatten, learned_views, views
from src.stacks.injector import Injector
from src.stacks.objective import Objective, by_mask, repeated
from src.streams import Rate


class Modules:
    """Stack of R modules of one class, each images (n, ...) -> logits (n, classes).

    `Injector` says where the noise acts. Other random functions that a module calls draw from torch's global
    generator, which is seeded for each run and step.
    """

    autograd = True

    def __init__(
        self,
        nets: Sequence[nn.Module],
        noise: Noise,
        device: torch.device,
        objective: Objective = Objective(),  # noqa: B008 (it is frozen)
        learned: Sequence[Learned] = (),
    ) -> None:
        self._noise, self._objective, self._learned = noise, objective, learned
        parameters = flatten(nets, device, learned)
        self.nets = [net.to(device) for net in nets]
        self._injectors = [Injector(net, noise) for net in self.nets]
        self._hold(parameters)

    def _hold(self, stacked: Tensor) -> None:
        """Makes the parameters of nets and noise views of these."""
        self.parameters, self.gradients = stacked, torch.empty_like(stacked)
        parameters, gradients = stacked.reshape(len(self.nets), -1), self.gradients.view(len(self.nets), -1)
        for injector, flat, flat_gradients in zip(self._injectors, parameters, gradients, strict=True):
            leaves = list(injector.net.parameters())
            shapes = [leaf.shape for leaf in leaves]
            for leaf, values, gradient in zip(
                leaves, views(flat, shapes), views(flat_gradients, shapes), strict=True
            ):
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
        self._hold(self.parameters[list(runs)])

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        self.gradients.zero_()
        log_ps = []
        for run, injector in enumerate(self._injectors):
            images, labels = (x, y) if len(self.nets) == 1 else (x[run], y[run])
            images = repeated(images, self._noise.masks)
            log_p = F.log_softmax(
                injector.train_pass(images, _rates_of(run, rates), _draws_of(run, draws)), -1
            )
            if self._noise.masks > 1:
                log_p = self._noise.merge(by_mask(log_p, self._noise.masks))
            loss = self._objective.loss(log_p, labels)
            for penalty in injector.penalties:
                loss = loss + penalty / self._objective.images
            loss.backward()
            log_ps.append(log_p.detach())
        return self._joined(log_ps)

    def descend(
        self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt, lr: float | Tensor
    ) -> Tensor:
        log_p = self.differentiate(x, y, rates, draws)
        self.parameters.sub_(self.gradients.mul_(lr))
        return log_p

    def logits(self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None) -> Tensor:
        runs = enumerate(self._injectors)
        return self._joined([injector.eval_pass(x, *_of_run(run, rates, draws)) for run, injector in runs])

    def hidden(
        self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None
    ) -> list[Tensor]:
        """What the calls of dropouts give, each (..., n, units), in their order; none where there are none."""
        runs = [
            injector.hidden(x, *_of_run(run, rates, draws)) for run, injector in enumerate(self._injectors)
        ]
        return [self._joined(list(layer)) for layer in zip(*runs, strict=True)]

    def sites(self) -> list[Mapping[int, Site]]:
        return [injector.sites for injector in self._injectors]

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else torch.stack(tensors)


def _of_run(
    run: int, rates: Sequence[Rate] | None, draws: DrawsAt | None
) -> tuple[list[float], DrawsAt | None]:
    """One run's rates and random numbers; without either the noise is off."""
    if rates is None or draws is None:
        return [], None
    return _rates_of(run, rates), _draws_of(run, draws)


def _draws_of(run: int, draws: DrawsAt) -> DrawsAt:
    return lambda place: draws(place).of(run)


def _rates_of(run: int, rates: Sequence[Rate]) -> list[float]:
    return [rate if isinstance(rate, float) else float(rate[run]) for rate in rates]
