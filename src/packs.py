"""Which runs train together, and in what order packs of them are handed out. No Hydra, no processes, no files."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any

from src.run import Job

PACK_SECONDS = 0.5
"""A CPU pack is filled up to this time: handing one out costs some 3 ms, and a killed sweep loses little."""

LARGEST_CPU_PACK = 32
GPU_MEMORY_PER_RUN = 64 * 2**20
"""Bytes a run of the book's size takes on a GPU: weights, gradients, activations of an evaluation batch."""


def cores() -> int:
    """Cores that this process may use: its CPU affinity, and its cgroup's quota where there is one."""
    from loky import cpu_count

    return int(cpu_count())


def kind(job: Job) -> Hashable:
    """What runs must have in common to train as one stack.

    Rates, schedules, seeds and the optimizer's numbers may differ: they are per-run tensors.
    """
    run = job.run
    parts: tuple[Any, ...] = (run.data, run.model, run.noise, run.optimizer["name"], run.probe)
    return (repr(parts), run.epochs, run.batch_size, run.device)


class Queue:
    """Jobs still to be done, handed out in packs of one kind, in the order they came.

    Args:
        jobs: jobs to be done.
        workers: how many processes share them.
        size: runs in a pack; None to let it follow from the measured time of a run (CPU), or from memory (GPU).
        gpu_memory: bytes free on the GPU that trains; None for a CPU.
        pack_seconds: how long a CPU pack may take.
        largest: how many runs may be in it.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        workers: int,
        size: int | None = None,
        gpu_memory: int | None = None,
        *,
        pack_seconds: float = PACK_SECONDS,
        largest: int = LARGEST_CPU_PACK,
    ) -> None:
        self._kinds: dict[Hashable, deque[Job]] = {}
        for job in jobs:
            self._kinds.setdefault(kind(job), deque()).append(job)
        self._workers, self._size, self._gpu_memory = workers, size, gpu_memory
        self._pack_seconds, self._largest = pack_seconds, largest
        self._seconds: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._kinds.values())

    def measured(self, job: Job, seconds: float) -> None:
        """Learn how long one run of this job's kind takes."""
        own = kind(job)
        self._seconds[own] = 0.5 * (self._seconds.get(own, seconds) + seconds)

    def next_pack(self) -> list[Job]:
        """The next pack; empty when nothing waits."""
        for own, waiting in self._kinds.items():
            if waiting:
                size = min(self._pack_size(own, len(waiting)), len(waiting))
                return [waiting.popleft() for _ in range(size)]
        return []

    def _pack_size(self, own: Hashable, waiting: int) -> int:
        if self._size is not None:
            return self._size
        if self._gpu_memory is not None:
            return max(1, self._gpu_memory // GPU_MEMORY_PER_RUN)
        # before a run of this kind is measured, packs are of one; and the last packs are small enough
        # for all workers to end together
        fitting = int(self._pack_seconds / self._seconds[own]) if self._seconds.get(own) else 1
        return max(1, min(fitting, self._largest, waiting // (2 * self._workers)))
