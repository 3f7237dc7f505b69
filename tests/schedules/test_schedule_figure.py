"""`python -m src.schedules`: a panel for each config it is asked for, its lines those that training uses."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from src import components, schedules
from src.schedules.__main__ import STEPS, composed, draw, main


def test_every_schedule_is_drawn_as_it_is_used() -> None:
    runs = composed(["dropout1=0.3", "dropout2=0.6"])
    assert [run.schedule["name"] for run in runs] == list(components.names("schedule"))
    panels = [panel for panel in draw(runs).axes if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in panels] == list(components.names("schedule"))
    for panel, run in zip(panels, runs, strict=True):
        for line, p in zip(panel.lines, (0.3, 0.6), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(STEPS) / STEPS)
            np.testing.assert_array_equal(line.get_ydata(), schedules.rates(run.schedule, p, STEPS))


def test_values_with_commas_make_a_panel_each_and_none_twice() -> None:
    runs = composed(["schedule=early", "schedule.cutoff=0.25,0.5", "dropout1=0.1,0.4", "seed=range(2)"])
    assert [(run.schedule["cutoff"], run.dropout1) for run in runs] == [
        (0.25, 0.1),
        (0.25, 0.4),
        (0.5, 0.1),
        (0.5, 0.4),
    ]
    assert [run.schedule["name"] for run in composed(["schedule=glob([c*,early])"])] == [
        "constant",
        "cosine",
        "curriculum",
        "early",
    ]
    points = composed(["schedule=piecewise", "schedule.points=[[0,1],[1,0]],[[0.5,1]]"])
    assert [run.schedule["points"] for run in points] == [[[0, 1], [1, 0]], [[0.5, 1]]]


@pytest.mark.filterwarnings("ignore:'src.schedules.__main__' found:RuntimeWarning")
def test_the_command_writes_the_figure_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["schedules", "schedule=late", f"output={tmp_path}"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("src.schedules", run_name="__main__")
    path = tmp_path / "schedules.png"
    assert capsys.readouterr() == (f"figure: {path}\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["schedule=erly"], "schedule=erly: there is no such choice; choose one of annealed, constant"),
        (["schedule.cutoff=0.2"], "schedule.cutoff=0.2: say of which schedule: add schedule=NAME"),
        (["schedule=late", "schedule.cutoff=2"], "schedule.cutoff=2: must be a finite number from 0 to 1"),
        (["schedule=late", "dropout1=1.5"], "dropout1=1.5: must be a finite number from 0 to 1"),
        (["schedule=late", "dropout1"], "dropout1: must be KEY=VALUE"),
        (["schedule=late", "--out", "rates.docx"], "--out=rates.docx: must end in .png, .svg, .pdf"),
        (["schedule=late", "--out", "/dev/null/rates.png"], "--out=/dev/null/rates.png: cannot be written ("),
        (["--width=3"], "unrecognized arguments: --width=3"),
        (["schedule=late", "dropout1=range(0,1,0.01)"], "these are 100 configs; the figure has room for 48"),
    ],
)
def test_wrong_input_is_said_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {said}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
