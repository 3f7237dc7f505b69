"""The engine that is the default: it may be prepared again, and a batch more has the workers that it needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from configs import DIGITS, REPOSITORY, make_job

from src.engines import Death, Slot, policy
from src.engines.loky import Backend
from src.engines.queue import Queue
from src.engines.settings import Settings
from src.runs.job import Job, Record

ASSERTING = """
import torch
from src.noise import Noise
class Asserting(Noise):
    def factor(self, h, rate, site):
        # at 0.3, and only there, an index that no tensor has: the assertion is the GPU's, not Python's
        outside = (torch.as_tensor(rate, device=h.device) == torch.tensor(0.3, device=h.device)).any().long() * 9
        return site.keep(h.shape, rate) / (1 - rate) * torch.ones(5, device=h.device)[outside]
"""


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


def test_a_worker_that_has_lost_its_gpu_is_replaced_and_the_pack_that_waits_for_it_handed_back(
    tmp_path: Path, engine: Backend
) -> None:
    lost, waiting, last = ([job] for job in batch(tmp_path, 0, 1, 2))
    processes = set(engine._executor._processes)
    death = Death("an assertion failed on its GPU")
    answered, unanswered = Future[tuple[list[Record] | Death, bool]](), Future[Any]()
    answered.set_result((death, True))
    engine._running = {answered: lost, unanswered: waiting}
    assert engine.wait() == [(lost, death), (waiting, [])]
    engine.submit(last)
    ((pack, records),) = engine.wait()
    assert pack is last and [record["state"] for record in records] == ["finished"]
    assert not processes & set(engine._executor._processes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_failed_assertion_on_a_gpu_fails_its_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = tmp_path / "workshop"
    for name in ("src", "conf"):
        shutil.copytree(REPOSITORY / name, workshop / name, ignore=shutil.ignore_patterns("__pycache__"))
    (workshop / "src" / "noise" / "asserting.py").write_text(ASSERTING)
    (workshop / "conf" / "noise" / "asserting.yaml").write_text("name: asserting\n")
    swept = [
        "noise=asserting",
        "dropout1=0.2,0.3,0.5",
        "seed=range(2)",
        "epochs=1",
        "data=digits",
        "device=cuda",
    ]
    command = [sys.executable, "-m", "src.train", "-m", *swept, "output=out", "hydra.launcher.pack_size=3"]
    done = subprocess.run(command, cwd=workshop, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    runs = [json.loads(path.read_text()) for path in (workshop / "out" / "runs").glob("*/run.json")]
    states = {(run["config"]["dropout1"], run["state"]) for run in runs}
    assert len(runs) == 6 and states == {(0.2, "finished"), (0.3, "failed"), (0.5, "finished")}
    assert all("assert" in run["error"] for run in runs if run["error"])


def test_the_tracker_of_semaphores_prints_nothing_beside_our_line(engine: Backend) -> None:
    warns = "import loky.backend.resource_tracker as t; exec(\"warnings.warn('leaked')\", vars(t))"
    done = subprocess.run([sys.executable, "-c", warns], capture_output=True, text=True, check=True)
    assert done.stderr == ""
