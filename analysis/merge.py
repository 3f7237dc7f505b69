"""Several sweep folders as one sweep: its arms are told apart by what any of them swept, and by what differs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import parsing, runs, where
from analysis.contrasts import Arm
from analysis.records import Sources
from analysis.runs import InputError, Table
from src.config import RATES
from src.runs import store, sweep_folder
from src.sweeping.naming import WITHOUT_EFFECT


def target(folders: Sequence[str | Path]) -> Path:
    """Where a report of these folders goes: a single sweep's own folder, else OUTPUT/comparisons/NAMES."""
    first = Path(folders[0])
    names = list(dict.fromkeys(Path(folder).resolve().name for folder in folders))
    return first if len(names) == 1 else first.parent.parent / "comparisons" / "+".join(names)[:200]


def read(folders: Sequence[str | Path], conditions: Sequence[str] = ()) -> Table:
    """The folders' runs as one sweep, whose folder is `target`; a run that several have counts once.

    Args:
        conditions: as `where.select`; of several folders, one without a finished run that meets them is left out.

    Raises:
        InputError: as `runs.read` and `where.select`, or if an arm and seed has two runs.
    """
    sweeps, refused = list[Table](), list[InputError]()
    for folder in dict.fromkeys(map(Path, folders)):
        try:
            whole = runs.read(folder)
        except InputError as error:
            if not conditions or not (folder / "multirun.yaml").exists():
                raise
            refused.append(error)
            continue
        try:
            sweeps.append(where.select(whole, conditions))
        except InputError as error:
            refused.append(error)
    if not sweeps:
        raise refused[0]
    if len(sweeps) == 1:
        return sweeps[0]
    # what a sweep did not sweep is the same in all its runs
    configs = [_flat(sweep) for sweep in sweeps]
    different = {key for config in configs for key in config if len({str(c.get(key)) for c in configs}) > 1}
    # of a group only the choice: what else differs belongs to it
    details = {key for key in different if "." in key and key.partition(".")[0] in different}
    swept = [key for sweep in sweeps for key in sweep.keys]
    keys = tuple(dict.fromkeys([*swept, *sorted(different - details)]))
    parts = [_completed(sweep, keys, config) for sweep, config in zip(sweeps, configs, strict=True)]
    epochs = pd.concat([part.epochs for part in parts]).drop_duplicates(["id", "epoch"], ignore_index=True)
    # as if read from one table: a value that a run does not have is the word null
    epochs = epochs.assign(**{key: parsing.typed(epochs[key].map(runs.shown)) for key in keys})
    facts = pd.concat([part.runs for part in parts]).drop_duplicates("id", ignore_index=True)
    words = [key for key in keys if not pd.api.types.is_numeric_dtype(epochs[key])]
    problems = {problem.id: problem for part in parts for problem in part.problems}
    for name, problem in problems.items():
        in_words = {key: runs.shown(problem.arm[key]) for key in words}
        problems[name] = replace(problem, arm={**problem.arm, **in_words})
    declared = {name: better for part in parts for name, better in part.metrics.items()}
    names = " and ".join(map(str, folders))
    runs.check_single(epochs.drop_duplicates("id"), keys, f"{names} have different runs")
    sources = {run: part.sources[run] for part in parts for run in part.runs["id"] if run in part.sources}
    _check_sources(set(sources.values()), names)
    folder = target(folders)
    return Table(
        folder.resolve().name,
        keys,
        epochs,
        facts,
        tuple(problems.values()),
        folder=folder,
        metrics=declared,
        sources=sources,
    )


def _check_sources(recorded: Collection[Sources], names: str) -> None:
    """Refuses runs of other code or other data under one name: an edited noise is another noise.

    Raises:
        InputError: naming the file, or the data set.
    """
    known: dict[tuple[str, str], str] = {}
    for (what, options), checksum in itertools.chain(*sorted(recorded)):
        if known.setdefault((what, options), checksum) != checksum:
            right = "runs of one are right; the command of the older sweep trains its runs anew"
            raise InputError(f"{names} have runs of two versions of {what}; {right}")


def is_in(sweep: Table, folder: Path) -> bool:
    """Whether runs of the folder, with or without a result, are among those that were read."""
    try:
        listed, _ = runs.read_list(folder)
    except InputError:
        return False
    return bool({*listed["id"]} & {*sweep.runs["id"], *(problem.id for problem in sweep.problems)})


def _completed(sweep: Table, keys: Sequence[str], config: Mapping[str, Any]) -> Table:
    """The sweep with columns for keys that it did not sweep."""
    more = {key: config.get(key) for key in keys if key not in sweep.keys}
    epochs = sweep.epochs.rename(columns={key: f"{key}_used" for key in more if key in sweep.epochs})
    epochs = epochs.assign(**more)
    silent = epochs["noise"] == "none" if "noise" in epochs else pd.Series(False, epochs.index)
    for rate in set(keys) & set(RATES):
        epochs.loc[silent, rate] = 0
    arms = ({**more, **problem.arm} for problem in sweep.problems)
    problems = (
        replace(problem, arm={key: arm[key] for key in keys})
        for problem, arm in zip(sweep.problems, arms, strict=True)
    )
    return replace(sweep, epochs=epochs, problems=tuple(problems))


def _flat(sweep: Table) -> dict[str, Any]:
    """What can change the result in a sweep's first run: keys as typed, of a group its choice."""
    record = store.read_record(sweep_folder.runs_of(sweep.folder) / sweep.runs["id"].iloc[0])
    flat: dict[str, Any] = {}
    for key, value in (record or {})["config"].items():
        group = value if isinstance(value, Mapping) else {"name": value}
        flat |= {key if name == "name" else f"{key}.{name}": of for name, of in group.items()}
    return {key: value for key, value in flat.items() if key not in {*WITHOUT_EFFECT, "seed"}}


def place(arm: Arm) -> tuple[str, ...]:
    """An arm's values as one key, the same whatever type a table gives them."""
    return tuple(
        runs.shown(value) if isinstance(value, str) or pd.isna(value) else repr(float(value))
        for value in arm.values()
    )


def named(sweep: Table, digits: int = runs.DIGITS) -> dict[str, Arm]:
    """Every arm by its name, with or without a result, in the order of runs.csv."""
    ended = sweep.epochs[list(sweep.keys)].drop_duplicates().to_dict("records")
    known = {place(arm): arm for arm in (*ended, *(problem.arm for problem in sweep.problems))}
    if (sweep.folder / "runs.csv").exists():
        listed, keys = runs.read_list(sweep.folder)
        order = {place(row): None for row in listed[list(keys)].to_dict("records")}
        known = {place: known[place] for place in order if place in known} | known
    return dict(zip(runs.names(list(known.values()), digits), known.values(), strict=True))
