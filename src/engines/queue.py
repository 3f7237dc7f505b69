"""Which runs train together, and in what order packs of them are handed out. No Hydra, no processes, no files."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from src.runs.job import Job

PACK_SECONDS = 0.5
"""A CPU pack is filled up to this time: handing one out costs some 3 ms, and a killed sweep loses little."""

LARGEST_CPU_PACK = 32
GPU_MEMORY_PER_RUN = 64 * 2**20
"""Bytes a run of the book's size takes on a GPU: weights, gradients, activations of an evaluation batch."""

GPU_MEMORY = 16 * 2**30
"""What a pack is made for where it is not known which GPU will train it. The worker then looks at its own."""


def cores() -> int:
    """Cores that this process may use: its CPU affinity, and its cgroup's quota where there is one."""
    from loky import cpu_count

    return int(cpu_count())


def fitting(gpu_memory: int) -> int:
    """Runs that a GPU with so many bytes free trains as one stack; at least one, which tells whether it fits."""
    return max(1, gpu_memory // GPU_MEMORY_PER_RUN)


def kind(job: Job) -> Hashable:
    """What runs must have in common to train as one stack.

    Rates, the input's too, schedules, seeds and the optimizer's numbers may differ: they are per-run tensors.
    """
    run = job.run
    noise = {key: value for key, value in run.noise.items() if key != "input_rate"}
    parts: tuple[Any, ...] = (run.data, run.model, noise, run.optimizer.name, run.probe)
    return (repr(parts), run.epochs, run.batch_size, run.device, run.precision, run.label_smoothing)


class Source(Protocol):
    """Brings jobs while others train, as workers become free."""

    def more(self, count: int) -> Sequence[Job]:
        """Further jobs, about `count`, as many as make a pack; none while that depends on what is under way."""
        ...

    def available(self) -> int:
        """Jobs, at most, that `more` could bring now, whatever becomes of those under way; above 0 if any."""
        ...


class Queue:
    """Jobs still to be done, handed out in packs of one kind, in the order they came.

    Args:
        jobs: jobs to be done.
        workers: how many processes share them.
        size: runs in a pack (on a GPU at most); None to let it follow from the measured time of a run (CPU), or
            from memory (GPU).
        pack_seconds: how long a CPU pack may take.
        largest: how many runs may be in it.
        source: is asked for more when nothing waits.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        workers: int,
        size: int | None = None,
        *,
        pack_seconds: float = PACK_SECONDS,
        largest: int = LARGEST_CPU_PACK,
        source: Source | None = None,
    ) -> None:
        self._waiting: dict[Hashable, deque[Job]] = {}
        self._totals: dict[Hashable, int] = {}
        self._add(jobs)
        self._workers, self._size = workers, size
        self._pack_seconds, self._largest = pack_seconds, largest
        self._source = source
        self._seconds: dict[Hashable, float] = {}
        self._latest: Hashable = None
        """The kind that was measured last."""

    def _add(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._waiting.setdefault(kind(job), deque()).append(job)
        self._totals = {key: len(waiting) for key, waiting in self._waiting.items()}

    def __len__(self) -> int:
        """Jobs that wait, and those that could come without any that is under way."""
        return sum(len(waiting) for waiting in self._waiting.values()) + self._available()

    def _available(self) -> int:
        return self._source.available() if self._source else 0

    def measured(self, job: Job, seconds: float) -> None:
        """Learn how long one run of this job's kind takes."""
        self._latest = key = kind(job)
        self._seconds[key] = 0.5 * (self._seconds.get(key, seconds) + seconds)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Jobs of one pack that were handed out and not begun; they are the next ones of their kind."""
        if jobs:
            waiting = self._waiting[key := kind(jobs[0])]
            waiting.extendleft(reversed(jobs))
            # the source may have been asked in between
            self._totals[key] = max(self._totals[key], len(waiting))

    def next_pack(self, gpu_memory: int | None = None) -> list[Job]:
        """The next pack; empty when nothing waits.

        Args:
            gpu_memory: bytes free on the GPU that is to train it; None for a CPU.
        """
        if self._source and not any(self._waiting.values()):
            self._add(self._source.more(self._cpu_pack(self._latest)))
        for key, waiting in self._waiting.items():
            if waiting:
                size = self._cpu_pack(key) if gpu_memory is None else self._stack(key, fitting(gpu_memory))
                return [waiting.popleft() for _ in range(min(size, len(waiting)))]
        return []

    def _cpu_pack(self, key: Hashable) -> int:
        if self._size is not None:
            return self._size
        # before a run of this kind is measured, packs are of one; and the last packs are small enough
        # for all workers to end together
        in_time = self._pack_seconds / self._seconds[key] if self._seconds.get(key) else 1
        left = len(self._waiting.get(key, ())) + self._available()
        return max(1, int(min(in_time, self._largest, left // (2 * self._workers))))

    def _stack(self, key: Hashable, capacity: int) -> int:
        """Runs for a GPU that trains `capacity` at once: more would share its death without being faster."""
        if self._size is not None:
            return min(self._size, capacity)
        # in as few rounds as memory allows, in which all GPUs have as much to do; kinds share the GPUs
        total = self._totals[key]
        gpus = max(1, round(self._workers * total / sum(self._totals.values())))
        rounds = math.ceil(total / (gpus * capacity))
        return math.ceil(total / (gpus * rounds))
