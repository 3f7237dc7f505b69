"""A disk that gives out in the midst of a run: no run is marked failed, and all is well once there is room."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configs import DIGITS, make_job

from src.errors import MachineError, writing
from src.runs import store
from src.runs.job import Job
from src.runs.pack import train_jobs
from src.runs.record import _LogFile

SMALL: dict[str, Any] = {"data": DIGITS, "model": {"hidden1": 8, "hidden2": 8}, "epochs": 2}


def job(output: Path, **changes: Any) -> Job:
    return make_job(output=str(output), **{**SMALL, **changes})


def fails_at(name: str, code: int) -> Callable[..., None]:
    """`Path.write_bytes` on a disk that does not take the file of this name."""
    write = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        if path.name.startswith(f".{name}."):
            raise OSError(code, "no room", str(path))
        return write(path, content)

    return write_bytes  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["metrics.csv", "model.pt", "probe.csv", "test_time.csv", "run.json"])
def test_each_file_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = job(tmp_path, save_model=True, probe={"every": "epoch", "test_time": True})
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", fails_at(name, errno.ENOSPC))
        with pytest.raises(MachineError) as caught:
            train_jobs([whole])
    assert caught.value.filename == str(whole.folder / name)
    assert store.read_record(whole.folder) is None, "it is not failed, it is not finished"
    assert not list(whole.folder.glob(".*.*.*"))
    assert train_jobs([whole])[0]["state"] == "finished"


def test_the_log_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    whole = job(tmp_path)

    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "no room")

        def flush(self) -> None:
            pass

        close = flush

    monkeypatch.setattr(_LogFile, "_open", lambda self: Full())
    with pytest.raises(MachineError, match=r"train\.log"):
        train_jobs([whole])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["rates.png", "rates.svg", "rates.pdf"])
def test_a_figure_names_itself_and_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from matplotlib.figure import Figure

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", fails_at(name, errno.ENOSPC))
        with pytest.raises(MachineError) as caught:
            store.write_figure(tmp_path / name, Figure())
    assert caught.value.filename == str(tmp_path / name) and not list(tmp_path.iterdir())
    store.write_figure(tmp_path / name, Figure())
    assert (tmp_path / name).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")


def test_a_full_disk_is_no_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from src.schedules.__main__ import main

    monkeypatch.setattr(Path, "write_bytes", fails_at("rates.png", errno.ENOSPC))
    assert main(["schedule=late", "--out", str(tmp_path / "rates.png")]) == 3
    said = "what is finished is kept; the same command goes on from here"
    assert capsys.readouterr().err == f"error: {tmp_path / 'rates.png'}: no room; {said}\n"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, MachineError), (errno.EROFS, MachineError), (errno.EDQUOT, MachineError),
     (errno.EFBIG, MachineError), (errno.EIO, MachineError), (errno.ENOENT, FileNotFoundError),
     (errno.EACCES, PermissionError), (errno.ENOTDIR, NotADirectoryError)],
)  # fmt: skip
def test_an_error_about_one_path_is_none_of_the_disk(code: int, kind: type[OSError]) -> None:
    with pytest.raises(OSError) as caught, writing(Path("runs.csv")):
        raise OSError(code, "why", "inner")
    assert type(caught.value) is kind and caught.value.filename == "runs.csv"


def test_an_error_of_a_users_noise_still_fails_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "of the user's own file")

    monkeypatch.setattr("src.training.trainer.train", fails)
    (record,) = train_jobs([job(tmp_path)])
    assert (record["state"], "the user's own file" in record["error"]) == ("failed", True)
