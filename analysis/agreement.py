"""Whether the rows of a sweep's `runs.csv` say of a run what its own `run.json` says: that is the truth."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from src.config import RATES
from src.errors import messages, shown
from src.runs import store


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
        cell = None if row[key] == "" or pd.isna(row[key]) else row[key]
        value = _recorded(config, key, cell)
        if not _same(cell, value):
            return f"says {key}={shown(cell)}, and its run.json {key}={shown(value)}"
    return None


def _recorded(config: Any, key: str, cell: Any) -> Any:
    """What a run's config has where a table has this cell; the cell itself where it has no such key."""
    value = config
    for part in key.split("."):
        value = value.get(part, cell) if isinstance(value, Mapping) else cell
    if key in RATES and isinstance(noise := config.get("noise"), Mapping) and noise.get("name") == "none":
        value = 0  # as the table has it, since nothing is injected
    return _choice(key, cell, value.get("name")) if isinstance(value, Mapping) else value


class Corrections:
    """Rows of a `runs.csv` that is read again and again, as their runs' own records have them.

    Each row is compared once, as it stands: a record of a run that has ended is not written again.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[dict[str, str], str]] = {}
        """By the cells that are compared those that are otherwise, and what is to be said of them."""

    def correct(
        self, table: pd.DataFrame, keys: Sequence[str], column: str, metric: str, folders: Path
    ) -> list[str]:
        """Sets the cells of runs that have ended to what the runs say; which runs the table speaks of otherwise.

        Args:
            table: every cell as text.
            column: that holds the last value of the metric; it may be missing.
            folders: of the runs.
        """
        compared = ["id", "state", *keys, "seed", *([column] if column in table else [])]
        sentences = []
        for place, cells in enumerate(zip(*(table[name] for name in compared), strict=True)):
            if cells[1] == store.UNFINISHED:
                continue
            if cells not in self._seen:
                row = dict(zip(compared, cells, strict=True))
                self._seen[cells] = _correction(row, [*keys, "seed"], column, metric, folders / row["id"])
            changes, sentence = self._seen[cells]
            if changes.get("state") == store.UNFINISHED:  # that may pass
                del self._seen[cells]
            for name, text in changes.items():
                table.loc[place, name] = text
            sentences += [sentence] if sentence else []
        return sentences


def _correction(
    row: Mapping[str, str], keys: Sequence[str], column: str, metric: str, folder: Path
) -> tuple[dict[str, str], str]:
    """The cells of a row that its run has otherwise, and the sentence; empty ones where they agree."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_bytes())
        config, state = dict(record["config"]), record["state"]
        final = dict(record.get("final") or {}) if state == store.FINISHED else {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        sentence: str | None = f"says {row['state']}, and {path} cannot be read ({reason})"
        changes = {column: "", "state": store.UNFINISHED}
    else:
        sentence = contradiction([row], keys, config)
        changes = {key: _text(_recorded(config, key, row[key])) for key in keys} if sentence else {}
        # of another state the table is older than the run: another sweep has trained it since
        if column in row and not sentence and state == row["state"]:
            sentence = contradiction([{metric: row[column]}], [metric], {metric: None} | final)
        changes |= {column: _text(final.get(metric)), "state": state}
    changes = {name: text for name, text in changes.items() if text != row.get(name, text)}
    return changes, f"run {folder.name}: runs.csv {sentence}" if sentence else ""


def _text(value: Any) -> str:
    """As the table has it, see `src.sweeping.table`."""
    return "" if value is None else shown(value) if isinstance(value, list) else str(value)


def _choice(group: str, choice: Any, name: Any) -> Any:
    """The choice of a group that has this name: its YAML may be called otherwise than what it chooses."""
    if choice == name:
        return choice
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError, AttributeError):
        content = yaml.safe_load((messages.CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
        return choice if content.get("name") == name else name
    return choice  # it is gone, and nobody knows what it chose


def _same(cell: Any, value: Any) -> bool:
    with contextlib.suppress(ValueError, TypeError):
        return float(cell) == float(value)
    # tables of before have a list as Python writes it
    texts = {re.sub(r"[\s'\"]", "", shown(text)).lower() for text in (cell, value)}
    return len(texts) == 1
