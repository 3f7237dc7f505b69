"""`analysis.reproduce`: which commands it gives, in which order, how it ends, and the whole of it on small data."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forks
import psutil
import pytest
from configs import REPOSITORY, heed_signals

from analysis import exercises, report, reproduce, tables
from analysis.reproduce import main
from src.sweeping.naming import sweep_name

TINY = ("data=digits", "epochs=1", "seed=0,1", "model.hidden1=16", "model.hidden2=16")


class Child:
    """In the place of a process: notes its command and ends with the code given for its sweep."""

    def __init__(self, codes: dict[str, Any], commands: list[list[str]], command: Sequence[str]) -> None:
        assert command[:3] == [sys.executable, "-m", "src.train"]
        self.given, self.signals = codes, list[int]()
        self.sweep = command[3].removeprefix("sweep=")
        commands.append(list(command[3:]))

    def wait(self, timeout: float | None = None) -> int:
        code = self.given.get(self.sweep, 0)
        if isinstance(code, int):
            return code
        self.given[self.sweep] = 130
        raise code


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[list[str]]]:
    """Exit codes by sweep, to be filled in, and the commands so far, the report's with a word in front."""
    codes: dict[str, Any] = {}
    commands: list[list[str]] = []

    def choose(table: SimpleNamespace) -> list[str]:
        return [f"from={table.folder.name}", "dropout1=0.2 dropout2=0.5"]

    modules = {
        "one": SimpleNamespace(NUMBER=1, SWEEPS=("one",)),
        "two": SimpleNamespace(NUMBER=2, SWEEPS=("two", "two_test", "two_more"), choose=choose),
        "three": SimpleNamespace(NUMBER=3, SWEEPS=("three",)),
    }

    def reported(output: Path, small: bool) -> int:
        commands.append(["report", str(output), str(small)])
        return codes.get("report", 0)

    monkeypatch.setattr(exercises, "names", lambda: tuple(modules))
    monkeypatch.setattr(exercises, "load", modules.__getitem__)
    monkeypatch.setattr(tables, "collect", lambda folder: SimpleNamespace(folder=folder))
    monkeypatch.setattr("analysis.choose.arms", lambda name, table: modules[name].choose(table))
    monkeypatch.setattr(reproduce.subprocess, "Popen", lambda command: Child(codes, commands, command))
    monkeypatch.setattr(report, "report", reported)
    return codes, commands


Given = tuple[dict[str, Any], list[list[str]]]
ARMS = 'hydra.sweeper.arms=["from=two", "dropout1=0.2 dropout2=0.5"]'


