"""Optimizers at work: a stack trains as its runs alone, and every YAML's learning rate learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from configs import DIGITS, Compose, documented, make_run
from lockstep import Lockstep

from src.config import Run, parse
from src.training.trainer import Images, Trained, train

SHAPE = {"name": "scratch", "hidden1": 32, "hidden2": 24}
OTHERS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "adam": {"lr": 0.003, "beta1": 0.5, "eps": 1e-3},
    "adamw": {"lr": 0.003, "beta2": 0.99, "eps": 1e-3},
    "rmsprop": {"lr": 0.003, "momentum": 0.5, "eps": 1e-3},
}
"""Options for a second run in the stack."""
EXTRAS: dict[str, Any] = {
    "weight_decay": 0.01,
    "decay_biases": False,
    "max_norm": 0.4,
    "warmup": 1,
    "decay": "cosine",
}


def trained(runs: list[Run], images: Images) -> tuple[list[Any], Trained]:
    rows: list[Any] = []
    return rows, train(runs, images, 10, rows.append)


@pytest.mark.parametrize("name", sorted(documented("optimizer")))
def test_a_stack_of_differing_optimizers_equals_its_runs_alone(
    name: str, compose: Compose, digit_images: Images
) -> None:
    default = compose(f"optimizer={name}")["optimizer"]
    # a larger epsilon keeps rounding out of weights whose gradients are almost 0
    default |= {"eps": 1e-3} if "eps" in default else {}
    options = [default, {**default, **OTHERS[name]}, {**default, **EXTRAS}]
    runs = [
        make_run(data=DIGITS, epochs=3, batch_size=64, model=SHAPE, optimizer=optimizer, seed=seed)
        for seed, optimizer in enumerate(options)
    ]
    lockstep = Lockstep()
    with lockstep.leads():
        rows, stack = trained(runs, digit_images)
    for i, run in enumerate(runs):
        with lockstep.leading(i):
            alone, single = trained([run], digit_images)
        for weights, expected in zip(stack.state(i).values(), single.state(0).values(), strict=True):
            torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)
        for together, (row,) in zip(rows, alone, strict=True):
            assert together[i]["lr"] == row["lr"]
            assert together[i]["train_loss"] == pytest.approx(row["train_loss"], rel=1e-3)
    capped = [weight for weight in stack.state(2).values() if weight.dim() == 2]
    assert max(float(weight.norm(dim=1).max()) for weight in capped) <= 0.4 * (1 + 1e-6)


@pytest.mark.parametrize("name", sorted(documented("optimizer")))
def test_the_options_of_conf_train(name: str, compose: Compose, digit_images: Images) -> None:
    small = ("data=digits", "epochs=10", "batch_size=32", "model.hidden1=64", "model.hidden2=64")
    run = parse(compose(f"optimizer={name}", *small))
    rows, _ = trained([run], digit_images)
    assert rows[-1][0]["test_acc"] > 0.9
