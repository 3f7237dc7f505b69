"""A sweep folder read back: which runs are usable and their metrics, epoch by epoch.

    from analysis.runs import read_sweep
    frame = read_sweep("outputs/sweeps/swap_rates")
    frame.query("epoch == 10").groupby(["dropout1", "dropout2"]).test_acc.mean()

`runs.csv` says which runs belong to the sweep and what was swept; each run's own folder says whether it is
finished and what it measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import agreement, looks, parsing, records
from analysis.looks import Look
from analysis.records import DAMAGED, Sources, UnusableError
from src.config import RATES
from src.errors import InputError as InputError
from src.runs import store, sweep_folder

DIGITS = 15
"""Of a swept number in its name, at most: 0.30000000000000004 is 0.3."""


@dataclass(frozen=True)
class Problem:
    """A run of the sweep that gives no result."""

    id: str
    kind: str
    """failed, diverged, unfinished, damaged or missing."""
    arm: Mapping[str, Any]
    """The run's values of the swept keys."""
    seed: Any
    reason: str

    @property
    def where(self) -> str:
        """Arm and seed in words."""
        seed = f"seed {shown(self.seed)}"
        return f"{arm_name(self.arm)}, {seed}" if self.arm else seed

    def __str__(self) -> str:
        verb = self.kind if self.kind in (store.FAILED, store.DIVERGED) else f"is {self.kind}"
        return f"run {self.id} ({self.where}) {verb}: {self.reason}"


@dataclass(frozen=True)
class Table:
    """One sweep's results."""

    name: str
    """The named sweep's, with the overrides that trimmed it: `swap_rates`, `swap_rates__epochs=1`."""
    keys: tuple[str, ...]
    """What was swept, but for the seed; a run's values of them are its arm."""
    epochs: pd.DataFrame
    """A row a usable run and epoch: id, the keys, seed, then the columns of `metrics.csv`; a metric with the name
    of a key has the suffix `_used`."""
    runs: pd.DataFrame
    """A row a usable run: id, seconds, parameters, device, versions, data, epochs; None if not recorded."""
    problems: tuple[Problem, ...] = ()
    """Runs without a result: failed, diverged, unfinished, damaged or missing."""
    extras: Mapping[str, pd.DataFrame] | None = None
    """By the probe's name: a row a run and row of its file: id, the keys, seed, then the file's columns."""
    overrides: tuple[str, ...] = ()
    """With which it was trained beside its file: those that make it another sweep than the file's."""
    machine: str = ""
    commit: str = ""
    looks: tuple[Look, ...] = ()
    """Of a sweep that ended once its pairs were decided."""
    folder: Path = Path()
    """Where it was read from."""
    metrics: Mapping[str, str | None] = field(default_factory=dict)
    """Those that components declare: where they are better."""
    sources: Mapping[str, Sources] = field(default_factory=dict)
    """By a run's id, where recorded."""

    @cached_property
    def final(self) -> pd.DataFrame:
        """Each run's last epoch."""
        return self.epochs.groupby("id", sort=False).tail(1).reset_index(drop=True)

    @property
    def sweep(self) -> str:
        """Name of its file in sweeps/."""
        return self.name.partition("__")[0]

    @property
    def given(self) -> dict[str, str]:
        """Values of its overrides, as typed, by their key."""
        return dict(override.split("=", 1) for override in self.overrides if "=" in override)

    def extra(self, name: str) -> pd.DataFrame:
        """A probe's rows.

        Raises:
            InputError: if the sweep has none.
        """
        rows = (self.extras or {}).get(name)
        if rows is None:
            right = {"probe": "probe.every=epoch", "test_time": "probe.test_time=true"}[name]
            raise InputError(f"{self.name} has no {name}.csv; a sweep with {right} is right")
        return rows

    def without(self, ids: Collection[str]) -> Table:
        """All runs but these."""
        epochs, runs = (
            frame[~frame["id"].isin(ids)].reset_index(drop=True) for frame in (self.epochs, self.runs)
        )
        problems = tuple(problem for problem in self.problems if problem.id not in ids)
        return replace(self, epochs=epochs, runs=runs, problems=problems)

    def with_damaged(self, reasons: Mapping[str, str], usable: str) -> Table:
        """The sweep with these runs among its problems.

        Args:
            reasons: by the run's id.
            usable: what the others are, in words.

        Raises:
            InputError: if there are no others.
        """
        listed = self.epochs[["id", *self.keys, "seed"]].drop_duplicates()
        problems = _problems(listed, self.keys, {run: (DAMAGED, reason) for run, reason in reasons.items()})
        if len(problems) == len(listed):
            raise InputError(f"{self.folder} has no {usable}; the first: {problems[0]}")
        kept = self.without(reasons)
        return replace(kept, problems=(*kept.problems, *problems))


