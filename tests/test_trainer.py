"""The training loop against the book's own: same weights, order and masks, so the same numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from configs import DIGITS, Compose, make_run
from torch import Tensor, nn
from torch.nn import functional as F

from src import components, models, noise, streams
from src.config import Run, parse
from src.data import Dataset
from src.probes import mean_metrics
from src.trainer import Images, train

CPU = torch.device("cpu")


def trained(runs: list[Run], images: Images, classes: int = 10) -> tuple[list[list[dict[str, Any]]], Any]:
    """Rows of each run, and what `train` returns."""
    rows: list[list[dict[str, Any]]] = [[] for _ in runs]

    def report(epoch_rows: Any) -> None:
        for own, row in zip(rows, epoch_rows, strict=True):
            own.append(dict(row))

    return rows, train(runs, images, classes, report)


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def first_images(data: Dataset, n: int, test: int) -> Dataset:
    return dataclasses.replace(
        data,
        train_images=data.train_images[:n],
        train_labels=data.train_labels[:n],
        test_images=data.test_images[:test],
        test_labels=data.test_labels[:test],
    )


def masked(H: Tensor, p: float, seed: int, place: int, step: int) -> Tensor:
    """The book's dropout with the run's own random bits: keep with probability 1 - p, divide by it."""
    bits = streams.Draws([streams.key(seed, f"noise{place}")], step, CPU)._words(tuple(H.shape))
    keep = torch.from_numpy((bits.astype(np.float64) / 65536 < 1 - p).astype(np.float32))
    return keep * H / (1.0 - p)


def book_loop(run: Run, data: Dataset) -> tuple[list[dict[str, float]], nn.Module]:
    """The chapter's training loop, transcribed: framework layers, autograd, torch.optim.SGD, batch by batch."""
    net = models.build(run.model, data.train_images.shape[1], data.classes, run.seed)
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    updater = torch.optim.SGD(net.parameters(), lr=run.optimizer["lr"])
    X_train = data.train_images.float() / data.scale
    X_test = data.test_images.float() / data.scale
    n, rows, step = len(X_train), [], 0
    for epoch in range(1, run.epochs + 1):
        order = torch.from_numpy(streams.generator(run.seed, "order", epoch).permutation(n))
        loss_sum = correct = 0.0
        for index in order.split(run.batch_size):
            X, y = X_train[index], data.train_labels[index]
            H1 = masked(F.relu(linear[0](X)), run.dropout1, run.seed, 1, step)
            H2 = masked(F.relu(linear[1](H1)), run.dropout2, run.seed, 2, step)
            y_hat = linear[2](H2)
            loss = F.cross_entropy(y_hat, y, reduction="none")
            updater.zero_grad()
            loss.mean().backward()
            updater.step()
            loss_sum += float(loss.detach().sum())
            correct += float((y_hat.argmax(1) == y).sum())
            step += 1
        with torch.no_grad():
            y_hat = linear[2](F.relu(linear[1](F.relu(linear[0](X_test)))))
        rows.append(
            {
                "train_loss": loss_sum / n,
                "train_acc": correct / n,
                "test_loss": float(F.cross_entropy(y_hat, data.test_labels)),
                "test_acc": float((y_hat.argmax(1) == data.test_labels).float().mean()),
            }
        )
    return rows, net


@pytest.mark.parametrize("model", ["scratch", "concise"])
def test_equals_the_books_loop(model: str, fashion: Dataset) -> None:
    data = first_images(fashion, 60 * 256 + 100, 2000)  # the last batch is a small one
    # at lr 0.5 the first epochs amplify a rounding error by ten every few steps, whoever computes; see below
    # (and rates are multiples of 1/65536, so that both divide by the same number)
    shape = {"name": model, "hidden1": 256, "hidden2": 256}
    run = make_run(epochs=3, dropout1=0.25, dropout2=0.5, model=shape, optimizer={"lr": 0.05})
    expected, net = book_loop(run, data)
    rows, stack = trained([run], Images(data, CPU))
    for row, book in zip(rows[0], expected, strict=True):
        assert row["train_loss"] == pytest.approx(book["train_loss"], rel=3e-5)
        assert row["test_loss"] == pytest.approx(book["test_loss"], rel=3e-5)
        assert row["train_acc"] == pytest.approx(book["train_acc"], abs=2e-4)
        assert row["test_acc"] == pytest.approx(book["test_acc"], abs=1e-3)
    for name, weights in net.state_dict().items():
        torch.testing.assert_close(stack.state(0)[name], weights, rtol=1e-3, atol=5e-5)


