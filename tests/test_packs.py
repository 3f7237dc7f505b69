"""Which runs train together: kinds never mix, every job is handed out once, and packs fit time and memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
from configs import DIGITS, make_job
from hypothesis import given
from hypothesis import strategies as st

from src.engines import queue as packs
from src.engines.queue import GPU_MEMORY_PER_RUN, LARGEST_CPU_PACK, PACK_SECONDS, Queue, kind
from src.runs.job import Job

APART: list[dict[str, Any]] = [
    {},
    {"epochs": 3},
    {"batch_size": 64},
    {"label_smoothing": 0.1},
    {"probe": {"ema": 0.9}},
    {"model": {"hidden1": 8}},
    {"model": {"name": "concise", "hidden1": 256, "hidden2": 256}},
    {"noise": {"name": "none"}},
    *(
        {"noise": {"name": "tangent", "input_rate": 0.0, "stretch": 0.1, "partner": of}}
        for of in ("nearest", "any")
    ),
    {"data": DIGITS},
    {"data": {"validation": 100}},
    {"device": "auto"},
]
TOGETHER: list[dict[str, Any]] = [
    {"seed": 5},
    {"dropout1": 0.9, "dropout2": 0.0},
    {"optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "decay": "cosine"}},
    {"optimizer": {"momentum": 0.9, "nesterov": True, "decay_biases": False, "warmup": 0.5, "max_norm": 3}},
    {"schedule": {"name": "late", "cutoff": 0.5}},
    {"output": "elsewhere", "resume": False, "save_model": True},
    {"noise": {"name": "dropout", "input_rate": 0.5}},
]


def job(number: int = 0, **changes: Any) -> Job:
    return make_job(number, **changes)


JOBS = [job(number, **changes) for number, changes in enumerate(APART)]


def test_what_cannot_train_together_is_of_different_kinds() -> None:
    assert len({kind(job) for job in JOBS}) == len(APART)


@pytest.mark.parametrize("changes", TOGETHER)
def test_what_may_differ_within_a_stack_is_of_one_kind(changes: dict[str, Any]) -> None:
    assert kind(job(**changes)) == kind(JOBS[0])


MEMORY = st.none() | st.integers(0, 40 * GPU_MEMORY_PER_RUN)


@given(
    st.lists(st.integers(0, 3), max_size=80),
    st.integers(1, 8),
    st.none() | st.integers(1, 20),
    MEMORY,
    st.lists(st.floats(0, 2), min_size=1, max_size=10),
)
def test_every_job_is_handed_out_once_in_packs_of_one_kind(
    kinds: list[int], workers: int, size: int | None, memory: int | None, seconds: list[float]
) -> None:
    jobs = [job(number, **APART[which]) for number, which in enumerate(kinds)]
    queue, handed_out = Queue(jobs, workers, size), []
    while pack := queue.next_pack(memory):
        assert len({kind(job) for job in pack}) == 1
        assert [job.number for job in pack] == sorted(job.number for job in pack)
        if size is not None:
            assert len(pack) <= size
        elif memory is not None:
            assert len(pack) <= max(1, memory // GPU_MEMORY_PER_RUN)
        else:
            assert len(pack) <= LARGEST_CPU_PACK
        handed_out += pack
        assert len(queue) == len(jobs) - len(handed_out)
        queue.measured(pack[0], seconds[len(handed_out) % len(seconds)])
    assert sorted(job.number for job in handed_out) == list(range(len(jobs)))
    assert queue.next_pack() == []


def same(count: int) -> list[Job]:
    return [JOBS[0]] * count


def sizes(queue: Queue, seconds: float, gpu_memory: int | None = None) -> list[int]:
    lengths = []
    while pack := queue.next_pack(gpu_memory):
        lengths.append(len(pack))
        queue.measured(pack[0], seconds)
    return lengths


def test_before_a_run_is_measured_packs_are_of_one() -> None:
    queue = Queue(same(100), workers=2)
    assert [len(queue.next_pack()) for _ in range(5)] == [1] * 5


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.2, 3.0])
def test_packs_fill_their_time_and_grow_small_at_the_end(seconds: float) -> None:
    lengths = sizes(Queue(same(400), workers=2), seconds)
    fitting = max(1, min(int(PACK_SECONDS / seconds), LARGEST_CPU_PACK))
    assert lengths[1] == fitting
    assert max(lengths) == fitting
    assert lengths[-4:] == [1] * 4, "all workers end together"
    assert sum(lengths) == 400


def test_the_measure_follows_what_was_measured_last() -> None:
    queue = Queue(same(1000), workers=1)
    for seconds in [1.0] + [0.02] * 20:
        queue.measured(JOBS[0], seconds)
    assert len(queue.next_pack()) == int(PACK_SECONDS / 0.0200010)


def test_kinds_are_measured_apart() -> None:
    queue = Queue([*same(100), *[JOBS[1]] * 100], workers=1)
    queue.measured(JOBS[0], 0.05)
    assert len(queue.next_pack()) == 10
    while (pack := queue.next_pack())[0] is JOBS[0]:
        pass
    assert len(pack) == 1


def test_a_gpus_packs_fill_its_memory_at_once() -> None:
    memory = 30 * GPU_MEMORY_PER_RUN + 1
    assert sizes(Queue(same(100), workers=1), 0.1, memory) == [25, 25, 25, 25], "in as few rounds as fit"
    assert sizes(Queue(same(30), workers=1), 0.1, memory) == [30]
    assert sizes(Queue(same(31), workers=1), 0.1, memory) == [16, 15]
    assert sizes(Queue(same(2), workers=1), 0.1, 5) == [1, 1]


def test_several_gpus_have_as_much_to_do() -> None:
    memory = 30 * GPU_MEMORY_PER_RUN
    assert sizes(Queue(same(10), workers=4), 0.1, memory) == [3, 3, 3, 1]
    assert sizes(Queue(same(240), workers=4), 0.1, memory) == [30] * 8


def test_a_gpu_gets_packs_of_its_own_size() -> None:
    queue = Queue(same(100), workers=2)
    lengths = [len(queue.next_pack(held * GPU_MEMORY_PER_RUN)) for held in (5, 30, 5, 30)]
    assert lengths == [5, 25, 5, 25]


def test_kinds_share_the_gpus() -> None:
    jobs = [made for which in range(8) for made in [job(which, **APART[which])] * 4]
    assert sizes(Queue(jobs, workers=4), 0.1, 30 * GPU_MEMORY_PER_RUN) == [4] * 8
    few = [*same(90), *[JOBS[1]] * 30]
    assert sizes(Queue(few, workers=4), 0.1, 30 * GPU_MEMORY_PER_RUN) == [30, 30, 30, 30]


def test_what_is_put_back_comes_next() -> None:
    jobs = [job(number) for number in range(6)]
    queue = Queue(jobs, workers=1, size=4)
    pack = queue.next_pack()
    queue.put_back(pack[1:])
    queue.put_back([])
    assert len(queue) == 5
    assert [job.number for job in queue.next_pack()] == [1, 2, 3, 4]


def test_what_a_gpu_hands_back_after_the_last_was_handed_out_is_a_pack() -> None:
    class Nothing:
        def more(self, room: int) -> list[Job]:
            return []

        def available(self) -> int:
            return 0

    queue = Queue(same(5), workers=2, source=Nothing())
    memory = 3 * GPU_MEMORY_PER_RUN
    first, second = queue.next_pack(memory), queue.next_pack(memory)
    assert not queue.next_pack(memory)
    queue.put_back(second[1:])
    assert queue.next_pack(memory) == second[1:]
    assert len(first) + len(second) == 5


@given(st.integers(1, 500), st.integers(1, 20), st.integers(1, 50))
def test_no_pack_is_larger_than_its_gpu_holds(count: int, workers: int, held: int) -> None:
    lengths = sizes(Queue(same(count), workers), 0.1, held * GPU_MEMORY_PER_RUN)
    assert sum(lengths) == count
    assert max(lengths) <= held
    assert math.ceil(len(lengths) / workers) == math.ceil(count / (workers * held)), "no round is wasted"


def test_a_size_that_is_asked_for_is_kept_but_no_gpu_gets_more_than_it_holds() -> None:
    assert sizes(Queue(same(10), workers=4, size=4), 9.0) == [4, 4, 2]
    assert sizes(Queue(same(10), workers=4, size=4), 9.0, 5 * GPU_MEMORY_PER_RUN) == [4, 4, 2]
    assert sizes(Queue(same(10), workers=4, size=4), 9.0, 3 * GPU_MEMORY_PER_RUN) == [3, 3, 3, 1]


def test_at_least_one_core() -> None:
    assert packs.cores() >= 1
