"""Run folders and sweep folders: what is written where, and how it is read back.

    outputs/runs/ID/       metrics.csv, run.json, train.log, .hydra/, curves.png
    outputs/sweeps/NAME/   runs.csv, multirun.yaml

A run is finished if and only if its `run.json` says so and its `metrics.csv` is whole; `run.json` is written
last. Every file is replaced in one step, so a reader sees the old text or the new one, never half of either.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import is_of_the_disk, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = (
    "epoch",
    "train_loss",
    "train_acc",
    "val_loss",
    "val_acc",
    "test_loss",
    "test_acc",
    "dropout1",
    "dropout2",
    "lr",
    "var1",
    "var2",
    "noisy_var1",
    "noisy_var2",
    "seconds",
    "eval_train_acc",
    "eval_train_loss",
    "test_ece",
)
"""Columns of `metrics.csv`, a row an epoch. New ones are added at the end only."""

PROBES, WEIGHTS = ("probe.csv", "test_time.csv"), "model.pt"
"""Files of a run beside its metrics, where its config asks for them. `run.json` keeps their digests (`files`)."""

FINISHED, FAILED, DIVERGED, UNFINISHED = "finished", "failed", "diverged", "unfinished"
"""States of a run. The first three are written to `run.json`; the last is what its absence means."""

SCHEMA = 3
"""Part of every run's ID: raised when the same config would train to other numbers than before because of the
framework's own code (`source.FRAMEWORK`). That of noises, schedules, optimizers and models is in the ID itself."""


class Damaged(Exception):
    """A file of a run that cannot be what we wrote: truncated, emptied or edited."""


def run_id(result_config: Mapping[str, Any]) -> str:
    """ID of the run with this config: 12 hex digits, equal for equal results.

    `result_config` holds what can change the result and nothing else (see `config.result_config`).
    """
    canonical = json.dumps([SCHEMA, result_config], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def run_folder(output: str | Path, run: str) -> Path:
    return Path(output) / "runs" / run


def sweep_folder(output: str | Path, name: str) -> Path:
    return Path(output) / "sweeps" / name


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace what `path` holds in one step; a reader or a crash never meets half a file.

    Raises:
        MachineError, OSError: as `errors.writing`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with writing(path):
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_figure(path: Path, figure: Figure, **options: Any) -> None:
    """The same of a figure, in the format that the path's ending names; `options` are those of `savefig`."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:], **options)
    write_whole(path, image.getvalue())


def sweep_up(folder: Path) -> None:
    """Removes what `write_whole` had begun in processes that were killed."""
    for path in folder.glob(".*.*.*"):
        *_, process, thread = path.name.split(".")
        if process.isdigit() and thread.isdigit() and not is_alive(int(process)):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    import psutil  # takes 40 ms, and is seldom needed

    try:
        # in a container nobody may wait for orphans: killed, they stay as zombies
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header; None becomes an empty cell, a float its shortest exact form."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = (*METRICS, *(key for key in (rows[0] if rows else {}) if key not in METRICS))
    write_whole(folder / "metrics.csv", csv_text(columns, rows))


def digest(content: bytes) -> str:
    """By which a file of a run is known again: SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()


def check_file(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """That a file which the run owes beside its metrics is there, and is the one of which `run.json` speaks.

    Raises:
        Damaged: if it is neither.
    """
    path, files = folder / name, record.get("files") or {}
    if files.get(name) != digest(_owed(path, record)):
        raise Damaged(f"{path} is damaged: it is not the file that run.json speaks of")


def _owed(path: Path, record: Mapping[str, Any]) -> bytes:
    """Content of a file that a run of this state has."""
    content = _read(path)
    if content is None:
        raise Damaged(f"{path} is missing though the run is {record['state']}")
    return content


def _read(path: Path) -> bytes | None:
    """A file's content; None where there is none. An error of the disk is raised as it is, any other is damage."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        if is_of_the_disk(error):
            raise
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json`; the caller has written every other file of the run before."""
    write_whole(folder / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")


def read_record(folder: Path) -> dict[str, Any] | None:
    """The run's `run.json`; None where there is none.

    Raises:
        Damaged: if it cannot be read, is no JSON object with a known state, or says finished over a
            `metrics.csv` that has lost rows or is another one than was written; likewise of the probes' files.
    """
    path = folder / "run.json"
    if (text := _read(path)) is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged(f"{path} is damaged: not a whole JSON document") from None
    if not isinstance(record, dict) or record.get("state") not in (FINISHED, FAILED, DIVERGED):
        raise Damaged(f"{path} is damaged: it holds no state")
    is_named = re.fullmatch("[0-9a-f]{12}", folder.name)
    if is_named and (run := record.get("id", folder.name)) != folder.name:
        raise Damaged(f"{path} is damaged: it is that of the run {run}")
    if record["state"] == FINISHED:
        _check_metrics(folder / "metrics.csv", record)
    files = record.get("files")
    if record["state"] != FAILED and isinstance(files, dict):
        for name in filter(files.__contains__, PROBES):
            check_file(folder, name, record)
    return record


def _check_metrics(path: Path, record: Mapping[str, Any]) -> None:
    content = _owed(path, record)
    try:
        epochs, final = int(record["config"]["epochs"]), dict(record["final"])
    except (KeyError, TypeError, ValueError):
        raise Damaged(f"{path.parent / 'run.json'} is damaged: it holds no config or no final row") from None
    *lines, rest = content.decode(errors="replace").split("\n")
    header, last = (lines[number].split(",") if lines else [] for number in (0, -1))
    is_whole = (
        not rest
        and len(lines) == epochs + 1
        and [line.partition(",")[0] for line in lines] == ["epoch", *map(str, range(1, epochs + 1))]
        and ["" if cell in NOT_FINITE else cell for cell in last]
        == ["" if final.get(key) is None else str(final[key]) for key in header]
    )
    digests = record.get("files")
    if isinstance(digests, dict) and digests.get(path.name, known := digest(content)) != known:
        is_whole = False
    if not is_whole:
        raise Damaged(f"{path} is damaged: it does not hold the {epochs} epochs that run.json speaks of")


NOT_FINITE = ("nan", "inf", "-inf")
"""In `metrics.csv`; `run.json`, as JSON knows no such number, has null."""


def size_text(count: float) -> str:
    """A number of bytes for people.

    >>> size_text(12345)
    '12.3 kB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