def read_sweep(folder: str | Path) -> pd.DataFrame:
    """Finished runs of a sweep as a tidy frame, a row a run and epoch, in the order of `runs.csv`.

    Columns: id, state, one for each swept key, seed, then those of `metrics.csv` (losses in nats, accuracies
    in [0, 1], see `store.METRICS`); a metrics column with the name of a swept key has the suffix `_used`.
    Runs that give no result are left out with a warning; `read` names each.

    Raises:
        InputError: if `folder` is not a sweep folder or has no finished run.
    """
    sweep = read(folder)
    if sweep.problems:
        total = sweep.epochs["id"].nunique() + len(sweep.problems)
        warnings.warn(
            f"{len(sweep.problems)} of the {total} runs of {folder} are left out, first: {sweep.problems[0]}",
            stacklevel=2,
        )
    return sweep.epochs


def read(folder: str | Path) -> Table:
    """A sweep folder's usable runs and its problems; its epochs have the column state.

    A run is usable if its `run.json` says that it is finished and its `metrics.csv` is whole, whatever state
    `runs.csv` gives it: another sweep may have finished the run since. Where a row has other values of the swept
    keys than `run.json`, the run is a problem.

    Raises:
        InputError: if `folder` is not a sweep folder or has no usable run.
    """
    folder = Path(folder)
    listed, keys = read_list(folder)
    run_folders = sweep_folder.runs_of(folder)

    rows: dict[str, list[dict[Any, Any]]] = {}
    for row in listed.to_dict("records"):
        rows.setdefault(row["id"], []).append(row)
    lost: dict[str, tuple[str, str]] = {}
    facts: list[dict[str, Any]] = []
    declared: dict[str, str | None] = {}
    texts: list[tuple[str, str]] = []
    sources: dict[str, Sources] = {}
    known: dict[Sources, Sources] = {}  # most runs share one
    for run, of_run in rows.items():
        try:
            record = records.finished(run_folders / run, of_run[-1]["state"])
            if contradiction := agreement.contradiction(of_run, (*keys, "seed"), record["config"]):
                raise UnusableError(DAMAGED, f"{folder / 'runs.csv'} {contradiction}")
            facts.append({"id": run, **records.facts(record)})
            declared |= record.get("metrics") or {}
            of_record = records.sources(record)
            sources[run] = known.setdefault(of_record, of_record)
            texts.append((run, (run_folders / run / "metrics.csv").read_text("utf-8", "replace")))
        except UnusableError as error:
            kind, reason = error.args
            lost[run] = kind, reason

    metrics, unreadable = parsing.parse(texts)
    for run in unreadable:
        lost[run] = DAMAGED, f"{run_folders / run / 'metrics.csv'} holds a cell that is not a number"

    problems = _problems(listed, keys, lost)
    usable = listed[~listed["id"].isin(lost.keys())]
    if usable.empty:
        right = f"a sweep with at least one is right. The first of its {len(problems)} runs: {problems[0]}"
        raise InputError(f"{folder} has no finished run; {right}")
    used = {name: f"{name}_used" for name in keys if name in metrics}
    metrics = metrics.astype({"epoch": int}).rename(columns=used)
    epochs = usable.assign(state=store.FINISHED).merge(metrics, on="id", validate="many_to_many")
    runs = pd.DataFrame([fact for fact in facts if fact["id"] not in lost])
    return Table(
        folder.resolve().name,
        keys,
        epochs,
        runs,
        problems,
        folder=folder,
        metrics=declared,
        sources=sources,
    )


