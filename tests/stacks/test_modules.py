"""Anyone's `nn.Module` trains in a stack as it does alone, with rates, schedules and streams of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs import documented
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from src import optimizers, streams
from src.noise import Noise, initial_parameters, make
from src.stacks.mlp import MLP
from src.stacks.modules import Modules
from src.streams import LEVELS, Draws
from src.training.probes import mean_metrics

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
            for column in zip(*((0.0, *of_run) for of_run in rates), strict=True)
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
    for run, (seed, of_run) in enumerate(zip(seeds, rates, strict=True)):
        alone = trained([seed], [of_run])
        torch.testing.assert_close(together.parameters[run], alone.parameters, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(together.parameters[0], together.parameters[2])


def draws_of(seeds: list[int], step: int = 0) -> Any:
    return lambda place: Draws([streams.key(seed, f"noise{place}") for seed in seeds], step, CPU)


BATCH = torch.randn(32, FEATURES, generator=torch.Generator().manual_seed(0)), torch.arange(32) % CLASSES


def test_loss_and_gradients_are_those_of_the_module_itself() -> None:
    stack, plain = stack_of([1], "none"), net(1)
    with torch.random.fork_rng(devices=[]):
        draws_of([1])(0).seed_torch()
        for dropout in (plain.drop1, plain.drop2, plain.drop3):
            dropout.p = 0.0
        output = plain(BATCH[0])
        loss = F.cross_entropy(output, BATCH[1])
        loss.backward()
    mean_loss, accuracy = mean_metrics(stack.differentiate(*BATCH, [0.0, 0.5, 0.5], draws_of([1])), BATCH[1])
    assert float(mean_loss) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert float(accuracy) == pytest.approx(float((output.argmax(-1) == BATCH[1]).float().mean()))
    flat = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()])
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


def test_every_call_of_a_dropout_has_its_own_rate_and_mask() -> None:
    nets = [Bare(), Bare()]
    stack = Modules(nets, make({"name": "dropout"}), CPU)
    by_place = [(0.0, 0.0), (0.5, 0.0), (0.8, 0.4), (0.3, 0.3), (0.6, 0.6)]
    rates = [torch.tensor(of_place).reshape(2, 1, 1) for of_place in by_place]
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
    for trained_net, seed in zip(stack.nets, (1, 2), strict=True):
        for parameter, original in zip(trained_net.parameters(), net(seed).parameters(), strict=True):
            assert torch.equal(parameter, 2 * original)
            assert parameter.grad is not None
            assert (parameter.grad == 7).all()


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("shape", [(), (0, 3), (1, 3)])
def test_a_parameter_may_be_a_single_number_or_empty(runs: int, shape: tuple[int, ...]) -> None:
    nets: list[nn.Module] = [nn.Linear(3, 2) for _ in range(runs)]
    for each in nets:
        each.gain = nn.Parameter(torch.ones(shape))
    stack = Modules(nets, make({"name": "none"}), CPU)
    stack.parameters.mul_(2)
    assert all(torch.equal(each.gain, torch.full(shape, 2.0)) for each in nets)


@pytest.mark.parametrize("seeds", [[1], [1, 2]])
def test_descending_is_a_step_along_the_gradient(seeds: list[int]) -> None:
    stack, twin = stack_of(seeds), stack_of(seeds)
    x, y = (BATCH[0], BATCH[1]) if len(seeds) == 1 else (BATCH[0].expand(2, -1, -1), BATCH[1].expand(2, -1))
    rates: list[Any] = [0.5] * 3 if len(seeds) == 1 else [torch.full((2, 1, 1), 0.5)] * 3
    lr: Any = 0.3 if len(seeds) == 1 else torch.tensor([[0.3], [0.1]])
    before = stack.parameters.clone()
    log_p = stack.differentiate(x, y, rates, draws_of(seeds))
    assert torch.equal(log_p, twin.descend(x, y, rates, draws_of(seeds), lr))
    torch.testing.assert_close(twin.parameters, before - lr * stack.gradients)


def test_at_test_time_the_module_is_as_it_is() -> None:
    stack = stack_of([1, 2])
    stack.differentiate(
        BATCH[0].expand(2, -1, -1), BATCH[1].expand(2, -1), [torch.full((2, 1, 1), 0.5)] * 3, draws_of([1, 2])
    )
    for seed, logits in zip((1, 2), stack.logits(BATCH[0]), strict=True):
        torch.testing.assert_close(logits, net(seed).eval()(BATCH[0]).detach())


def test_hidden_layers_are_what_the_dropouts_see() -> None:
    stack, plain = stack_of([1]), net(1).eval()
    clean = stack.hidden(BATCH[0])
    first = F.relu(plain.first(BATCH[0])).detach()
    torch.testing.assert_close(clean[0], first)
    torch.testing.assert_close(clean[1], F.gelu(plain.second(first)).detach())
    noisy = stack.hidden(BATCH[0], [0.0, 0.5, 0.5], draws_of([1]))
    assert len(noisy) == len(clean) == 3
    assert ((noisy[0] == 0) | ((noisy[0] - 2 * first).abs() < 1e-6)).all()
    assert not any(module._forward_hooks for module in stack.nets[0].modules())


def test_a_module_without_dropout_trains_and_has_no_hidden_layers() -> None:
    plain = nn.Sequential(nn.Linear(FEATURES, CLASSES))
    reference = copy.deepcopy(plain)
    stack = Modules([plain], make({"name": "dropout"}), CPU)
    loss, _ = mean_metrics(stack.differentiate(*BATCH, [0.0, 0.5, 0.5], draws_of([1])), BATCH[1])
    assert float(loss) == pytest.approx(float(F.cross_entropy(reference(BATCH[0]), BATCH[1]).detach()))
    assert stack.hidden(BATCH[0]) == []


class Twice(nn.Module):
    """One `nn.Dropout`, called after two layers of one width."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = [self.drop(torch.ones(200, 100)), self.drop(torch.ones(200, 100))]
        return x * self.weight + 0 * self.seen[0].sum() * self.seen[1].sum()


