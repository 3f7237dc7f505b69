"""What the record of a run, its `run.json`, tells a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from src.runs import store
from src.sweeping.naming import setting, value_at

LONGEST_REASON = 400
"""Characters of an error that are told; all of it is in the run's own train.log."""

DAMAGED, MISSING = "damaged", "missing"
"""States of a run beside those of `store`: a file that cannot be right, a folder that is gone."""


Sources = tuple[tuple[tuple[str, str], str], ...]
"""Checksums of the code and of the arrays that a run was trained with, by the path, or by the data set and its
options."""


class UnusableError(Exception):
    """With the problem's kind and its reason."""


def finished(folder: Path, listed_state: str) -> dict[str, Any]:
    """The record of a run that is finished.

    Args:
        folder: the run's.
        listed_state: what the sweep's table says of it.

    Raises:
        UnusableError: if it is not.
    """
    try:
        record = store.read_record(folder)
    except (store.Damaged, OSError) as error:
        raise UnusableError(DAMAGED, str(error)) from None
    if record is None:
        if listed_state != store.UNFINISHED and not folder.exists():
            raise UnusableError(MISSING, f"{folder} is not there")
        raise UnusableError(store.UNFINISHED, "it has no run.json: it was stopped or is still running")
    if record["state"] != store.FINISHED:
        reason = " ".join(str(record.get("error") or "no reason is recorded").split())
        cut = " …" if len(reason) > LONGEST_REASON else ""
        raise UnusableError(record["state"], f"{reason[:LONGEST_REASON]}{cut}")
    return record


def device(record: dict[str, Any]) -> str | None:
    """What a run trained on: of a CPU maker, model, instructions and the kernel of its products, where recorded."""
    device, processor, kernel = (record.get(key) for key in ("device", "processor", "matmul"))
    if not isinstance(processor, dict):
        return device
    parts = [str(processor[key]) for key in ("maker", "model", "instructions") if processor.get(key)]
    return f"{device} ({', '.join(parts)}; products by {kernel})"


def sources(record: dict[str, Any]) -> Sources:
    """Of a run: see `Sources`; empty where they are not recorded."""
    code, data = record.get("code"), record["config"].get("data")
    files = code.get("files") if isinstance(code, dict) else None
    of_code = {(path, ""): of for path, of in files.items()} if isinstance(files, dict) else {}
    of_data = {(f"data={setting(record['config'], 'data')}", str(data)): record.get("arrays")}
    return tuple((of, str(checksum)) for of, checksum in sorted({**of_code, **of_data}.items()) if checksum)


def facts(record: dict[str, Any]) -> dict[str, Any]:
    """What the report tells of a run beside its metrics; None where it is not recorded.

    Raises:
        UnusableError: if what must be a number is none.
    """
    config, versions = record["config"], record.get("versions")
    told = {
        "seconds": record.get("seconds"),
        "parameters": record.get("parameters"),
        "device": device(record),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items())
        if isinstance(versions, dict)
        else None,
        "data": setting(config, "data"),
        "validation": value_at(config, "data.validation") or 0,
        "epochs": config["epochs"],
    }
    for name in ("device", "data"):
        if not isinstance(told[name], str | None):
            raise UnusableError(DAMAGED, f"its run.json has {name}={told[name]!r}; a name is right")
    for name in ("seconds", "parameters", "epochs", "validation"):
        value = told[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < math.inf):
            right = "a number of at least 0 is right"
            raise UnusableError(DAMAGED, f"its run.json has {name}={value!r}; {right}")
    if not isinstance(record.get("metrics") or {}, dict):
        right = "names and directions are right"
        raise UnusableError(DAMAGED, f"its run.json has metrics={record['metrics']!r}; {right}")
    return told
