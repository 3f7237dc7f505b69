"""Optimizers: one file each, holding one subclass of `Optimizer`.

They work on a stack's parameters as one flat tensor: (P,) for one run with float hyper-parameters, (R, P) for a
stack of R runs with hyper-parameters of shape (R, 1). So runs with different options train together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.checks import Check, boolean, one_of, optional, real
from src.components import RAISED, find_class, located
from src.errors import InputError
from src.stacks import views

Hyper = float | Tensor
"""Of one run a float; of a stack of R runs a tensor (R, 1)."""

COMMON: dict[str, Check] = {
    "lr": real(0, above=True),
    "weight_decay": real(0),
    "decay_biases": boolean,
    "decay": one_of("constant", "linear", "cosine"),
    "warmup": real(0),
    "max_norm": optional(real(0, above=True)),
}
"""Options that every optimizer has.

lr: the learning rate. weight_decay: λ; what it does is the optimizer's, as in torch.optim. decay_biases: whether
parameters of one dimension decay too, as in torch.optim. decay: how the learning rate falls. warmup: epochs, whole
or not, in which it first rises. max_norm: the largest L2 norm that a unit's incoming weights may have, or None.
"""


class Optimizer:
    """Updates parameters in place from their gradients.

    Args:
        parameters: (P,) or (R, P) float32.
        options: one checked config a run, all of the same kind; every option may differ between runs.
        shapes: of one net's parameters, in their order inside P. What lies behind them are parameters of a noise's
            own, which have neither weight decay nor a cap.
    """

    def __init__(
        self, parameters: Tensor, options: Sequence[Mapping[str, Any]], shapes: Sequence[torch.Size]
    ) -> None:
        self.parameters = parameters
        self.options = options
        self.weight_decay = self._weight_decay(shapes)
        """λ, with 0 where a parameter does not decay, for `add_scaled`; None where no run decays."""
        caps = [option["max_norm"] for option in options]
        self._cap = self.column(float("inf") if cap is None else cap for cap in caps) if any(caps) else None
        self._shapes = shapes
        self._weights = self._matrices(parameters)

    def _matrices(self, parameters: Tensor) -> list[Tensor]:
        return [weight for weight in views(parameters, self._shapes) if weight.dim() > parameters.dim()]

    @property
    def plain(self) -> bool:
        """Whether a step is parameters ← parameters - lr · gradient and nothing else: a stack takes it faster."""
        return False

    def step(self, gradients: Tensor, lr: Hyper) -> None:
        """One update with this step's learning rate; may overwrite `gradients`."""
        self.update(gradients, lr)
        if self._cap is not None:
            self._project(self._cap)

    def update(self, gradients: Tensor, lr: Hyper) -> None:
        """The optimizer's own part of a step."""
        raise NotImplementedError("an optimizer must define update(self, gradients, lr)")

    def metrics(self) -> Mapping[str, Any]:
        """Numbers to be logged at the end of an epoch, by the names of its file's `METRICS`.

        Each is a float, or a tensor with one element a run.
        """
        return {}

    def keep_runs(self, runs: Sequence[int], parameters: Tensor) -> None:
        """Of a stack goes on with these runs, whose parameters are now `parameters`.

        What is kept from one step to the next stands in attributes that are tensors with R in front; an optimizer
        that keeps it elsewhere must define this too.
        """
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.dim() and len(value) == len(self.options):
                setattr(self, name, value[list(runs)])
        self.options = [self.options[run] for run in runs]
        self.parameters, self._weights = parameters, self._matrices(parameters)

    def hyper(self, name: str) -> Hyper:
        """An option of every run."""
        return self.column(float(options[name]) for options in self.options)

    def column(self, values: Iterable[float], dtype: torch.dtype = torch.float32) -> Hyper:
        """One number a run as what the run's or the stack's tensors are multiplied with."""
        numbers = list(values)
        if self.parameters.dim() == 1:
            return numbers[0]
        return torch.tensor(numbers, dtype=dtype, device=self.parameters.device).unsqueeze(-1)

    def _weight_decay(self, shapes: Sequence[torch.Size]) -> Hyper | None:
        if not any(options["weight_decay"] for options in self.options):
            return None
        decay = self.hyper("weight_decay")
        of_noise = self.parameters.shape[-1] - sum(shape.numel() for shape in shapes)
        if all(options["decay_biases"] for options in self.options) and not of_noise:
            return decay
        is_bias = torch.cat([torch.full((shape.numel(),), len(shape) < 2) for shape in shapes])
        spared = torch.tensor([[not options["decay_biases"]] for options in self.options]) & is_bias
        spared = torch.cat([spared, torch.ones(len(spared), of_noise, dtype=torch.bool)], -1)
        return decay * (~spared).float().reshape(self.parameters.shape).to(self.parameters.device)

    def _project(self, cap: Hyper) -> None:
        """Scale the incoming weights of each unit, a row of a weight matrix, back to an L2 norm of at most `cap`.

        Source: Srivastava et al. 2014, sec. 5.1 ("max-norm regularization"); biases are not counted in.
        """
        cap = cap if isinstance(cap, float) else cap.unsqueeze(-1)
        for weight in self._weights:
            weight.mul_((cap / torch.linalg.vector_norm(weight, dim=-1, keepdim=True)).clamp_(max=1))


