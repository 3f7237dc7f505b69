"""What a sweep and a search train through: on an engine that trains nothing."""

from __future__ import annotations

import csv
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
from configs import make_job

from src.engines import Engine, Outcome, Slot
from src.errors import MachineError, events
from src.runs import store
from src.runs.job import Job, Record
from src.sweeping.campaign import LOG, AllAtOnce, Campaign
from src.sweeping.display import Display


class Scripted(Engine):
    """Ends a pack at each wait, and raises an error once so many runs have ended."""

    workers = 2

    def __init__(self, most: int = 10**6, error: BaseException | None = None) -> None:
        self.prepared: list[int] = []
        self.trained: list[int | None] = []
        self._most, self._error = most, error
        self._under_way: list[list[Job]] = []

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        self.prepared.append(at_once)

    def slot(self) -> Slot | None:
        return Slot() if len(self._under_way) < self.workers else None

    def submit(self, pack: list[Job]) -> None:
        self._under_way.append(pack)

    def wait(self) -> list[Outcome]:
        if self._error and len(self.trained) >= self._most:
            raise self._error
        pack = self._under_way.pop(0)
        self.trained += [job.number for job in pack]
        return [(pack, [written(job) for job in pack])]

    def close(self) -> None:
        pass


def written(job: Job) -> Record:
    """A finished run's record, on disk."""
    rows = [dict.fromkeys(store.METRICS, 0.5) | {"epoch": epoch} for epoch in range(1, job.run.epochs + 1)]
    record = {"id": job.id, "state": "finished", "config": job.config, "final": rows[-1], "seconds": 1.0}
    job.folder.mkdir(parents=True, exist_ok=True)
    store.write_metrics(job.folder, rows)
    store.write_record(job.folder, record)
    return record


def jobs_of(output: Path, *seeds: int) -> list[Job]:
    runs = [{"seed": seed, "epochs": 1, "output": str(output)} for seed in seeds]
    return [make_job(i, [f"seed={run['seed']}"], **run) for i, run in enumerate(runs)]


def campaign(output: Path, engine: Engine, **options: int) -> Campaign:
    folder = output / "sweeps" / "tried"
    folder.mkdir(parents=True, exist_ok=True)
    return Campaign(folder, ["seed"], engine, Display(["seed"]), **options)  # type: ignore[arg-type]


def states(output: Path) -> list[str]:
    with (output / "sweeps" / "tried" / "runs.csv").open(newline="") as file:
        return [row["state"] for row in csv.DictReader(file)]


def test_each_run_is_trained_once_and_records_come_in_the_jobs_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, engine = jobs_of(tmp_path, 0, 1, 0, 2), Scripted()
    ended: list[str] = []
    with campaign(tmp_path, engine) as tried:
        tried.follow(AllAtOnce(jobs), lambda job, record: ended.append(job.id))
        records = tried.train(jobs)
    assert [record["id"] for record in records] == [job.id for job in jobs]
    assert sorted(ended) == sorted({job.id for job in jobs})
    assert len(engine.trained) == 3 and engine.prepared == [3]
    assert states(tmp_path) == ["finished"] * 4
    assert capsys.readouterr().out.startswith("3 runs, 0 of them done before\n")


def test_what_is_finished_is_told_and_not_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs, engine = jobs_of(tmp_path, 0, 1), Scripted()
    written(jobs[1])
    ended: list[int | None] = []
    with campaign(tmp_path, engine) as tried:
        tried.follow(AllAtOnce(jobs), lambda job, record: ended.append(job.number))
    assert (engine.trained, sorted(ended)) == ([0], [0, 1])  # type: ignore[type-var]
    assert "2 runs, 1 of them done before\n" in capsys.readouterr().out
    idle = Scripted()
    with campaign(tmp_path, idle) as tried:
        tried.train(jobs)
    assert (idle.prepared, states(tmp_path)) == ([], ["finished"] * 2)
    assert capsys.readouterr().out == "", "nothing is shown where nothing is trained"


def test_batches_share_one_table_one_display_and_as_many_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, engine = jobs_of(tmp_path, 0, 1, 2), Scripted()
    with campaign(tmp_path, engine, at_once=8) as tried:
        tried.train(jobs[:2])
        tried.train([jobs[2], jobs[0]])
    assert (engine.trained, engine.prepared) == ([0, 1, 2], [8, 8])
    assert states(tmp_path) == ["finished"] * 3
    assert capsys.readouterr().out.count("them done before") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MachineError(errno.ENOSPC, "No space left", "x")])
def test_what_ends_it_says_what_is_kept_and_the_table_is_up_to_date(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught, campaign(tmp_path, Scripted(2, error), pack_size=1) as tried:
        tried.train(jobs_of(tmp_path, 0, 1, 2, 3))
    assert caught.value.__notes__ == ["2 of 4 runs are done and kept; the same command goes on from here"]
    assert sorted(states(tmp_path)) == ["finished"] * 2 + ["unfinished"] * 2


def test_a_table_that_cannot_be_written_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(path: Path, content: str) -> None:
        raise full

    with pytest.raises(OSError) as caught, campaign(tmp_path, Scripted()) as tried:
        monkeypatch.setattr("src.sweeping.table.store.write_whole", fails)
        tried.train(jobs_of(tmp_path, 0))
    assert caught.value is full and caught.value.__notes__[0].startswith("0 of 1 runs are done")


def test_nobody_reading_is_said_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "is_lost", lambda: True)
    with campaign(tmp_path, Scripted()) as tried:
        tried.train(jobs_of(tmp_path, 0))
    assert "went on without it" in (tmp_path / "sweeps" / "tried" / LOG).read_text()
