"""CSV files as frames: those of many runs as one, and columns of text as numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd


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
