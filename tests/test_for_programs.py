"""What programs rely on: `--json`, the schema of `run.json`, tags; and that src/runs/README.md says the same."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from configs import DIGITS, REPOSITORY, make_job

from src import errors, train
from src.errors import InputError, events
from src.runs import pack, store, tags
from src.runs.job import Job
from src.runs.pack import train_jobs
from src.runs.record import record_death

PAGE = (REPOSITORY / "src" / "runs" / "README.md").read_text()
SCHEMA = json.loads((REPOSITORY / "src" / "runs" / "run.schema.json").read_text())
SMALL = ["data=digits", "model.hidden1=16", "model.hidden2=16", "epochs=2", "device=cpu"]
Events = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def told(
    hydra_restore_singletons: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Events:
    """Events of `python -m src.train --json ARGUMENTS`, in this process and an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments, "--json"])
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            train.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_path_is_the_same_whatever_the_stream_knows(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, folder = io.BytesIO(), Path("größe/中\udcff")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="replace"))
    with events.ended():
        events.begin()
        events.tell("end", folder=folder)
    assert json.loads(written.getvalue()) == {"event": "end", "folder": str(folder)}


def listed(event: str, of: str) -> set[str]:
    """Keys that the page lists for an event."""
    (row,) = re.findall(rf"^\| `{event}` \| {of}[^|]*\| (.*) \|$", PAGE, flags=re.M)
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row))) | {"event"}


def test_a_single_run_tells_its_epochs_and_its_end(told: Events) -> None:
    *epochs, end = told(*SMALL, "tags=[pilot,x]", "note='two words'")
    assert [(event["event"], event["row"]["epoch"]) for event in epochs] == [("epoch", 1), ("epoch", 2)]
    assert epochs[0].keys() == listed("epoch", "a single run")
    assert (end["event"], end["state"], end["trained"]) == ("end", "finished", True)
    assert end.keys() == listed("end", "a single run")
    record = store.read_record(Path(end["folder"]))
    assert record and end["final"] == record["final"]
    jsonschema.validate(record, SCHEMA)
    assert tags.read(Path(end["folder"])) == tags.Tags(("pilot", "x"), "two words")
    (again,) = told(*SMALL, "tags=final", "note=more")
    assert (again["id"], again["trained"]) == (end["id"], False)
    assert tags.read(Path(end["folder"])) == tags.Tags(("pilot", "x", "final"), "two words\nmore")


@pytest.mark.parametrize(
    ("override", "state", "trained"),
    [
        ("seed=1", store.FINISHED, False),
        ("optimizer.lr=1e9", store.DIVERGED, False),
        ("seed=2", store.FAILED, True),
    ],
)
def test_a_run_that_another_process_ended_while_this_one_waited_is_not_called_trained(
    told: Events, monkeypatch: pytest.MonkeyPatch, override: str, state: str, trained: bool
) -> None:
    """But for one that failed there, which is tried again."""
    lock = pack._lock
    if state == store.FAILED:
        monkeypatch.setattr(pack, "_train_locked", lambda jobs, *_: [record_death(jobs[0], "it died")])
    first = told(*SMALL, override, "output=first")[-1]
    assert (first["state"], first["trained"]) == (state, True)

    def ended_meanwhile(job: Job) -> Any:
        shutil.copytree(first["folder"], job.folder, dirs_exist_ok=True)
        return lock(job)

    monkeypatch.setattr(pack, "_lock", ended_meanwhile)
    (end,) = told(*SMALL, override, "output=second")
    assert (end["id"], end["state"], end["trained"]) == (first["id"], state, trained)


def test_an_error_is_told_with_key_value_and_exit_code(told: Events) -> None:
    (error,) = told("dropout1=2", *SMALL)
    right = "must be a finite number from 0 to 1"
    assert error == {
        "event": "error",
        "code": errors.BAD_INPUT,
        "message": f"dropout1=2: {right}",
        "key": "dropout1",
        "value": 2,
        "right": right,
    }
    assert error.keys() == listed("error", "any")


def test_a_plan_is_told(told: Events) -> None:
    (planned,) = told("-m", "noise=dropout,gaussian", "hydra.sweeper.plan=true", *SMALL)
    assert planned.keys() == listed("plan", "`hydra") and planned["runs"] == 2


def test_a_run_that_has_no_result_fits_the_schema_too(tmp_path: Path) -> None:
    small = {"data": DIGITS, "model": {"hidden1": 16, "hidden2": 16}, "epochs": 1, "output": str(tmp_path)}
    (diverged,) = train_jobs([make_job(**small, optimizer={"lr": 1e30})])
    assert diverged["state"] == store.DIVERGED
    jsonschema.validate(json.loads(json.dumps(diverged)), SCHEMA)
    jsonschema.validate(record_death(make_job(**small), "killed"), SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**diverged, "more": 1}, SCHEMA)


def test_the_page_has_every_column() -> None:
    section = PAGE.partition("Columns of `metrics.csv`")[2].partition("## A sweep")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, flags=re.M)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)][1:] == list(store.METRICS)[1:]


def test_nothing_is_told_without_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    events.tell("end", runs=1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("value", "kept"),
    [(["a", "b", "a"], ("a", "b")), ("pilot", ("pilot",)), ([], ()), ([1, True], ("1", "True"))],
)
def test_tags_are_words(value: Any, kept: tuple[str, ...]) -> None:
    assert make_job(tags=value).run.tags == kept


@pytest.mark.parametrize("value", [None, ["two words"], [[1]], [""]])
def test_other_tags_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^tags=.*: must be a list of words, such as \[pilot,final\]$"):
        make_job(tags=value)


def test_tags_are_no_part_of_the_id() -> None:
    assert make_job(tags=["pilot"], note="x").id == make_job().id


def test_a_damaged_tags_file_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / tags.FILE).write_text('{"tags": ')
    tags.add(tmp_path, ["a"], None)
    assert tags.read(tmp_path) == tags.Tags(("a",), "")
    before = (tmp_path / tags.FILE).stat().st_mtime_ns
    tags.add(tmp_path, ["a"], "")
    assert (tmp_path / tags.FILE).stat().st_mtime_ns == before
