"""The engine that is the default: it may be prepared again, and a batch more has the workers that it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from configs import DIGITS, make_job

from src.engines import Slot, policy
from src.engines.loky import Backend
from src.engines.queue import Queue
from src.engines.settings import Settings
from src.runs.job import Job, Record


@pytest.fixture
def engine() -> Iterator[Backend]:
    engine = Backend(Settings(n_jobs=2))
    yield engine
    engine.close()


def batch(output: Path, *seeds: int) -> list[Job]:
    changes = {"data": DIGITS, "epochs": 1, "output": str(output), "device": "cpu"}
    return [make_job(seed, seed=seed, **changes) for seed in seeds]


def test_batches_train_on_the_processes_of_the_first(tmp_path: Path, engine: Backend) -> None:
    ended: list[Record] = []
    processes = []
    for seeds in ((0, 1, 2), (3,)):
        jobs = batch(tmp_path, *seeds)
        engine.prepare(jobs, at_once=3)
        engine.prepare(jobs, at_once=3)
        assert engine.workers == 2
        assert engine.slot() == Slot(None)
        policy.drain(engine, Queue(jobs, engine.workers, size=1), lambda job, record: ended.append(record))
        children = psutil.Process().children(recursive=True)
        processes.append({child.pid for child in children if "loky" in " ".join(child.cmdline())})
    assert sorted(record["config"]["seed"] for record in ended) == [0, 1, 2, 3]
    assert {record["state"] for record in ended} == {"finished"}
    assert len(processes[0]) >= 2 and processes[0] == processes[1]


def test_no_more_processes_than_runs_and_one_for_a_gpu(
    tmp_path: Path, engine: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = batch(tmp_path, 0)
    for at_once, needed in ((1, 1), (5, 2)):
        engine.prepare(jobs, at_once)
        assert engine.workers == needed
    free = iter([7, 5])
    monkeypatch.setattr("src.config.resolve_device", lambda device: "cuda")
    monkeypatch.setattr("src.engines.nodes.gpu_memory", lambda: next(free))
    for _ in range(2):
        engine.prepare(jobs, at_once=5)
        assert engine.workers == 1
        assert engine.slot() == Slot(7), "what its worker holds later is free for the next pack"


def test_the_tracker_of_semaphores_prints_nothing_beside_our_line(engine: Backend) -> None:
    warns = "import loky.backend.resource_tracker as t; exec(\"warnings.warn('leaked')\", vars(t))"
    done = subprocess.run([sys.executable, "-c", warns], capture_output=True, text=True, check=True)
    assert done.stderr == ""
