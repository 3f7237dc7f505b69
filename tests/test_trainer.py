"""The training loop against the book's own: same weights, order and masks, so the same numbers."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from bounds import Bounded, gamma
from configs import DIGITS, Compose, documented, make_run
from lockstep import Lockstep
from torch import Tensor, nn
from torch.nn import functional as F

from src import models, noise, streams
from src.config import Run, parse
from src.data import Dataset
from src.stacks import views
from src.stacks.mlp import MLP
from src.stacks.modules import Modules
from src.training.probes import of_run, one_pass
from src.training.trainer import Images, train

CPU = torch.device("cpu")


def trained(runs: list[Run], images: Images, classes: int = 10) -> tuple[list[list[dict[str, Any]]], Any]:
    """Rows of each run, and what `train` returns."""
    rows: list[list[dict[str, Any]]] = [[] for _ in runs]

    def report(epoch_rows: Any) -> None:
        for run_rows, row in zip(rows, epoch_rows, strict=True):
            run_rows.append(dict(row))

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


def mask(n: int, units: int, p: float, seed: int, place: int, step: int) -> Tensor:
    """The book's dropout with the run's own random bits: keep with probability 1 - p, divide by it."""
    bits = streams.Draws([streams.key(seed, f"noise{place}")], step, CPU)._levels((n, units))
    return (bits.double() / 65536 < 1 - p).double() / (1 - p)


def book_step(
    layers: Sequence[tuple[Tensor, Tensor]], x: Tensor, y: Tensor, masks: Sequence[Tensor]
) -> tuple[Bounded, list[Bounded]]:
    """The chapter's net and the gradient of its mean loss, by the chain rule in float64.

    Args:
        layers: weights (out, in) and biases (out,) of each layer.
        x, y: images (n, features) and labels (n,).
        masks: (n, units) behind each hidden layer.

    Returns:
        Log-probabilities (n, classes), and the gradients of W1, b1, W2, b2, W3, b3.
    """
    h, inputs, before_relu = Bounded.exact(x), [], []
    for layer, (W, b) in enumerate(layers):
        inputs.append(h)
        z = h @ Bounded.exact(W).mT + Bounded.exact(b)
        before_relu.append(z)
        h = z.relu() * masks[layer] if layer < len(masks) else z
    log_p = z.log_softmax()
    delta = (log_p.exp() + Bounded.exact(-F.one_hot(y, log_p.value.shape[-1]))) * (1 / len(y))
    gradients: list[Bounded] = []
    for layer in (2, 1, 0):
        gradients[:0] = [delta.mT @ inputs[layer], delta.sum(0)]
        if layer:
            into = (delta @ Bounded.exact(layers[layer][0])) * masks[layer - 1]
            delta = into.where_positive(before_relu[layer - 1])
    return log_p, gradients


def layers_of(flat: Tensor, net: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of each layer inside the flat parameters of a net."""
    tensors = views(flat, [parameter.shape for parameter in net.parameters()])
    return list(zip(tensors[0::2], tensors[1::2], strict=True))


def expect(row: dict[str, Any], name: str, log_p: Bounded, y: Tensor) -> None:
    """Loss and accuracy of a row are those of these log-probabilities, as far as float32 can tell."""
    at_answer = log_p.value.gather(1, y[:, None]).squeeze(1)
    error = log_p.error.gather(1, y[:, None]).mean()
    assert abs(row[f"{name}_loss"] + float(at_answer.mean())) <= float(error)
    (best, second), right = log_p.value.topk(2)[0].T, log_p.value.argmax(1) == y
    unsure = best - second <= 2 * log_p.error.amax(1)
    assert unsure.double().mean() < 0.2  # most of them in the first steps, whose logits are all alike
    assert abs(row[f"{name}_acc"] - float(right.double().mean())) <= float(unsure.double().mean())