def test_full_size_in_order(given: Given, capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 0
    expected = [
        ["sweep=scratch_concise"],
        ["sweep=one"],
        ["sweep=two"],
        ["sweep=two_test", ARMS],
        ["sweep=two_more"],
        ["sweep=three"],
        ["report", "outputs", "False"],
    ]
    assert given[1] == expected
    typed = [line for line in capsys.readouterr().out.splitlines() if line]
    assert typed[3] == f"$ python -m src.train sweep=two_test '{ARMS}'"
    assert typed[-1] == "$ python -m analysis.report"


@pytest.mark.parametrize("only", ["two", "2"])
def test_small_and_elsewhere(
    given: Given, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    monkeypatch.setitem(reproduce.SMALL, "two", ("epochs=3",))
    assert main(["--small", "--output", "here", "--only", only]) == 0
    arms = ARMS.replace("=two", "=two__epochs=3")
    assert given[1] == [
        ["sweep=two", "epochs=3", "output=here"],
        ["sweep=two_test", "epochs=1", "seed=10,11", arms, "output=here"],
        ["sweep=two_more", "epochs=1", "seed=0,1", "output=here"],
        ["report", "here", "True"],
    ]
    assert capsys.readouterr().out.splitlines()[-1] == "$ python -m analysis.report --output here --small"


def test_lost_runs_do_not_stop_it(given: Given) -> None:
    codes, commands = given
    codes["one"] = 1
    assert main([]) == 1
    assert len(commands) == 7
    codes.clear()
    codes["report"] = 1
    assert main([]) == 1


@pytest.mark.parametrize(("code", "ends"), [(130, 130), (2, 2), (-9, 137), (KeyboardInterrupt(), 130)])
def test_what_stops_it(given: Given, code: Any, ends: int) -> None:
    codes, commands = given
    codes["two"] = code
    assert main([]) == ends
    assert [command[0] for command in commands] == ["sweep=scratch_concise", "sweep=one", "sweep=two"]


def test_a_choice_that_cannot_be_made_is_left_out(
    given: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(folder: Path) -> None:
        raise tables.InputError(f"{folder} has no finished run")

    monkeypatch.setattr(tables, "collect", refuse)
    assert main([]) == 1
    trained = ["sweep=scratch_concise", *(f"sweep={name}" for name in ("one", "two", "two_more", "three"))]
    assert [command[0] for command in given[1]] == [*trained, "report"]
    assert "two_test is left out: outputs/sweeps/two has no finished run" in capsys.readouterr().err


def test_unknown_exercise(given: Given, capsys: pytest.CaptureFixture) -> None:
    assert main(["--only", "four"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --only four: there is no such exercise; 1 to 3 are right, and one, two, three"
    ]
    assert given[1] == []


def test_help_is_quick_and_needs_no_heavy_package() -> None:
    code = (
        "import sys; from analysis.reproduce import main\n"
        "try: main(['--help'])\n"
        "finally: assert not {'pandas', 'seaborn', 'torch'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--only" in found.stdout


def test_small_version_knows_the_sweeps() -> None:
    sweeps = {sweep for name in exercises.names() for sweep in exercises.load(name).SWEEPS}
    assert set(reproduce.SMALL) <= sweeps
    fixed = {
        sweep
        for sweep in sweeps
        if "hydra.sweeper.until.looks=null" in reproduce.trimming(sweep, True, False)
    }
    assert {"swap_rates", "weight_decay_test", "test_time_dropout", "drop_weights_test"} <= fixed
    assert not {"drop_weights", "weight_decay", "swap_rates_grid"} & fixed
    assert reproduce.trimming("swap_rates", False, False) == ["sweep=swap_rates"]


@pytest.mark.slow
def test_all_of_it_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """Training, the choice, the second sweep and the report, each in a process; again: nothing is trained."""
    monkeypatch.setattr(reproduce, "subprocess", forks.SUBPROCESS)
    tiny = (*TINY, "data.train=500", "probe.train=300")
    monkeypatch.setitem(reproduce.SMALL, "drop_weights", ("data.validation=300", *tiny))
    for sweep in ("drop_weights_test", "drop_weights_5000"):
        monkeypatch.setitem(reproduce.SMALL, sweep, tiny)
    arguments = ["--small", "--output", str(tmp_path), "--only", "drop_weights"]
    assert main(arguments) == 0
    said = capfd.readouterr().out
    shown = re.findall(r"^\$ (.*)$", said, re.M)
    assert [command.split()[:3] for command in shown] == [["python", "-m", "src.train"]] * 3 + [
        ["python", "-m", "analysis.report"]
    ]
    names = sorted(path.name for path in (tmp_path / "sweeps").iterdir())
    assert names == sorted(
        sweep_name(reproduce.trimming(sweep, True, chosen))
        for sweep, chosen in (
            ("drop_weights", False),
            ("drop_weights_test", True),
            ("drop_weights_5000", False),
        )
    )
    text = (tmp_path / "report_small" / "report.md").read_text()
    assert "Small version" in text
    assert "analysis.choose drop_weights --sweep drop_weights__data" in text
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/run.json")}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/run.json")} == before
    assert (tmp_path / "report_small" / "report.md").read_text() == text


@pytest.mark.slow
def test_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis.reproduce", "--only", "swap_rates", "--output", str(tmp_path)]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
    begun = time.monotonic()
    while not list(tmp_path.glob("sweeps/*/runs.csv")) and time.monotonic() - begun < 60:
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    assert process.wait(30) == 130
    text = (tmp_path / "said").read_text()
    assert "the same command goes on from here" in text
    assert "Traceback" not in text
    assert psutil.wait_procs(family, timeout=3)[1] == []
