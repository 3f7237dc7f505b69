"""A sweep that goes on, as numbers for its page: arms, curves, what runs, what gave no result, time left.

A rewrite reads `runs.csv`, and of the runs' folders only what it has not read before: curves of the arms that are
drawn, reasons of the runs that gave no result, and what is being trained.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis import agreement, measures, runs, tables
from analysis.measures import Measure
from analysis.runs import InputError
from src.runs import store, sweep_folder
from src.sweeping import progress
from src.sweeping.decisions import FILE as LOOKS
from src.sweeping.naming import value_at

GOES_ON, STOPPED, ENDED = "goes on", "stopped", "ended"
"""States of a sweep: a process is at it; none is, and runs are missing; none is, and all runs have ended."""

MOST_CURVES = 100
"""Arms whose curves the page holds: the best ones, and those that have no result yet."""
MOST_POINTS = 60
"""Of a curve; of more epochs so many are taken."""
MOST_LISTED = 200
"""Runs that are named because they run, or because they gave no result."""
LONGEST_REASON = 300
DIGITS = 6
"""Of a number in the page; more would not show."""


def metric(folder: Path) -> str:
    """What a sweep is about: what its search optimises, what it declares (`primary`), or the test accuracy."""
    sweeper = tables.recorded(folder, "hydra.sweeper")
    chosen = value_at(sweeper, "primary.metric") or value_at(sweeper, "metric")
    first = chosen[0] if isinstance(chosen, list) and chosen else chosen
    return str(first or "test_acc")


class Live:
    """Reads a sweep's folder again and again.

    Args:
        folder: OUTPUT/sweeps/NAME.
        column: the metric by which arms are shown; None for the sweep's own.
    """

    def __init__(self, folder: Path, column: str | None = None) -> None:
        self.folder, self._column = folder, column
        self._corrections = agreement.Corrections()
        self._curves: dict[str, np.ndarray] = {}
        """By a finished run's ID its values by epoch."""
        self._metrics: dict[str, str | None] = {}
        self._reasons: dict[tuple[str, int], str] = {}
        """By ID and time of `run.json`."""

    def read(self) -> dict[str, Any]:
        """What the page shows, as plain JSON.

        Raises:
            InputError: if the folder is not a sweep's, or its runs have no such metric.
        """
        going = progress.read(self.folder)
        table, keys = runs.read_table(self.folder)
        folders = sweep_folder.runs_of(self.folder)
        measure = measures.of_column(self._column or metric(self.folder), self._declared(table))
        column = f"{measure.column}_used" if measure.column in keys else measure.column
        otherwise = self._corrections.correct(table, keys, column, measure.column, folders)
        table = table.drop_duplicates(["id", *keys, "seed"])
        values = _numbers(table, column, keys, self._column)
        arms = (
            table.groupby(list(keys), sort=False).ngroup().to_numpy() if keys else np.zeros(len(table), int)
        )
        state = table["state"].to_numpy()
        running = _running(folders, table["id"].to_numpy()[state == store.UNFINISHED], going)
        is_running = table["id"].isin(running.keys()).to_numpy()
        unfinished = int((state == store.UNFINISHED).sum())
        summary = _summary(arms, state, is_running, values * measure.scale)
        total = max(len(table), going.runs if going else 0)
        return {
            "name": self.folder.resolve().name,
            "state": GOES_ON if going else STOPPED if unfinished else ENDED,
            "updated": time.time(),
            "left": None
            if going is None or going.left is None
            else max(0.0, going.left - max(0.0, time.time() - going.written)),  # clocks may be set
            "runs": total,
            "counts": {
                **{
                    kind: int((state == kind).sum())
                    for kind in (store.FINISHED, store.FAILED, store.DIVERGED)
                },
                "running": len(running),
                "waiting": total - len(table) + unfinished - len(running),
            },
            "measure": {
                "name": measure.name,
                "unit": measure.unit,
                "digits": measure.digits,
                "better": measure.sign if measure.higher_is_better is not None else 0,
            },
            "search": (self.folder / "study.db").exists(),
            "keys": [_key(key, table[key][~_repeated(arms)]) for key in keys],
            "arms": summary,
            "curves": self._drawn(table["id"].to_numpy(), arms, state, is_running, summary, folders, measure),
            "running": self._running_rows(table, arms, running),
            "bad": self._bad(table, arms, folders),
            "otherwise": {"runs": len(otherwise), "first": otherwise[:MOST_LISTED]},
            "looks": _looks(self.folder, self._declared(table)),
        }

    def _declared(self, table: pd.DataFrame) -> dict[str, str | None]:
        """The metrics that components declare, by the first run that has ended."""
        folders = sweep_folder.runs_of(self.folder)
        for run in table["id"][table["state"] == store.FINISHED].head(1):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                declared = json.loads((folders / run / "run.json").read_bytes()).get("metrics")
                self._metrics = dict(declared) if isinstance(declared, dict) else {}
        return self._metrics

    def _drawn(
        self,
        ids: np.ndarray,
        arms: np.ndarray,
        state: np.ndarray,
        is_running: np.ndarray,
        summary: dict[str, list[Any]],
        folders: Path,
        measure: Measure,
    ) -> dict[str, list[list[float | None]]]:
        """Mean and half the width of its interval by epoch, of the arms that are drawn."""
        means = [math.inf if mean is None else -(measure.sign) * mean for mean in summary["mean"]]
        best = sorted(range(len(means)), key=means.__getitem__)[:MOST_CURVES]
        seen = (state == store.FINISHED) | is_running
        curves = {}
        for arm in best:
            rows = [
                self._values(run, folders / run, measure.column, finished)
                for run, finished in zip(
                    ids[seen & (arms == arm)], state[seen & (arms == arm)] == store.FINISHED, strict=True
                )
            ]
            rows = [row for row in rows if len(row)]
            if not rows:
                continue
            matrix = np.full((len(rows), max(map(len, rows))), np.nan)
            for row, of_run in zip(matrix, rows, strict=True):
                row[: len(of_run)] = of_run
            last = matrix.shape[1]
            points = np.unique(np.linspace(0, last - 1, min(last, MOST_POINTS)).round().astype(int))
            n = np.isfinite(matrix[:, points]).sum(0)
            mean, half = _interval(n, *_moments(matrix[:, points] * measure.scale, n))
            curves[str(arm)] = [(points + 1).tolist(), _plain(mean), _plain(half)]
        return curves

    def _values(self, run: str, folder: Path, column: str, finished: bool) -> np.ndarray:
        """A run's values by epoch, as far as it is; none where its file cannot be read."""
        if run in self._curves:
            return self._curves[run]
        try:
            with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                place = next(rows).index(column)
                values = np.array([float(row[place] or "nan") for row in rows], np.float32)
        except (OSError, ValueError, IndexError, StopIteration):
            return np.zeros(0, np.float32)
        if finished:
            self._curves[run] = values
        return values

    def _running_rows(self, table: pd.DataFrame, arms: np.ndarray, running: dict[str, float]) -> list[Any]:
        """Arm, seed, ID and seconds since the last sign of life."""
        now = time.time()
        places = np.flatnonzero(table["id"].isin(running.keys()).to_numpy())[:MOST_LISTED]
        listed = table.iloc[places]
        return [
            [int(arm), seed, run, max(0, round(now - running[run]))]
            for arm, seed, run in zip(arms[places], listed["seed"], listed["id"], strict=True)
        ]

    def _bad(self, table: pd.DataFrame, arms: np.ndarray, folders: Path) -> dict[str, Any]:
        """Runs without a result: how many by reason, the first of them by name."""
        places = np.flatnonzero(table["state"].isin([store.FAILED, store.DIVERGED]).to_numpy())
        listed = table.iloc[places]
        reasons = [self._reason(folders / run) for run in listed["id"]]
        rows = list(
            zip(listed["state"], map(int, arms[places]), listed["seed"], listed["id"], reasons, strict=True)
        )
        return {
            "rows": rows[:MOST_LISTED],
            "reasons": Counter(reasons).most_common(20),
            "log": os.path.relpath(folders, self.folder.resolve()),
        }

    def _reason(self, folder: Path) -> str:
        path = folder / "run.json"
        try:
            key = folder.name, path.stat().st_mtime_ns
            if key not in self._reasons:
                said = " ".join(str(json.loads(path.read_bytes())["error"]).split())
                self._reasons[key] = said[:LONGEST_REASON]
            return self._reasons[key]
        except (OSError, ValueError, LookupError, TypeError):
            return ""


