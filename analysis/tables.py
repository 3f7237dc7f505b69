"""A sweep as the chapter's report reads and keeps it: one table of every run's every epoch, and what belongs to it.

    NAME.csv.gz              a row a run and epoch: id, the swept keys, seed, the columns of metrics.csv
    NAME.probe.csv.gz        a row a run, probed step and layer (where the sweep probed; likewise test_time)
    NAME.runs.csv.gz         a row a run: seconds, epochs, parameters, device, versions, data
    NAME.json                the rest: swept keys, runs without a result, overrides, machine, commit

From these files alone the report is made again, with the same numbers to the last digit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis import parsing, runs
from analysis.looks import Look
from analysis.runs import InputError, Problem
from analysis.runs import Table as Table
from src.engines import queue
from src.errors import REPOSITORY, writing
from src.errors.messages import key_of
from src.kernels import processor
from src.provenance import checkout
from src.runs import store, sweep_folder
from src.sweeping.naming import WITHOUT_EFFECT, sets_hydra, value_at

NOISES = REPOSITORY / "analysis" / "results" / "noises"
"""The comparison of noises: its tables and its page."""

EXTRAS = ("probe", "test_time")
"""Files that a probe leaves in a run's folder, NAME.csv."""

NAMES_IN_EXTRAS = ("method",)
"""Their columns that hold words."""

OF_EACH_EPOCH = ("epoch", "train_loss", "train_acc", "test_loss", "test_acc")
"""Columns with a number in each epoch of every sweep."""

SWEEPER = ("hydra/sweeper=", "hydra.sweeper.")
"""Beginnings of the overrides of Hydra's own part that belong to the sweep: how it searches, its arms."""

DIGITS = "%.9g"
"""A float32's; the accuracies and the float64 means lose nothing that could show."""


def collect(folder: str | Path) -> Table:
    """The table of a sweep's folder, OUTPUT/sweeps/NAME.

    Raises:
        InputError: if it is no sweep's folder or has no usable run.
    """
    sweep = runs.read(folder)
    run_folders = sweep_folder.runs_of(sweep.folder)
    probed: dict[str, pd.DataFrame] = {}
    damaged: dict[str, str] = {}
    for name in EXTRAS:
        paths = {run: run_folders / run / f"{name}.csv" for run in sweep.epochs["id"].unique()}
        texts = [(run, path.read_text("utf-8", "replace")) for run, path in paths.items() if path.exists()]
        probed[name], unreadable = parsing.parse(texts, NAMES_IN_EXTRAS)
        damaged |= {run: f"{paths[run]} is damaged" for run in unreadable}
    sweep = sweep.with_damaged(damaged, "usable run")
    identity = sweep.epochs[["id", *sweep.keys, "seed"]].drop_duplicates()
    extras = {name: identity.merge(frame, on="id") for name, frame in probed.items() if len(frame)}
    return replace(
        sweep,
        epochs=sweep.epochs.drop(columns="state"),
        extras={name: frame for name, frame in extras.items() if len(frame)},
        overrides=tuple(
            override
            for override in overrides(sweep.folder) or ()
            if key_of(override) not in WITHOUT_EFFECT and not sets_hydra(override)
        ),
        machine=machine(),
        commit=commit(),
        looks=runs.read_looks(sweep.folder),
    )


def recorded(folder: Path, key: str) -> Any:
    """What a sweep's `multirun.yaml` has at a key; None where that is nothing, or the file cannot be read."""
    try:
        return value_at(yaml.safe_load((folder / "multirun.yaml").read_text(encoding="utf-8")), key)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def overrides(folder: Path) -> list[str] | None:
    """Overrides that the sweep was trained with, as `multirun.yaml` records them; None where it does not."""
    given = recorded(folder, "hydra.overrides")
    hydra, task = (value_at(given, part) for part in ("hydra", "task"))
    if not isinstance(task, list):
        return None
    of_hydra = map(str, hydra if isinstance(hydra, list) else ())
    return [*(override for override in of_hydra if override.startswith(SWEEPER)), *map(str, task)]


