"""Packs and the run folder, without Hydra and without processes."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import DIGITS, plain
from lockstep import Lockstep

from src import config, models
from src.data import load_bytes
from src.runs import pack, store
from src.runs.job import Job, final_record
from src.runs.pack import GpuLostError, _train_stack, train_jobs
from src.runs.record import record_death
from src.training.images import Images

HYDRA: dict[str, Any] = {"overrides": {"task": []}, "runtime": {}, "job": {}, "mode": "RUN"}
SMALL = {"name": "scratch", "hidden1": 12, "hidden2": 8}


def job(output: Path, **changes: Any) -> Job:
    settings = {
        "epochs": 2,
        "batch_size": 400,
        "model": SMALL,
        "data": DIGITS,
        "output": str(output),
        **changes,
    }
    values = plain(**settings)
    return Job(config.parse(values), values, [], HYDRA)


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
        ]


def various(output: Path) -> list[Job]:
    """32 runs of one kind that differ in everything a pack may differ in."""
    return [
        job(
            output,
            seed=i % 5,
            dropout1=(i % 4) / 4,
            dropout2=(i % 3) / 3,
            optimizer={"lr": 0.1 + 0.1 * (i % 2), "momentum": 0.9 * (i % 2), "weight_decay": 1e-4 * i},
        )
        for i in range(32)
    ]


@pytest.mark.parametrize("size", [2, 7, 32])
def test_any_pack_in_any_order_gives_the_bytes_of_a_run_alone(tmp_path: Path, size: int) -> None:
    jobs = various(tmp_path / "packed")
    random.Random(size).shuffle(jobs)
    for start in range(0, len(jobs), size):
        train_jobs(jobs[start : start + size])
    for alone in random.Random(0).sample(various(tmp_path / "alone"), 8):
        train_jobs([alone])
        assert metrics(alone.folder) == metrics(tmp_path / "packed" / "runs" / alone.id)


def test_different_rates_in_one_pack_really_differ(tmp_path: Path) -> None:
    """ModelBatch's trap: the first model's rate for all."""
    rates = [0.0, 0.2, 0.5, 0.8]
    records = train_jobs([job(tmp_path, dropout1=rate, dropout2=0.0) for rate in rates])
    assert [record["final"]["dropout1"] for record in records] == rates
    assert len({record["final"]["train_loss"] for record in records}) == 4
    ratios = [record["final"]["noisy_var1"] / record["final"]["var1"] for record in records]
    assert ratios[0] == 1
    assert ratios == sorted(ratios)


def test_record_is_as_the_contract_has_it(tmp_path: Path) -> None:
    whole = job(tmp_path, save_model=True)
    (record,) = train_jobs([whole])
    assert list(record) == [
        "id", "state", "config", "overrides", "final", "seconds", "parameters", "versions", "code", "arrays",
        "device", "processor", "matmul", "error", "files",
    ]  # fmt: skip
    assert json.loads((whole.folder / "run.json").read_text()) == record
    assert record["parameters"] == 64 * 12 + 12 + 12 * 8 + 8 + 8 * 10 + 10
    assert record["state"] == store.FINISHED and record["error"] is None
    rows = metrics(whole.folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[-1]["test_acc"] == str(record["final"]["test_acc"])
    net = models.build(SMALL, 64, 10, seed=0)
    net.load_state_dict(torch.load(whole.folder / "model.pt"))
    data = load_bytes(**whole.run.data)
    right = net.eval()(data.test_images.float() / data.scale).argmax(-1) == data.test_labels
    assert float(right.double().mean()) == pytest.approx(record["final"]["test_acc"], abs=0.01)


def test_a_failed_run_is_tried_again_and_a_diverged_one_is_not(tmp_path: Path) -> None:
    good, wild = job(tmp_path), job(tmp_path, optimizer={"lr": 1e30})
    record_death(good, "its worker process died 2 times")
    assert final_record(good) is None
    (record,) = train_jobs([wild])
    assert record["state"] == store.DIVERGED
    assert record["final"]["test_loss"] is None
    assert final_record(wild) == record


def test_a_death_elsewhere_is_recorded_with_the_device_that_was_asked_for(tmp_path: Path) -> None:
    """The main process of a cluster may have no such device."""
    record = record_death(job(tmp_path, device="cuda"), "its worker process died 2 times")
    assert record["device"] == "cuda" and record["state"] == store.FAILED


def test_a_stack_that_fails_is_trained_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where a pack is one stack: an exception in it must not take the others along."""
    monkeypatch.setattr("src.noise.dropout.Dropout.drop", buggy_at(0.3, []))
    jobs = [job(tmp_path, dropout1=rate) for rate in (0.2, 0.3, 0.5)]
    records = _train_stack(jobs, "cpu", None)
    assert [record["state"] for record in records] == ["finished", "failed", "finished"]
    assert records[1]["error"] == "RuntimeError: a bug"
    assert "Traceback" in (jobs[1].folder / "train.log").read_text()


