"""`python -m src.clean`: it finds the runs that no table names, and deletes no other and none that trains."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from src import clean
from src.runs import sweep_folder

NAMED, OLD, OTHER = "0123456789ab", "a" * 12, "b" * 12


@pytest.fixture
def output(tmp_path: Path) -> Path:
    output = tmp_path / "outputs"
    for name in (NAMED, OLD, OTHER):
        folder = output / "runs" / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / "train.log").write_text("x" * 500)
        (folder / ".hydra" / "config.yaml").write_text("x" * 500)
    (output / "runs" / OLD / "run.json").write_text(json.dumps({"state": "failed", "overrides": ["seed=1"]}))
    (output / "runs" / "notes").mkdir()
    table(output / "sweeps" / "one", NAMED)
    return output


def table(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "runs.csv").write_text("\n".join(["id,state", *(f"{name},finished" for name in names), ""]))
    return folder


def runs_in(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "runs").iterdir())


def test_lists_runs_that_no_table_names(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean.main([str(output)]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.split() == [OLD, "1.04", "kB", "failed", "seed=1"]
    assert second.split() == [OTHER, "1", "kB", "unfinished"]
    assert last == "2 runs, 2.04 kB: named by no runs.csv; --yes deletes them"
    assert len(runs_in(output)) == 4


def test_deletes_them_where_that_is_asked_for(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean.main([str(output), "--yes"]) == 0
    first, _, last = capsys.readouterr().out.splitlines()
    assert first.split() == [OLD, "1.04", "kB", "failed", "seed=1"], "as it was before it was deleted"
    assert last == "2 runs, 2.04 kB: deleted"
    assert runs_in(output) == [NAMED, "notes"]
    assert clean.main([str(output), "--yes"]) == 0
    assert capsys.readouterr().out == f"each run in {output} is named by a runs.csv\n"


def test_a_run_that_is_being_trained_stays(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (output / ".locks").mkdir()
    with FileLock(output / ".locks" / OLD):
        assert clean.main([str(output), "--yes"]) == 0
    assert "is being trained: kept" in capsys.readouterr().out
    assert runs_in(output) == [NAMED, OLD, "notes"]


def test_tables_count_wherever_they_are_below_the_output_or_named(output: Path, tmp_path: Path) -> None:
    two = table(output / "sweeps" / "deep" / "two", OLD) / "runs.csv"
    two.write_text(two.read_text(), encoding="utf-8-sig")  # as spreadsheets write it
    elsewhere = table(tmp_path / "elsewhere", OTHER)
    assert clean.main([str(output), "--yes", "--sweeps", str(elsewhere)]) == 0
    assert len(runs_in(output)) == 4


def test_a_sweep_with_its_folder_elsewhere_is_known(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = table(tmp_path / "else where", OTHER)
    sweep_folder.claim(elsewhere, "seed=0,1", output)
    sweep_folder.claim(elsewhere, "seed=0,1", output)
    assert clean.main([str(output), "--yes"]) == 0
    assert runs_in(output) == [NAMED, OTHER, "notes"]
    # a disk that is not mounted, say
    elsewhere.rename(tmp_path / "gone")
    assert clean.main([str(output), "--yes"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {elsewhere} is not there, and names runs of {output}; delete {output}")
    assert runs_in(output) == [NAMED, OTHER, "notes"]
    Path(said.split("delete ")[1].split(" if ")[0]).unlink()
    assert clean.main([str(output)]) == 0


def test_tables_behind_links_count(output: Path, tmp_path: Path) -> None:
    """Sweeps that were moved to another disk; a link to a folder above is no endless way."""
    (output / "sweeps").rename(tmp_path / "moved")
    (output / "sweeps").symlink_to(tmp_path / "moved")
    (output / "sweeps" / "all").symlink_to(output)
    elsewhere = table(tmp_path / "elsewhere", OTHER)
    (output / "sweeps" / "two").symlink_to(elsewhere)
    assert clean.main([str(output), "--yes"]) == 0
    assert runs_in(output) == [NAMED, OTHER, "notes"]


def test_a_folder_that_cannot_be_listed_deletes_nothing(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scandir, closed = os.scandir, str(output / "sweeps")

    def list_folder(path: str) -> Any:
        if str(path) == closed:  # as for a user who is not root
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", list_folder)
    assert clean.main([str(output), "--yes"]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {closed}: Permission denied, so the runs of its tables"
    )
    assert len(runs_in(output)) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"state,seed\nfinished,1\n",
        b"id,state\n\xff,\n",
        b"id,state\n",
        b"id,state\n" + NAMED.encode() + b",finished\n" + OLD[:7].encode(),
        b"id,state\n" + OLD.encode(),
    ],
)
def test_a_table_that_cannot_be_read_deletes_nothing(
    output: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (output / "sweeps" / "one" / "runs.csv").write_bytes(content)
    assert clean.main([str(output), "--yes"]) == 2
    assert "one/runs.csv cannot be read" in capsys.readouterr().err
    assert len(runs_in(output)) == 4


@pytest.mark.parametrize("arguments", [["{}/sweeps"], ["{}", "--sweeps", "{}/none"], ["{}", "--all"], []])
def test_bad_input_is_one_line(
    output: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean.main([argument.format(output) for argument in arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_stands_in_a_runs_place_is_removed_and_not_followed(output: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (output / "runs" / ("c" * 12)).symlink_to(kept)
    (output / "runs" / ("d" * 12)).write_text("x")
    assert clean.main([str(output), "--yes"]) == 0
    assert runs_in(output) == [NAMED, "notes"]
    assert (kept / "file").is_file()
