"""Run folders that are not as we left them: what is lost is made again, and what is broken fails its run alone."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from configs import DIGITS, make_job

from src.errors import InputError, MachineError
from src.runs import store
from src.runs.job import Job, final_record, ready
from src.runs.pack import _train_stack, receive, train_jobs
from src.runs.record import record_broken, record_death
from src.sweeping.campaign import Campaign

PROBES = {"every": "epoch", "test_time": True}


SMALL: dict[str, Any] = {"data": DIGITS, "model": {"hidden1": 6, "hidden2": 4}, "epochs": 1}


def job(output: Path, **changes: Any) -> Job:
    return make_job(output=str(output), **{**SMALL, **changes})


def content(folder: Path) -> dict[str, Any]:
    """What is the same each time: metrics without their seconds, the other files as they are."""
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    seconds = rows[0].index("seconds")
    others = {name: (folder / name).read_bytes() for name in (*store.PROBES, store.WEIGHTS)}
    return {"metrics": [[*row[:seconds], *row[seconds + 1 :]] for row in rows], **others}


# Every file that a config asks for


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Job:
    whole = job(tmp_path_factory.mktemp("whole"), save_model=True, probe=PROBES)
    (record,) = train_jobs([whole])
    assert record["state"] == store.FINISHED and final_record(whole) == record
    return whole


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "lost": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "emptied": lambda path: path.write_bytes(b""),
    "one bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
}


@pytest.mark.parametrize("name", [*store.PROBES, store.WEIGHTS])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_is_not_whole_is_made_again_to_the_same_bytes(trained: Job, name: str, kind: str) -> None:
    before = content(trained.folder)
    DAMAGE[kind](trained.folder / name)
    assert final_record(trained) is None
    if name != store.WEIGHTS:
        with pytest.raises(store.Damaged, match=name):
            store.read_record(trained.folder)
    train_jobs([trained])
    assert final_record(trained) is not None
    assert content(trained.folder) == before


def test_weights_asked_for_later_are_made_and_without_the_wish_they_are_not_missed(tmp_path: Path) -> None:
    without = job(tmp_path)
    (first,) = train_jobs([without])
    wanted = job(tmp_path, save_model=True)
    assert (final_record(without), final_record(wanted), wanted.id) == (first, None, without.id)
    (second,) = train_jobs([wanted])
    assert (wanted.folder / store.WEIGHTS).exists() and final_record(wanted) == second
    assert {**first["final"], "seconds": 0} == {**second["final"], "seconds": 0}
    (wanted.folder / store.WEIGHTS).unlink()
    assert final_record(without) == second and store.read_record(without.folder) == second


def test_a_diverged_run_owes_its_probes_and_no_weights(tmp_path: Path) -> None:
    wild = job(tmp_path, save_model=True, probe=PROBES, optimizer={"lr": 1e30})
    (record,) = train_jobs([wild])
    assert record["state"] == store.DIVERGED and not (wild.folder / store.WEIGHTS).exists()
    assert final_record(wild) == record
    probe = wild.folder / "probe.csv"
    before = probe.read_bytes()
    probe.unlink()
    assert final_record(wild) is None
    train_jobs([wild])
    assert probe.read_bytes() == before


def test_a_record_from_before_the_digests_is_read(trained: Job) -> None:
    path = trained.folder / "run.json"
    record = json.loads(path.read_text())
    del record["files"]
    store.write_record(trained.folder, record)
    assert store.read_record(trained.folder) == record
    assert final_record(trained) is None, "nothing says whether its weights are whole"
    assert final_record(replace(trained, run=replace(trained.run, save_model=False))) == record
    train_jobs([trained])


# Broken folders


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def folder_of(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).mkdir(parents=True)


BROKEN: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("x"),
    "a symlink loop": loop,
    "a dangling symlink": lambda path: path.symlink_to("nowhere"),
    **{
        f"{name} a folder": folder_of(name)
        for name in ("run.json", "metrics.csv", "train.log", "model.pt", *store.PROBES)
    },
    ".hydra a file": lambda path: (path.mkdir(), (path / ".hydra").write_text("x")),
    "its lock a folder": lambda path: (path.parents[1] / ".locks" / path.name).mkdir(parents=True),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_folder_fails_its_run_and_no_other_each_time(tmp_path: Path, kind: str) -> None:
    jobs = [
        replace(
            job(tmp_path, seed=seed, save_model=True, probe=PROBES),
            hydra={"overrides": {}, "runtime": {}, "job": {}},
        )
        for seed in range(3)
    ]
    bad = jobs[1].folder
    bad.parent.mkdir()
    BROKEN[kind](bad)
    for _ in range(2):
        assert final_record(jobs[1]) is None
        records = train_jobs(jobs)
        assert [record["state"] for record in records] == ["finished", "failed", "finished"]
        assert str(tmp_path) in records[1]["error"] and "\n" not in records[1]["error"]
        assert records[1]["id"] == jobs[1].id


@pytest.mark.parametrize("kind", ["a file", "run.json a folder"])
def test_in_a_stack_too_and_where_files_come_from_elsewhere_or_a_worker_died(
    tmp_path: Path, kind: str
) -> None:
    jobs = [job(tmp_path, seed=seed) for seed in range(3)]
    jobs[1].folder.parent.mkdir()
    BROKEN[kind](jobs[1].folder)
    records = _train_stack(jobs, "cpu", None)
    assert [record["state"] for record in records] == ["finished", "failed", "finished"]
    files = {name: (jobs[0].folder / name).read_bytes() for name in ("metrics.csv", "run.json")}
    assert receive(jobs[1], files)["state"] == store.FAILED
    assert record_death(jobs[1], "killed")["state"] == store.FAILED


def test_what_cannot_be_read_fails_its_run_and_a_disk_that_gives_out_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(tmp_path, seed=seed) for seed in range(2)]
    train_jobs(jobs)
    read = Path.read_bytes

    def reading(code: int) -> Callable[[Path], bytes]:
        def read_bytes(path: Path) -> bytes:
            if path.parent == jobs[0].folder:
                raise OSError(code, "refused", str(path))
            return read(path)

        return read_bytes

    monkeypatch.setattr(Path, "read_bytes", reading(errno.EACCES))
    assert final_record(jobs[0]) is None and final_record(jobs[1])
    monkeypatch.setattr(Path, "read_bytes", reading(errno.EIO))
    with pytest.raises(OSError, match="refused"):
        final_record(jobs[0])


def test_where_no_run_would_fare_better_the_machine_gave_out(tmp_path: Path) -> None:
    jobs = [job(tmp_path, seed=seed) for seed in range(2)]
    for lost in (NotADirectoryError(errno.ENOTDIR, "x"), FileNotFoundError(errno.ENOENT, "x")):
        assert record_broken(jobs[0], lost)["state"] == store.FAILED  # it alone
    jobs[0].folder.parent.write_text("x")
    for trained in (jobs[:1], jobs):
        with pytest.raises(MachineError, match=r"runs"):
            train_jobs(trained)


@pytest.mark.parametrize("lost", ["its runs", "one run"])
def test_a_sweep_whose_runs_are_moved_away_ends(tmp_path: Path, lost: str) -> None:
    jobs = [job(tmp_path, seed=seed) for seed in range(2)]
    for each in jobs:
        each.folder.mkdir(parents=True)
    campaign: Any = Campaign(tmp_path, [], cast(Any, None), cast(Any, SimpleNamespace(runs=None, left=None)))
    campaign.keep(jobs[0], {"id": jobs[0].id, "state": store.FINISHED})
    failed = {"id": jobs[1].id, "state": store.FAILED}
    if lost == "one run":
        jobs[1].folder.rmdir()
        campaign.keep(jobs[1], failed)
    else:
        jobs[0].folder.parent.rename(tmp_path / "elsewhere")
        with pytest.raises(MachineError, match=r"lost its runs while the sweep went on"):
            campaign.keep(jobs[1], failed)


@pytest.mark.parametrize("name", ["", "runs", ".locks"])
def test_an_output_whose_folders_are_files_is_bad_input(tmp_path: Path, name: str) -> None:
    output = tmp_path / "output"
    broken = output / name if name else output
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("x")
    with pytest.raises(InputError, match="must be a folder that can be written"):
        ready([job(output).run])
