"""What is done about deaths, on an engine that dies as it is told: no process, no training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from configs import make_job

from src.engines import Death, Engine, Outcome, Slot, policy
from src.engines.queue import GPU_MEMORY_PER_RUN, Queue
from src.runs.job import Job, Record

Deadly = Callable[[Job, int], bool]
"""Whether a job kills its worker at its n-th try."""


class Scripted(Engine):
    """Ends the oldest pack under way at each wait; where fate is shared a death takes all that are.

    Args:
        fitting: runs that a GPU trains at once; the others of a pack are handed back.
        memories: what the places have, one after the other, again and again.
    """

    def __init__(
        self,
        deadly: Deadly,
        shares_fate: bool = False,
        fitting: int | None = None,
        memories: Sequence[int | None] = (None,),
    ) -> None:
        self.deadly, self.workers, self.shares_fate, self.fitting = deadly, 3, shares_fate, fitting
        self.memories = memories
        self.under_way: list[list[Job]] = []
        self.tried: Counter[int | None] = Counter()
        self.packs: list[list[int | None]] = []

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        pass

    def slot(self) -> Slot | None:
        if len(self.under_way) == self.workers:
            return None
        return Slot(self.memories[len(self.packs) % len(self.memories)])

    def submit(self, pack: list[Job]) -> None:
        assert self.slot() is not None
        self.under_way.append(pack)
        self.packs.append([job.number for job in pack])

    def wait(self) -> list[Outcome]:
        pack = self.under_way.pop(0)
        self.tried.update(job.number for job in pack[: self.fitting])
        if not any(self.deadly(job, self.tried[job.number]) for job in pack[: self.fitting]):
            return [(pack, [record(job) for job in pack[: self.fitting]])]
        lost, self.under_way = [pack, *self.under_way], []
        if not self.shares_fate:
            lost, self.under_way = lost[:1], lost[1:]
        self.tried.update(job.number for pack in lost[1:] for job in pack)
        return [(pack, Death("told to")) for pack in lost]

    def close(self) -> None:
        pass


def record(job: Job) -> Record:
    return {"id": job.id, "state": "finished", "seconds": 1.0}


def sweep(tmp_path: Path, engine: Scripted, size: int | None = 2) -> dict[int | None, Record]:
    runs = [{"seed": seed, "output": str(tmp_path)} for seed in range(8)]
    jobs = [make_job(number, **run) for number, run in enumerate(runs)]
    ended: dict[int | None, Record] = {}

    def end(job: Job, record: Record) -> None:
        assert job.number not in ended, "a run ends once"
        ended[job.number] = record

    policy.drain(engine, Queue(jobs, 3, size), end)
    assert len(ended) == 8
    return ended


@pytest.mark.parametrize("shares_fate", [False, True])
def test_without_deaths_each_run_is_tried_once(tmp_path: Path, shares_fate: bool) -> None:
    engine = Scripted(lambda job, time: False, shares_fate)
    sweep(tmp_path, engine)
    assert set(engine.tried.values()) == {1}
    assert engine.packs == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("shares_fate", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_run_that_kills_two_workers_is_failed_and_no_other(
    tmp_path: Path, shares_fate: bool, size: int
) -> None:
    engine = Scripted(lambda job, time: job.number == 3, shares_fate)
    ended = sweep(tmp_path, engine, size)
    assert {number for number, record in ended.items() if record["state"] == "failed"} == {3}
    assert ended[3]["error"] == "its worker process died 2 times (told to)"
    assert engine.tried[3] == 2
    assert max(engine.tried.values()) <= 2


@pytest.mark.parametrize("shares_fate", [False, True])
def test_one_death_makes_its_pack_suspects_and_fails_nothing(tmp_path: Path, shares_fate: bool) -> None:
    engine = Scripted(lambda job, time: job.number == 0 and time == 1, shares_fate)
    ended = sweep(tmp_path, engine)
    assert {record["state"] for record in ended.values()} == {"finished"}
    lost = {0, 1, 2, 3, 4, 5} if shares_fate else {0, 1}
    assert {number for number, tries in engine.tried.items() if tries == 2} == lost
    alone = [pack for pack in engine.packs if len(pack) == 1]
    assert sorted(alone) == [[number] for number in sorted(lost)], "suspects are tried one by one"


def test_what_had_finished_before_its_worker_died_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: set[int | None] = {0}
    monkeypatch.setattr(
        "src.engines.policy.final_record", lambda job: record(job) if job.number in on_disk else None
    )
    engine = Scripted(lambda job, time: job.number == 1 and time == 1)
    sweep(tmp_path, engine)
    assert engine.tried[0] == 1 and engine.tried[1] == 2


def test_what_is_handed_back_is_trained_and_not_to_blame(tmp_path: Path) -> None:
    """The first two runs of each pack are trained, whatever is in it."""
    engine = Scripted(lambda job, time: False, fitting=2)
    sweep(tmp_path, engine, size=5)
    assert set(engine.tried.values()) == {1}
    assert engine.packs[0] == [0, 1, 2, 3, 4]
    assert [2, 3, 4] in engine.packs, "what is handed back comes next"


def test_packs_are_of_the_size_of_the_slot_that_they_go_to(tmp_path: Path) -> None:
    engine = Scripted(lambda job, time: False, memories=[GPU_MEMORY_PER_RUN, 2 * GPU_MEMORY_PER_RUN])
    sweep(tmp_path, engine, size=None)
    assert [len(pack) for pack in engine.packs] == [1, 2, 1, 2, 1, 1]
