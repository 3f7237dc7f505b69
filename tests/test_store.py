"""Run folders: files are replaced whole, numbers come back exactly, and damage never passes for a finished run."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.runs import store


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    values = {name: epoch + i / 7 for i, name in enumerate(store.METRICS)}
    return {**values, "epoch": epoch, "val_loss": None, "val_acc": None, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a finished run of three epochs."""
    rows = [row(epoch) for epoch in (1, 2, 3)]
    store.write_metrics(tmp_path, rows)
    store.write_record(tmp_path, record(rows[-1]))
    return tmp_path


def record(final: dict[str, Any], state: str = store.FINISHED) -> dict[str, Any]:
    return {"id": "0" * 12, "state": state, "config": {"epochs": 3}, "final": final, "error": None}


# Writing


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(st.text())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "whole.txt"
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    store.write_whole(path, text)
    assert path.read_bytes() == text.encode()


@pytest.mark.parametrize("old", [None, "old text"])
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, old: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    if old is not None:
        path.write_text(old)
    before = files(tmp_path)

    def still_old() -> None:
        assert files(tmp_path) == before
        assert old is None or path.read_text() == old

    with pytest.raises(UnicodeEncodeError):
        store.write_whole(path, "half a text" * 10_000 + "\ud800")
    still_old()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write_whole(path, "new")
    still_old()


