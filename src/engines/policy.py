"""Packs in, records out; whoever dies, the rest goes on. The same policy above every engine (see `src.engines`)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from src.engines import Death, Engine
from src.engines.queue import Queue
from src.runs.job import Job, Record, final_record
from src.runs.record import record_death

DEATHS_ALLOWED = 1
"""A run is tried again after its worker died this many times; the next death marks it failed."""

Report = Callable[[Job, Record], None]


def drain(engine: Engine, queue: Queue, report: Report) -> None:
    """Train all jobs of the queue; `report` is called in this process as each one ends.

    When a worker dies, all unfinished runs of its pack are suspects. Each is tried again in a pack of its own, so
    that the next death tells whose it is: that run is marked failed, and all others end as if nothing had happened.
    Where one death takes all packs with it, a suspect also has the engine to itself.

    Raises:
        EngineError: if the engine is gone.
    """
    deaths: Counter[str] = Counter()
    suspects: deque[Job] = deque()
    under_way = 0  # jobs
    alone = False  # whether a suspect has the engine to itself
    while True:
        while not alone and (slot := engine.slot()):
            if suspects:
                if under_way and engine.shares_fate:
                    break
                pack, alone = [suspects.popleft()], engine.shares_fate
            else:
                pack = queue.next_pack(slot.gpu_memory)
            if not pack:
                break
            under_way += len(pack)
            engine.submit(pack)
        if not (under_way or suspects or len(queue)):
            return
        for jobs, outcome in engine.wait():
            under_way -= len(jobs)
            alone = False
            if isinstance(outcome, Death):
                deaths.update(job.id for job in jobs)
                suspects.extend(job for job in jobs if not _judged(job, deaths[job.id], outcome, report))
                continue
            for job, record in zip(jobs, outcome, strict=False):
                queue.measured(job, record["seconds"])
                report(job, record)
            queue.put_back(jobs[len(outcome) :])


def _judged(job: Job, deaths: int, death: Death, report: Report) -> bool:
    """Whether a job whose worker died needs no other try: it had finished before, or this was its last."""
    record = final_record(job)
    if record is None and deaths > DEATHS_ALLOWED:
        record = record_death(job, f"its worker process died {deaths} times ({death.reason})")
    if record is not None:
        report(job, record)
    return record is not None
