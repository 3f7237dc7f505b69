"""Tags and a note of a run or a sweep: `tags.json` in its folder. They change no result, no ID and no name.

    {"tags": ["pilot"], "note": "with the new noise"}

They may be given to what is finished: tags are added to those that are there, a note is put below an earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from src.runs import store

FILE = "tags.json"


@dataclass(frozen=True)
class Tags:
    """What a folder is marked with."""

    tags: tuple[str, ...] = ()
    note: str = ""


def read(folder: Path) -> Tags:
    """What the folder is marked with; nothing where the file is missing or damaged."""
    try:
        content = json.loads((folder / FILE).read_bytes())
        return Tags(tuple(map(str, content["tags"])), str(content["note"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return Tags()


def add(folder: Path, tags: Sequence[str], note: str | None) -> None:
    """Marks a folder, which is there, beside what it is marked with.

    Raises:
        OSError: as `store.write_whole`.
    """
    before = read(folder)
    lines = before.note.splitlines()
    lines += [line for line in (note or "").splitlines() if line not in lines]
    marked = Tags(tuple(dict.fromkeys([*before.tags, *tags])), "\n".join(lines))
    if marked != before:
        store.write_whole(folder / FILE, json.dumps(asdict(marked), indent=2, ensure_ascii=False) + "\n")
