"""What is measured beside the training, against plain computations and dropout's own variance identity."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from src import models, noise, streams
from src.probes import EVALUATION_BATCH, activation_variances, evaluate
from src.stacks import Stack
from src.streams import Draws

CPU = torch.device("cpu")


def stack_of(model: str, runs: int, features: int = 5, hidden: int = 6, classes: int = 3) -> tuple[list, Stack]:
    shape = {"name": model, "hidden1": hidden, "hidden2": hidden}
    nets = [models.build(shape, features, classes, seed) for seed in range(runs)]
    own_noise = noise.make({"name": "dropout", "input_rate": 0.0})
    return nets, models.stack_class(model)(nets, own_noise, CPU)


@settings(max_examples=15)
@given(st.sampled_from(["scratch", "concise"]), st.integers(1, 3), st.integers(1, 2 * EVALUATION_BATCH + 1))
def test_evaluate_equals_a_plain_computation(model: str, runs: int, n: int) -> None:
    nets, stack = stack_of(model, runs)
    images = torch.randn(n, 5, generator=torch.Generator().manual_seed(n))
    labels = torch.arange(n) % 3
    losses, accuracies = evaluate(stack, images, labels)
    assert losses.shape == accuracies.shape == ((runs,) if runs > 1 else ())
    assert losses.dtype == accuracies.dtype == torch.float64
    for net, loss, accuracy in zip(nets, losses.reshape(-1), accuracies.reshape(-1), strict=True):
        with torch.no_grad():
            output = net.eval()(images)
        assert float(loss) == pytest.approx(float(F.cross_entropy(output, labels)), rel=1e-5)
        assert float(accuracy) == pytest.approx(float((output.argmax(-1) == labels).double().mean()), abs=1e-9)


def test_evaluation_of_nothing_is_not_a_number() -> None:
    _, stack = stack_of("scratch", 2)
    loss, accuracy = evaluate(stack, torch.empty(0, 5), torch.empty(0, dtype=torch.long))
    assert loss.isnan().all() and accuracy.isnan().all()


def test_evaluation_draws_nothing_and_changes_nothing() -> None:
    _, stack = stack_of("concise", 1)
    before, state = stack.parameters.clone(), torch.random.get_rng_state()
    first = evaluate(stack, torch.ones(10, 5), torch.zeros(10, dtype=torch.long))
    assert first == evaluate(stack, torch.ones(10, 5), torch.zeros(10, dtype=torch.long))
    assert torch.equal(stack.parameters, before)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("model", ["scratch", "concise"])
@pytest.mark.parametrize(("p1", "p2"), [(0.5, 0.0), (0.2, 0.0), (0.0, 0.5), (0.0, 0.9)])
def test_dropout_adds_alpha_times_the_mean_square(model: str, p1: float, p2: float) -> None:
    """Var(h') = Var(h) + α E[h²]: dropout keeps the mean, so what it adds to E[h²] it adds to the variance."""
    nets, stack = stack_of(model, 1, features=20, hidden=300)
    for parameter in stack.parameters.split(1000):
        parameter.mul_(3)
    images = torch.randn(512, 20, generator=torch.Generator().manual_seed(1))
    keys = [streams.key(9, f"probe{place}") for place in range(3)]
    clean, noisy = activation_variances(stack, images, [0.0, p1, p2], lambda k: Draws([keys[k]], 1, CPU))
    h: Tensor = stack.hidden(images)[0 if p1 else 1].double()
    p, layer = (p1, 0) if p1 else (p2, 1)
    alpha = p / (1 - p)
    assert float(clean[layer]) == pytest.approx(float(h.var(correction=0)), rel=1e-5)
    expected = float(h.var(correction=0) + alpha * (h**2).mean())
    # the sampling error of mean((h m/q)²) and of the mean that is squared and taken off
    error = math.sqrt(float((h**4).sum())) * math.sqrt(p * (1 - p)) / (1 - p) ** 2 / h.numel()
    error += 2 * float(h.mean().abs()) * math.sqrt(alpha * float((h**2).sum())) / h.numel()
    assert abs(float(noisy[layer]) - expected) < 4 * error
    assert 4 * error < 0.1 * (expected - float(clean[layer])), "the test can tell"
    if p1 == 0:
        assert float(noisy[0]) == pytest.approx(float(clean[0]), rel=1e-6)


def test_variances_of_a_stack_are_each_runs_own() -> None:
    nets, stack = stack_of("scratch", 3)
    images = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    keys = [[streams.key(seed, f"probe{place}") for seed in range(3)] for place in range(3)]
    rates = [torch.tensor(own).reshape(3, 1, 1) for own in ([0.0] * 3, [0.0, 0.5, 0.9], [0.2, 0.5, 0.0])]
    together = activation_variances(stack, images, rates, lambda k: Draws(keys[k], 1, CPU))
    for run, net in enumerate(nets):
        alone = models.stack_class("scratch")([net], noise.make({"name": "dropout", "input_rate": 0.0}), CPU)
        own_rates = [float(rate[run]) for rate in rates]
        own = activation_variances(alone, images, own_rates, lambda k, run=run: Draws([keys[k][run]], 1, CPU))
        for layers, own_layers in zip(together, own, strict=True):
            for layer, own_layer in zip(layers, own_layers, strict=True):
                assert float(layer[run]) == pytest.approx(float(own_layer), rel=1e-5)
