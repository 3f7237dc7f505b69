"""Which runs of a sweep are compared: `--where noise=gaussian`, `--where 'tags has pilot'`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import parsing, runs
from analysis.contrasts import matches, rows_of
from analysis.looks import Look
from analysis.runs import InputError, Table
from src.runs import store, sweep_folder, tags

CONDITION = re.compile(r"\s*(?:(tags)\s+(has|lacks)\s+(\S+)|([\w.]+)\s*(!?=)\s*(.*?))\s*")


def select(sweep: Table, conditions: Sequence[str]) -> Table:
    """The sweep with those runs alone that meet every condition.

    Args:
        conditions: KEY=VALUE or KEY!=VALUE, of any key of a run's config, swept or not; `tags has WORD` or `tags
            lacks WORD`, of the tags of the sweep and of the run itself.

    Raises:
        InputError: for a condition of another form, or if it leaves no run with a result.
    """
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if match is None:
            right = "KEY=VALUE, KEY!=VALUE, 'tags has WORD' or 'tags lacks WORD' is right"
            raise InputError(f"--where {condition!r} is no condition; {right}")
        word, has, tag, key, sign, value = match.groups()
        by_run = _tags(sweep) if word else _values(sweep, key)
        wanted, is_wanted = (tag, has == "has") if word else (value, sign == "=")
        ids = {run for run, values in by_run.items() if _is_among(wanted, values) == is_wanted}
        known = sorted({shown for values in by_run.values() for shown in values})
        which = f"{'its tags' if word else f'values of {key}'} are {', '.join(known[:20]) or 'none'}"
        if not ids & set(sweep.epochs["id"]):
            raise InputError(f"{sweep.folder} has no finished run where {condition.strip()}; {which}")
        others = {*_ids(sweep)} - ids
        if not others and not is_wanted:
            print(
                f"--where {condition.strip()} leaves out no run of {sweep.folder}; {which}", file=sys.stderr
            )
        sweep = sweep.without(others)
    return sweep


def keeps(sweep: Table, look: Look) -> bool:
    """Whether the sweep, after conditions, has every run that was looked at, with or without a result."""
    for arm in look.arms:
        lost = {problem.seed for problem in sweep.problems if matches(problem.arm, arm)}
        if not {*look.seeds} <= {*rows_of(sweep.final, arm)["seed"], *lost}:
            return False
    return True


def folder(sweep_of: Path, conditions: Sequence[str]) -> Path:
    """Where the report of a part goes: below the sweep's own, which it leaves as it is."""
    name = re.sub(r"[^\w=.!+-]+", "-", "+".join(condition.strip() for condition in conditions)).strip("-.")
    return sweep_of / "where" / name[:100] if conditions else sweep_of


def _is_among(wanted: str, values: Sequence[str]) -> bool:
    """A number is the same however it is spelled: 1e-4 is 0.0001."""
    if wanted in values:
        return True
    try:
        number = float(wanted)
    except ValueError:
        return False
    return any(number == parsing.value(value) for value in values)


def _ids(sweep: Table) -> list[str]:
    return [*sweep.epochs["id"].unique(), *(problem.id for problem in sweep.problems)]


def _tags(sweep: Table) -> dict[str, list[str]]:
    """Of each run the tags of its sweep and its own."""
    of_sweep, run_folders = tags.read(sweep.folder).tags, sweep_folder.runs_of(sweep.folder)
    return {run: [*of_sweep, *tags.read(run_folders / run).tags] for run in _ids(sweep)}


def _values(sweep: Table, key: str) -> dict[str, list[str]]:
    """Of each run the one value of a key, as one would type it; nothing of a run of which it is not known."""
    if key in (*sweep.keys, "seed"):
        listed = dict(zip(sweep.epochs["id"], sweep.epochs[key], strict=True))
        listed |= {p.id: p.seed if key == "seed" else p.arm[key] for p in sweep.problems}
        return {run: [runs.shown(value)] for run, value in listed.items()}
    run_folders, by_run = sweep_folder.runs_of(sweep.folder), dict[str, list[str]]()
    for run in _ids(sweep):
        try:
            value: Any = (store.read_record(run_folders / run) or {})["config"]
            for part in key.split("."):
                value = value[part]
        except (store.Damaged, OSError, LookupError, TypeError):
            continue
        by_run[run] = [runs.shown(value["name"] if isinstance(value, Mapping) and "name" in value else value)]
    if not by_run:
        raise InputError(f"{sweep.folder}: no run has a key {key}; a key of its config is right")
    return by_run
