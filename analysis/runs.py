"""A sweep folder read back: which runs are usable and their metrics, epoch by epoch.

    from analysis.runs import read_sweep
    frame = read_sweep("outputs/sweeps/swap_rates")
    frame.query("epoch == 10").groupby(["dropout1", "dropout2"]).test_acc.mean()

`runs.csv` says which runs belong to the sweep and what was swept; each run's own folder says whether it is
finished and what it measured.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src import store, sweep_folder
from src.errors import InputError as InputError

DAMAGED, MISSING = "damaged", "missing"
"""States of a run beside those of `store`: a file that cannot be right, a folder that is gone."""


@dataclass(frozen=True)
class Problem:
    """A run of the sweep that gives no result."""

    id: str
    kind: str
    """failed, diverged, unfinished, damaged or missing."""
    where: str
    """The run's arm and seed."""
    reason: str

    def __str__(self) -> str:
        verb = self.kind if self.kind in (store.FAILED, store.DIVERGED) else f"is {self.kind}"
        return f"run {self.id} ({self.where}) {verb}: {self.reason}"


@dataclass(frozen=True)
class Sweep:
    """A sweep folder's contents."""

    folder: Path
    keys: tuple[str, ...]
    """What was swept, but for the seed; a run's values of them are its arm."""
    epochs: pd.DataFrame
    """A row a usable run and epoch: id, state, the keys, seed, the columns of `metrics.csv`."""
    runs: pd.DataFrame
    """A row a usable run: id, seconds, parameters, device, versions, data, epochs; None if not recorded."""
    problems: tuple[Problem, ...]

    @property
    def name(self) -> str:
        return self.folder.resolve().name


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


def read(folder: str | Path) -> Sweep:
    """A sweep folder's usable runs and its problems, see `Sweep`.

    A run is usable if its `run.json` says that it is finished and its `metrics.csv` is whole, whatever
    `runs.csv` says: another sweep may have finished the run since.

    Raises:
        InputError: if `folder` is not a sweep folder or has no usable run.
    """
    folder = Path(folder)
    listed, keys = _read_runs_csv(folder)
    run_folders = sweep_folder.runs_of(folder)

    problems: dict[str, tuple[str, str]] = {}
    facts: list[dict[str, Any]] = []
    tables: list[tuple[str, str]] = []
    for run, state in dict(zip(listed["id"], listed["state"], strict=True)).items():
        try:
            record = _finished_record(run_folders / run, state)
            tables.append((run, _metrics_text(run_folders / run)))
        except _UnusableError as error:
            problems[run] = (error.kind, str(error))
        else:
            facts.append({"id": run, **_facts(record)})

    metrics, unreadable = _parse(tables)
    for run in unreadable:
        problems[run] = (DAMAGED, f"{run_folders / run / 'metrics.csv'} holds a cell that is not a number")

    where = place_names(listed, keys)
    named = tuple(
        Problem(run, problems[run][0], place, problems[run][1])
        for run, place in zip(listed["id"], where, strict=True)
        if run in problems
    )
    usable = listed[~listed["id"].isin(problems.keys())]
    if usable.empty:
        raise InputError(
            f"{folder} has no finished run; a sweep with at least one is right. The first of its "
            f"{len(named)} runs: {named[0]}"
        )
    metrics = metrics.rename(columns={name: f"{name}_used" for name in keys if name in metrics})
    epochs = usable.assign(state=store.FINISHED).merge(metrics, on="id", validate="many_to_many")
    runs = pd.DataFrame([fact for fact in facts if fact["id"] not in problems])
    return Sweep(folder, keys, epochs, runs, named)


