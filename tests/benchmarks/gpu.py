"""What is measured on a GPU: functions that run in a `Worker`, as those of `arms`; they return seconds or rates."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32"}
"""Ours, and JAX's names for them."""

LARGE = (32, 2048, 2048, 2048)
"""A batched product (R, n, k) @ (R, k, m): R, n, k, m."""


def card() -> str | None:
    """The first GPU's name; None without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    """Of one call, the GPU's work waited for."""
    import torch

    work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def product_rate(precision: str) -> float:
    """Operations a second of a large batched product, 10^12."""
    import torch

    from src import kernels

    runs, n, k, m = LARGE
    left, right = torch.randn(runs, n, k, device="cuda"), torch.randn(runs, k, m, device="cuda")
    out = torch.empty(runs, n, m, device="cuda")
    with kernels.using("torch", precision):
        return 2e-12 * runs * n * k * m / _seconds(lambda: torch.bmm(left, right, out=out), 20)


@functools.cache
def _images() -> Any:
    import torch

    from src.data import load_bytes
    from src.training.images import Images
    from tests.benchmarks.arms import compose

    return Images(load_bytes(**compose()["data"]), torch.device("cuda"))


def ours(runs: int, epochs: int, *overrides: str) -> float:
    """Seconds per run-epoch of so many runs in one stack, with all that `metrics.csv` needs."""
    import torch

    from src import config
    from src.training.trainer import train
    from tests.benchmarks.arms import compose

    images, values = _images(), compose("device=cuda", *overrides)
    stack = [config.parse({**values, "epochs": epochs, "seed": seed}) for seed in range(runs)]
    torch.cuda.synchronize()
    started = time.perf_counter()
    train(stack, images, 10, lambda rows: None)
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / (epochs * runs)


@functools.cache
def _jax_training(runs: int, precision: str) -> Any:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    from src.data import load_bytes
    from tests.benchmarks.arms import compose
    from tests.benchmarks.jax_rival import StackTraining

    data = load_bytes(**compose()["data"])
    parts = (data.train_images, data.train_labels.int(), data.test_images, data.test_labels.int())
    training = StackTraining(tuple(part.numpy() for part in parts), precision)
    training.begin(runs)
    training.epoch(training.orders())  # compiles
    return training


def jax(runs: int, epochs: int, precision: str) -> float:
    """Seconds per run-epoch of the JAX script under `vmap`, from initial weights; compilation and orders apart."""
    training = _jax_training(runs, precision)
    orders = [training.orders() for _ in range(epochs)]
    started = time.perf_counter()
    training.begin(runs)
    for order in orders:
        training.epoch(order)
    return (time.perf_counter() - started) / (epochs * runs)


def accuracies(seeds: int, epochs: int, *overrides: str) -> list[float]:
    """Test accuracy after the last epoch, by seed, of runs of the book's net in one stack."""
    from src import config
    from src.training.trainer import train
    from tests.benchmarks.arms import compose

    values = compose("device=cuda", *overrides)
    stack = [config.parse({**values, "epochs": epochs, "seed": seed}) for seed in range(seeds)]
    last: list[float] = []

    def report(rows: Any) -> None:
        last[:] = [row["test_acc"] for row in rows]

    train(stack, _images(), 10, report)
    return last


def paired_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean difference of accuracies, in points (Student's t)."""
    import numpy as np
    from scipy import stats

    differences = 100 * (np.array(after) - np.array(before))
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return float(differences.mean() - half), float(differences.mean() + half)