def _problems(
    listed: pd.DataFrame, keys: Sequence[str], lost: Mapping[str, tuple[str, str]]
) -> tuple[Problem, ...]:
    """Those rows whose runs are lost: kind and reason by the run's id."""
    rows = listed[listed["id"].isin(lost.keys())].to_dict("records")
    return tuple(
        Problem(
            row["id"], lost[row["id"]][0], {key: row[key] for key in keys}, row["seed"], lost[row["id"]][1]
        )
        for row in rows
    )


def arm_name(arm: Mapping[str, Any], digits: int = DIGITS) -> str:
    """Name of an arm, as the sweep's own table has it: "dropout1=0.2 noise=gaussian".

    Keys that have no effect are left out: the rates without a noise, and what a group's choice does not have. A
    sweep of nothing but seeds has one arm, "all".
    """
    idle = {*RATES} if arm.get("noise") == "none" else set()
    for key, value in arm.items():
        if shown(value) == "null" and "." in key and key.partition(".")[0] in arm:
            idle.add(key)
    return " ".join(f"{key}={shown(value, digits)}" for key, value in arm.items() if key not in idle) or "all"


def names(arms: Sequence[Mapping[str, Any]], digits: int = DIGITS) -> list[str]:
    """Names of different arms, which differ, see `arm_name`."""
    for at_most in sorted({digits, DIGITS}):
        short = [arm_name(arm, at_most) for arm in arms]
        if len(set(short)) == len(arms):
            return short
    # they differ past 15 digits, or in what has no effect
    return [" ".join(f"{key}={value}" for key, value in arm.items()) for arm in arms]


def arm_names(frame: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Name of each row's arm."""
    if not keys:
        return pd.Series(arm_name({}), frame.index, dtype=object)
    arms = frame[list(keys)].drop_duplicates().to_dict("records")
    places = frame.groupby(list(keys), sort=False, dropna=False).ngroup()
    return places.map(dict(enumerate(names(arms)))).astype(object)


def shown(value: object, digits: int = DIGITS) -> str:
    """A swept value as one would type it: 0.30000000000000004 is 0.3, 256.0 is 256, a missing one null."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return "null" if np.isnan(value) else f"{value:.{digits}g}"
    return str(value) if value not in ("", None) else "null"


def read_table(folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """`runs.csv` with every cell as text, and the swept keys.

    Raises:
        InputError: if there is none, or it is no list of runs.
    """
    path = folder / "runs.csv"
    right = "the folder of a sweep, such as outputs/sweeps/NAME, is right"
    if not folder.exists():
        raise InputError(f"{folder} is not there; {right}")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; {right}")
    if not path.exists():
        raise InputError(f"{folder} has no runs.csv; {right}")
    table = parsing.read(path, "a CSV file with a row a run is right")
    columns = list(table.columns)
    if columns[:2] != ["id", "state"] or "seed" not in columns:
        raise InputError(f"{path} is no list of runs; the columns id, state, the swept keys, seed are right")
    if table.empty:
        raise InputError(f"{path} lists no run; a row a run is right")
    # a key that was swept after the seed stands behind it, still before the metrics
    end = columns.index("epoch") if "epoch" in columns else columns.index("seed")
    return table, tuple(column for column in columns[2:end] if column != "seed")


def read_list(folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns id, state, the swept keys and seed of `runs.csv`, typed, and the swept keys."""
    table, keys = read_table(folder)
    listed = table[["id", "state", *keys, "seed"]].drop_duplicates(["id", *keys, "seed"])
    for key in (*keys, "seed"):
        listed[key] = parsing.typed(listed[key])
    check_single(listed, keys, f"{folder / 'runs.csv'} lists two runs")
    return listed, keys


def read_looks(folder: Path) -> tuple[Look, ...]:
    """The latest look at each contrast of a sweep; none where it has no looks, see `looks.read`."""
    return looks.read(folder, *read_list(folder)) if (folder / looks.FILE).exists() else ()


def check_single(listed: pd.DataFrame, keys: Sequence[str], what: str) -> None:
    """Raises InputError, which begins with `what`, where an arm and seed has several rows."""
    twice = listed.astype(dict.fromkeys(keys, str)).duplicated([*keys, "seed"])
    for problem in _problems(listed[twice], keys, dict.fromkeys(listed["id"], ("", ""))):
        raise InputError(f"{what} of {problem.where}; one run an arm and seed is right")
