"""The command `python -m analysis.check`: its process, its exit codes, the band of our seeds and the page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import forks
import psutil
import pytest
import torch
from configs import REPOSITORY, Command, heed_signals
from learners import BOOK, HEAD, MASK, SCALED, layer

from analysis.check import __main__ as command_line
from analysis.check import band, processes
from analysis.check.__main__ import check
from analysis.check.child import examine
from src.errors import InputError


def written(folder: Path, source: str) -> Path:
    path = folder / "mine.py"
    path.write_text(HEAD + source)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learner's part in the tests' own process, which has torch already."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(
        command_line, "examined", lambda file, data, seconds: asdict(examine(file, data, seconds))
    )


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_curve_on_the_band(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the digits, with a band of two seeds, which is trained once and then read."""

    def run(command: list[str], seconds: float, gently: bool) -> processes.Ended:
        assert command[:2] == [sys.executable, "-m"] and gently
        done = forks.python(*command[2:], cwd=REPOSITORY, timeout=seconds)
        return processes.Ended(done.returncode, done.stdout + done.stderr)

    monkeypatch.setattr(band, "run", run)
    monkeypatch.setattr(band, "SWEEP", ("sweep=check", "seed=0,1"))
    path = written(tmp_path, BOOK.replace("784", "64"))
    assert check(path, "digits", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "No mistake was seen.\nOur own dropout is trained" in said.out
    assert re.search(r"after 2 epochs: yours \d+\.\d %, \w+ the range of our 2 seeds,\n", said.out)
    assert (tmp_path / "out" / "check" / "mine.png").read_bytes().startswith(b"\x89PNG")
    tables = {table: table.stat().st_mtime_ns for table in tmp_path.glob("out/runs/*/metrics.csv")}
    assert len(tables) == 2
    curves = band.curves(tmp_path / "out", "digits", (0.2, 0.5))
    assert "is trained" not in capsys.readouterr().out
    assert tables == {table: table.stat().st_mtime_ns for table in tables}
    assert [[row["epoch"] for row in curve] for curve in curves] == [[1, 2], [1, 2]]


def test_band_of_other_rates_is_another_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], seconds: float, gently: bool) -> processes.Ended:
        asked.extend(command[3:])
        return processes.Ended(2, "\nerror: output=/: must be a folder that can be written\n")

    monkeypatch.setattr(band, "run", run)
    with pytest.raises(band.NoBand, match=r"^error: output=/: must be"):
        band.curves(tmp_path, "fashion_mnist", (0.2, 0.4))
    assert asked == ["sweep=check", "dropout2=0.4", f"output={tmp_path}"]


def test_the_end_in_words() -> None:
    def curve(last: float) -> list[dict[str, float]]:
        return [{"test_acc": 0.5}, {"test_acc": last}]

    ours = [curve(0.76 + seed / 300) for seed in range(19)]
    for mine, where in ((0.755, "below"), (0.76, "within"), (0.82, "within"), (0.83, "above")):
        said = band.sentence(curve(mine), ours)
        assert f"yours {100 * mine:.1f} %, {where} the range of our 19 seeds,\n76.0 to 82.0 %." in said
        assert said.endswith("One of 10 right ones lies outside, too.")


@pytest.mark.parametrize(
    ("source", "seconds", "reason"),
    [
        (None, 60, "there is no such file"),
        (BOOK + "import time\ntime.sleep(60)\n", 2, "it did not end within 2 seconds"),
        (
            "import os\nprint('half a word')\nos._exit(7)\n",
            60,
            "ended early with code 7 and said: half a word",
        ),
    ],
)
def test_exit_2_is_one_line(
    source: str | None,
    seconds: float,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(REPOSITORY)
    path = written(tmp_path, source) if source else tmp_path / "nothing.py"
    with pytest.raises(InputError) as error:
        check(path, "", tmp_path, seconds=seconds)
    assert capsys.readouterr().out == "" and "\n" not in str(error.value)
    assert f"{path} cannot be checked: " in str(error.value) and reason in str(error.value)


def test_output_without_end_costs_no_memory() -> None:
    ended = processes.run([sys.executable, "-c", "while True: print('x' * 1000)"], 1)
    assert ended.code is None and len(ended.output) <= processes.KEPT


def test_nothing_of_its_group_stays_behind(tmp_path: Path) -> None:
    child = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    ended = processes.run([sys.executable, "-c", child], 20)
    assert ended.code == 0
    _wait_until_gone(int(ended.last_line))


def _wait_until_gone(process: int) -> None:
    until = time.monotonic() + 10
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_ctrl_c_ends_it_cleanly(number: int, code: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = written(
        tmp_path, f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "analysis.check", str(path)], cwd=REPOSITORY, text=True, preexec_fn=heed_signals,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert (out, err) == ("", "interrupted\n")
    _wait_until_gone(int(mark.read_text()))


@pytest.mark.usefixtures("in_process")
def test_a_slow_file_is_checked_but_not_trained(tmp_path: Path) -> None:
    """A right dropout that is too slow for the training is still a right one."""
    path = written(tmp_path, layer("import time; time.sleep(0.02)", MASK, SCALED))
    report = examine(path, "digits", seconds=0.5)
    assert report.mistakes == [] and report.curve == []
    (note,) = report.notes
    assert note.startswith("Not trained: there is no time for it")


@pytest.mark.usefixtures("in_process")
def test_without_a_band_the_verdict_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_band(*arguments: object) -> None:
        raise band.NoBand("no space left")

    monkeypatch.setattr(band, "curves", no_band)
    assert check(written(tmp_path, BOOK.replace("784", "64")), "digits", tmp_path) == 0
    assert capsys.readouterr().err == "The curve is not drawn: no space left\n"


@pytest.mark.usefixtures("in_process")
def test_same_numbers_each_time(tmp_path: Path) -> None:
    path = written(tmp_path, BOOK.replace("784", "64"))
    torch.manual_seed(5)
    first = examine(path, "digits")
    assert len(first.curve) == 2
    torch.rand(3)
    assert examine(path, "digits") == first


PAGE = REPOSITORY / "analysis" / "check" / "README.md"


@pytest.mark.slow
def test_the_page_shows_what_a_learner_sees(tmp_path: Path, command: Command) -> None:
    page = PAGE.read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    (shown,) = re.findall(r"^```text\n(.*?)^```", page, flags=re.M | re.S)
    (tmp_path / "my_dropout.py").write_text(source)
    done = command("analysis.check", str(tmp_path / "my_dropout.py"), "--no-curve")
    said = done.stdout.replace(f"{tmp_path}/", "")
    prompt, *expected = shown.splitlines()
    assert prompt == "$ python -m analysis.check my_dropout.py"
    assert said.splitlines() == expected[: len(said.splitlines())]
    assert [line.partition(":")[0] for line in expected[len(said.splitlines()) :]][::2] == [
        "Test accuracy after 2 epochs", "The curves",
    ]  # fmt: skip
