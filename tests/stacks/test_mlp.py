"""The hand-written gradients against autograd's, for each hook a noise can have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from src import models
from src.noise import Noise
from src.noise.dropout import Dropout
from src.noise.dropout_clone import DropoutClone
from src.noise.none import NoNoise
from src.stacks.mlp import MLP
from src.streams import Draws, Rate
from src.training.probes import mean_metrics

CPU = torch.device("cpu")
FEATURES, CLASSES = 7, 4


class Scaled(Noise):
    """On activations, and dependent on them: h·(1 + p·ε·tanh h)."""

    def activation(self, h: Tensor, rate: Rate, draws: Draws) -> Tensor:
        return h * (1 + rate * draws.normal(h.shape) * torch.tanh(h))


class Weights(Noise):
    """On a layer's weights, once for the batch, in two draws."""

    def weight(self, W: Tensor, rate: Rate, draws: Draws) -> Tensor:
        return W * draws.keep(W.shape, rate) + 0.1 * rate * draws.normal(W.shape)


class Product(Noise):
    """On a layer's product: the noise's size depends on input and weights."""

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, draws: Draws) -> Tensor:
        mean = torch.matmul(x, W.mT) + b.unsqueeze(-2)
        variance = torch.matmul(x * x, (W * W).mT)
        return mean + rate * draws.normal(mean.shape) * (variance + 1e-4).sqrt()


NOISES: list[type[Noise]] = [NoNoise, Dropout, Scaled, Weights, Product]


