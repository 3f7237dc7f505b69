"""Several masks of each image in a step: the losses and gradients of the formulas, in both kinds of stack."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from configs import DIGITS, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from src import models
from src.noise import Noise, Site, make
from src.noise.dropout import dropout_factor
from src.stacks.mlp import MLP
from src.stacks.modules import Modules
from src.stacks.objective import Objective, merged_gradient
from src.streams import Draws

CPU = torch.device("cpu")
SMALL = {"name": "scratch", "hidden1": 6, "hidden2": 5}


def noise(name: str, masks: int) -> Noise:
    return make({"name": f"dropout_{name}", "input_rate": 0.0, "masks": masks})


def draws(place: int) -> Draws:
    return Draws([place], 3, CPU)


def batch(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 7, generator=generator), torch.randint(4, (n,), generator=generator)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["masks", "importance"]),
    masks=st.integers(1, 5),
    n=st.integers(1, 6),
    smoothing=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 10**6),
)
def test_the_gradient_at_the_logits_is_autograds(
    name: str, masks: int, n: int, smoothing: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(masks * n, 4, generator=generator, requires_grad=True)
    y = torch.randint(4, (n,), generator=generator)
    objective, which = Objective(smoothing), noise(name, masks)
    log_p = F.log_softmax(z, -1)
    objective.loss(which.merge(log_p.unflatten(0, (masks, n))), y).backward()
    merged, gradient = merged_gradient(log_p.detach(), y, which, objective, scale=1.0)
    assert z.grad is not None
    torch.testing.assert_close(gradient, z.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(merged, which.merge(log_p.detach().unflatten(0, (masks, n))))


def test_the_losses_are_the_papers() -> None:
    p = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    p /= p.sum(-1, keepdim=True)
    mean, importance = noise("masks", 3).merge(p.log()), noise("importance", 3).merge(p.log())
    torch.testing.assert_close(mean, p.log().mean(0))
    torch.testing.assert_close(importance, p.mean(0).log())
    assert (importance >= mean).all()  # Jensen
    torch.testing.assert_close(noise("importance", 3).shares(p.log()), p / p.sum(0))


def expected_loss(net: Any, name: str, masks: int, rates: list[float], x: Tensor, y: Tensor) -> Tensor:
    """Written down image by image: the book's net under each of the masks that the batch of all copies draws."""
    factors = {
        place: dropout_factor(torch.ones(masks * len(x), width), rates[place], Site(place, draws(place)))
        for place, width in ((1, 6), (2, 5))
    }
    losses = []
    for image in range(len(x)):
        log_p = []
        for mask in range(masks):
            row = mask * len(x) + image
            h = F.relu(net.lin1(x[image])) * (factors[1][row] if factors[1] is not None else 1)
            h = F.relu(net.lin2(h)) * (factors[2][row] if factors[2] is not None else 1)
            log_p.append(F.log_softmax(net.lin3(h), -1)[y[image]])
        several = torch.stack(log_p)
        losses.append(-several.mean() if name == "masks" else -several.exp().mean().log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", [MLP, Modules])
@pytest.mark.parametrize("masks", [1, 3])
@pytest.mark.parametrize("name", ["masks", "importance"])
def test_a_step_is_that_of_the_formula(name: str, masks: int, kind: Any) -> None:
    x, y = batch(5)
    if kind is MLP:
        net = models.build(SMALL, 7, 4, seed=1)
    else:
        net = models.build({**SMALL, "name": "concise"}, 7, 4, seed=1)
    stack = kind([copy.deepcopy(net)], noise(name, masks), CPU)
    if kind is Modules:
        net.lin1, net.lin2, net.lin3 = net[1], net[4], net[7]
    rates = [0.0, 0.5, 0.25]
    log_p = stack.differentiate(x, y, rates, draws)
    loss = expected_loss(net, name, masks, rates, x, y)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    assert log_p.shape == (5, 4)
    torch.testing.assert_close(F.nll_loss(log_p, y), loss.detach())
    torch.testing.assert_close(
        stack.gradients, torch.cat([g.flatten() for g in gradients]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", ["masks", "importance"])
def test_a_stack_has_the_gradients_of_its_runs_alone(name: str) -> None:
    x, y = batch(6)
    nets = [models.build(SMALL, 7, 4, seed) for seed in range(2)]
    rates = [0.5, 0.25]
    together = MLP(nets, noise(name, 3), CPU)
    stacked = [0.0, *(torch.tensor(rates).reshape(2, 1, 1) * share for share in (1, 0.5))]
    both = together.differentiate(
        x.expand(2, -1, -1), y.expand(2, -1), stacked, lambda place: Draws([place, place + 9], 3, CPU)
    )
    for run in range(2):
        alone = MLP([nets[run]], noise(name, 3), CPU)
        p = rates[run]
        one = alone.differentiate(
            x, y, [0.0, p, p / 2], lambda place, run=run: Draws([place + 9 * run], 3, CPU)
        )
        torch.testing.assert_close(both[run], one)
        torch.testing.assert_close(together.gradients[run], alone.gradients, rtol=1e-4, atol=1e-6)
        before = alone.parameters.clone()
        alone.descend(x, y, [0.0, p, p / 2], lambda place, run=run: Draws([place + 9 * run], 3, CPU), 0.1)
        torch.testing.assert_close(alone.parameters, before - 0.1 * together.gradients[run])


@pytest.mark.parametrize("name", ["masks", "importance"])
def test_one_mask_is_dropout_to_the_byte(name: str) -> None:
    x, y = batch(8)
    net = models.build(SMALL, 7, 4, seed=0)
    stacks = [
        MLP([net], which, CPU) for which in (noise(name, 1), make({"name": "dropout", "input_rate": 0.0}))
    ]
    for stack in stacks:
        stack.descend(x.clone(), y, [0.3, 0.5, 0.5], draws, 0.1)
    assert torch.equal(stacks[0].parameters, stacks[1].parameters)


@pytest.mark.parametrize("model", ["scratch", "concise"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_is_torchs(model: str, smoothing: float) -> None:
    x, y = batch(8)
    net = models.build({**SMALL, "name": model}, 7, 4, seed=0)
    kind = models.stack_class(model)
    stack = kind([copy.deepcopy(net)], make({"name": "none"}), CPU, Objective(smoothing))
    stack.differentiate(x, y, [0.0] * 3, draws)
    loss = F.cross_entropy(net.eval()(x), y, label_smoothing=smoothing)
    gradients = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    torch.testing.assert_close(stack.gradients, gradients, rtol=1e-4, atol=1e-6)


def test_masks_below_one_are_refused() -> None:
    from src.errors import InputError

    options = {"name": "dropout_masks", "input_rate": 0.0, "masks": 0}
    with pytest.raises(InputError, match=r"^noise\.masks=0: must be a whole number of at least 1"):
        make_run(noise=options, data=DIGITS)
