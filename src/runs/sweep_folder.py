"""Whose a sweep's folder is, and where its runs are: `sweep.json` in the folder.

    {"sweep": "dropout1=0.2,0.5", "runs": "../../runs"}

`sweep` is the text that the folder's name is made of; `runs` is relative where both lie in one output folder.
A folder that lies elsewhere is noted in the output's `.elsewhere/`, so that nobody takes its runs for unneeded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.errors import InputError
from src.runs import store

FILE = "sweep.json"
ELSEWHERE = ".elsewhere"


def check(folder: Path, text: str) -> None:
    """Refuses a folder that another sweep has: its table would be overwritten.

    Raises:
        InputError: if the folder is another sweep's, or no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("hydra.sweep.dir", folder, "must be a folder; a file stands there")
    was = _read(folder).get("sweep", text)
    if was != text:
        right = f"holds the sweep {was or 'book'!s}, and this one is {text or 'book'!s}; take another folder"
        raise InputError("hydra.sweep.dir", folder, right)


def claim(folder: Path, text: str, output: str | Path) -> None:
    """Makes the folder this sweep's, and keeps where its runs are.

    Raises:
        InputError: as `check`.
    """
    check(folder, text)
    folder.mkdir(parents=True, exist_ok=True)
    root, own = Path(output).resolve(), folder.resolve()
    recorded = str(store.run_folder(root, "").resolve())
    if root in own.parents:
        recorded = str(Path(*[".."] * len(own.relative_to(root).parts), "runs"))
    else:
        note = root / ELSEWHERE / hashlib.sha256(str(own).encode(errors="surrogateescape")).hexdigest()[:12]
        note.parent.mkdir(parents=True, exist_ok=True)
        store.write_whole(note, str(own).encode(errors="surrogateescape"))
    store.write_whole(folder / FILE, json.dumps({"sweep": text, "runs": recorded}, indent=2) + "\n")


def elsewhere(output: Path) -> Iterator[Path]:
    """Folders outside the output folder of sweeps whose runs are in it.

    Raises:
        InputError: where one is not there, so that nobody knows which runs it names.
    """
    for note in sorted((output / ELSEWHERE).glob("[!.]*")):
        folder = Path(note.read_bytes().decode(errors="surrogateescape"))
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not there, and names runs of {output}; delete {note} if it is gone for good"
            )
        yield folder


def runs_of(folder: Path) -> Path:
    """The folder of a sweep's runs: the one recorded, else `runs` beside `sweeps`."""
    own = folder.resolve()
    recorded = _read(own).get("runs")
    if isinstance(recorded, str) and (own / recorded).is_dir():
        return (own / recorded).resolve()
    return own.parent.parent / "runs"


def _read(folder: Path) -> dict[str, Any]:
    """What the folder keeps of its sweep; nothing where it is lost or damaged."""
    try:
        kept = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
