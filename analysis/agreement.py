"""Whether the rows of a sweep's `runs.csv` say of a run what its own `run.json` says: that is the truth."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from src.config import RATES
from src.errors import messages, shown


def contradiction(rows: Iterable[Mapping[Any, Any]], keys: Iterable[str], config: Any) -> str | None:
    """What the rows of one run say otherwise than its config: the end of a sentence about them; None if nothing.

    Args:
        rows: typed or as text; an empty cell is null.
        keys: of the config, dotted; one that the config has not is not compared.
        config: as `run.json` has it.

    >>> contradiction([{"dropout1": 0.9}], ["dropout1"], {"dropout1": 0.2})
    'says dropout1=0.9, and its run.json dropout1=0.2'
    """
    for row, key in itertools.product(rows, list(keys)):
        cell, value = _plain(row[key]), config
        for part in key.split("."):
            value = value.get(part, cell) if isinstance(value, Mapping) else cell
        if key in RATES and isinstance(noise := config.get("noise"), Mapping) and noise.get("name") == "none":
            value = 0  # as the table has it, since nothing is injected
        if isinstance(value, Mapping):
            value = _choice(key, cell, value.get("name"))
        if not _same(cell, value):
            return f"says {key}={shown(cell)}, and its run.json {key}={shown(value)}"
    return None


def _plain(cell: Any) -> Any:
    value = cell.item() if hasattr(cell, "item") else cell
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


def _choice(group: str, choice: Any, name: Any) -> Any:
    """The choice of a group that has this name: its YAML may be called otherwise than what it chooses."""
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError, AttributeError):
        content = yaml.safe_load((messages.CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
        return choice if content.get("name") == name else name
    return choice  # it is gone, and nobody knows what it chose


def _same(cell: Any, value: Any) -> bool:
    with contextlib.suppress(ValueError, TypeError):
        return float(cell) == float(value)
    # tables of before have a list as Python writes it
    told = (re.sub(r"[\s'\"]", "", shown(text)).lower() for text in (cell, value))
    return len(set(told)) == 1
