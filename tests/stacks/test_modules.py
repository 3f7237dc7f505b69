"""Anyone's `nn.Module` trains in a stack as it does alone, with rates, schedules and streams of its own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src import optimizers, streams
from src.noise import make
from src.probes import mean_metrics
from src.stacks.modules import Modules
from src.streams import LEVELS, Draws

CPU = torch.device("cpu")
FEATURES, CLASSES = 6, 3


class Mine(nn.Module):
    """A user's net: three dropouts, an odd layer, and a random function that knows nothing of us."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 20), nn.Linear(20, 20)
        self.drop1, self.drop2, self.drop3 = nn.Dropout(0.1), nn.Dropout(0.1), nn.Dropout(0.3)
        self.norm = nn.LayerNorm(20)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop1(F.relu(self.first(x)))
        if self.training:
            h = h + 0.1 * torch.rand(h.shape)
        h = self.drop2(F.gelu(self.second(h)))
        return self.out(self.drop3(self.norm(h)))


def net(seed: int, kind: type[nn.Module] = Mine) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind()


def stack_of(seeds: list[int], noise: str = "dropout") -> Modules:
    return Modules([net(seed) for seed in seeds], make({"name": noise}), CPU)


def trained(seeds: list[int], rates: list[tuple[float, float]], steps: int = 12) -> Modules:
    """A stack of one run a seed and pair of rates, after some steps of SGD."""
    stack, R = stack_of(seeds), len(seeds)
    rest = {"nesterov": False, "decay_biases": True, "warmup": 0.0, "max_norm": None}
    options = [{"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, **rest}] * R
    optimizer = optimizers.make(stack.parameters, options, [p.shape for p in stack.nets[0].parameters()])
    keys = [[streams.key(seed, f"noise{place}") for seed in seeds] for place in range(4)]
    at: list[Any] = [0.0, *rates[0]]
    if R > 1:
        at = [
            torch.tensor(column).reshape(-1, 1, 1)
            for column in zip(*((0.0, *own) for own in rates), strict=True)
        ]
    for step in range(steps):
        x = torch.randn(16, FEATURES, generator=torch.Generator().manual_seed(step))
        y = x[:, :CLASSES].argmax(-1)
        lead = (R,) if R > 1 else ()
        stack.differentiate(
            x.expand(*lead, *x.shape),
            y.expand(*lead, *y.shape),
            at,
            lambda p, step=step: Draws(keys[p], step, CPU),
        )
        optimizer.step(stack.gradients, 0.1 if R == 1 else torch.full((R, 1), 0.1))
    return stack


def test_a_users_module_trains_in_a_stack_as_alone() -> None:
    seeds, rates = [3, 4, 3], [(0.0, 0.5), (0.7, 0.2), (0.5, 0.0)]
    together = trained(seeds, rates)
    for run, (seed, own) in enumerate(zip(seeds, rates, strict=True)):
        alone = trained([seed], [own])
        torch.testing.assert_close(together.parameters[run], alone.parameters, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(together.parameters[0], together.parameters[2])


def draws_of(seeds: list[int], step: int = 0) -> Any:
    return lambda place: Draws([streams.key(seed, f"noise{place}") for seed in seeds], step, CPU)


BATCH = torch.randn(32, FEATURES, generator=torch.Generator().manual_seed(0)), torch.arange(32) % CLASSES


def test_loss_and_gradients_are_those_of_the_module_itself() -> None:
    stack, own = stack_of([1], "none"), net(1)
    with torch.random.fork_rng(devices=[]):
        draws_of([1])(0).seed_torch()
        for dropout in (own.drop1, own.drop2, own.drop3):
            dropout.p = 0.0
        output = own(BATCH[0])
        loss = F.cross_entropy(output, BATCH[1])
        loss.backward()
    found, accuracy = mean_metrics(stack.differentiate(*BATCH, [0.0, 0.5, 0.5], draws_of([1])), BATCH[1])
    assert float(found) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert float(accuracy) == pytest.approx(float((output.argmax(-1) == BATCH[1]).float().mean()))
    flat = torch.cat([parameter.grad.flatten() for parameter in own.parameters()])
    torch.testing.assert_close(stack.gradients, flat)


def test_gradients_do_not_add_up() -> None:
    stack = stack_of([1])
    stack.differentiate(*BATCH, [0.0, 0.5, 0.5], draws_of([1]))
    first = stack.gradients.clone()
    stack.differentiate(*BATCH, [0.0, 0.5, 0.5], draws_of([1]))
    assert torch.equal(stack.gradients, first)


class Bare(nn.Module):
    """Nothing but dropouts: what comes out shows the masks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.drops = nn.ModuleList([nn.Dropout(0.1), nn.Dropout(0.1), nn.Dropout(0.3), nn.Dropout(0.6)])

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(200, 100)
        self.seen = [drop(ones) for drop in self.drops]
        return x * self.weight


def test_rates_of_the_first_two_are_ours_and_of_the_others_their_own() -> None:
    nets = [Bare(), Bare()]
    stack = Modules(nets, make({"name": "dropout"}), CPU)
    rates = [torch.tensor([a, b]).reshape(2, 1, 1) for a, b in [(0.0, 0.0), (0.5, 0.0), (0.8, 0.4)]]
    x, y = torch.ones(2, 1, 3), torch.zeros(2, 1, dtype=torch.long)

    def draws(place: int) -> Draws:
        return Draws([10 * place + run for run in range(2)], 0, CPU)

    stack.differentiate(x, y, rates, draws)
    for bare, expected in zip(nets, [(0.5, 0.8, 0.3, 0.6), (0.0, 0.4, 0.3, 0.6)], strict=True):
        for out, rate in zip(bare.seen, expected, strict=True):
            assert float((out == 0).float().mean()) == pytest.approx(rate, abs=0.02)
            assert (out.unique() - LEVELS / round((1 - rate) * LEVELS)).abs().min() < 1e-6
    masks = [out != 0 for bare in nets for out in bare.seen[2:]]
    assert not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


def test_without_noise_no_dropout_drops() -> None:
    bare = Bare()
    stack = Modules([bare], make({"name": "none"}), CPU)
    stack.differentiate(torch.ones(1, 3), torch.zeros(1, dtype=torch.long), [0.0, 0.5, 0.5], draws_of([1]))
    assert all((out == 1).all() for out in bare.seen)


def test_parameters_are_views_of_the_stack() -> None:
    stack = stack_of([1, 2])
    expected = torch.stack(
        [nn.utils.parameters_to_vector(net(seed).parameters()) for seed in (1, 2)]
    ).detach()
    assert torch.equal(stack.parameters, expected)
    stack.parameters.mul_(2)
    stack.gradients.fill_(7)
    for own, seed in zip(stack.nets, (1, 2), strict=True):
        for parameter, original in zip(own.parameters(), net(seed).parameters(), strict=True):
            assert torch.equal(parameter, 2 * original)
            assert parameter.grad is not None
            assert (parameter.grad == 7).all()


@pytest.mark.parametrize("seeds", [[1], [1, 2]])
def test_descending_is_a_step_along_the_gradient(seeds: list[int]) -> None:
    one, other = stack_of(seeds), stack_of(seeds)
    x, y = (BATCH[0], BATCH[1]) if len(seeds) == 1 else (BATCH[0].expand(2, -1, -1), BATCH[1].expand(2, -1))
    rates: list[Any] = [0.5] * 3 if len(seeds) == 1 else [torch.full((2, 1, 1), 0.5)] * 3
    lr: Any = 0.3 if len(seeds) == 1 else torch.tensor([[0.3], [0.1]])
    before = one.parameters.clone()
    log_p = one.differentiate(x, y, rates, draws_of(seeds))
    assert torch.equal(log_p, other.descend(x, y, rates, draws_of(seeds), lr))
    torch.testing.assert_close(other.parameters, before - lr * one.gradients)


def test_at_test_time_the_module_is_as_it_is() -> None:
    stack = stack_of([1, 2])
    stack.differentiate(
        BATCH[0].expand(2, -1, -1), BATCH[1].expand(2, -1), [torch.full((2, 1, 1), 0.5)] * 3, draws_of([1, 2])
    )
    for seed, logits in zip((1, 2), stack.logits(BATCH[0]), strict=True):
        torch.testing.assert_close(logits, net(seed).eval()(BATCH[0]).detach())


def test_hidden_layers_are_what_the_first_two_dropouts_see() -> None:
    stack, own = stack_of([1]), net(1).eval()
    clean = stack.hidden(BATCH[0])
    first = F.relu(own.first(BATCH[0])).detach()
    torch.testing.assert_close(clean[0], first)
    torch.testing.assert_close(clean[1], F.gelu(own.second(first)).detach())
    noisy = stack.hidden(BATCH[0], [0.0, 0.5, 0.5], draws_of([1]))
    assert len(noisy) == len(clean) == 2
    assert ((noisy[0] == 0) | ((noisy[0] - 2 * first).abs() < 1e-6)).all()
    assert not any(module._forward_hooks for module in stack.nets[0].modules())


def test_a_module_without_dropout_trains_and_has_no_hidden_layers() -> None:
    plain = nn.Sequential(nn.Linear(FEATURES, CLASSES))
    reference = copy.deepcopy(plain)
    stack = Modules([plain], make({"name": "dropout"}), CPU)
    loss, _ = mean_metrics(stack.differentiate(*BATCH, [0.0, 0.5, 0.5], draws_of([1])), BATCH[1])
    assert float(loss) == pytest.approx(float(F.cross_entropy(reference(BATCH[0]), BATCH[1]).detach()))
    assert stack.hidden(BATCH[0]) == []
