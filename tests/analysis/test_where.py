"""`--where` of the comparison: which runs it takes, and where its report goes; `--json` of what it says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from configs import REPOSITORY

from analysis import comparison, programs, runs, search, where
from analysis.compare import main
from analysis.runs import InputError
from src.runs import store, tags

Make = Callable[..., Path]
SWEPT = {"noise": ["dropout", "gaussian"], "dropout1": [0.2, 0.5]}


def truth(arm: Mapping[str, Any]) -> float:
    return 0.87 if arm["noise"] == "dropout" else 0.86


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "draw", lambda compared, folder: [])


@pytest.mark.parametrize(
    ("conditions", "arms"),
    [
        (["noise=gaussian"], ["noise=gaussian dropout1=0.2", "noise=gaussian dropout1=0.5"]),
        (["noise != gaussian", "dropout1=0.2"], ["noise=dropout dropout1=0.2"]),
        (["epochs=4", "dropout1=0.5", "noise=dropout"], ["noise=dropout dropout1=0.5"]),
        (
            ["data=fashion_mnist", "seed!=0", "noise=gaussian", "dropout1=0.2"],
            ["noise=gaussian dropout1=0.2"],
        ),
        (["dropout1!=0.50", "noise=dropout"], ["noise=dropout dropout1=0.2"]),
        (["dropout1=2e-1", "epochs=4.0", "seed!=7", "noise=dropout"], ["noise=dropout dropout1=0.2"]),
        (["tags has pilot", "noise=dropout", "dropout1=0.2"], ["noise=dropout dropout1=0.2"]),
        (["tags lacks final", "noise=dropout", "dropout1=0.2"], ["noise=dropout dropout1=0.2"]),
    ],
)
def test_conditions_choose_runs(sweep: Make, conditions: list[str], arms: list[str]) -> None:
    folder = sweep(SWEPT, truth, seeds=range(2))
    tags.add(folder, ["pilot"], None)
    compared = comparison.compare(folder, conditions=conditions)
    assert [arm.name for arm in compared.arms] == arms
    assert compared.arms[0].n == (1 if "seed!=0" in conditions else 2)


@pytest.mark.parametrize(
    ("condition", "known"),
    [
        ("noise!=gausian", "values of noise are dropout, gaussian"),
        ("dropout1 != 0.3", "values of dropout1 are 0.2, 0.5"),
        ("tags lacks pilto", "its tags are pilot"),
        ("noise=dropout", None),
        ("noise!=gaussian", None),
        ("tags has pilot", None),
    ],
)
def test_what_leaves_out_no_run_is_said(
    sweep: Make, capsys: pytest.CaptureFixture[str], condition: str, known: str | None
) -> None:
    folder = sweep(SWEPT, truth, seeds=range(2))
    tags.add(folder, ["pilot"], None)
    where.select(runs.read(folder), [condition])
    line = f"--where {condition} leaves out no run of {folder}; {known}\n" if known else ""
    assert capsys.readouterr().err == line


def test_a_runs_own_tags_count_as_well(sweep: Make, tmp_path: Path) -> None:
    folder = sweep(SWEPT, truth, seeds=range(2))
    first = runs.read(folder).runs["id"].iloc[0]
    tags.add(store.run_folder(tmp_path, first), ["odd"], None)
    assert list(where.select(runs.read(folder), ["tags has odd"]).runs["id"]) == [first]


def test_of_several_sweeps_those_that_fit(sweep: Make) -> None:
    pilot = sweep({"dropout1": [0.2, 0.5]}, lambda arm: 0.8, name="pilot", epochs=2)
    other = sweep({"dropout1": [0.2, 0.5]}, lambda arm: 0.9, name="other")
    tags.add(pilot, ["pilot"], None)
    begun = sweep(
        {"dropout1": [0.2]}, lambda arm: 0.9, name="begun", states={(0, s): store.FAILED for s in range(5)}
    )
    (begun / "multirun.yaml").write_text("")
    compared = comparison.compare([begun, pilot, other], conditions=["tags has pilot"])
    assert compared.sweep.folder == pilot and len(compared.sweep.final) == 10
    # a search that has no run among them does not say by what they are compared
    searched = sweep({"dropout1": [0.1, 0.3]}, lambda arm: 0.7, name="searched")
    (searched / search.FILE).touch()
    (searched / "multirun.yaml").write_text("hydra: {sweeper: {metric: val_acc}}")
    assert search.metric(searched) == "val_acc"
    compared = comparison.compare([searched, pilot, other], conditions=["tags has pilot"])
    assert (compared.measure.column, compared.sweep.folder) == ("test_acc", pilot)
    for folders, conditions in (([begun, pilot], []), ([pilot / "nowhere", pilot], ["tags has pilot"])):
        with pytest.raises(InputError):
            comparison.compare(folders, conditions=conditions)


def test_the_pages_command_has_the_options_that_it_was_made_with(sweep: Make, tmp_path: Path) -> None:
    folder = sweep(SWEPT, truth, seeds=range(2))
    asked = ("--where", "noise=dropout", "--metric", "test_loss", "--baseline", "dropout1=0.2", "--to", "a b")
    compared = comparison.compare(folder, "test_loss", "dropout1=0.2", ["noise=dropout"])
    command = comparison.content(compared, to=Path("a b"))["compare_command"]
    assert shlex.split(command) == ["python", "-m", "analysis.compare", str(folder), *asked]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("noise=shakeout", r"no finished run where noise=shakeout; values of noise are dropout, gaussian$"),
        ("tags has pilot", r"no finished run where tags has pilot; its tags are none$"),
        ("nois=dropout", r"no run has a key nois; a key of its config is right$"),
        ("noise", r"--where 'noise' is no condition; KEY=VALUE, KEY!=VALUE, "),
    ],
)
def test_what_chooses_nothing_is_refused(sweep: Make, condition: str, said: str) -> None:
    folder = sweep(SWEPT, truth, seeds=range(2))
    with pytest.raises(InputError, match=said):
        comparison.compare(folder, conditions=[condition])


def test_json_says_what_the_report_says(sweep: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(SWEPT, truth, seeds=range(5), states={(2, 1): store.DIVERGED})
    assert main([str(folder), "--json", "--where", "dropout1=0.2"]) == 1
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    told = json.loads(line)
    assert (
        told["page"] == str(folder / "where" / "dropout1=0.2" / "index.html") and Path(told["page"]).exists()
    )
    assert not (folder / "index.html").exists(), "the whole sweep's report is left alone"
    (judged,) = told["judged"]
    assert (judged["verdict"], judged["n"]) == ("better", 4) and judged["interval"][0] > 0.005
    assert told["problems"][0]["kind"] == "diverged" and told["conclusion"] in " ".join(err.split())
    page = (REPOSITORY / "src" / "runs" / "README.md").read_text()
    (row,) = re.findall(r"^\| `end` \| `analysis.compare` \| (.*) \|$", page, flags=re.M)
    assert told.keys() == {"event", *re.findall(r"`(\w+)`", row)}
    for key in judged:
        assert f"`{key}`" in page, key
    report = (folder / "where" / "dropout1=0.2" / "report.md").read_text()
    assert "--where dropout1=0.2" in report


def test_facts_are_plain(sweep: Make) -> None:
    folder = sweep(SWEPT, truth, seeds=range(1))
    compared = comparison.compare(folder)
    told = programs.facts(compared, comparison.write(compared))
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_figures_are_those_of_the_page(sweep: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of another metric, in the same folder, has left its own there."""
    folder = sweep(SWEPT, truth, seeds=range(3))
    (folder / "figures").mkdir()
    for name in ("learning_curves.png", "final_test_acc.png", "final_test_loss.png", "paired_test_loss.png"):
        (folder / "figures" / name).touch()
    monkeypatch.setattr(comparison, "draw", lambda compared, folder: ["final_test_acc", "learning_curves"])
    compared = comparison.compare(folder)
    told = programs.facts(compared, comparison.write(compared))
    assert told["figures"] == ["final_test_acc.png", "learning_curves.png"]
