"""What a tracker is told of, and that none can stop a run: with a tracker that lives in memory."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
from configs import make_run
from folders import write_run

from analysis import export
from src import config, loggers
from src.errors import InputError
from src.loggers import LoggedRun, Logger
from src.runs import store
from src.runs.job import ready
from src.sweeping.tracking import Tracking, logged_run


class Memory(Logger):
    """Holds runs by their ID; goes down once it holds `most`."""

    held: dict[str, list[LoggedRun]] = {}  # noqa: RUF012 - shared as a server is
    most = 100

    def __init__(self, output: Path) -> None:
        pass

    @property
    def place(self) -> str:
        return "memory"

    def known(self) -> set[str]:
        return set(self.held)

    def log(self, run: LoggedRun) -> None:
        if len(self.held) >= self.most:
            raise ConnectionError("nobody\nlistens")
        self.held.setdefault(run.id, []).append(run)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    module = ModuleType("src.loggers.memory")
    module.PACKAGE, module.Tracker = "json", Memory  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(loggers, "names", lambda: ("memory",))
    monkeypatch.setattr(Memory, "held", {})
    return Memory


def test_a_run_is_told_with_its_config_and_every_epoch(tmp_path: Path) -> None:
    job, _ = write_run(tmp_path, 1, store.DIVERGED)
    run = logged_run(job.folder, "tried")
    assert run is not None and (run.id, run.name, run.sweep, run.diverged) == (
        job.id,
        "seed=1",
        "tried",
        True,
    )
    assert run.params["optimizer.lr"] == 0.5 and run.params["seed"] == 1
    assert not {"output", "logger", "device", "data.root"} & run.params.keys()
    assert [row["test_acc"] for row in run.rows] == pytest.approx([0.811, 0.821, 0.831], rel=1e-12)
    assert math.isnan(run.rows[-1]["train_loss"]) and "val_acc" not in run.rows[0]
    first, second, third = run.times()
    assert (second - first, third - second, third) == (2.0, 2.0, run.ended)


def test_a_failed_run_is_not_told_as_it_is_tried_again(tmp_path: Path) -> None:
    job, record = write_run(tmp_path, 0, store.FAILED)
    assert logged_run(job.folder, "") is None
    assert logged_run(tmp_path / "none", "") is None
    tracking = Tracking(["mlflow"], tmp_path, job.folder)
    tracking.add(job.folder, record)
    tracking.close()


def test_each_run_is_logged_once_whoever_asks(memory: type[Memory], tmp_path: Path) -> None:
    runs = [write_run(tmp_path, seed) for seed in range(3)]
    for _ in range(2):
        with Tracking(["memory"], tmp_path, tmp_path, "tried") as tracking:
            for job, record in [*runs, runs[0]]:
                tracking.add(job.folder, record)
    assert {run: len(times) for run, times in memory.held.items()} == {job.id: 1 for job, _ in runs}


def test_a_tracker_that_is_down_is_one_line(
    memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "most", 1)
    with Tracking(["memory"], tmp_path, tmp_path / "a b") as tracking:
        for seed in range(3):
            job, record = write_run(tmp_path, seed)
            tracking.add(job.folder, record)
    assert capsys.readouterr().err == (
        "warning: logger=memory: ConnectionError: nobody listens; all goes on without it, and "
        f"`python -m analysis.export '{tmp_path}/a b' --to memory` logs its runs later\n"
    )
    assert len(memory.held) == 1


def test_an_interrupted_sweep_leaves_the_rest_for_later(memory: type[Memory], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Tracking(["memory"], tmp_path, tmp_path) as tracking:
        tracking.close()  # of none
        tracking.add(*_of(write_run(tmp_path, 0)))
        raise KeyboardInterrupt
    with Tracking(["memory"], tmp_path, tmp_path) as tracking:
        tracking.add(*_of(write_run(tmp_path, 0)))
    assert len(memory.held) == 1


def _of(run: tuple) -> tuple:
    job, record = run
    return job.folder, record


@pytest.mark.parametrize("value", ["mlflo", ["mlflow", "nothing"], ["mlflow", "mlflow"], 3])
def test_an_unknown_tracker_is_refused(value: object) -> None:
    with pytest.raises(
        InputError, match=r"^logger=.*: must be null, one of mlflow, tensorboard, trackio, wandb"
    ):
        make_run(logger=value)


def test_one_or_several_are_asked_for_and_change_no_id() -> None:
    assert make_run(logger="mlflow").logger == ("mlflow",)
    assert make_run(logger=["wandb", "trackio"]).logger == ("wandb", "trackio")
    assert "logger" not in config.result_config(make_run(logger="mlflow"))


def test_a_missing_package_is_named_with_its_extra_before_anything_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    right = (
        r"^logger=trackio: the package trackio is not installed; pip install -e '\.\[trackers\]' brings it$"
    )
    with pytest.raises(InputError, match=right):
        ready([make_run(logger=["trackio"], output=str(tmp_path / "new"))])
    assert not (tmp_path / "new").exists()
    write_run(tmp_path, 0)
    assert export.main([*map(str, tmp_path.glob("runs/*")), "--to", "wandb"]) == 2
    assert capsys.readouterr().err.startswith("error: --to=wandb: the package wandb is not installed; pip")


@pytest.mark.parametrize(
    ("file", "part", "other"),
    [
        ("run.json", '"overrides": [', '"overrides": [1, '),
        ("run.json", '"overrides": [', '"overrides": 5, "before": ['),
        ("metrics.csv", "0.8", "0.8\xe9"),
    ],
)
def test_a_damaged_run_costs_no_other_and_is_no_fault_of_the_tracker(
    memory: type[Memory], tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, part: str, other: str
) -> None:
    jobs = [write_run(tmp_path, seed, store.DIVERGED)[0] for seed in range(2)]
    folder = store.sweep_folder(tmp_path, "tried")
    folder.mkdir(parents=True)
    lines = [f"{job.id},diverged,{seed}" for seed, job in enumerate(jobs)]
    (folder / "runs.csv").write_text("\n".join(["id,state,seed", *lines, ""]))
    path = jobs[0].folder / file
    text = path.read_text()
    assert part in text
    path.write_bytes(text.replace(part, other).encode("latin-1"))
    assert export.main([str(folder), "--to", "memory"]) == 1
    assert capsys.readouterr().err.startswith(f"{jobs[0].folder} is damaged (")
    assert set(memory.held) == {jobs[1].id}


def test_export_writes_what_is_not_there(
    memory: type[Memory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [write_run(tmp_path, seed)[0] for seed in range(2)]
    failed, _ = write_run(tmp_path, 2, store.FAILED)
    folder = store.sweep_folder(tmp_path, "tried")
    folder.mkdir(parents=True)
    lines = [f"{job.id},finished,{seed}" for seed, job in enumerate([*jobs, failed])]
    (folder / "runs.csv").write_text("\n".join(["id,state,seed", *lines, ""]))
    for said in ("2 runs written, 0 were there before", "0 runs written, 2 were there before"):
        assert export.main([str(folder), "--to", "memory"]) == 1, "one run has no result"
        assert capsys.readouterr().out == f"{folder}: {said}, 1 without a result\nmemory: memory\n"
    assert [run.sweep for (run,) in memory.held.values()] == ["tried"] * 2
    assert export.main([str(jobs[0].folder), "--to", "memory"]) == 0
    assert export.main([str(folder), "--to", "nothing"]) == 2
    assert capsys.readouterr().err == "error: --to=nothing: one or more of memory are right\n"
    memory.most = 0
    memory.held.clear()
    try:
        assert export.main([str(folder), "--to", "memory"]) == 3
    finally:
        memory.most = 100
    assert (
        "memory cannot be written (ConnectionError: nobody listens); the same command"
        in capsys.readouterr().err
    )
