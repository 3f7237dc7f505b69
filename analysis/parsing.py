"""CSV files as frames: a list of runs as text, those of many runs as one, and columns of text as numbers."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.checks import Check
from src.errors import InputError


def read(path: Path, right: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A file with every cell as text: "null" and "none" are words, no missing values.

    Args:
        right: what file would be right, in words.
        columns: that it must have.

    Raises:
        InputError: if it cannot be read, lacks a column or has one twice, or a row is too short or too long.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            rows = [(lines.line_num, cells) for cells in lines if cells]
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); {right}") from None
    if not rows:
        raise InputError(f"{path} is empty; {right}")
    (_, header), *rows = rows
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{path}: the column {column} is there twice; {right}")
    for column in columns:
        if column not in header:
            raise InputError(f"{path}: the column {column} is missing; {right}")
    for line, cells in rows:
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {line}: must have {len(header)} cells, and has {len(cells)}; {right}"
            )
    return pd.DataFrame([cells for _, cells in rows], columns=header, dtype=str)


def checked(column: pd.Series, path: Path, right: Check, may_be_empty: bool = False) -> pd.Series:
    """A column of `read` as the values that a check gives; a cell that may be empty is then a missing number.

    Raises:
        InputError: for the first cell that it refuses, with file, line, column, value and what would be right.
    """
    values = []
    for place, text in enumerate(column):
        try:
            values.append(None if may_be_empty and not text else right(value(text)))
        except ValueError as error:
            raise InputError(f"{path}, line {place + 2}: {column.name}", text, str(error)) from None
    return pd.Series(values, column.index, dtype=float if may_be_empty else None)


def value(text: str) -> Any:
    """A cell as a number where it is one.

    >>> value("5"), value("0.5"), value("cosine")
    (5, 0.5, 'cosine')
    """
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def parse(texts: Sequence[tuple[str, str]], words: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Tables of many runs in one frame, with their id, and the runs whose text is no table.

    Files with equal headers are parsed as one: pandas takes 1 ms a file whatever its length.

    Args:
        texts: a run's id and the text of its file.
        words: columns that hold words; all others hold numbers.
    """
    by_header: dict[str, list[tuple[str, str]]] = {}
    for run, text in texts:
        header, _, body = text.partition("\n")
        by_header.setdefault(header, []).append((run, body))
    parts = [part for header, bodies in by_header.items() for part in _parse_alike(header, bodies, words)]
    frames = [part for part in parts if isinstance(part, pd.DataFrame)]
    unreadable = [part for part in parts if isinstance(part, str)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(), unreadable


def _parse_alike(
    header: str, bodies: Sequence[tuple[str, str]], words: Sequence[str]
) -> Iterator[pd.DataFrame | str]:
    """Frames of files with one header; where they cannot be read together, of each half, down to the culprits."""
    text = f"{header}\n{''.join(body for _, body in bodies)}"
    types = {column: str if column in words else float for column in header.split(",")}
    try:
        frame = pd.read_csv(io.StringIO(text), dtype=types)
        if "epoch" in frame and not np.isfinite(frame["epoch"]).all():
            raise ValueError("an epoch without a number")
        if not all(body.endswith("\n") for _, body in bodies):
            raise ValueError("a row without its end")
        if text.count(",") != text.count("\n") * header.count(","):
            raise ValueError("a row that is too short")
        frame.insert(0, "id", np.repeat([run for run, _ in bodies], [body.count("\n") for _, body in bodies]))
        yield frame
    except ValueError:
        if len(bodies) == 1:
            yield bodies[0][0]
            return
        half = len(bodies) // 2
        yield from _parse_alike(header, bodies[:half], words)
        yield from _parse_alike(header, bodies[half:], words)


def typed(column: pd.Series) -> pd.Series:
    """A column of text as numbers where every cell is one as numbers are written; "007" is a name."""
    if (column == "").any() or column.str.fullmatch(r"[+-]?0\d+").any():
        return column
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column
