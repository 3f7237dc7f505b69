"""What is measured beside the training, against plain computations and dropout's own variance identity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from src import models, noise, streams
from src.stacks import DrawsAt, Stack
from src.streams import Draws, Rate
from src.training.probes import (
    EVALUATION_BATCH,
    PASSES,
    activations,
    calibration_error,
    evaluate_test_time,
    layer_variances,
    log_probabilities,
    mean_metrics,
    of_run,
)

CPU = torch.device("cpu")


def evaluate(stack: Stack, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return mean_metrics(log_probabilities(stack, images), labels)


def activation_variances(
    stack: Stack, images: Tensor, rates: Sequence[Rate], draws: DrawsAt
) -> tuple[list[Tensor], list[Tensor]]:
    columns = layer_variances(stack, images, rates, draws)
    clean, noisy = ([columns[f"{name}{layer}"] for layer in (1, 2)] for name in ("var", "noisy_var"))
    return clean, noisy


def stack_of(
    model: str, runs: int, features: int = 5, hidden: int = 6, classes: int = 3
) -> tuple[list, Stack]:
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
        assert float(accuracy) == pytest.approx(
            float((output.argmax(-1) == labels).double().mean()), abs=1e-9
        )


@given(
    st.lists(st.lists(st.sampled_from([-3.0, -1.0, -0.5]), min_size=3, max_size=3), min_size=1, max_size=40)
)
def test_of_several_highest_the_first_is_the_answer(values: list[list[float]]) -> None:
    log_p, labels = torch.tensor(values), torch.arange(len(values)) % 3
    right = [row.index(max(row)) == int(label) for row, label in zip(values, labels, strict=True)]
    assert float(mean_metrics(log_p, labels)[1]) == sum(right) / len(right)


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
    _, stack = stack_of(model, 1, features=20, hidden=300)
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
    rates = [
        torch.tensor(of_place).reshape(3, 1, 1) for of_place in ([0.0] * 3, [0.0, 0.5, 0.9], [0.2, 0.5, 0.0])
    ]
    together = activation_variances(stack, images, rates, lambda k: Draws(keys[k], 1, CPU))
    for run, net in enumerate(nets):
        alone = models.stack_class("scratch")([net], noise.make({"name": "dropout", "input_rate": 0.0}), CPU)
        own_rates = [float(rate[run]) for rate in rates]
        of_place = activation_variances(
            alone, images, own_rates, lambda k, run=run: Draws([keys[k][run]], 1, CPU)
        )
        for layers, own_layers in zip(together, of_place, strict=True):
            for layer, own_layer in zip(layers, own_layers, strict=True):
                assert float(layer[run]) == pytest.approx(float(own_layer), rel=1e-5)


def test_variance_is_over_all_units_and_images() -> None:
    """With so few numbers a variance over n - 1 of them, or a mean of variances, is another."""
    _, stack = stack_of("scratch", 1)
    images = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    clean, noisy = activation_variances(stack, images, [0.0, 0.0, 0.0], lambda place: Draws([place], 1, CPU))
    for layer, h in enumerate(stack.hidden(images)):
        expected = float(((h - h.mean()) ** 2).mean())
        assert float(clean[layer]) == pytest.approx(expected, rel=1e-5)
        assert float(noisy[layer]) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=30)
@given(
    n=st.integers(1, 400),
    classes=st.integers(2, 10),
    sharpness=st.floats(0.1, 30),
    seed=st.integers(0, 10**6),
)
def test_calibration_error_equals_torchmetrics(n: int, classes: int, sharpness: float, seed: int) -> None:
    from src.data._torchvision import define_missing_operators

    define_missing_operators()
    from torchmetrics.functional.classification import multiclass_calibration_error

    generator = torch.Generator().manual_seed(seed)
    log_p = torch.log_softmax(sharpness * torch.randn(n, classes, generator=generator), -1)
    labels = torch.randint(classes, (n,), generator=generator)
    expected = multiclass_calibration_error(log_p.exp(), labels, num_classes=classes, n_bins=15, norm="l1")
    assert float(calibration_error(log_p, labels)) == pytest.approx(float(expected), abs=1e-5)
    stacked = torch.stack([log_p, log_p.flip(0)])
    assert float(calibration_error(stacked, labels)[0]) == pytest.approx(float(expected), abs=1e-5)


def test_calibration_error_by_hand() -> None:
    log_p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]).log()
    # two at 0.9 of which one is right, one at 0.6 that is right
    assert float(calibration_error(log_p, torch.tensor([0, 1, 0]))) == pytest.approx((2 * 0.4 + 0.4) / 3)


@pytest.mark.parametrize("model", ["scratch", "concise"])
def test_masking_one_layer_adds_alpha_times_its_mean_square(model: str) -> None:
    """Var(after) = Var(before) + α·E[before²] at each layer, before being the activations without any noise."""
    _, stack = stack_of(model, 1, features=20, hidden=400)
    stack.parameters.mul_(5)
    images = torch.randn(512, 20, generator=torch.Generator().manual_seed(1))
    keys = [streams.key(3, f"probe{place}") for place in range(3)]
    rates = [0.0, 0.2, 0.5]
    rows = activations(stack, images, rates, lambda place: Draws([keys[place]], 1, CPU))
    for row, h, p in zip(rows, stack.hidden(images), rates[1:], strict=True):
        assert float(row["var"]) == pytest.approx(float(h.var(correction=0)), rel=1e-5)
        added = p / (1 - p) * float(h.square().mean())
        assert float(row["masked_var"] - row["var"]) == pytest.approx(added, rel=0.02)
        assert float(row["unit_var"]) == pytest.approx(float(h.var(0, correction=0).mean()), rel=1e-5)
        assert float(row["unit_masked_var"] - row["unit_var"]) == pytest.approx(added, rel=0.05)
        assert float(row["zeros"]) == pytest.approx(float((h == 0).double().mean()))
        assert float(row["dead"]) == pytest.approx(float((h == 0).all(0).double().mean()))
        assert list(row)[-1] == "mean_square"
        assert float(row["mean_square"]) == pytest.approx(float(h.double().square().mean()), rel=1e-5)
    assert float(rows[0]["noisy_var"]) == float(rows[0]["masked_var"])
    assert float(rows[1]["noisy_var"]) > float(rows[1]["masked_var"])


def test_test_time_evaluation_against_passes_made_by_hand() -> None:
    _, stack = stack_of("scratch", 2, hidden=12)
    images = torch.randn(70, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(70) % 3
    keys = [[streams.key(seed, f"test_time{place}") for seed in range(2)] for place in range(3)]
    rates = [
        torch.tensor(of_run_rows).reshape(2, 1, 1) for of_run_rows in ([0.0, 0.0], [0.2, 0.5], [0.5, 0.2])
    ]

    def draws(step: int) -> DrawsAt:
        return lambda place: Draws(keys[place], step, CPU)

    rows = evaluate_test_time(stack, images, labels, rates, draws)
    assert [row["passes"] for row in rows] == [0, *(passes for passes in PASSES for _ in range(2))]
    off = mean_metrics(log_probabilities(stack, images), labels)
    for run in range(2):
        of_run_rows = of_run([(range(2), row) for row in rows], run)
        assert of_run_rows[0]["cross_entropy"] == pytest.approx(float(off[0][run]))
        passes = [
            torch.softmax(stack.logits(images, rates, draws(step)), -1)[run].double() for step in range(5)
        ]
        mean = torch.stack(passes).mean(0)
        five = next(row for row in of_run_rows if row["passes"] == 5 and row["method"] == "arithmetic")
        assert five["cross_entropy"] == pytest.approx(
            float(-mean[torch.arange(70), labels].log().mean()), rel=1e-5
        )
        assert five["accuracy"] == pytest.approx(float((mean.argmax(-1) == labels).double().mean()))
        assert five["entropy"] == pytest.approx(float(-(mean * mean.log()).sum(-1).mean()), rel=1e-5)
        votes = torch.stack([p.argmax(-1) for p in passes])
        pairs = [(votes[i] != votes[j]).double().mean() for i in range(5) for j in range(i)]
        assert five["disagreement"] == pytest.approx(float(sum(pairs) / len(pairs)))
        geometric = torch.stack([p.log() for p in passes]).mean(0).exp()
        geometric /= geometric.sum(-1, keepdim=True)
        row = next(row for row in of_run_rows if row["passes"] == 5 and row["method"] == "geometric")
        assert row["cross_entropy"] == pytest.approx(
            float(-geometric[torch.arange(70), labels].log().mean()), rel=1e-5
        )
        single = next(row for row in of_run_rows if row["passes"] == 1)
        assert single["disagreement"] is None
        assert single["cross_entropy"] != of_run_rows[0]["cross_entropy"]
