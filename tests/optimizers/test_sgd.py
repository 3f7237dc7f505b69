"""SGD against torch.optim.SGD, alone and in a stack of runs with hyper-parameters of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src import optimizers
from src.kernels import compiled
from src.optimizers import Hyper
from src.optimizers.sgd import SGD

P = 30
SHAPES = [torch.Size([5, 5]), torch.Size([5])]
REST = {
    "name": "sgd",
    "decay": "constant",
    "nesterov": False,
    "decay_biases": True,
    "warmup": 0.0,
    "max_norm": None,
}
OPTIONS = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-3, 0.5),
        "momentum": st.just(0.0) | st.floats(0.1, 0.95),
        "weight_decay": st.just(0.0) | st.floats(1e-4, 0.1),
    }
).map(lambda given: {**REST, **given})


def gradient(w: Tensor, step: int) -> Tensor:
    """Of a bowl that shifts a little in each step, so that momentum has something to remember."""
    scale = torch.linspace(0.1, 1, P)
    return scale * w - 0.1 * torch.sin(torch.arange(P) + step)


def start(run: int) -> Tensor:
    return torch.randn(P, generator=torch.Generator().manual_seed(run))


def torchs(options: dict[str, Any], run: int, steps: int) -> Tensor:
    w = start(run).requires_grad_()
    arguments = {key: options[key] for key in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD([w], **arguments)
    for step in range(steps):
        w.grad = gradient(w.detach(), step)
        optimizer.step()
    return w.detach()


PLAIN = {**REST, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}


@pytest.mark.parametrize(
    "options",
    [{"momentum": 0.5}, {"weight_decay": 1e-4}, {"max_norm": 1.0}, {"momentum": 0.5, "nesterov": True}],
)
def test_only_the_bare_step_is_plain(options: dict[str, Any]) -> None:
    assert optimizers.make(start(0), [PLAIN], SHAPES).plain
    other = optimizers.make(start(0), [{**PLAIN, **options}], SHAPES)
    assert not other.plain
    assert not optimizers.make(torch.stack([start(0), start(1)]), [PLAIN, {**PLAIN, **options}], SHAPES).plain


def test_a_users_update_is_not_passed_over() -> None:
    class Signs(SGD):
        def update(self, gradients: Tensor, lr: Hyper) -> None:
            self.parameters.sub_(gradients.sign(), alpha=lr)

    class Clipped(SGD):
        def step(self, gradients: Tensor, lr: Hyper) -> None:
            super().step(gradients.clamp_(-1, 1), lr)

    assert not Signs(start(0), [PLAIN], SHAPES).plain
    assert not Clipped(start(0), [PLAIN], SHAPES).plain


@settings(max_examples=15)
@given(OPTIONS)
def test_a_run_alone_equals_torch(options: dict[str, Any]) -> None:
    w = start(0)
    optimizer = optimizers.make(w, [options], SHAPES)
    for step in range(100):
        optimizer.step(gradient(w, step), options["lr"])
    torch.testing.assert_close(w, torchs(options, 0, 100), rtol=1e-4, atol=1e-6)


@settings(max_examples=15)
@given(st.lists(OPTIONS, min_size=2, max_size=4))
def test_each_run_of_a_stack_equals_torch(options: list[dict[str, Any]]) -> None:
    w = torch.stack([start(run) for run in range(len(options))])
    optimizer = optimizers.make(w, options, SHAPES)
    lr = torch.tensor([of_run["lr"] for of_run in options]).unsqueeze(-1)
    for step in range(100):
        optimizer.step(torch.stack([gradient(row, step) for row in w]), lr)
    for run, of_run in enumerate(options):
        torch.testing.assert_close(w[run], torchs(of_run, run, 100), rtol=1e-4, atol=1e-6)


def test_a_changing_learning_rate_is_used_in_its_own_step() -> None:
    options = {**REST, "lr": 0.5, "decay": "linear", "momentum": 0.0, "weight_decay": 0.0}
    w = torch.zeros(2)
    optimizer = optimizers.make(w, [options], [w.shape])
    for lr in optimizers.learning_rates(options, 4, steps_per_epoch=1):
        optimizer.step(torch.ones(2), float(lr))
    assert w.tolist() == pytest.approx([-0.5 * (1 + 0.75 + 0.5 + 0.25)] * 2)


def test_a_run_that_diverges_touches_no_other() -> None:
    options = [{**REST, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}] * 2
    w = torch.ones(2, P)
    optimizer = optimizers.make(w, options, SHAPES)
    for bad in (float("inf"), float("nan")):
        optimizer.step(torch.stack([torch.full((P,), bad), torch.ones(P)]), torch.full((2, 1), 0.1))
    assert w[1].isfinite().all()


@pytest.mark.skipif(compiled.descent() is None, reason="torch rounds otherwise than the pass here")
@pytest.mark.parametrize(
    ("options", "runs", "compiled_pass"),
    [
        ({"momentum": 0.9}, 1, True),
        ({"momentum": 0.9, "weight_decay": 1e-3, "max_norm": 1.0}, 1, True),
        ({"momentum": 0.9}, 2, False),
        ({"momentum": 0.9, "nesterov": True}, 1, False),
        ({"momentum": 0.9, "weight_decay": 1e-3, "decay_biases": False}, 1, False),
        ({"momentum": 0.0}, 1, False),
    ],
)
def test_one_run_with_momentum_takes_the_compiled_pass(
    options: dict[str, Any], runs: int, compiled_pass: bool
) -> None:
    parameters = start(0) if runs == 1 else torch.stack([start(run) for run in range(runs)])
    sgd = SGD(parameters, [{**PLAIN, **options}] * runs, SHAPES)
    assert (sgd._descend is not None) == compiled_pass


def test_gradients_with_gaps_and_parameters_of_float64_are_torchs() -> None:
    options = {**PLAIN, "momentum": 0.9, "weight_decay": 1e-3}
    gaps = torch.stack([start(1), start(2)], -1)[:, 0]
    ended = []
    for parameters, gradients in (
        (start(0), gaps),
        (start(0), gaps.clone()),
        (start(0).double(), gaps.double()),
    ):
        sgd = SGD(parameters, [options], SHAPES)
        for _ in range(2):
            sgd.update(gradients.clone(memory_format=torch.preserve_format), 0.1)
        ended.append(parameters)
    assert torch.equal(ended[0], ended[1])
    assert torch.allclose(ended[0].double(), ended[2], atol=1e-6)