def arm_names(frame: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Name of each row's arm, that is of its values of the swept keys: "dropout1=0.2, noise=gaussian".

    The two dropout rates alone are written as in the book's exercise, "(0.2, 0.5)"; a sweep of nothing but
    seeds has one arm, "all runs".
    """
    if not keys:
        return pd.Series("all runs", index=frame.index, dtype=object)
    columns = [[shown(value) for value in frame[key]] for key in keys]
    if tuple(keys) == ("dropout1", "dropout2"):
        names = [f"({first}, {second})" for first, second in zip(*columns, strict=True)]
    else:
        names = [
            ", ".join(f"{key}={value}" for key, value in zip(keys, row, strict=True))
            for row in zip(*columns, strict=True)
        ]
    return pd.Series(names, index=frame.index, dtype=object)


def place_names(frame: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Arm and seed of each row."""
    seeds = [f"seed {seed}" for seed in frame["seed"]]
    if not keys:
        return seeds
    return [f"{arm}, {seed}" for arm, seed in zip(arm_names(frame, keys), seeds, strict=True)]


def shown(value: object) -> str:
    """A swept value as one would type it: 0.30000000000000004 is 0.3, 256.0 is 256."""
    return f"{value:.12g}" if isinstance(value, int | float | np.number) else str(value)


class _UnusableError(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _read_runs_csv(folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns id, state, the swept keys and seed of `runs.csv`, typed, and the swept keys."""
    path = folder / "runs.csv"
    right = "the folder of a sweep, such as outputs/sweeps/NAME, is right"
    if not folder.exists():
        raise InputError(f"{folder} is not there; {right}")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; {right}")
    if not path.exists():
        raise InputError(f"{folder} has no runs.csv; {right}")
    try:
        # As text first: "null" and "none" are values that can be swept, not missing ones.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); a CSV file with a row a run is right") from None
    columns = list(table.columns)
    if columns[:2] != ["id", "state"] or "seed" not in columns:
        raise InputError(f"{path} is no list of runs; the columns id, state, the swept keys, seed are right")
    if table.empty:
        raise InputError(f"{path} lists no run; a row a run is right")
    # a key that was swept after the seed stands behind it, still before the metrics
    end = columns.index("epoch") if "epoch" in columns else columns.index("seed")
    keys = tuple(column for column in columns[2:end] if column != "seed")
    listed = table[["id", "state", *keys, "seed"]].drop_duplicates(["id", *keys, "seed"])
    for key in (*keys, "seed"):
        listed[key] = _typed(listed[key])
    twice = listed.duplicated([*keys, "seed"])
    if twice.any():
        where = place_names(listed[twice], keys)[0]
        raise InputError(f"{path} lists two runs of {where}; one run an arm and seed is right")
    return listed, keys


def _typed(column: pd.Series) -> pd.Series:
    """Numbers where every cell is one, otherwise the text."""
    if (column == "").any():
        return column
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def _finished_record(folder: Path, listed_state: str) -> dict[str, Any]:
    try:
        record = store.read_record(folder)
    except store.Damaged as error:
        raise _UnusableError(DAMAGED, str(error)) from None
    except (LookupError, TypeError, AttributeError, OSError) as error:
        raise _UnusableError(DAMAGED, f"{folder / 'run.json'} cannot be read ({error!r})") from None
    if record is None:
        if listed_state != store.UNFINISHED and not folder.exists():
            raise _UnusableError(MISSING, f"{folder} is not there")
        raise _UnusableError(store.UNFINISHED, "it has no run.json: it was stopped or is still running")
    if record["state"] != store.FINISHED:
        lines = str(record.get("error") or "").strip().splitlines()
        raise _UnusableError(record["state"], lines[-1].strip() if lines else "no reason is recorded")
    return record


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    """What the report tells of a run beside its metrics; None where it is not recorded."""
    config = record["config"]
    data = config.get("data")
    versions = record.get("versions")
    return {
        "seconds": record.get("seconds"),
        "parameters": record.get("parameters"),
        "device": record.get("device"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items())
        if isinstance(versions, dict)
        else versions,
        "data": data.get("name") if isinstance(data, dict) else data,
        "epochs": config["epochs"],
    }


def _metrics_text(folder: Path) -> str:
    path = folder / "metrics.csv"
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    if len(lines) < 2 or len({line.count(",") for line in lines}) != 1:
        raise _UnusableError(DAMAGED, f"{path} has no epoch or rows of unequal length")
    return text


def _parse(tables: Sequence[tuple[str, str]]) -> tuple[pd.DataFrame, list[str]]:
    """Metrics of many runs in one frame, with their id, and the runs whose text is not numbers.

    Files with equal headers are parsed as one: pandas takes 1 ms a file whatever its length.
    """
    by_header: dict[str, list[tuple[str, str]]] = {}
    for run, text in tables:
        header, body = text.split("\n", 1)
        by_header.setdefault(header, []).append((run, body))
    frames: list[pd.DataFrame] = []
    unreadable: list[str] = []
    for header, bodies in by_header.items():
        for frame, bad in _parse_alike(header, bodies):
            frames.append(frame)
            unreadable += bad
    if not frames:
        return pd.DataFrame(columns=["id", *store.METRICS]), unreadable
    metrics = pd.concat(frames, ignore_index=True)
    metrics["epoch"] = metrics["epoch"].astype(int)
    return metrics, unreadable


def _parse_alike(
    header: str, bodies: Sequence[tuple[str, str]]
) -> Iterator[tuple[pd.DataFrame, Sequence[str]]]:
    """Frames of files with one header; where they cannot be read together, halves, to find the culprits."""
    text = header + "\n" + "".join(body for _, body in bodies)
    try:
        frame = pd.read_csv(io.StringIO(text), dtype=float)
        if not np.isfinite(frame["epoch"]).all():
            raise ValueError("an epoch without a number")
    except (ValueError, KeyError):
        if len(bodies) == 1:
            yield pd.DataFrame({"id": [], "epoch": []}), [bodies[0][0]]
            return
        half = len(bodies) // 2
        yield from _parse_alike(header, bodies[:half])
        yield from _parse_alike(header, bodies[half:])
        return
    ids = np.repeat([run for run, _ in bodies], [body.count("\n") for _, body in bodies])
    frame.insert(0, "id", ids)
    yield frame, []