def add_scaled(target: Tensor, tensor: Tensor, factor: Hyper) -> Tensor:
    """target ← target + factor · tensor; target itself."""
    if isinstance(factor, float):
        return target.add_(tensor, alpha=factor)
    return target.addcmul_(tensor, factor)


def learning_rates(options: Mapping[str, Any], steps: int, steps_per_epoch: int) -> np.ndarray:
    """Learning rate of each step: (steps,) float64.

    In the W steps of `warmup` (rounded) it rises in a straight line: lr (t + 1)/W in step t. After them, with u the
    share of the other steps already done, constant: lr; linear: lr (1 - u); cosine: lr (1 + cos πu)/2 (Loshchilov &
    Hutter 2017, eq. 5, one cycle). A warmup longer than training does not get as far as lr.

    >>> options = {"lr": 0.4, "decay": "linear", "warmup": 0.5}
    >>> learning_rates(options, steps=6, steps_per_epoch=4)
    array([0.2, 0.4, 0.4, 0.3, 0.2, 0.1])
    """
    t, warm = np.arange(steps), round(options["warmup"] * steps_per_epoch)
    u = np.maximum(0, (t - warm) / max(1, steps - warm))
    after = {"constant": np.ones(steps), "linear": 1 - u, "cosine": (1 + np.cos(np.pi * u)) / 2}
    return np.asarray(options["lr"] * np.where(t < warm, (t + 1) / max(1, warm), after[options["decay"]]))


def make(parameters: Tensor, options: Sequence[Mapping[str, Any]], shapes: Sequence[torch.Size]) -> Optimizer:
    """The optimizer of these runs' configs: the one `Optimizer` that the file of its name defines."""
    return find_class("optimizer", options[0]["name"], Optimizer)(parameters, options, shapes)


def check(options: Mapping[str, Any]) -> None:
    """Tries an optimizer before anything trains: one step on nine parameters.

    Raises:
        InputError: if it raises an exception, moves nothing, does not follow the learning rate, or does not do the
            same each time.
    """
    name = options["name"]
    path = f"src/optimizers/{name}.py"
    try:
        (first, plain), (again, _), (slower, _) = (_tried(options, lr) for lr in (0.1, 0.1, 0.05))
    except RAISED as error:
        raise InputError("optimizer", name, located(error, path)) from error
    problem = None
    if torch.equal(first, _START):
        problem = "moves no parameter; its update must write to self.parameters, in place"
    elif not torch.equal(first, again):
        problem = "does something else each time, with equal gradients"
    elif torch.equal(first, slower):
        problem = "does the same at the learning rates 0.1 and 0.05; its update is given lr"
    elif plain and not torch.allclose(first, _START - 0.1 * _GRADIENT):
        problem = "says that it is plain, so that its update would not be called, and its step is another one"
    if problem:
        raise InputError("optimizer", name, f"{path} {problem}")


_START, _GRADIENT = torch.linspace(-1, 2, 9), torch.linspace(1, -2, 9)


def _tried(options: Mapping[str, Any], lr: float) -> tuple[Tensor, bool]:
    """Parameters after one step at this learning rate; whether the optimizer says that it is plain."""
    parameters = _START.clone()
    optimizer = make(parameters, [options], [torch.Size((3, 2)), torch.Size((3,))])
    optimizer.step(_GRADIENT.clone(), lr)
    return parameters.nan_to_num(), optimizer.plain
