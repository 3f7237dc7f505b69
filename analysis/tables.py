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
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis import looks, parsing, runs
from analysis.runs import InputError, Problem
from src.engines import queue
from src.errors import REPOSITORY
from src.errors.messages import key_of
from src.kernels import processor
from src.provenance import checkout
from src.runs import store, sweep_folder
from src.sweeping.naming import WITHOUT_EFFECT, value_at

NOISES = REPOSITORY / "analysis" / "results" / "noises"
"""The comparison of noises: its tables and its page."""

EXTRAS = ("probe", "test_time")
"""Files that a probe leaves in a run's folder, NAME.csv."""

NAMES_IN_EXTRAS = ("method",)
"""Their columns that hold words."""

SWEEPER = ("hydra/sweeper=", "hydra.sweeper.")
"""Beginnings of the overrides of Hydra's own part that belong to the sweep: how it searches, its arms."""

DIGITS = "%.9g"
"""A float32's; the accuracies and the float64 means lose nothing that could show."""


@dataclass(frozen=True)
class Table:
    """One sweep's results."""

    name: str
    """The named sweep's, with the overrides that trimmed it: `swap_rates`, `swap_rates__epochs=1`."""
    keys: tuple[str, ...]
    """What was swept, but for the seed."""
    epochs: pd.DataFrame
    """A row a usable run and epoch: id, the keys, seed, then the columns of `metrics.csv`; a metric with the name
    of a key has the suffix `_used`."""
    runs: pd.DataFrame
    """A row a usable run: id, seconds, parameters, device, versions, data, epochs."""
    problems: tuple[Problem, ...] = ()
    """Runs without a result: failed, diverged, unfinished, damaged or missing."""
    extras: Mapping[str, pd.DataFrame] | None = None
    """By the probe's name: a row a run and row of its file: id, the keys, seed, then the file's columns."""
    overrides: tuple[str, ...] = ()
    """With which it was trained beside its file: those that make it another sweep than the file's."""
    machine: str = ""
    commit: str = ""
    looks: tuple[looks.Look, ...] = ()
    """Of a sweep that ended once its pairs were decided."""

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
        found = (self.extras or {}).get(name)
        if found is None:
            right = {"probe": "probe.every=epoch", "test_time": "probe.test_time=true"}[name]
            raise InputError(f"{self.name} has no {name}.csv; a sweep with {right} is right")
        return found


def collect(folder: str | Path) -> Table:
    """The table of a sweep's folder, OUTPUT/sweeps/NAME.

    Raises:
        InputError: if it is no sweep's folder or has no usable run.
    """
    sweep = runs.read(folder)
    run_folders = sweep_folder.runs_of(sweep.folder)
    found: dict[str, pd.DataFrame] = {}
    damaged: dict[str, str] = {}
    for name in EXTRAS:
        paths = {run: run_folders / run / f"{name}.csv" for run in sweep.epochs["id"].unique()}
        texts = [(run, path.read_text("utf-8", "replace")) for run, path in paths.items() if path.exists()]
        frame, unreadable = parsing.parse(texts, NAMES_IN_EXTRAS)
        damaged |= {run: f"{paths[run]} is damaged" for run in unreadable}
        if len(frame):
            found[name] = frame
    sweep = sweep.with_damaged(damaged, "usable run")
    identity = sweep.epochs[["id", *sweep.keys, "seed"]].drop_duplicates()
    extras = {name: identity.merge(frame, on="id") for name, frame in found.items()}
    return Table(
        name=sweep.name,
        keys=sweep.keys,
        epochs=sweep.epochs.drop(columns="state"),
        runs=sweep.runs,
        problems=sweep.problems,
        extras={name: frame for name, frame in extras.items() if len(frame)},
        overrides=tuple(
            override
            for override in overrides(sweep.folder) or ()
            if key_of(override) not in WITHOUT_EFFECT
            and not key_of(override).startswith(("hydra.", "hydra/"))
        ),
        machine=machine(),
        commit=commit(),
        looks=looks.read(sweep.folder),
    )


def recorded(folder: Path, key: str) -> Any:
    """What a sweep's `multirun.yaml` has at a key; None where that is nothing, or the file cannot be read."""
    try:
        return value_at(yaml.safe_load((folder / "multirun.yaml").read_text(encoding="utf-8")), key)
    except (OSError, ValueError, yaml.YAMLError):
        return None


def overrides(folder: Path) -> list[str] | None:
    """Overrides that the sweep was trained with, as `multirun.yaml` records them; None where it does not."""
    given = recorded(folder, "hydra.overrides")
    own, task = (value_at(given, part) for part in ("hydra", "task"))
    if not isinstance(task, list):
        return None
    of_hydra = map(str, own if isinstance(own, list) else ())
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
        frame.to_csv(path, index=False, float_format=DIGITS, compression={"method": "gzip", "mtime": 0})
    rest = {
        "keys": table.keys,
        "overrides": table.overrides,
        "machine": table.machine,
        "commit": table.commit,
        "problems": [asdict(problem) for problem in table.problems],
    }
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
        return Table(
            name=name,
            keys=tuple(rest["keys"]),
            epochs=_read(folder / f"{name}.csv.gz", rest["keys"]),
            runs=_read(folder / f"{name}.runs.csv.gz", rest["keys"]),
            problems=tuple(Problem(**problem) for problem in rest["problems"]),
            extras={extra: _read(path, rest["keys"]) for extra, path in extras.items() if path.exists()},
            overrides=tuple(rest["overrides"]),
            machine=rest["machine"],
            commit=rest["commit"],
            looks=looks.from_json(rest.get("looks", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
        raise InputError(
            f"{folder / name} cannot be read ({error}); the files that analysis.report wrote are right"
        ) from None


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
    frame = frame.assign(**{key: parsing.typed(frame[key]) for key in swept})
    return frame.astype({column: float for column in frame if frame[column].isna().all()})


def machine() -> str:
    """The processor and the cores that this process may use."""
    return f"{queue.cores()} cores of {processor()['model'] or processor()['maker']}"


@cache  # before a report is written into the repository
def commit() -> str:
    """The repository's commit, with a plus where files differ from it; empty outside a repository."""
    found = checkout()
    return found["commit"][:10] + "+" * found["dirty"] if found else ""


Tables = Mapping[str, Table]
"""A report's tables, by the name of their sweep's file."""