@pytest.mark.parametrize("model", ["scratch", "concise"])
def test_each_step_at_the_books_learning_rate(model: str, fashion: Dataset) -> None:
    """At lr 0.5, step by step from the same weights: the loss and the whole gradient of 120 steps."""
    shape = {"name": model, "hidden1": 256, "hidden2": 256}
    run = make_run(dropout1=0.25, dropout2=0.5, model=shape)
    images = Images(first_images(fashion, 120 * 256, 100), CPU)
    net = models.build(run.model, 784, 10, run.seed)
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    stack = models.stack_class(model)(
        [models.build(run.model, 784, 10, run.seed)], noise.make(run.noise), CPU
    )
    keys = [[streams.key(run.seed, f"noise{place}")] for place in range(3)]
    updater = torch.optim.SGD(net.parameters(), lr=run.optimizer["lr"])
    for step, index in enumerate(torch.arange(len(images.train)).split(256)):
        X, y = images.batch(index), images.train_labels[index]
        H1 = masked(F.relu(linear[0](X)), run.dropout1, run.seed, 1, step)
        H2 = masked(F.relu(linear[1](H1)), run.dropout2, run.seed, 2, step)
        loss = F.cross_entropy(linear[2](H2), y)
        updater.zero_grad()
        loss.backward()
        stack.parameters.copy_(nn.utils.parameters_to_vector(net.parameters()).detach())
        rates = [0.0, run.dropout1, run.dropout2]
        log_p = stack.differentiate(
            X, y, rates, lambda place, step=step: streams.Draws(keys[place], step, CPU)
        )
        own, _ = mean_metrics(log_p, y)
        gradient = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
        assert float(own) == pytest.approx(float(loss.detach()), rel=2e-5)
        assert (
            float((stack.gradients - gradient).norm() / gradient.norm()) < 1e-3
        )  # a ReLU within rounding of 0 may flip
        updater.step()


def test_the_book_net_has_269322_parameters() -> None:
    for name in ("scratch", "concise"):
        net = models.build({"name": name, "hidden1": 256, "hidden2": 256}, 784, 10, seed=0)
        assert sum(parameter.numel() for parameter in net.parameters()) == 269_322


def test_concise_weights_are_normal_with_sd_001() -> None:
    net = models.build({"name": "concise", "hidden1": 256, "hidden2": 256}, 784, 10, seed=3)
    weights = torch.cat([layer.weight.flatten() for layer in net.modules() if isinstance(layer, nn.Linear)])
    weights = weights.detach()
    assert float(weights.detach().std()) == pytest.approx(0.01, rel=0.01)
    assert float(weights.mean()) == pytest.approx(0, abs=1e-4)