class Case:
    """A stack of R small nets, a batch for it, and the same function in one autograd graph."""

    def __init__(
        self, noise: type[Noise], rates: list[float], n: int, hidden: tuple[int, int], seed: int = 0
    ) -> None:
        self.R, self.noise, self.seed = len(rates), noise({}), seed
        shape = {"name": "scratch", "hidden1": hidden[0], "hidden2": hidden[1]}
        self.nets = [models.build(shape, FEATURES, CLASSES, seed + run) for run in range(self.R)]
        self.stack = MLP(self.nets, self.noise, CPU)
        self.rates: list[Any] = [0.0, rates[0], rates[0] / 2]
        if self.R > 1:
            self.rates = [torch.tensor(rates).reshape(-1, 1, 1) * share for share in (0.0, 1.0, 0.5)]
        self.x, self.y = self.batch(n)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed + n)
        lead = (self.R,) if self.R > 1 else ()
        x = torch.randn(*lead, n, FEATURES, generator=generator)
        return x, torch.randint(CLASSES, (*lead, n), generator=generator)

    def draws(self, place: int) -> Draws:
        return Draws([100 * place + run for run in range(self.R)], self.seed, CPU)

    def hidden(self, parameters: list[Tensor], x: Tensor, with_noise: bool) -> list[Tensor]:
        h, layers, noise = x, [], self.noise
        for layer in (1, 2):
            rate = self.rates[layer]
            noisy = with_noise and not (
                isinstance(rate, float) and rate == 0
            )  # the hooks' contract for one run
            W, b = parameters[2 * layer - 2], parameters[2 * layer - 1]
            arguments = self.rates[layer], self.draws(layer)
            if noisy and noise.has("product"):
                z = noise.product(h, W, b, *arguments)
            else:
                z = torch.matmul(h, (noise.weight(W, *arguments) if noisy and noise.has("weight") else W).mT)
                z = z + b.unsqueeze(-2)
            h = F.relu(z)
            if noisy and noise.has("activation"):
                h = noise.activation(h, *arguments)
            elif noisy and noise.has("factor") and (factor := noise.factor(h, *arguments)) is not None:
                h = h * factor
            layers.append(h)
        return layers

    def parameters(self) -> list[Tensor]:
        """Weights and biases as autograd's leaves, with R in front in a stack."""
        grouped = zip(*(net.parameters() for net in self.nets), strict=True)
        joined = [torch.stack(parameters) if self.R > 1 else parameters[0] for parameters in grouped]
        return [tensor.detach().clone().requires_grad_() for tensor in joined]

    def expected(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and right answers of each run, and the gradients as the stack has them."""
        parameters = self.parameters()
        logits = torch.matmul(self.hidden(parameters, x, with_noise=True)[1], parameters[4].mT) + parameters[
            5
        ].unsqueeze(-2)
        loss = F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none").reshape(y.shape).mean(-1)
        gradients = torch.autograd.grad(loss.sum(), parameters)
        flat = torch.cat([gradient.flatten(1 if self.R > 1 else 0) for gradient in gradients], -1)
        return loss.detach(), (logits.argmax(-1) == y).sum(-1), flat

    def check(self, x: Tensor, y: Tensor) -> None:
        loss, accuracy = mean_metrics(self.stack.differentiate(x, y, self.rates, self.draws), y)
        own_loss, own_correct, gradients = self.expected(x, y)
        torch.testing.assert_close(loss.float(), own_loss, rtol=1e-5, atol=1e-6)
        assert torch.equal((accuracy * y.shape[-1]).round().long(), own_correct)
        torch.testing.assert_close(self.stack.gradients, gradients, rtol=1e-4, atol=1e-6)


RATES = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9]), min_size=1, max_size=3)
WIDTHS = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.mark.parametrize("noise", NOISES)
@settings(max_examples=20)
@given(rates=RATES, n=st.integers(1, 12), hidden=WIDTHS, seed=st.integers(0, 10**6))
def test_gradients_are_autograds(
    noise: type[Noise], rates: list[float], n: int, hidden: tuple[int, int], seed: int
) -> None:
    case = Case(noise, rates, n, hidden, seed)
    case.check(case.x, case.y)


@pytest.mark.parametrize("noise", NOISES)
@settings(max_examples=10)
@given(rates=RATES, n=st.integers(1, 12), seed=st.integers(0, 10**6), lr=st.floats(1e-3, 1))
def test_descending_is_a_step_along_the_gradient(
    noise: type[Noise], rates: list[float], n: int, seed: int, lr: float
) -> None:
    case, twin = (Case(noise, rates, n, (6, 5), seed) for _ in range(2))
    lrs = torch.linspace(lr, lr / 2, case.R).unsqueeze(-1)
    before = case.stack.parameters.clone()
    log_p = case.stack.differentiate(case.x, case.y, case.rates, case.draws)
    descended = twin.stack.descend(twin.x, twin.y, twin.rates, twin.draws, lr if case.R == 1 else lrs)
    assert torch.equal(log_p, descended)
    assert torch.equal(case.stack.parameters, before)
    expected = before - (lrs if case.R > 1 else lr) * case.stack.gradients
    torch.testing.assert_close(twin.stack.parameters, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rates", [[0.5], [0.2, 0.9]])
@pytest.mark.parametrize("noise", NOISES)
def test_batches_of_other_sizes_leave_no_trace(noise: type[Noise], rates: list[float]) -> None:
    case = Case(noise, rates, 8, (6, 5))
    for n in (8, 3, 8, 1, 3):
        case.check(*case.batch(n))
        case.stack.logits(torch.randn(5, FEATURES))
        case.stack.hidden(torch.randn(3, FEATURES), case.rates, case.draws)


@pytest.mark.parametrize("rates", [[0.5], [0.2, 0.9]])
@pytest.mark.parametrize("noise", NOISES)
def test_hidden_layers_clean_and_noisy(noise: type[Noise], rates: list[float]) -> None:
    case = Case(noise, rates, 8, (6, 5))
    x = torch.randn(9, FEATURES, generator=torch.Generator().manual_seed(1))  # shared by all runs
    spread = x.expand(case.R, *x.shape) if case.R > 1 else x
    for noisy, layers in (
        (False, case.stack.hidden(x)),
        (True, case.stack.hidden(x, case.rates, case.draws)),
    ):
        for layer, expected in zip(layers, case.hidden(case.parameters(), spread, noisy), strict=True):
            torch.testing.assert_close(layer, expected.detach(), rtol=1e-5, atol=1e-6)
            assert not layer.requires_grad
    again = case.stack.hidden(x)
    first = again[0].clone()
    case.stack.hidden(x, case.rates, case.draws)
    assert torch.equal(again[0], first), "what was handed out is not written to"


def test_logits_are_the_nets_own() -> None:
    case = Case(Dropout, [0.5, 0.2], 8, (6, 5))
    x = torch.randn(9, FEATURES)
    for net, logits in zip(case.nets, case.stack.logits(x), strict=True):
        torch.testing.assert_close(logits, net.eval()(x).detach(), rtol=1e-5, atol=1e-6)


def test_noise_on_the_input_drops_pixels() -> None:
    case = Case(Dropout, [0.0], 8, (6, 5))
    case.rates[0] = 0.5
    dropped = case.x * Dropout({}).factor(case.x, 0.5, case.draws(0))
    loss, _ = mean_metrics(case.stack.differentiate(case.x, case.y, case.rates, case.draws), case.y)
    torch.testing.assert_close(loss.float(), case.expected(dropped, case.y)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(case.stack.gradients, case.expected(dropped, case.y)[2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [Dropout, DropoutClone])
@given(rate=st.sampled_from([0.1, 0.5, 1.0]), n=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_dropping_pixels_in_place_gives_the_same_numbers(
    kind: type[Noise], rate: float, n: int, seed: int
) -> None:
    def trained(noise: type[Noise]) -> list[Tensor]:
        case = Case(noise, [0.5], n, (5, 3), seed)
        rates, x = [rate, *case.rates[1:]], case.x.clone()
        shown = case.stack.hidden(x, rates, case.draws)
        assert torch.equal(x, case.x), "a probe works in other memory"
        return [*shown, case.stack.descend(x, case.y, rates, case.draws, 0.1), case.stack.parameters]

    by_factors = type(kind.__name__, (kind,), {"drops_input": False})
    for ours, right in zip(trained(kind), trained(by_factors), strict=True):
        assert torch.equal(ours, right)


def test_a_rate_of_one_leaves_the_biases_to_learn() -> None:
    case = Case(Dropout, [1.0], 8, (6, 5))
    case.rates = [0.0, 1.0, 1.0]
    case.check(case.x, case.y)
    *_, weights3, bias3 = torch.split(case.stack.gradients, [42, 6, 30, 5, 20, 4])
    assert not weights3.any()
    assert bias3.any()


def test_the_gradient_of_one_run_depends_on_its_own_images_alone() -> None:
    case = Case(Dropout, [0.5, 0.5], 8, (6, 5))
    case.stack.differentiate(case.x, case.y, case.rates, case.draws)
    before = case.stack.gradients.clone()
    other = case.x.clone()
    other[1] *= 3
    case.stack.differentiate(other, case.y, case.rates, case.draws)
    assert torch.equal(case.stack.gradients[0], before[0])
    assert not torch.equal(case.stack.gradients[1], before[1])
