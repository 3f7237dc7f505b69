"""A sweep that goes on, as numbers for its page: arms, curves, what runs, what gave no result, time left.

A rewrite reads `runs.csv`, and of the runs' folders only what it has not read before: curves of the arms that are
drawn, reasons of the runs that gave no result, and what is being trained.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
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

ENDS = (store.FINISHED, store.FAILED, store.DIVERGED)
"""Of runs."""

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
    chosen = value_at(sweeper, "metric") or value_at(sweeper, "primary.metric")
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
        self._reasons: dict[tuple[str, int], str] = {}
        """By ID and time of `run.json`."""

    def read(self) -> dict[str, Any]:
        """What the page shows, as plain JSON.

        Raises:
            InputError: if the folder is not a sweep's, or its runs have no such metric.
        """
        going, now = progress.read(self.folder), time.time()
        table, keys = runs.read_table(self.folder)
        folders = sweep_folder.runs_of(self.folder)
        declared = _declared(table, folders)
        measure = measures.of_column(self._column or metric(self.folder), declared)
        column = f"{measure.column}_used" if measure.column in keys else measure.column
        otherwise = self._corrections.correct(table, keys, column, measure.column, folders)
        table = table.drop_duplicates(["id", *keys, "seed"])
        unfinished = table["id"][table["state"] == store.UNFINISHED]
        running = _running(folders, unfinished, going)
        listed = table[["id", "state", "seed"]].assign(
            arm=table.groupby(list(keys), sort=False).ngroup() if keys else 0,
            running=table["id"].isin(running.keys()),
            value=_numbers(table, column, keys, self._column) * measure.scale,
        )
        summary = _summary(listed)
        at_work = listed[listed["running"]].head(MOST_LISTED)
        firsts = ~listed["arm"].duplicated()
        total = max(len(table), going.runs if going else 0)
        return {
            "name": self.folder.resolve().name,
            "state": GOES_ON if going else STOPPED if len(unfinished) else ENDED,
            "updated": now,
            "left": None
            if going is None or going.left is None
            else max(0.0, going.left - max(0.0, now - going.written)),  # clocks may be set
            "runs": total,
            "counts": {
                **{kind: sum(summary[kind]) for kind in ENDS},
                "running": len(running),
                "waiting": total - len(table) + len(unfinished) - len(running),
            },
            "measure": {
                "name": measure.name,
                "unit": measure.unit,
                "digits": measure.digits,
                "better": measure.sign if measure.higher_is_better is not None else 0,
            },
            "search": (self.folder / "study.db").exists(),
            "keys": [_key(key, table[key][firsts]) for key in keys],
            "arms": summary,
            "curves": self._drawn(listed, summary["mean"], folders, measure),
            # the last one: seconds since the last sign of life
            "running": [
                [arm, seed, run, max(0, round(now - running[run]))]
                for arm, seed, run in zip(at_work["arm"], at_work["seed"], at_work["id"], strict=True)
            ],
            "bad": self._bad(listed, folders),
            "otherwise": {"runs": len(otherwise), "first": otherwise[:MOST_LISTED]},
            "looks": _looks(self.folder, declared),
        }

    def _drawn(
        self, listed: pd.DataFrame, means: Sequence[float | None], folders: Path, measure: Measure
    ) -> dict[str, list[list[float | None]]]:
        """Epochs, means and half the widths of their intervals, of the arms that are drawn."""
        ranks = [math.inf if mean is None else -(measure.sign) * mean for mean in means]
        best = sorted(range(len(ranks)), key=ranks.__getitem__)[:MOST_CURVES]
        drawn = listed[((listed["state"] == store.FINISHED) | listed["running"]) & listed["arm"].isin(best)]
        rows = [
            self._values(run, folders / run, measure.column, state == store.FINISHED)
            for run, state in zip(drawn["id"], drawn["state"], strict=True)
        ]
        arms = drawn["arm"].to_numpy()
        # a column a run, a row an epoch; runs that are not as far end in NaN
        by_epoch = list(itertools.zip_longest(*rows, fillvalue=math.nan))
        values = pd.DataFrame(by_epoch, columns=range(len(rows)), dtype=float) * measure.scale
        mean, half = _intervals(values.T.groupby(arms))
        lengths = pd.Series(map(len, rows), dtype=int).groupby(arms).max()
        curves = {}
        for arm in best:
            if last := lengths.get(arm, 0):
                points = np.unique(np.linspace(0, last - 1, min(last, MOST_POINTS)).round().astype(int))
                of_arm = (_plain(frame.loc[arm, points]) for frame in (mean, half))
                curves[str(arm)] = [(points + 1).tolist(), *of_arm]
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

    def _bad(self, listed: pd.DataFrame, folders: Path) -> dict[str, Any]:
        """Runs without a result: how many by reason, the first of them by name."""
        bad = listed[listed["state"].isin([store.FAILED, store.DIVERGED])]
        reasons = [self._reason(folders / run) for run in bad["id"]]
        rows = zip(bad["state"], bad["arm"], bad["seed"], bad["id"], reasons, strict=True)
        return {
            "rows": list(rows)[:MOST_LISTED],
            "reasons": Counter(reasons).most_common(20),
            "log": os.path.relpath(folders, self.folder.resolve()),
        }

    def _reason(self, folder: Path) -> str:
        path = folder / "run.json"
        try:
            key = folder.name, path.stat().st_mtime_ns
            if key not in self._reasons:
                reason = " ".join(str(json.loads(path.read_bytes())["error"]).split())
                self._reasons[key] = reason[:LONGEST_REASON]
            return self._reasons[key]
        except (OSError, ValueError, LookupError, TypeError):
            return ""


def _declared(table: pd.DataFrame, folders: Path) -> dict[str, str | None]:
    """The metrics that components declare, by the first run that has ended."""
    for run in table["id"][table["state"] == store.FINISHED].head(1):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            return dict(json.loads((folders / run / "run.json").read_bytes())["metrics"])
    return {}


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
    signs = {}
    for run in unfinished:
        try:
            touched = (folders / run / "train.log").stat().st_mtime
        except OSError:
            continue
        if touched >= going.started - 1 and not (folders / run / "run.json").exists():
            signs[run] = touched
    return signs


def _summary(listed: pd.DataFrame) -> dict[str, list[Any]]:
    """Columns, a row an arm: counts of its runs, their mean, and half the width of its interval.

    Args:
        listed: a row a run: state, arm (from 0 on), whether it is running, and its value as shown.
    """
    kinds = {kind: listed["state"] == kind for kind in ENDS}
    counts = pd.DataFrame({"planned": True, **kinds, "running": listed["running"]})
    usable = listed["value"].where(kinds[store.FINISHED] & np.isfinite(listed["value"]))
    mean, half = map(_plain, _intervals(usable.groupby(listed["arm"])))
    return {**counts.groupby(listed["arm"]).sum().to_dict("list"), "mean": mean, "half": half}


def _intervals(samples: Any) -> tuple[Any, Any]:
    """Means, and half the widths of their 95% intervals by Student's t, which takes two values.

    Args:
        samples: grouped columns; NaN where a value is missing.
    """
    n = samples.count()
    half = student.ppf(0.975, np.maximum(n - 1, 1)) * samples.std() / np.sqrt(np.maximum(n, 1))
    return samples.mean(), half


def _plain(numbers: Iterable[float]) -> list[float | None]:
    """As JSON: a missing number is null."""
    return [float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None for number in numbers]


def _key(name: str, column: pd.Series) -> dict[str, Any]:
    """A swept key, with each arm's value as its place among the different ones; numbers ascend."""
    numbers = pd.to_numeric(column, errors="coerce")
    is_number = bool(np.isfinite(numbers).all())
    codes, values = pd.factorize(numbers if is_number else column, sort=is_number)
    shown = _plain(values) if is_number else [word or "null" for word in values]
    return {"name": name, "number": is_number, "values": shown, "codes": codes.tolist()}


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