def test_scratch_weights_are_the_frameworks_default() -> None:
    net = models.build({"name": "scratch", "hidden1": 256, "hidden2": 256}, 784, 10, seed=3)
    bound = 1 / math.sqrt(784)
    weights = net.get_parameter("lin1.weight")
    assert float(weights.detach().abs().max()) <= bound
    assert float(weights.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_same_seed_same_metrics_to_the_last_bit(digit_images: Images) -> None:
    run = make_run(data=DIGITS, epochs=3, seed=4)
    first, second = (trained([run], digit_images)[0][0] for _ in range(2))
    assert without_seconds(first) == without_seconds(second)


def test_another_seed_gives_other_numbers(digit_images: Images) -> None:
    losses = {
        trained([make_run(data=DIGITS, epochs=1, seed=seed)], digit_images)[0][0][0]["train_loss"]
        for seed in range(4)
    }
    assert len(losses) == 4


VARIED = [
    {"dropout1": 0.0, "dropout2": 0.0, "seed": 0},
    {"dropout1": 0.2, "dropout2": 0.5, "seed": 0},
    {"dropout1": 0.5, "dropout2": 0.2, "seed": 1, "optimizer": {"lr": 0.1, "momentum": 0.9}},
    {"dropout1": 1.0, "dropout2": 0.3, "seed": 2, "optimizer": {"weight_decay": 0.01}},
    {"dropout1": 0.9, "dropout2": 0.9, "seed": 2, "optimizer": {"decay": "cosine", "lr": 1.0}},
    {"seed": 3, "optimizer": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "warmup": 0.5, "max_norm": 0.5}},
    {"seed": 3, "optimizer": {"weight_decay": 0.1, "decay_biases": False}, "schedule": {"name": "linear"}},
]


@pytest.mark.parametrize("model", ["scratch", "concise"])
def test_a_fused_stack_equals_its_runs_alone(model: str, digit_images: Images) -> None:
    shape = {"name": model, "hidden1": 32, "hidden2": 24}
    runs = [make_run(data=DIGITS, epochs=3, batch_size=64, model=shape, **changes) for changes in VARIED]
    together, stack = trained(runs, digit_images)
    for i, run in enumerate(runs):
        alone, single = trained([run], digit_images)
        for name, weights in single.state(0).items():
            torch.testing.assert_close(stack.state(i)[name], weights, rtol=1e-3, atol=1e-5)
        for row, expected in zip(together[i], alone[0], strict=True):
            for key in ("train_loss", "test_loss", "var1", "noisy_var2"):
                assert row[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-6), key
            for key in ("dropout1", "dropout2", "lr", "epoch"):
                assert row[key] == expected[key]


def test_a_diverging_run_does_not_touch_its_stack(digit_images: Images) -> None:
    good, bad = make_run(data=DIGITS, epochs=3), make_run(data=DIGITS, epochs=3, optimizer={"lr": 1e9})
    rows, stack = trained([good, bad], digit_images)
    alone, _ = trained([good], digit_images)
    assert stack.diverged_in[0] is None
    assert stack.diverged_in[1] in (1, 2)
    assert rows[0][-1]["test_loss"] == pytest.approx(alone[0][-1]["test_loss"], rel=1e-3)


def test_a_lone_diverging_run_stops_early(digit_images: Images) -> None:
    rows, stack = trained([make_run(data=DIGITS, epochs=50, optimizer={"lr": 1e9})], digit_images)
    assert stack.diverged_in[0] == len(rows[0]) < 5


def test_learning_rate_column_is_the_epochs_last_step(digit_images: Images) -> None:
    rows, _ = trained(
        [make_run(data=DIGITS, epochs=2, batch_size=480, optimizer={"lr": 0.1, "decay": "linear"})],
        digit_images,
    )
    assert [row["lr"] for row in rows[0]] == pytest.approx([0.1 * (1 - 2 / 6), 0.1 * (1 - 5 / 6)])


def test_validation_split_is_evaluated_and_not_trained_on() -> None:
    from src.data import load_bytes

    data = load_bytes("digits", None, 200)
    rows, _ = trained([make_run(data={**DIGITS, "validation": 200}, epochs=2)], Images(data, CPU))
    assert len(data.train_images) + 200 == 1437
    assert 0 < rows[0][-1]["val_acc"] <= 1
    assert math.isfinite(rows[0][-1]["val_loss"])


def test_without_a_split_validation_metrics_are_empty(digit_images: Images) -> None:
    rows, _ = trained([make_run(data=DIGITS, epochs=1)], digit_images)
    assert "val_acc" not in rows[0][0]
    assert "val_loss" not in rows[0][0]