def buggy_at(rate: float, stacks: list[int]) -> Any:
    """Dropout's `drop` with a bug at a rate; tells of how many runs each failed stack was."""
    from src.noise.dropout import Dropout

    drop = Dropout.drop

    def buggy(self: Dropout, h: torch.Tensor, rates: Any, draws: Any) -> Any:
        if bool((torch.as_tensor(rates) == rate).any()):
            stacks.append(torch.as_tensor(rates).numel())
            raise RuntimeError("a bug")
        return drop(self, h, rates, draws)

    return buggy


def test_the_run_at_fault_is_looked_for_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[int] = []
    monkeypatch.setattr("src.noise.dropout.Dropout.drop", buggy_at(0.3, failed))
    jobs = [job(tmp_path, seed=seed, dropout1=0.3 if seed == 5 else 0.2) for seed in range(8)]
    states = [record["state"] for record in _train_stack(jobs, "cpu", None)]
    assert states == ["failed" if seed == 5 else "finished" for seed in range(8)]
    assert failed == [8, 4, 2, 1]


def test_a_run_that_costs_the_process_its_gpu_is_told_from_its_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed assertion on a GPU each call of it raises in that process, whoever made it."""
    monkeypatch.setattr("src.noise.dropout.Dropout.drop", buggy_at(0.3, stacks := []))
    monkeypatch.setattr("src.config.resolve_device", lambda device: "cuda")
    monkeypatch.setattr(pack, "_images", lambda data, device: Images(data, torch.device("cpu")))
    monkeypatch.setattr(pack, "_gpu_lost", False)

    def synchronize() -> None:
        if lost:
            raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a card")
    good, bad = job(tmp_path, dropout1=0.2), job(tmp_path, dropout1=0.3)
    lost = False
    assert [record["state"] for record in train_jobs([good, bad])] == ["finished", "failed"]
    assert not pack.gpu_lost()
    lost, others = True, [job(tmp_path, seed=1, dropout1=rate) for rate in (0.2, 0.3)]
    stacks.clear()
    with pytest.raises(GpuLostError):
        train_jobs(others)
    assert stacks == [2] and not (others[1].folder / "run.json").exists()
    monkeypatch.setattr(pack, "_gpu_lost", False)  # as in the process that takes over
    (record,) = train_jobs(others[1:])
    assert record["error"] == "RuntimeError: a bug" and pack.gpu_lost()
    with pytest.raises(GpuLostError):
        train_jobs(others[:1])


def test_a_stack_on_disk_equals_its_runs_but_for_rounding(tmp_path: Path) -> None:
    lockstep = Lockstep()
    with lockstep.leads():
        stacked = _train_stack(various(tmp_path / "stack")[:6], "cpu", None)
    for i, (record, alone) in enumerate(zip(stacked, various(tmp_path / "alone")[:6], strict=True)):
        with lockstep.leading(i):
            (expected,) = train_jobs([alone])
        assert record["id"] == expected["id"]
        for key in ("train_loss", "test_loss", "noisy_var2"):
            assert record["final"][key] == pytest.approx(expected["final"][key], rel=1e-3)


def test_probes_write_their_files(tmp_path: Path) -> None:
    whole = job(tmp_path, probe={"every": 3, "test_time": True, "train": True})
    (record,) = train_jobs([whole])
    assert record["final"]["eval_train_acc"] > 0
    with (whole.folder / "probe.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["layer"]) for row in rows] == [(step, n) for step in ("3", "6") for n in "12"]
    with (whole.folder / "test_time.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert float(first["accuracy"]) == pytest.approx(record["final"]["test_acc"])
    assert float(first["cross_entropy"]) == pytest.approx(record["final"]["test_loss"])
    assert float(first["ece"]) == pytest.approx(record["final"]["test_ece"])


NOISY = {"noisy_test_loss": "cross_entropy", "noisy_test_acc": "accuracy", "noisy_test_ece": "ece"}


def test_the_last_row_has_one_noisy_pass(tmp_path: Path) -> None:
    probe = {"every": None, "test_time": True, "train": False, "ema": 0.9}
    jobs = [job(tmp_path, probe=probe, seed=seed) for seed in range(3)]
    jobs.append(job(tmp_path, probe=probe, optimizer={"lr": 1e30}))
    records = train_jobs(jobs)
    assert [record["state"] for record in records] == ["finished"] * 3 + ["diverged"]
    for whole, record in zip(jobs[:3], records, strict=False):
        with (whole.folder / "test_time.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if (r["method"], r["passes"]) == ("arithmetic", "1")]
        with (whole.folder / "metrics.csv").open(newline="") as file:
            epochs = list(csv.DictReader(file))
        assert list(epochs[0])[-3:] == list(NOISY) and len(rows) == 1 and len(epochs) > 1
        for column, name in NOISY.items():
            assert epochs[-1][column] == rows[0][name] == str(record["final"][column])
            assert {row[column] for row in epochs[:-1]} == {""}
        assert record["final"]["noisy_test_loss"] != record["final"]["test_loss"]
    without = job(tmp_path, seed=4)
    train_jobs([without])
    assert not {*NOISY} & {*next(csv.reader((without.folder / "metrics.csv").open()))}