def test_one_dropout_called_twice_is_two_places() -> None:
    twice = Twice()
    stack = Modules([twice], make({"name": "dropout"}), CPU)
    stack.differentiate(torch.ones(1, 3), torch.zeros(1, dtype=torch.long), [0.0, 0.5, 0.25], draws_of([1]))
    first, second = twice.seen
    assert float((first == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((second == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    both = float(((first == 0) & (second == 0)).float().mean())
    assert both == pytest.approx(0.125, abs=0.02), "masks of their own"


class Changing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop, self.out, self.passes = nn.Dropout(), nn.Linear(FEATURES, CLASSES), 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.out(self.drop(x) if self.passes != 3 else x)


def test_a_number_of_calls_that_changes_ends_the_run() -> None:
    stack = Modules([Changing()], make({"name": "dropout"}), CPU)
    for _ in range(2):
        stack.differentiate(*BATCH, [0.0, 0.5], draws_of([1]))
    with pytest.raises(
        RuntimeError, match="calls in one pass 0 dropouts and in another 1: a place in the net is"
    ):
        stack.differentiate(*BATCH, [0.0, 0.5], draws_of([1]))


class Checkpointed(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return h


def test_a_pass_that_autograd_repeats_has_no_places() -> None:
    """Its dropouts would be the third and fourth call."""
    stack = Modules(
        [Checkpointed(nn.Linear(FEATURES, CLASSES), nn.Dropout())], make({"name": "dropout"}), CPU
    )
    with pytest.raises(RuntimeError, match="outside of a forward pass"):
        stack.differentiate(*BATCH, [0.0, 0.5], draws_of([1]))


class Convolved(nn.Module):
    """Every kind of dropout, each on (n, channels, ...)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.drops = nn.ModuleList([nn.Dropout1d(), nn.Dropout2d(), nn.Dropout3d(), nn.Dropout()])

    def forward(self, x: Tensor) -> Tensor:
        shapes = [(50, 40, 6), (50, 40, 3, 2), (50, 40, 2, 3, 1), (50, 40, 3, 2)]
        self.seen = [drop(torch.ones(shape)) for drop, shape in zip(self.drops, shapes, strict=True)]
        return x * self.weight


@pytest.mark.parametrize("name", ["dropout", "gaussian", "uniform", "jumpout"])
def test_whole_channels_have_one_factor(name: str) -> None:
    net = Convolved()
    options = {"name": name, "highest": 0.6, "power": 0.75}
    stack = Modules([net], make(options), CPU)
    stack.differentiate(torch.ones(1, 3), torch.zeros(1, dtype=torch.long), [0.0] + [0.5] * 4, draws_of([1]))
    for out in net.seen[:3]:
        channels = out.flatten(2)
        assert torch.equal(channels, channels[..., :1].expand_as(channels))
        assert len(channels[..., 0].unique()) > 1
    assert not torch.equal(net.seen[3].flatten(2), net.seen[3].flatten(2)[..., :1].expand(-1, -1, 6))


class Three(nn.Sequential):
    """The layers of the book's net as anyone would write them; `ReLU` as a user may have it, in place."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(FEATURES, 12), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(12, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, CLASSES),
        )  # fmt: skip


CONF = Path(__file__).resolve().parents[2] / "conf" / "noise"


def shape_at(noise: Noise, place: int, widths: Sequence[int]) -> tuple[int, int]:
    """What the noise is handed at a place: a layer's weights, or activations."""
    if not (noise.has("weight") or noise.has("product")):
        return 1, widths[place]
    layer = place if noise.reads else max(place - 1, 0)
    return widths[layer + 1], widths[layer]


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("name", sorted(documented("noise")))
def test_a_plain_module_has_any_noise_as_the_book_net_has(name: str, runs: int) -> None:
    """Two implementations of every noise, by hand and by autograd; over a few steps, as some have a state."""
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    nets = [net(seed, Three) for seed in range(runs)]
    noise, widths = make(options), (FEATURES, 12, 9, CLASSES)
    learned = [
        {
            (place, key): value
            for place in (0, 1, 2)
            for key, value in initial_parameters(noise, shape_at(noise, place, widths), seed).items()
        }
        for seed in range(runs)
    ]
    by_hand = MLP(nets, noise, CPU, learned=learned)
    by_autograd = Modules(copy.deepcopy(nets), make(options), CPU, learned=learned)
    seeds = list(range(runs))
    rates: list[Any] = [0.0, 0.3, 0.4]
    if runs > 1:
        by_place = ([0.3, 0.0, 0.45], [0.4, 0.2, 0.48])
        rates = [0.0, *(torch.tensor(of_place).reshape(-1, 1, 1) for of_place in by_place)]
    lead = (runs,) if runs > 1 else ()
    for step in range(4):
        n = 16 if step != 2 else 7
        x = torch.randn(*lead, n, FEATURES, generator=torch.Generator().manual_seed(step))
        y = torch.arange(n).expand(*lead, n) % CLASSES
        losses = [
            mean_metrics(stack.differentiate(x, y, rates, draws_of(seeds, step)), y)[0]
            for stack in (by_hand, by_autograd)
        ]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(by_autograd.gradients, by_hand.gradients, rtol=1e-4, atol=1e-6)
        for stack in (by_hand, by_autograd):
            stack.parameters.sub_(0.5 * by_hand.gradients)
        if "drop" in name or name == "none":  # a stack's hidden layers are those behind the noise
            for ours, theirs in zip(
                by_hand.hidden(BATCH[0], rates, draws_of(seeds, step)),
                by_autograd.hidden(BATCH[0], rates, draws_of(seeds, step)),
                strict=True,
            ):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weights_of_a_convolution_have_noise_as_a_matrix_has() -> None:
    conv = nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 4, 2, groups=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )
    W, b = (parameter.detach().clone() for parameter in conv[1].parameters())
    stack = Modules([conv], make({"name": "dropconnect"}), CPU)
    outputs: list[Tensor] = []
    conv[2].register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    stack.differentiate(*BATCH, [0.0, 0.5], draws_of([1]))
    mask = draws_of([1])(1).keep((4, 4), 0.5).view_as(W) * 2
    expected = F.relu(F.conv2d(BATCH[0].view(-1, 1, 2, 3), W * mask, b))
    torch.testing.assert_close(outputs[0], expected)
    assert ((stack.gradients[: W.numel()] != 0).view_as(W) <= (mask != 0)).all(), (
        "what was dropped does not learn"
    )


class Tracking(nn.Module):
    """Buffers that every pass changes, two of them in evaluation, too; and a draw of its own there."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(FEATURES), nn.Dropout()
        self.out = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.replaced = self.replaced + 1
        return self.out(self.drop(self.norm(x))) + torch.rand(())


def test_looking_leaves_every_buffer_and_draw_as_it_was() -> None:
    stack = Modules([net(1, Tracking)], make({"name": "dropout"}), CPU)
    rates: list[Any] = [0.0, 0.5]
    stack.differentiate(*BATCH, rates, draws_of([1]))
    before = {name: tensor.clone() for name, tensor in stack.nets[0].state_dict().items()}
    state = torch.random.get_rng_state()
    clean = stack.logits(BATCH[0])
    stack.hidden(BATCH[0])
    noisy = stack.logits(BATCH[0], rates, draws_of([1]))
    stack.hidden(BATCH[0], rates, draws_of([1]))
    for name, tensor in stack.nets[0].state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(stack.logits(BATCH[0]), clean), "however often it is asked"
    assert not torch.equal(noisy, clean), "the noise is on"
    stack.differentiate(*BATCH, rates, draws_of([1], 1))
    assert float(stack.nets[0].seen) == 2


def test_a_noise_with_state_stands_still_while_it_is_looked_at() -> None:
    options = {"name": "additive", "momentum": 0.5}
    modules, twin = (Modules([net(1, Three)], make(options), CPU) for _ in range(2))
    rates: list[Any] = [0.0, 0.5, 0.5]
    for step in range(3):
        modules.differentiate(*BATCH, rates, draws_of([1], step))
        twin.differentiate(*BATCH, rates, draws_of([1], step))
        twin.logits(10 * BATCH[0], rates, draws_of([1], step))
        assert torch.equal(modules.gradients, twin.gradients)
