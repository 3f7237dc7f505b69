"""What a race of noises has left (`analysis.race`): its tables, and the best settings in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis import runs
from src.errors import REPOSITORY

RESULTS = REPOSITORY / "analysis" / "results" / "noises"

STEPS, TIME = "steps", "time"
"""Budgets: as many epochs for each noise, or as much time."""


@dataclass(frozen=True)
class Winner:
    """A noise's best setting in a race at equal steps."""

    noise: str
    setting: str
    """Overrides beside the noise."""
    settings: int
    """That were tried of the noise."""
    accuracies: Mapping[int, float]
    """Validation accuracy by seed."""
    loss: float
    """Mean validation cross-entropy over these seeds."""

    @property
    def accuracy(self) -> float:
        """The mean."""
        return sum(self.accuracies.values()) / len(self.accuracies)


def winners(folder: Path = RESULTS) -> list[Winner]:
    """Every noise's best setting in a folder of tables, the highest mean validation accuracy first."""
    winners: dict[str, Winner] = {}
    for path in sorted(folder.glob("noises_*.csv")):
        table = pd.read_csv(path, dtype={"id": str})
        table = table[table["budget"] == STEPS]
        keys = list(table.columns[: list(table.columns).index("seed")])
        arms = table[keys].map(runs.shown).apply(lambda row: runs.arm_name(row.to_dict()), axis=1)
        for arm in best(table, keys, len(table), least=1):
            rows = table[arms == arm]
            noise = str(rows["noise"].iloc[0])
            winner = Winner(
                noise,
                arm.removeprefix(f"noise={noise}").strip(),
                int(arms[table["noise"] == noise].nunique()),
                {int(seed): float(acc) for seed, acc in zip(rows["seed"], rows["val_acc"], strict=True)},
                float(rows["val_loss"].mean()),
            )
            other = winners.setdefault(noise, winner)
            if other is not winner:  # a noise may have settings in several parts
                ahead = max(other, winner, key=lambda each: each.accuracy)
                winners[noise] = replace(ahead, settings=other.settings + winner.settings)
    return sorted(winners.values(), key=lambda winner: -winner.accuracy)


def best(table: pd.DataFrame, keys: Sequence[str], one_in: int, least: int = 2) -> list[str]:
    """Of each noise the settings with the highest mean validation accuracy, as arms.

    Settings that have fewer seeds than others of their noise are out of the race, and so is one with a run that
    diverged. One in `one_in` of all its settings goes on, or the `least`. Equal ones go by the
    validation loss.
    """
    chosen: list[str] = []
    steps = table[table["budget"] == STEPS]
    names = steps[list(keys)].map(runs.shown)
    for noise, of_noise in steps.groupby(names["noise"], sort=False):
        arms = of_noise[list(keys)].apply(lambda row: runs.arm_name(row.to_dict()), axis=1)
        means = of_noise.groupby(arms, sort=False).agg(
            seeds=("seed", "nunique"),
            acc=("val_acc", "mean"),
            loss=("val_loss", "mean"),
            well=("val_acc", _all_there),
        )
        running = means[(means["seeds"] == means["seeds"].max()) & means["well"]]
        count = max(least, round(len(means) / one_in))
        order = running.assign(acc=-running["acc"].round(10)).sort_values(["acc", "loss"], kind="stable")
        chosen += [arm if arm != "all" else f"noise={noise}" for arm in order.index[:count]]
    return chosen


def _all_there(values: pd.Series) -> bool:
    return bool(values.notna().all())