def save(table: Table, folder: Path) -> None:
    """Write the table's files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    extras = {f".{name}": frame for name, frame in (table.extras or {}).items()}
    for part, frame in {"": table.epochs, ".runs": table.runs, **extras}.items():
        path = folder / f"{table.name}{part}.csv.gz"
        # swept values to their last digit: two that differ there are two arms
        swept = [key for key in table.keys if "seed" in frame and frame[key].dtype == float]
        frame = frame.assign(**{key: [_exact(value) for value in frame[key]] for key in swept})
        # without a time in the file's header, equal tables are equal files
        with writing(path):
            frame.to_csv(path, index=False, float_format=DIGITS, compression={"method": "gzip", "mtime": 0})
    rest = {name: getattr(table, name) for name in ("keys", "overrides", "machine", "commit")}
    rest["problems"] = [asdict(problem) for problem in table.problems]
    if table.looks:
        rest["looks"] = [asdict(look) for look in table.looks]
    store.write_whole(folder / f"{table.name}.json", json.dumps(rest, indent=1) + "\n")


def _exact(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value)).removesuffix(".0")


def load(folder: str | Path, name: str) -> Table:
    """The table that `save` wrote.

    Raises:
        InputError: if a file is missing or damaged.
    """
    folder = Path(folder)
    try:
        rest = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        extras = {extra: folder / f"{name}.{extra}.csv.gz" for extra in EXTRAS}
        table = Table(
            name=name,
            keys=tuple(rest["keys"]),
            epochs=_read(folder / f"{name}.csv.gz", rest["keys"]),
            runs=_read(folder / f"{name}.runs.csv.gz", rest["keys"]),
            problems=tuple(Problem(**problem) for problem in rest["problems"]),
            extras={extra: _read(path, rest["keys"]) for extra, path in extras.items() if path.exists()},
            overrides=tuple(rest["overrides"]),
            machine=rest["machine"],
            commit=rest["commit"],
            looks=tuple(Look(**look) for look in rest.get("looks", ())),
        )
        _check(table)
        return table
    except (OSError, ValueError, LookupError, TypeError, RecursionError, EOFError, zlib.error) as error:
        raise InputError(
            f"{folder / name} cannot be read ({error}); the files that analysis.report wrote are right"
        ) from None


def _check(table: Table) -> None:
    """Raises ValueError where a column that each table has is missing, or a run lacks epochs or their order."""
    numbers = {"epochs": ("seed", *OF_EACH_EPOCH), "runs": ("seconds", "epochs")}
    words = {"epochs": ("id", *table.keys), "runs": ("id", "device", "data", "versions")}
    for part, frame in (("epochs", table.epochs), ("runs", table.runs)):
        for column in (*words[part], *numbers[part]):
            if column not in frame:
                raise ValueError(f"its {part} have no column {column}")
        for column in numbers[part]:
            if not pd.api.types.is_numeric_dtype(frame[column]):
                raise ValueError(f"of its {part} a cell of {column} is not a number")
    of_run, trained = table.epochs.groupby("id")["epoch"], table.runs.set_index("id")["epochs"]
    is_whole = len(trained) == of_run.ngroups and (of_run.max().reindex(trained.index) == trained).all()
    if not is_whole or (of_run.cumcount() + 1 != table.epochs["epoch"]).any():
        raise ValueError("its runs do not have all of their epochs, one after the other")


def _read(path: Path, keys: Sequence[str]) -> pd.DataFrame:
    """A kept frame; swept keys as in `runs.csv`, other columns without any value as missing numbers."""
    header = pd.read_csv(path, nrows=0).columns
    # the runs' table has a column epochs of its own, which is no text even where epochs were swept
    swept = [key for key in keys if key in header] if "seed" in header else []
    frame = pd.read_csv(
        path,
        dtype={"id": str, **dict.fromkeys(swept, str)},
        keep_default_na=False,
        na_values={column: [""] for column in header if column not in swept},
    )
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"{path.name} has rows that are longer than its first one")
    frame = frame.assign(**{key: parsing.typed(frame[key]) for key in swept})
    return frame.astype({column: float for column in frame if frame[column].isna().all()})


def machine() -> str:
    """The processor and the cores that this process may use."""
    return f"{queue.cores()} cores of {processor()['model'] or processor()['maker']}"


@cache  # before a report is written into the repository
def commit() -> str:
    """The repository's commit, with a plus where files differ from it; empty outside a repository."""
    state = checkout()
    return state["commit"][:10] + "+" * state["dirty"] if state else ""


Tables = Mapping[str, Table]
"""A report's tables, by the name of their sweep's file."""
