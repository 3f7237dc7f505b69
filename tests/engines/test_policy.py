"""What is done about deaths, on an engine that dies as it is told: no process, no training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from configs import make_run, plain

from src import workers
from src.engines import Death, Ended, Engine
from src.packs import Queue
from src.run import Job, Record

Deadly = Callable[[Job, int], bool]
"""Whether a job kills its worker at its n-th try."""


class Scripted(Engine):
    """Ends the oldest pack under way at each wait; where fate is shared a death takes all that are.

    With `apart` a pack's runs come one by one, and a death leaves those after the deadly one unbegun.
    """

    def __init__(self, deadly: Deadly, workers: int, shares_fate: bool, apart: bool = False) -> None:
        self.apart = apart
        self.deadly, self.workers, self.shares_fate = deadly, workers, shares_fate
        self.under_way: list[list[Job]] = []
        self.tried: Counter[int | None] = Counter()
        self.packs: list[list[int | None]] = []

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        pass

    def room(self) -> int:
        return self.workers - len(self.under_way)

    def submit(self, pack: list[Job]) -> None:
        assert self.room() > 0
        self.under_way.append(pack)
        self.packs.append([job.number for job in pack])
        self.tried.update(job.number for job in pack)

    def wait(self) -> list[Ended]:
        pack = self.under_way.pop(0)
        if self.apart and not self.deadly(pack[0], self.tried[pack[0].number]):
            if rest := pack[1:]:
                self.under_way.insert(0, rest)
            return [(pack[:1], [record(pack[0])])]
        if not any(self.deadly(job, self.tried[job.number]) for job in pack):
            return [(pack, [record(job) for job in pack])]
        lost = [pack, *self.under_way] if self.shares_fate else [pack]
        self.under_way = [] if self.shares_fate else self.under_way
        return [(one, Death("told to", 1 if self.apart else None)) for one in lost]

    def close(self) -> None:
        pass


def record(job: Job) -> Record:
    return {"id": job.id, "state": "finished", "seconds": 1.0}


def sweep(
    tmp_path: Path, deadly: Deadly, shares_fate: bool, size: int = 2, apart: bool = False
) -> tuple[Scripted, dict[int | None, Record]]:
    runs = [{"seed": seed, "output": str(tmp_path)} for seed in range(8)]
    jobs = [Job(make_run(**run), plain(**run), [], {}, number) for number, run in enumerate(runs)]
    engine = Scripted(deadly, 3, shares_fate, apart)
    ended: dict[int | None, Record] = {}

    def end(job: Job, record: Record) -> None:
        assert job.number not in ended, "a run ends once"
        ended[job.number] = record

    workers.train(engine, Queue(jobs, 3, size), end)
    assert len(ended) == 8
    return engine, ended


@pytest.mark.parametrize("shares_fate", [False, True])
def test_without_deaths_each_run_is_tried_once(tmp_path: Path, shares_fate: bool) -> None:
    engine, _ = sweep(tmp_path, lambda job, time: False, shares_fate)
    assert set(engine.tried.values()) == {1}
    assert engine.packs == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("shares_fate", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_run_that_kills_two_workers_is_failed_and_no_other(
    tmp_path: Path, shares_fate: bool, size: int
) -> None:
    engine, ended = sweep(tmp_path, lambda job, time: job.number == 3, shares_fate, size)
    assert {number for number, record in ended.items() if record["state"] == "failed"} == {3}
    assert ended[3]["error"] == "its worker process died 2 times (told to)"
    assert engine.tried[3] == 2
    assert max(engine.tried.values()) <= 2


@pytest.mark.parametrize("shares_fate", [False, True])
def test_one_death_fails_nothing(tmp_path: Path, shares_fate: bool) -> None:
    engine, ended = sweep(tmp_path, lambda job, time: job.number == 0 and time == 1, shares_fate)
    assert {record["state"] for record in ended.values()} == {"finished"}
    lost = {0, 1, 2, 3, 4, 5} if shares_fate else {0, 1}
    assert {number for number, tries in engine.tried.items() if tries == 2} == lost
    alone = [pack for pack in engine.packs if len(pack) == 1]
    assert sorted(alone) == [[number] for number in sorted(lost)], "suspects are tried one by one"


def test_what_had_come_before_a_death_is_not_tried_again(tmp_path: Path) -> None:
    engine, ended = sweep(tmp_path, lambda job, time: job.number == 2 and time == 1, False, 4, apart=True)
    assert {number for number, tries in engine.tried.items() if tries == 2} == {2, 3}
    assert {record["state"] for record in ended.values()} == {"finished"}


def test_what_had_not_begun_before_deaths_is_not_to_blame(tmp_path: Path) -> None:
    """The first of each pack kills its worker, as many times as that takes; the last one waits behind them all."""
    engine, ended = sweep(tmp_path, lambda job, time: job.number != 7, False, 8, apart=True)
    assert [number for number, one in sorted(ended.items()) if one["state"] == "failed"] == list(range(7))
    assert engine.tried[7] == 8, "behind each of the others, and alone"


def test_what_had_finished_before_its_worker_died_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: set[int | None] = {0}
    monkeypatch.setattr("src.workers.runs.ended", lambda job: record(job) if job.number in on_disk else None)
    engine, _ = sweep(tmp_path, lambda job, time: job.number == 1 and time == 1, False)
    assert engine.tried[0] == 1 and engine.tried[1] == 2
