"""A pack on its way and back, in one process: nothing is trained where it does not belong, nor more than fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from configs import DIGITS, REPOSITORY, make_job

from src.engines import parcels
from src.engines.queue import GPU_MEMORY_PER_RUN
from src.engines.settings import Settings
from src.runs.job import Job

HYDRA = {"overrides": {}, "runtime": {}, "job": {}}
SMALL = {"name": "scratch", "hidden1": 12, "hidden2": 8}


def pack(output: str, count: int = 3, **more: object) -> list[Job]:
    changes = {"data": DIGITS, "model": SMALL, "epochs": 1, "output": output, **more}
    jobs = []
    for seed in range(count):
        values = {"seed": seed, **changes}
        jobs.append(make_job(seed, [f"seed={seed}"], HYDRA, **values))
    return jobs


def never() -> bytes:
    return pytest.fail("digits are on every node")


@pytest.mark.parametrize("shared", [False, True])
def test_runs_end_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = pack("outputs")
    sent = parcels.wrap(jobs, Settings(shared=shared), gpu=False)
    assert [job.id for job in sent] == [job.id for job in jobs]
    assert {(job.run.output, job.run.device) for job in sent} == {(str(tmp_path / "outputs"), "cpu")}
    gpu_memory, trained = parcels.train(sent, shared, never)
    assert gpu_memory == 0 and len(trained) == 3
    assert (tmp_path / "outputs").exists() == shared
    records = parcels.unwrap(jobs, trained)
    for job, record in zip(jobs, records, strict=True):
        assert json.loads((job.folder / "run.json").read_text()) == record
        assert record["state"] == "finished" and record["config"] == job.config
        assert f"output_dir: {tmp_path / 'outputs'}" in (job.folder / ".hydra" / "hydra.yaml").read_text()


@pytest.mark.parametrize(
    ("root", "folder"),
    [(None, REPOSITORY / ".data"), ("mine", REPOSITORY / "mine"), ("~/mine", Path.home() / "mine")],
)
def test_a_root_is_the_same_folder_on_every_node(root: str | None, folder: Path) -> None:
    (job,) = pack("outputs", 1, data={**DIGITS, "root": root})
    (sent,) = parcels.wrap([job], Settings(), gpu=False)
    assert sent.run.data.root == str(folder)
    assert (sent.id, sent.config) == (job.id, job.config)


def test_a_gpu_trains_what_it_holds_and_the_others_are_handed_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card of two runs, on whose machine everything is trained on the CPU."""
    monkeypatch.setattr("src.config.resolve_device", lambda device: "cpu")
    monkeypatch.setattr("src.engines.nodes.gpu_memory", lambda: 2 * GPU_MEMORY_PER_RUN)
    jobs = pack(str(tmp_path), 5, device="cuda")
    sent = parcels.wrap(jobs, Settings(shared=True), gpu=True)
    gpu_memory, trained = parcels.train(sent, True, never)
    assert gpu_memory == 2 * GPU_MEMORY_PER_RUN
    assert [record["id"] for record, _ in trained] == [job.id for job in jobs[:2]]
    assert [job.folder.exists() for job in jobs] == [True, True, False, False, False]
