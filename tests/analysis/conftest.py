"""Sweep folders of known truth, written with the project's own writers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.runs import store

Truth = Callable[[Mapping[str, Any]], float]
"""Final mean test accuracy of an arm, from its swept values."""


def metrics(final_acc: float, epochs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of a run whose test accuracy rises to `final_acc`."""
    rows = []
    for epoch in range(1, epochs + 1):
        test_acc = round(final_acc - 0.12 * (np.exp(-epoch / 2.5) - np.exp(-epochs / 2.5)), 4)
        train_acc = round(test_acc + 0.004 * epoch - 0.02, 4)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": float(2.7 * (1 - train_acc) + rng.normal(0, 0.003)),
                "train_acc": float(train_acc),
                "test_loss": float(2.8 * (1 - test_acc) + rng.normal(0, 0.003)),
                "test_acc": float(test_acc),
                "dropout1": 0.2,
                "dropout2": 0.5,
                "lr": 0.5,
                "var1": 0.3,
                "var2": 0.2,
                "noisy_var1": 0.4,
                "noisy_var2": 0.5,
                "seconds": 1.5,
            }
        )
    return rows


def write_sweep(
    output: Path,
    swept: Mapping[str, Sequence[Any]],
    truth: Truth,
    *,
    name: str = "made_up",
    seeds: Sequence[int] = range(5),
    epochs: int | Callable[[Mapping[str, Any]], int] = 4,
    seed_noise: float = 0.003,
    arm_noise: float = 0.001,
    overrides: Sequence[str] | None = None,
    states: Mapping[tuple[int, int], str] | None = None,
) -> Path:
    """Write a sweep over the product of `swept` and `seeds`; its folder.

    Every arm has the same noise of a seed (`seed_noise`, which pairing removes) and noise of its own.
    `states` gives (arm's position, seed) another state than finished.
    """
    runs: list[dict[str, Any]] = []
    shared = dict(zip(seeds, np.random.default_rng(1).normal(0, seed_noise, len(seeds)), strict=True))
    arms = [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]
    for (position, arm), seed in itertools.product(enumerate(arms), seeds):
        rng = np.random.default_rng([position, seed])
        length = epochs(arm) if callable(epochs) else epochs
        config = {"seed": seed, "epochs": length, "data": {"name": "fashion_mnist"}, **arm}
        run = store.run_id(config)
        state = (states or {}).get((position, seed), store.FINISHED)
        row = {"id": run, "state": state, **arm, "seed": seed}
        if state != store.UNFINISHED:
            folder = store.run_folder(output, run)
            folder.mkdir(parents=True, exist_ok=True)
            record = {
                "id": run,
                "state": state,
                "config": config,
                "overrides": [],
                "final": None,
                "seconds": 1.5 * length,
                "parameters": 269_322,
                "versions": {"python": "3.11.2", "torch": "2.13.0"},
                "device": "cpu",
                "error": None,
            }
            if state == store.FINISHED:
                rows = metrics(truth(arm) + shared[seed] + rng.normal(0, arm_noise), length, rng)
                store.write_metrics(folder, rows)
                record["final"] = rows[-1]
                row |= {f"{key}_used" if key in arm else key: value for key, value in rows[-1].items()}
            else:
                record["error"] = {
                    store.FAILED: "RuntimeError: out of memory",
                    store.DIVERGED: "train loss is nan in epoch 2",
                }[state]
            store.write_record(folder, record)
        runs.append(row)

    folder = store.sweep_folder(output, name)
    folder.mkdir(parents=True, exist_ok=True)
    final = [f"{key}_used" if key in swept else key for key in store.METRICS]
    store.write_whole(folder / "runs.csv", store.csv_text(["id", "state", *swept, "seed", *final], runs))
    if overrides is not None:
        tasks = "".join(f"    - {override}\n" for override in overrides) or "    []\n"
        store.write_whole(folder / "multirun.yaml", f"hydra:\n  overrides:\n    task:\n{tasks}")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Path]:
    """`write_sweep` into the test's own output folder, `tmp_path`."""
    return functools.partial(write_sweep, tmp_path)
