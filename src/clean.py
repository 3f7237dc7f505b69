"""`python -m src.clean OUTPUT`: runs that no sweep's table names, such as those of a noise before it was edited."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from src.errors import InputError, Parser, command
from src.runs import store, sweep_folder

TABLE = "runs.csv"
ID = r"[0-9a-f]{12}"


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Lists runs that no `runs.csv` names, and deletes them where that is asked for."""
    options = _parser().parse_args(arguments)
    output = Path(options.output)
    if not (output / "runs").is_dir():
        raise InputError(f"{output} holds no runs; the folder that `output` names in the config is right")
    named = named_runs([output, *sweep_folder.elsewhere(output), *map(Path, options.sweeps)])
    # what has no run's name is somebody else's, and left alone
    runs = [path for path in sorted((output / "runs").iterdir()) if re.fullmatch(ID, path.name)]
    unnamed = [folder for folder in runs if folder.name not in named]
    count = deleted = 0
    for folder in unnamed:
        size, state = size_of(folder), _state_of(folder)
        if options.yes and not delete(output, folder):
            state = "is being trained: kept"
        else:
            count, deleted = count + 1, deleted + size
        print(f"{folder.name}  {store.size_text(size):>9}  {state}")
    if not unnamed:
        print(f"each run in {output} is named by a {TABLE}")
    else:
        end = "deleted" if options.yes else f"named by no {TABLE}; --yes deletes them"
        print(f"{count:,} run{'' if count == 1 else 's'}, {store.size_text(deleted)}: {end}")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m src.clean",
        description=f"Lists the runs in an output folder that no {TABLE} below it names, with their size: those of "
        "single runs, of sweeps that were deleted, and of components as they were before they were edited.",
    )
    parser.add_argument("output", metavar="OUTPUT", help="The folder that `output` names in the config.")
    parser.add_argument(
        "--yes", action="store_true", help="Delete them, but for those that are being trained."
    )
    parser.add_argument(
        "--sweeps",
        metavar="FOLDER",
        nargs="+",
        default=[],
        help=f"Further folders whose {TABLE} count: copies, say. Sweeps with a folder elsewhere are known.",
    )
    return parser


def named_runs(folders: Sequence[Path]) -> set[str]:
    """IDs in every table below these folders.

    Raises:
        InputError: for a folder that is not there, or a table that cannot be read: its runs are not known.
    """
    named = set()
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder")
        for path in tables_below(folder):
            try:
                with path.open(encoding="utf-8-sig", newline="") as file:
                    rows = csv.DictReader(file, strict=True)
                    if "id" not in (rows.fieldnames or ()):
                        raise ValueError
                    ids = [row["id"] if None not in row.values() else "" for row in rows]
                if not ids or not all(re.fullmatch(ID, run) for run in ids):  # the table was cut short, say
                    raise ValueError
                named.update(ids)
            except (OSError, ValueError, csv.Error):
                raise InputError(
                    f"{path} cannot be read, so its runs are not known; mend or delete it"
                ) from None
    return named


def tables_below(folder: Path) -> Iterator[Path]:
    """Every table in a folder and below it, also where a link leads, as to sweeps that were moved to another disk.

    Raises:
        InputError: for a folder that cannot be listed: there may be a table in it.
    """

    def refuse(error: OSError) -> NoReturn:
        right = "the runs of its tables are not known; a folder that can be read is right"
        raise InputError(f"{error.filename}: {error.strerror}, so {right}") from None

    seen = set()
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a link to a folder above it
        elif TABLE in (*folders, *files):
            yield Path(place, TABLE)
        seen.add((status.st_dev, status.st_ino))


def size_of(folder: Path) -> int:
    """Bytes of all files of a run, which is a folder or whatever stands in its place."""
    paths = [folder] if folder.is_symlink() or not folder.is_dir() else folder.rglob("*")
    return sum(path.lstat().st_size for path in paths if path.is_symlink() or path.is_file())


def delete(output: Path, folder: Path) -> bool:
    """Deletes a run unless it is being trained; whether it did."""
    lock = output / ".locks" / folder.name
    lock.parent.mkdir(exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            if folder.is_symlink() or not folder.is_dir():
                folder.unlink()
            else:
                (folder / "run.json").unlink(missing_ok=True)  # what is left of a run is not a finished one
                shutil.rmtree(folder)
    except Timeout:
        return False
    return True


def _state_of(folder: Path) -> str:
    """A run's state and overrides, as far as its record tells."""
    try:
        record: dict[str, Any] | None = store.read_record(folder)
    except (store.Damaged, OSError):
        return "damaged"
    if record is None:
        return store.UNFINISHED
    overrides = record.get("overrides")
    words = map(str, overrides) if isinstance(overrides, list) else ()
    return " ".join([record["state"], *words])


if __name__ == "__main__":
    sys.exit(main())
