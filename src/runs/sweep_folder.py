"""Whose a sweep's folder is, and where its runs are: `sweep.json` in the folder.

    {"sweep": "dropout1=0.2,0.5", "runs": "../../runs"}

`sweep` is the text that the folder's name is made of; `runs` is relative where both lie in one output folder.
`until` stands beside them where the sweep goes on until its pairs are decided: by which plan of looks.
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


def check(folder: Path, text: str, until: str | None = None) -> None:
    """Refuses a folder that another sweep has: its table would be overwritten.

    Args:
        until: the sweep's plan of looks, in words; empty without one, None where it is not known yet.

    Raises:
        InputError: if the folder is another sweep's, or no folder; for another plan than the one it began with:
            whoever has seen the results and then looks more often, or longer, would find a difference sooner or
            later.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("hydra.sweep.dir", folder, "must be a folder; a file stands there")
    kept = _read(folder)
    recorded = kept.get("sweep", text)
    if recorded != text:
        right = (
            f"holds the sweep {recorded or 'book'!s}, and this one is {text or 'book'!s}; take another folder"
        )
        raise InputError("hydra.sweep.dir", folder, right)
    was = kept.get("until", "")
    if kept and until is not None and was != until:
        begun = f"{folder} was begun {f'with {was}' if was else 'without looks'}"
        right = "who may need more plans more looks, in another folder (hydra.sweep.dir)"
        raise InputError("hydra.sweeper.until", until or None, f"{begun}; {right}")


def claim(folder: Path, text: str, output: str | Path, until: str = "") -> None:
    """Makes the folder this sweep's, and keeps where its runs are.

    Args:
        until: as `check` has it.

    Raises:
        InputError: as `check`.
    """
    check(folder, text, until)
    folder.mkdir(parents=True, exist_ok=True)
    root, absolute = Path(output).resolve(), folder.resolve()
    runs = (root / "runs").resolve()
    if root in absolute.parents:
        runs = Path(*[".."] * len(absolute.relative_to(root).parts), "runs")
    else:
        path = str(absolute).encode(errors="surrogateescape")
        note = root / ELSEWHERE / hashlib.sha256(path).hexdigest()[:12]
        note.parent.mkdir(parents=True, exist_ok=True)
        store.write_whole(note, path)
    kept = {"sweep": text, "runs": str(runs)} | ({"until": until} if until else {})
    store.write_whole(folder / FILE, json.dumps(kept, indent=2) + "\n")


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
    absolute = folder.resolve()
    recorded = _read(absolute).get("runs")
    if isinstance(recorded, str) and (absolute / recorded).is_dir():
        return (absolute / recorded).resolve()
    return absolute.parent.parent / "runs"


def _read(folder: Path) -> dict[str, Any]:
    """What the folder keeps of its sweep; nothing where it is lost or damaged."""
    try:
        content = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