def _numbers(table: pd.DataFrame, column: str, keys: Sequence[str], given: str | None) -> np.ndarray:
    """Each run's value at its last epoch; NaN where it has none."""
    numbers = table.columns[len(keys) + 3 :]  # behind id, state and seed
    if column not in numbers:
        if given and (table["state"] == store.FINISHED).any():
            right = ", ".join(name for name in numbers if name != "epoch")
            raise InputError("--metric", given, f"one of these is right: {right}")
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(float)


def _running(folders: Path, unfinished: Iterable[str], going: progress.Progress | None) -> dict[str, float]:
    """IDs of the runs that are being trained, with the time of their last sign of life."""
    if going is None:
        return {}
    seen = {}
    for run in unfinished:
        try:
            touched = (folders / run / "train.log").stat().st_mtime
        except OSError:
            continue
        if touched >= going.started - 1 and not (folders / run / "run.json").exists():
            seen[run] = touched
    return seen


def _repeated(arms: np.ndarray) -> np.ndarray:
    """Whether a row's arm stands further up."""
    return pd.Series(arms).duplicated().to_numpy()


def _summary(
    arms: np.ndarray, state: np.ndarray, is_running: np.ndarray, values: np.ndarray
) -> dict[str, list[Any]]:
    """Columns, a row an arm: counts of its runs, their mean, and half the width of its interval."""
    count = int(arms.max()) + 1 if len(arms) else 0

    def counted(mask: np.ndarray) -> np.ndarray:
        return np.bincount(arms[mask], minlength=count)

    usable = (state == store.FINISHED) & np.isfinite(values)
    n, total = counted(usable), np.bincount(arms[usable], values[usable], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        squares = np.bincount(arms[usable], (values[usable] - mean[arms[usable]]) ** 2, minlength=count)
        mean, half = _interval(n, mean, np.sqrt(squares / (n - 1)))
    numbers = {
        "planned": np.bincount(arms, minlength=count),
        "finished": counted(state == store.FINISHED),
        "failed": counted(state == store.FAILED),
        "diverged": counted(state == store.DIVERGED),
        "running": counted(is_running),
    }
    return {
        **{name: column.tolist() for name, column in numbers.items()},
        "mean": _plain(mean),
        "half": _plain(half),
    }


def _moments(matrix: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD over the rows, without what is missing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(matrix, 0) / n
        return mean, np.sqrt(np.nansum((matrix - mean) ** 2, 0) / (n - 1))


def _interval(n: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and half the width of its 95% interval by Student's t; NaN of fewer than one, or two values."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.where(n > 1, student.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(n), np.nan)
    return np.where(n > 0, mean, np.nan), half


def _plain(numbers: np.ndarray) -> list[float | None]:
    """As JSON: a missing number is null."""
    return [float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None for number in numbers]


def _key(name: str, column: pd.Series) -> dict[str, Any]:
    """A swept key, with each arm's value as its place among the different ones; numbers ascend."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if np.isfinite(numbers).all():
        values, codes = np.unique(numbers, return_inverse=True)
        return {"name": name, "number": True, "values": _plain(values), "codes": codes.tolist()}
    places, words = pd.factorize(column)
    shown = [word or "null" for word in words]
    return {"name": name, "number": False, "values": shown, "codes": places.tolist()}


def _looks(folder: Path, declared: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """The latest look at each contrast, of a sweep that goes on until they are decided; its numbers as shown."""
    try:
        table = pd.read_csv(folder / LOOKS, dtype={"verdict": str, "arm_a": str, "arm_b": str})
        table = table.drop_duplicates(["a", "b"], keep="last").tail(MOST_LISTED)
    except (OSError, ValueError, KeyError):
        return []
    numbers = ["estimate", "lower", "upper"]
    columns = ["arm_a", "arm_b", "metric", "seeds", "n", *numbers, "verdict"]
    table = table.reindex(columns=columns)
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    looks = []
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        measure = measures.of_column(str(row["metric"]), declared)
        shown = {name: measure.shown(row[name], signed=True) for name in numbers}
        looks.append({**{str(key): of for key, of in row.items()}, **shown, "unit": measure.difference_unit})
    return looks