@pytest.mark.parametrize("model", ["scratch", "concise"])
def test_equals_the_books_loop(model: str, fashion: Dataset) -> None:
    """Every step of training at lr 0.5, from the weights before it: order, masks, loss, update and metrics.

    Step by step, since at this learning rate any two computations soon have no digit in common; and within bounds
    that follow from the number of float32's operations, on whatever processor and with whatever kernel.
    """
    data = first_images(fashion, 12 * 256 + 100, 500)  # the last batch is a small one
    shape = {"name": model, "hidden1": 256, "hidden2": 256}
    # rates that are multiples of 1/65536, so that both divide by the same number
    run = make_run(epochs=2, dropout1=0.25, dropout2=0.5, model=shape)
    lockstep = Lockstep()
    with lockstep.leads():
        (rows,), trained_stack = trained([run], Images(data, CPU))
    net = models.build(run.model, 784, 10, run.seed)
    first = nn.utils.parameters_to_vector(net.parameters()).detach()
    net.load_state_dict(trained_stack.state(0))
    last = nn.utils.parameters_to_vector(net.parameters()).detach()
    weights = [*lockstep.weights, last]
    assert torch.equal(weights[0], first)
    X_train, X_test = (images.float() / data.scale for images in (data.train_images, data.test_images))
    n, step, bounds = len(X_train), 0, list[float]()
    for epoch, row in enumerate(rows, 1):
        order = torch.from_numpy(streams.generator(run.seed, "order", epoch).permutation(n))
        batches: list[Bounded] = []
        for index in order.split(run.batch_size):
            X, y = X_train[index], data.train_labels[index]
            rates = (run.dropout1, run.dropout2)
            masks = [mask(len(y), 256, p, run.seed, place, step) for place, p in enumerate(rates, 1)]
            log_p, gradients = book_step(layers_of(weights[step], net), X, y, masks)
            batches.append(log_p)
            before, after = (
                views(flat, [p.shape for p in net.parameters()]) for flat in weights[step : step + 2]
            )
            for w, gradient, updated in zip(before, gradients, after, strict=True):
                expected = Bounded.exact(w) + gradient * -run.optimizer["lr"]
                # the update may be summed up into the weights, batch after batch of images
                assert Bounded(expected.value, expected.error + gamma(len(y) + 2) * w.abs()).holds(updated)
                bounds.append(float(expected.error.norm() / (updated - w).norm()))
            step += 1
        together = Bounded(torch.cat([p.value for p in batches]), torch.cat([p.error for p in batches]))
        expect(row, "train", together, data.train_labels[order])
        logits = Bounded.exact(X_test)
        for layer, (W, b) in enumerate(layers_of(weights[step], net)):
            logits = (logits.relu() if layer else logits) @ Bounded.exact(W).mT + Bounded.exact(b)
        expect(row, "test", logits.log_softmax(), data.test_labels)
    assert step == len(lockstep.weights)
    assert statistics.median(bounds) < 0.1  # so a factor 1 - p too much or too little is seen


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
    lockstep = Lockstep()
    with lockstep.leads():
        together, stack = trained(runs, digit_images)
    for i, run in enumerate(runs):
        with lockstep.leading(i):
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
    lockstep = Lockstep()
    with lockstep.leads():
        rows, stack = trained([good, bad], digit_images)
    with lockstep.leading(0):
        alone, _ = trained([good], digit_images)
    assert stack.diverged_in[0] is None
    assert stack.diverged_in[1] in (1, 2)
    assert rows[0][-1]["test_loss"] == pytest.approx(alone[0][-1]["test_loss"], rel=1e-3)


DROPPED: dict[str, dict[str, Any]] = {
    "plain steps": {},
    "all that an optimizer keeps": {
        "optimizer": {"name": "adam", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "max_norm": 2,
                      "weight_decay": 0.01, "decay_biases": False, "decay": "cosine", "warmup": 1},
    },
    "momentum": {"optimizer": {"momentum": 0.9, "lr": 0.05, "decay": "linear"}},
    "what a noise keeps": {"noise": {"name": "additive", "input_rate": 0.1, "momentum": 0.1}},
    "what a noise learns": {
        "noise": {"name": "concrete", "input_rate": 0.1, "length": 0.01, "temperature": 0.1},
        "dropout1": 0, "dropout2": 0,
    },
    "an average of the weights": {"probe": {"every": "epoch", "test_time": True, "ema": 0.9}},
    "a plain module": {"model": {"name": "concise", "hidden1": 8, "hidden2": 8}},
}  # fmt: skip


def one_by_one(out: Tensor, left: Tensor, right: Tensor, beta: float = 0, alpha: float = 1) -> Tensor:
    """Products of a stack: the library's own round in the last digit by how many there are."""
    for into, *factors in zip(out, left, right, strict=True):
        product = alpha * torch.mm(
            *(factor.clone(memory_format=torch.contiguous_format) for factor in factors)
        )
        into.copy_(product + beta * into if beta else product)
    return out