def test_no_noise_equals_rates_of_zero(digit_images: Images) -> None:
    none, _ = trained([make_run(data=DIGITS, epochs=2, noise={"name": "none"})], digit_images)
    zero, _ = trained([make_run(data=DIGITS, epochs=2, dropout1=0.0, dropout2=0.0)], digit_images)
    assert [row["test_loss"] for row in none[0]] == [row["test_loss"] for row in zero[0]]
    assert none[0][-1]["var1"] == none[0][-1]["noisy_var1"]


def test_runs_of_one_seed_share_what_shapes_allow() -> None:
    small = models.build({"name": "scratch", "hidden1": 16, "hidden2": 16}, 64, 10, seed=5)
    other = models.build({"name": "scratch", "hidden1": 16, "hidden2": 99}, 64, 10, seed=5)
    assert torch.equal(small.get_parameter("lin1.weight"), other.get_parameter("lin1.weight"))


class ThroughError(Exception):
    """The epoch's last step is through."""


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("name", components.names("noise"))
def test_no_step_waits_for_the_device(
    name: str, runs: int, compose: Compose, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device `meta` holds no numbers: a step that waited for one, as a GPU would have it do, would raise."""
    uploads: list[object] = []

    def through(*arguments: object) -> None:
        raise ThroughError

    def tensor(*arguments: object, **options: object) -> Tensor:
        uploads.append(arguments)
        return torch.as_tensor(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("src.trainer.mean_metrics", through)
    monkeypatch.setattr("src.trainer.STEPS_AHEAD", 2)
    monkeypatch.setattr("torch.tensor", tensor)
    images = Images(digits, torch.device("meta"))
    values = compose(f"noise={name}", "data=digits", "device=cpu")
    stack = [parse({**values, "seed": seed, "dropout1": 0.1 + seed / 10}) for seed in range(runs)]
    with pytest.raises(ThroughError):
        train(stack, images, 10, lambda rows: None)
    # both words of each place's keys; not anew in each of the 23 steps, nor in every second one, which draws ahead
    assert len(uploads) <= 8


@pytest.mark.parametrize(
    ("kind", "autograd"), [("dropout", False), ("dropconnect", False), ("shakeout", True)]
)
def test_runs_with_and_without_autograd_take_turns(
    kind: str, autograd: bool, compose: Compose, digit_images: Images
) -> None:
    """What one leaves for the next to use again, another one may write into."""
    runs = [parse(compose("data=digits", "epochs=1", f"noise={name}")) for name in (kind, "shakeout", kind)]
    first, _, again = (without_seconds(trained([run], digit_images)[0][0]) for run in runs)
    assert first == again
    nets = [models.build(runs[0].model, 64, 10, 0)]
    stack = models.stack_class("scratch")(nets, noise.make(runs[0].noise), CPU)
    assert stack.autograd == autograd


NORMED = """
from torch import nn
def build(features, classes):
    return nn.Sequential(
        nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, classes)
    )
"""


def test_looking_at_a_net_changes_neither_its_training_nor_its_buffers(
    component: Callable[[str, str, str], None], digit_images: Images
) -> None:
    component("model", "normed", NORMED)
    results = []
    for every, test_time in ((None, False), ("epoch", False), (1, True)):
        probe = {"every": every, "test_time": test_time, "train": test_time}
        run = make_run(data=DIGITS, epochs=2, dropout2=0.0, model={"name": "normed"}, probe=probe)
        rows, stack = trained([run], digit_images)
        shown = ("eval_train_loss", "eval_train_acc")
        kept = [
            {key: value for key, value in row.items() if key not in shown} for row in without_seconds(rows[0])
        ]
        results.append((kept, {name: tensor.tolist() for name, tensor in stack.state(0).items()}))
    assert results[0] == results[1] == results[2]
    assert results[0][1]["1.num_batches_tracked"] == 2 * math.ceil(len(digit_images.train) / 256)
