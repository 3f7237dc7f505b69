"""Tables of known truth, for the tests of what is concluded from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import page
from analysis.runs import Problem
from analysis.tables import Table

METRICS: dict[str, float] = {
    "train_loss": 0.3,
    "train_acc": 0.9,
    "val_loss": 0.35,
    "val_acc": 0.88,
    "test_loss": 0.36,
    "test_acc": 0.87,
    "lr": 0.5,
    "var1": 0.3,
    "var2": 0.2,
    "noisy_var1": 0.4,
    "noisy_var2": 0.5,
    "seconds": 1.5,
    "eval_train_acc": 0.91,
    "eval_train_loss": 0.25,
    "test_ece": 0.03,
}
"""A row's metrics where a test does not set them."""


def made(
    name: str,
    arms: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    metrics: Callable[[Mapping[str, Any], int, int], Mapping[str, float]],
    *,
    epochs: int | Callable[[Mapping[str, Any]], int] = 2,
    problems: Sequence[Problem] = (),
    extras: Mapping[str, pd.DataFrame] | None = None,
    overrides: Sequence[str] = (),
) -> Table:
    """A table with every arm on every seed.

    Args:
        arms: values of the swept keys, the same keys in all.
        metrics: (arm, seed, epoch from 1) to the metrics that matter, as stored; the rest are `METRICS`.
        epochs: of each run, or of an arm's.
    """
    keys = tuple(arms[0])
    rows, runs = [], []
    for position, arm in enumerate(arms):
        last = epochs(arm) if callable(epochs) else epochs
        for seed in seeds:
            run = f"{position:06x}{seed:06x}"
            runs.append(
                {
                    "id": run,
                    "seconds": 1.5 * last,
                    "parameters": 269_322,
                    "device": "cpu",
                    "versions": "python 3.11.2, torch 2.13.0",
                    "data": "fashion_mnist",
                    "epochs": last,
                }
            )
            for epoch in range(1, last + 1):
                measured = {**METRICS, **metrics(arm, seed, epoch)}
                measured = {f"{key}_used" if key in keys else key: value for key, value in measured.items()}
                rows.append({"id": run, **arm, "seed": seed, "epoch": epoch, **measured})
    return Table(
        name=name,
        keys=keys,
        epochs=pd.DataFrame(rows),
        runs=pd.DataFrame(runs),
        problems=tuple(problems),
        extras=extras,
        overrides=tuple(overrides),
        machine="2 cores of a made-up processor",
        commit="0123456789",
    )


def macros(language: str) -> dict[str, Any]:
    """What the exercises' templates import, for a block that is rendered alone."""
    modules = [
        page.environment(language).get_template(f"{name}.md").module for name in ("macros", "sensitivity")
    ]
    return {name: macro for module in modules for name, macro in vars(module).items() if callable(macro)}
