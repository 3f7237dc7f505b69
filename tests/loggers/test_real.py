"""The real trackers, read back with their own readers; `make test-trackers` installs them."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from configs import REPOSITORY
from folders import write_run

from src import loggers
from src.runs import store
from src.sweeping.tracking import Book, Tracking

pytestmark = pytest.mark.trackers

Run = dict[str, Any]
"""What a tracker gives back: id, sweep, `state`, `seed`, and the (epoch, value) of test_acc and train_loss."""


def from_mlflow(output: Path) -> list[Run]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{output}/mlflow.db")
    experiment = client.get_experiment_by_name("dropout-sweeps")
    return [
        {
            "id": run.data.tags["dropout_sweeps.run"],
            "sweep": run.data.tags["dropout_sweeps.sweep"],
            "state": {"FINISHED": "finished", "FAILED": "diverged"}[run.info.status],
            "seed": run.data.params["seed"],
            **{
                name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
                for name in ("test_acc", "train_loss")
            },
        }
        for run in client.search_runs([experiment.experiment_id])
    ]


def from_tensorboard(output: Path) -> list[Run]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    runs = []
    for folder in sorted((output / "tensorboard").iterdir()):
        events = EventAccumulator(str(folder)).Reload()
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        params = HParamsPluginData.FromString(content).session_start_info.hparams
        runs.append(
            {
                "id": folder.name.rpartition("-")[2],
                "sweep": params["sweep"].string_value,
                "state": params["state"].string_value,
                "seed": str(int(params["seed"].number_value)),
                **{
                    name: [(e.step, e.value) for e in events.Scalars(name)]
                    for name in ("test_acc", "train_loss")
                },
            }
        )
    return runs


def from_trackio(output: Path) -> list[Run]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    runs = []
    for run in trackio.Api().runs("dropout-sweeps"):
        history = SQLiteStorage.get_logs("dropout-sweeps", run.name, run_id=run.id)
        runs.append(
            {
                "id": run.id,
                "sweep": run.config["_Group"],
                "state": run.config["state"],
                "seed": str(run.config["seed"]),
                **{
                    name: [(row["step"], row[name]) for row in history] for name in ("test_acc", "train_loss")
                },
            }
        )
    return runs


def chunks(content: bytes) -> Iterator[bytes]:
    """Records of a `.wandb` file: LevelDB's log format, behind 7 bytes of its own in the first block."""
    place, record = 7, b""
    while place < len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def from_wandb(output: Path) -> list[Run]:
    from wandb.proto import wandb_internal_pb2

    runs = []
    for path in (output / "wandb").glob("offline-run-*/*.wandb"):
        records = []
        for data in chunks(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            records.append(record)
        (started,) = [record.run for record in records if record.run.run_id]
        config = {item.key: json.loads(item.value_json) for item in started.config.update}
        rows = [
            {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for record in records
            if record.WhichOneof("record_type") == "history"
        ]
        runs.append(
            {
                "id": started.run_id,
                "sweep": started.run_group,
                "state": config["state"],
                "seed": str(config["seed"]),
                **{name: [(row["_step"], row[name]) for row in rows] for name in ("test_acc", "train_loss")},
            }
        )
    return runs


READERS: dict[str, Callable[[Path], list[Run]]] = {
    "mlflow": from_mlflow,
    "tensorboard": from_tensorboard,
    "trackio": from_trackio,
    "wandb": from_wandb,
}


def test_every_logger_has_a_reader_here() -> None:
    assert sorted(READERS) == list(loggers.names())


@pytest.fixture(params=sorted(READERS))
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_DIR", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    return str(request.param)


def test_what_is_logged_is_read_back_and_nothing_twice(name: str, tmp_path: Path) -> None:
    finished, _ = write_run(tmp_path, 0)
    diverged, _ = write_run(tmp_path, 1, store.DIVERGED)
    book = Book(name, tmp_path, "tried")
    assert [book.enter(job.folder) for job in (finished, diverged, finished)] == [True, True, False]
    again = Book(name, tmp_path, "another")
    assert [again.enter(job.folder) for job in (finished, diverged)] == [False, False]

    runs = {run["id"]: run for run in READERS[name](tmp_path)}
    assert runs.keys() == {finished.id, diverged.id}
    for job, state in ((finished, "finished"), (diverged, "diverged")):
        run, seed = runs[job.id], job.run.seed
        assert (run["sweep"], run["state"], run["seed"]) == ("tried", state, str(seed))
        expected = [(epoch, 0.8 + 0.01 * epoch + 0.001 * seed) for epoch in (1, 2, 3)]
        assert [step for step, _ in run["test_acc"]] == [1, 2, 3]
        assert [value for _, value in run["test_acc"]] == pytest.approx([value for _, value in expected])
    assert not math.isfinite(float(runs[diverged.id]["train_loss"][-1][1] or "nan"))


def test_half_a_run_of_mlflow_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    job, _ = write_run(tmp_path, 0)
    book: Any = Book("mlflow", tmp_path)
    monkeypatch.setattr(book.logger._client, "set_terminated", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        book.enter(job.folder)
    assert Book("mlflow", tmp_path).enter(job.folder) is True
    assert len(from_mlflow(tmp_path)) == 1


def test_an_mlflow_server_that_is_down_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with Tracking(["mlflow"], tmp_path, tmp_path) as tracking:
        for seed in range(2):
            job, record = write_run(tmp_path, seed)
            tracking.add(job.folder, record)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("warning: logger=mlflow: ")] == lines and len(
        lines
    ) == 1


def test_a_sweep_with_all_of_them_and_its_export(tmp_path: Path) -> None:
    """Goes on without logging anything twice, and is told as many runs as one that is exported."""
    sweep = ["data=digits", "model.hidden1=8", "model.hidden2=8", "epochs=2", f"output={tmp_path}"]
    every = f"logger=[{','.join(READERS)}]"
    for folder, seeds, chosen in (("first", "0", []), ("s", "0,1", [every]), ("s", "0,1", [every])):
        given = [f"seed={seeds}", f"hydra.sweep.dir={tmp_path / folder}", "hydra.launcher.n_jobs=1", *chosen]
        done = _python("src.train", "-m", "dropout1=0.2,0.5", *sweep, *given)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    expected = {path.name for path in (tmp_path / "runs").iterdir()}
    assert len(expected) == 4
    for name, read in READERS.items():
        if name != "trackio":  # which has one folder a process
            runs = read(tmp_path)
            assert sorted(run["id"] for run in runs) == sorted(expected), name
    done = _python("analysis.export", str(tmp_path / "s"), "--to", *READERS)
    assert done.stdout.count("0 runs written, 4 were there before") == 4, done.stdout + done.stderr


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