def test_a_reader_never_meets_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen, replace = tmp_path / "metrics.csv", [], os.replace
    path.write_text("old")

    def looked_at(source: str, target: Path) -> None:
        seen.append((Path(source).read_text(), path.read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", looked_at)
    store.write_whole(path, "new")
    assert seen == [("new", "old")]
    assert (path.read_text(), files(tmp_path)) == ("new", ["metrics.csv"])


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_floats_come_back_to_the_last_bit(values: list[float]) -> None:
    text = store.csv_text(("a", "b"), [{"a": value, "b": None} for value in values])
    lines = text.splitlines()
    assert lines[0] == "a,b"
    read = [line["a"] for line in csv.DictReader(lines)]
    assert [float(cell) for cell in read] == values
    assert [math.copysign(1, float(cell)) for cell in read] == [math.copysign(1, value) for value in values]
    assert all(line["b"] == "" for line in csv.DictReader(lines))


def test_metrics_begin_with_the_columns_promised(folder: Path) -> None:
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert header == (
        "epoch,train_loss,train_acc,val_loss,val_acc,test_loss,test_acc,dropout1,dropout2,lr,var1,var2,"
        "noisy_var1,noisy_var2,seconds,eval_train_acc,eval_train_loss,test_ece"
    )
    store.write_metrics(folder, [row(1, further=5)])
    assert (folder / "metrics.csv").read_text().splitlines()[0] == f"{header},further"


def test_no_number_that_json_does_not_know_is_written(folder: Path) -> None:
    before = (folder / "run.json").read_bytes()
    with pytest.raises(ValueError):
        store.write_record(folder, record(row(3, test_loss=math.nan)))
    assert (folder / "run.json").read_bytes() == before


# Reading


def test_a_finished_run_is_read_back(folder: Path) -> None:
    assert store.read_record(folder) == record(row(3))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_no_damage(folder: Path, value: float) -> None:
    """As the variance of activations that are huge, in a run whose losses are finite."""
    store.write_metrics(folder, [row(1), row(2), row(3, var1=value)])
    store.write_record(folder, record(row(3, var1=None)))
    assert store.read_record(folder) == record(row(3, var1=None))
    store.write_metrics(folder, [row(1), row(2), row(3, var2=value)])
    with pytest.raises(store.Damaged):
        store.read_record(folder)


def test_without_a_record_nothing_is_finished(folder: Path) -> None:
    (folder / "run.json").unlink()
    assert store.read_record(folder) is None
    assert store.read_record(folder / "nowhere") is None


@pytest.mark.parametrize("state", [store.FAILED, store.DIVERGED])
def test_what_failed_is_not_finished(folder: Path, state: str) -> None:
    store.write_record(folder, record({}, state))
    (folder / "metrics.csv").unlink()
    read = store.read_record(folder)
    assert read is not None and read["state"] == state


def edited(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def with_key(key: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), key: value}).encode()


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "record emptied": ("run.json", lambda content: b""),
    "record truncated": ("run.json", lambda content: content[: len(content) // 2]),
    "record without its last brace": ("run.json", lambda content: content.rstrip()[:-1]),
    "record full of zeros": ("run.json", lambda content: b"\0" * len(content)),
    "record of other bytes": ("run.json", lambda content: b"\xff\xfe\xfd"),
    "record that is a list": ("run.json", lambda content: b"[]"),
    "record that is a word": ("run.json", lambda content: b'"finished"'),
    "record without an end to its depth": ("run.json", lambda content: b"[" * 100_000),
    "record without a state": ("run.json", lambda content: b"{}"),
    "record with a new state": ("run.json", with_key("state", "done")),
    "record with a state only": ("run.json", lambda content: b'{"state": "finished"}'),
    "record without a final row": ("run.json", with_key("final", None)),
    "record without its epochs": ("run.json", with_key("config", {})),
    "record with a word for epochs": ("run.json", with_key("config", {"epochs": "three"})),
    "record of more epochs": ("run.json", with_key("config", {"epochs": 4})),
    "record with another result": ("run.json", with_key("final", row(3, test_acc=0.99))),
    "metrics emptied": ("metrics.csv", lambda content: b""),
    "metrics full of zeros": ("metrics.csv", lambda content: b"\0" * len(content)),
    "metrics without the last row": ("metrics.csv", lambda content: b"".join(content.splitlines(True)[:-1])),
    "metrics without the last bytes": ("metrics.csv", lambda content: content[:-3]),
    "metrics without the last newline": ("metrics.csv", lambda content: content[:-1]),
    "metrics with the beginning of a row too many": ("metrics.csv", lambda content: content + b"4,"),
    "metrics with a row too many": ("metrics.csv", lambda content: content + content.splitlines(True)[-1]),
    "metrics with an epoch twice": ("metrics.csv", lambda content: re.sub(b"\n2,", b"\n1,", content)),
    "metrics with another result": ("metrics.csv", lambda content: content[:-6] + b"99999\n"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_never_taken_for_finished(folder: Path, kind: str) -> None:
    name, change = DAMAGE[kind]
    edited(folder / name, change)
    with pytest.raises(store.Damaged, match=str(folder)):
        store.read_record(folder)


def test_metrics_are_those_that_were_written(folder: Path) -> None:
    path = folder / "metrics.csv"
    digest = store.digest(path.read_bytes())
    edited(folder / "run.json", with_key("files", {"metrics.csv": digest}))
    assert store.read_record(folder) is not None
    lines = path.read_text().splitlines(True)
    lines[1] = lines[1].replace("\n", "9\n")  # an epoch before the last
    path.write_text("".join(lines))
    with pytest.raises(store.Damaged, match="metrics"):
        store.read_record(folder)


def test_a_folder_that_holds_another_run_is_damaged(folder: Path) -> None:
    other = folder.rename(folder.with_name("f" * 12))
    with pytest.raises(store.Damaged, match="it is that of the run 000000000000"):
        store.read_record(other)
    mine = other.rename(other.with_name("0" * 12))
    assert store.read_record(mine) is not None


def test_missing_metrics_are_damage(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    with pytest.raises(store.Damaged, match="missing"):
        store.read_record(folder)


@given(st.data())
def test_no_truncation_is_ever_taken_for_finished(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "truncated"
    folder.mkdir(exist_ok=True)
    store.write_metrics(folder, [row(epoch) for epoch in (1, 2, 3)])
    store.write_record(folder, record(row(3)))
    path = folder / data.draw(st.sampled_from(["run.json", "metrics.csv"]))
    whole = path.read_bytes()
    # the newline after run.json's last brace says nothing
    edited(path, lambda content: content[: data.draw(st.integers(0, len(whole) - 2))])
    with pytest.raises(store.Damaged):
        store.read_record(folder)


# IDs and folders


def test_folders(tmp_path: Path) -> None:
    assert store.run_folder(tmp_path, "abc") == tmp_path / "runs" / "abc"
    assert store.sweep_folder("outputs", "name") == Path("outputs/sweeps/name")


@given(
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False) | st.integers() | st.text(), max_size=5)
)
def test_id_depends_on_content_alone(config: dict[str, Any]) -> None:
    again = dict(reversed(config.items()))
    assert store.run_id(config) == store.run_id(again)
    assert len(store.run_id(config)) == 12
    assert store.run_id(config) != store.run_id({**config, "one more key": 0})


def test_what_a_killed_process_had_begun_to_write_is_swept_up(tmp_path: Path) -> None:
    ended, zombie = subprocess.Popen(["true"]), subprocess.Popen(["true"])
    ended.wait()
    # dead, and not waited for
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    of_dead = [tmp_path / f".runs.csv.{process.pid}.7" for process in (ended, zombie)]
    of_living = tmp_path / f".runs.csv.{os.getpid()}.7"
    others = [tmp_path / name for name in ("runs.csv", ".hidden", ".a.b.c")]
    for path in (*of_dead, of_living, *others):
        path.write_text("x")
    store.sweep_up(tmp_path)
    assert set(tmp_path.iterdir()) == {of_living, *others}
    zombie.wait()
