"""The framework's own code gives the numbers on record, or `store.SCHEMA` is raised.

Where a test fails because results were meant to change: raise `SCHEMA`, and write the new numbers, which it prints.

Random bits, masks and orders are compared exactly. Metrics of tiny runs are not the same on every kind of CPU, as
sums are rounded in another order there. How far that may take them is measured: the run is trained again from
weights that are moved by a rounding in each step, at random (Monte Carlo arithmetic: Parker 1997; Higham 2002,
"Accuracy and Stability of Numerical Algorithms", section 26.3).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from bounds import UNIT
from configs import DIGITS, make_run
from lockstep import before_each_step
from torch import Tensor

from src import optimizers, schedules, streams
from src.config import Run
from src.training.trainer import Images, train

CPU = torch.device("cpu")
SCHEMA = 3
"""Of the numbers below."""

ROUNDINGS = 16
"""By how many units in the last place weights are moved: sums of up to 64 terms are off by about 8."""

REPEATS = 6


def digest(values: Any) -> str:
    array = np.ascontiguousarray(values)
    little = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()[:16]


def draws(step: int = 5) -> streams.Draws:
    return streams.Draws([streams.key(3, "noise1")], step, CPU)


def test_the_schema_is_that_of_these_numbers() -> None:
    from src.runs import store

    assert store.SCHEMA == SCHEMA, "take new numbers, and name their SCHEMA here"


EXACT = {
    "order": (
        lambda: streams.generator(3, "order", 2).permutation(1000).astype(np.int64),
        "85215aa6811d32ac",
    ),
    "mask": (lambda: draws().keep((70, 30), 0.3).numpy(), "bc5f33dafe0b4c73"),
    "uniform": (lambda: draws().uniform((70, 30)).numpy(), "88095bf707d6da02"),
    "torch's seed": (lambda: np.array([streams.torch_seed(3, "weights")], np.uint64), "ec232e401f0f9bbe"),
    "linear": (lambda: schedules.rates({"name": "linear"}, 0.5, 8), "edac50fa6fcd2025"),
    "early": (
        lambda: schedules.rates({"name": "early", "cutoff": 0.5, "linear": True}, 0.5, 8),
        "3f9e54460f6e0c66",
    ),
    "lr": (
        lambda: optimizers.learning_rates({"lr": 0.4, "decay": "linear", "warmup": 0.5}, 12, 6),
        "30f73dc3c91e97a7",
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_random_bits_rates_and_learning_rates_to_the_bit(name: str) -> None:
    make, expected = EXACT[name]
    assert digest(make()) == expected


CLOSE = {
    "normal": (
        lambda: draws().normal((2, 3)).double().numpy().ravel(),
        [0.504422783852, -0.600187063217, -1.52446830273, 0.986239731312, 0.979234814644, -0.302526861429],
    ),
    "cosine": (
        lambda: schedules.rates({"name": "cosine"}, 0.5, 5),
        [0.5, 0.452254248594, 0.327254248594, 0.172745751406, 0.0477457514063],
    ),
    "lr, cosine": (
        lambda: optimizers.learning_rates({"lr": 0.4, "decay": "cosine", "warmup": 0}, 5, 5),
        [0.4, 0.361803398875, 0.261803398875, 0.138196601125, 0.038196601125],
    ),
}


@pytest.mark.parametrize("name", CLOSE)
def test_what_a_library_computes_to_its_rounding(name: str) -> None:
    make, expected = CLOSE[name]
    np.testing.assert_allclose(make(), expected, rtol=4 * UNIT, atol=4 * UNIT)


TINY: dict[str, Any] = {
    "seed": 3,
    "epochs": 3,
    "batch_size": 64,
    "data": {**DIGITS, "validation": 200},
    "model": {"hidden1": 16, "hidden2": 12},
    "optimizer": {"lr": 0.3},
    "dropout1": 0.2,
    "dropout2": 0.3,
}
ADAM = {
    **{"name": "adam", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    **{"decay_biases": True, "decay": "cosine", "warmup": 0.5, "max_norm": None},
}
RUNS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "book": (
        {},
        [1.91490893, 0.301535974, 1.61317294, 1.5864173, 0.541666667, 0.292516965, 0.195157766, 0.530898035],
    ),
    "modules": (
        {"model": {"name": "concise", "hidden1": 16, "hidden2": 12}, "optimizer": ADAM},
        [2.02508014, 0.222312045, 1.98960095, 1.99780289, 0.227777778, 0.129761611, 0.188727826, 0.810059369],
    ),
    "gaussian": (
        {"noise": {"name": "gaussian", "input_rate": 0.1}},
        [1.95020509, 0.339531124, 1.7102955, 1.67968232, 0.563888889, 0.348994314, 0.179995283, 0.514234424],
    ),
    "weights": (
        {"noise": {"name": "dropconnect"}},
        [1.95020057, 0.331447049, 1.60018032, 1.5686502, 0.55, 0.284150247, 0.294614732, 0.502269924],
    ),
    "product": (
        {"noise": {"name": "dropconnect_gaussian"}},
        [1.80800016, 0.3912692, 1.48901552, 1.44195994, 0.588888889, 0.279472378, 0.274676263, 0.775653422],
    ),
    "reads": (
        {"noise": {"name": "additive", "input_rate": 0.0, "momentum": 0.1}},
        [1.63880978, 0.445432498, 1.30152514, 1.24078043, 0.6, 0.224285167, 0.463697881, 1.08003449],
    ),
    "by hand": (
        {"noise": {"name": "blend", "input_rate": 0.0}, "schedule": {"name": "linear"}},
        [1.79330481, 0.414713015, 1.4326045, 1.3848041, 0.530555556, 0.196901168, 0.412978441, 0.778255522],
    ),
    "momentum": (
        {"optimizer": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "max_norm": 2.0}},
        [1.95700284, 0.274858529, 1.60833686, 1.58541193, 0.561111111, 0.311732275, 0.226863772, 0.617883682],
    ),
    "small batches": (
        {"batch_size": 20, "data": {**DIGITS, "train": 500, "split": 2}},
        [1.8175424, 0.326, 0.0, 1.46034228, 0.516666667, 0.216191196, 0.217618212, 0.747599959],
    ),
    "probes": (
        {"probe": {"every": None, "test_time": True, "train": True}},
        [
            1.91490893,
            0.301535974,
            1.61317294,
            1.5864173,
            0.541666667,
            0.292516965,
            0.195157766,
            0.530898035,
            1.58849266,
        ],
    ),
}
"""Changes of TINY, and the metrics at the end."""

METRICS = ("train_loss", "train_acc", "val_loss", "test_loss", "test_acc", "test_ece", "var1", "noisy_var2")


def metrics(run: Run, images: Images) -> np.ndarray:
    rows: list[Any] = []
    trained = train([run], images, 10, lambda epoch_rows: rows.append(epoch_rows[0]))
    names = [*METRICS, *(("eval_train_loss",) if run.probe["train"] else ())]
    values = [float(rows[-1][name]) if rows[-1].get(name) is not None else 0.0 for name in names]
    for _, row in trained.test_time:
        values += [float(np.ravel(value)[0]) for key, value in sorted(row.items()) if key.endswith("loss")]
    return np.array(values)


def moved(stack: Any, generator: torch.Generator) -> None:
    parameters: Tensor = stack.parameters
    roundings = 2 * torch.rand(parameters.shape, generator=generator) - 1
    parameters.mul_(1 + ROUNDINGS * UNIT * roundings.double())


@pytest.mark.parametrize("name", RUNS)
def test_metrics_of_tiny_runs_within_rounding(name: str) -> None:
    from src.data import load_bytes

    changes, expected = RUNS[name]
    run = make_run(**{**TINY, **changes})
    data = load_bytes(**run.data)
    images = Images(data, CPU)
    now = metrics(run, images)
    generator = torch.Generator().manual_seed(0)
    with before_each_step(lambda stack: moved(stack, generator)):
        others = np.array([metrics(run, images) for _ in range(REPEATS)])
    # by chance all repeats may lie close together: four times their spread, and one image that changes sides
    spread = 4 * np.abs(others - now).max(0)
    one_image = np.array([1 / 100 if metric.endswith(("acc", "ece")) else 0 for metric in METRICS])
    floor = 1e-5 * np.abs(now)
    tolerance = spread + floor
    tolerance[: len(METRICS)] += one_image
    assert (tolerance < 0.05 * np.maximum(np.abs(now), 1)).all(), "or it would notice nothing"
    shown = [float(f"{value:.9g}") for value in now]
    assert len(now) == len(expected) and (np.abs(now - expected) <= tolerance).all(), f"now {shown}"