@pytest.mark.parametrize("changes", DROPPED.values(), ids=DROPPED)
def test_a_stack_drops_what_diverged_and_the_others_are_the_same_to_the_byte(
    changes: dict[str, Any], digit_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.stacks.mlp.multiply", one_by_one)
    sizes: list[int] = []
    for kind in (MLP, Modules):
        keep = kind.keep_runs
        monkeypatch.setattr(
            kind, "keep_runs", lambda stack, runs, keep=keep: (sizes.append(len(runs)), keep(stack, runs))
        )

    def run(seed: int, **others: Any) -> Run:
        usual = {"data": DIGITS, "epochs": 4, "batch_size": 200, "model": {"hidden1": 8, "hidden2": 8},
                 "schedule": {"name": "linear"}, "probe": {"every": "epoch", "test_time": True},
                 "seed": seed, "dropout1": 0.1 * seed}  # fmt: skip
        return make_run(**usual | changes | others)

    def lr(value: float) -> dict[str, Any]:
        return {"optimizer": {**changes.get("optimizer", {}), "lr": value}}

    survivors = [run(1), run(2), run(1, dropout2=0.0)]
    first, second = (run(seed, **lr(1e30)) for seed in (3, 4))
    rows, mixed = trained([survivors[0], first, survivors[1], second, survivors[2]], digit_images)
    ends = [end for end in mixed.diverged_in if end]
    assert len(ends) == 2 and max(ends) < 4 and sizes[-1] == 3
    sizes.clear()
    others, whole = trained([survivors[0], run(3), survivors[1], run(4), survivors[2]], digit_images)
    assert not sizes and whole.diverged_in == [None] * 5
    for number in (0, 2, 4):
        assert without_seconds(rows[number]) == without_seconds(others[number])
        states = [of.state(number) for of in (mixed, whole)]
        assert all(torch.equal(states[0][name], weights) for name, weights in states[1].items())
        for name in ("probed", "test_time"):
            tables = [of_run(getattr(of, name), number) for of in (mixed, whole)]
            assert tables[0] == tables[1] and tables[0]
    assert all(math.isnan(row["test_loss"]) for number in (1, 3) for row in rows[number][-1:])


def test_of_a_stack_one_run_is_never_left_alone(
    digit_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would train by other calls, which round elsewhere."""
    monkeypatch.setattr("src.stacks.mlp.multiply", one_by_one)
    good, bad = (make_run(data=DIGITS, epochs=3, optimizer={"lr": lr}) for lr in (0.5, 1e30))
    rows, _ = trained([good, bad, bad], digit_images)
    others, _ = trained([good, good, good], digit_images)
    assert without_seconds(rows[0]) == without_seconds(others[0])


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


@pytest.mark.parametrize("name", sorted(documented("noise")))
def test_no_step_waits_for_the_device(
    name: str, compose: Compose, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device `meta` holds no numbers: a step that waited for one, as a GPU would have it do, would raise."""
    uploads: list[object] = []

    def through(*arguments: object) -> None:
        raise ThroughError

    def tensor(*arguments: object, **options: object) -> Tensor:
        uploads.append(arguments)
        return torch.as_tensor(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("src.training.trainer.mean_metrics", through)
    monkeypatch.setattr("torch.tensor", tensor)
    if name != "dropout":  # all draw by one generator, which is most of the time on this device
        monkeypatch.setattr("src.streams.philox.levels", lambda keys, *n: keys[:, :1].expand(-1, n[-1]).int())
    images = Images(digits, torch.device("meta"))
    small = ("data=digits", "device=cpu", "batch_size=479", "model.hidden1=16", "model.hidden2=16")
    values = compose(f"noise={name}", *small)
    stack = [parse({**values, "seed": seed, "dropout1": 0.1 + seed / 10}) for seed in range(3)]
    for runs in (stack[:1], stack):
        uploads.clear()
        with pytest.raises(ThroughError):
            train(runs, images, 10, lambda rows: None)
        # each place's keys, and not anew in each of the 3 steps
        assert len(uploads) <= 4


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
        shown = ("eval_train_loss", "eval_train_acc", *one_pass([], [0]))
        kept = [
            {key: value for key, value in row.items() if key not in shown} for row in without_seconds(rows[0])
        ]
        results.append((kept, {name: tensor.tolist() for name, tensor in stack.state(0).items()}))
    assert results[0] == results[1] == results[2]
    assert results[0][1]["1.num_batches_tracked"] == 2 * math.ceil(len(digit_images.train) / 256)
