"""The command that prints the arms a sweep chooses: Hydra's reading of its line, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from configs import REPOSITORY, Command
from hydra.core.override_parser.overrides_parser import OverridesParser

from analysis import design, second_stage, tables
from analysis.choose import main
from src.runs import store

Make = Callable[..., Path]
SWEPT = {
    "noise.input_rate": [0],
    "dropout1": [0, 0.2],
    "dropout2": [0],
    "optimizer.weight_decay": [0, 1e-05, 0.0002],
}
ARMS = [
    "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=0",
    "noise.input_rate=0 dropout1=0.2 dropout2=0 optimizer.weight_decay=0",
    "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=1e-05",
    "noise.input_rate=0 dropout1=0.2 dropout2=0 optimizer.weight_decay=1e-05",
    "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=0.0002",
    "noise.input_rate=0 dropout1=0.2 dropout2=0 optimizer.weight_decay=0.0002",
]
"""Alone 1e-05 is best, with dropout 0.0002."""


def truth(arm: Mapping[str, Any]) -> float:
    decay = {0: 0.0, 1e-05: 0.01, 0.0002: 0.005}[arm["optimizer.weight_decay"]]
    return 0.87 + (0.02 - decay / 2 + (decay == 0.005) * 0.02 if arm["dropout1"] else 0) + decay


@pytest.fixture
def made(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A sweep of weight_decay whose runs were validated."""
    unvalidated = sweep.func.__globals__["metrics"]

    def metrics(*arguments: Any) -> list[dict[str, Any]]:
        rows = unvalidated(*arguments)
        return [{**row, "val_acc": row["test_acc"], "val_loss": row["test_loss"]} for row in rows]

    def make(name: str = "weight_decay", seeds: Sequence[int] = range(2), **options: Any) -> Path:
        with monkeypatch.context() as patch:
            patch.setitem(sweep.func.__globals__, "metrics", metrics)
            return sweep(SWEPT, truth, name=name, seeds=seeds, **options)

    return make


@pytest.fixture
def printed(capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of the command."""

    def run(*arguments: str) -> tuple[int, str, str]:
        where = [] if "--from" in arguments else ["--output", str(tmp_path)]
        code = main([*arguments, *where])
        return (code, *capsys.readouterr())

    return run


def test_hydra_reads_the_line_as_the_arms(made: Make, printed: Any) -> None:
    made()
    code, out, err = printed("weight_decay")
    assert (code, err, out.count("\n")) == (0, "", 1)
    parser = OverridesParser.create()
    read = parser.parse_override("hydra.sweeper.arms=" + out.rstrip("\n")).value()
    assert read == ARMS
    values = [[override.value() for override in parser.parse_overrides(arm.split())] for arm in read]
    assert values[2] == [0, 0, 0, 1e-05]
    assert values[5] == [0, 0.2, 0, 0.0002]


def test_json_says_the_same(made: Make, printed: Any) -> None:
    made()
    code, out, err = printed("weight_decay", "--json")
    assert (code, json.loads(err)) == (0, ARMS)
    assert json.loads(out) == {"event": "end", "sweep": "weight_decay", "arms": ARMS, "problems": []}
    code, out, _ = printed("weight_decai", "--json")
    assert (code, json.loads(out)["event"], json.loads(out)["code"]) == (2, "error", 2)


def test_kept_tables_choose_alike(made: Make, printed: Any, tmp_path: Path) -> None:
    tables.save(tables.collect(made()), tmp_path / "kept")
    assert printed("weight_decay", "--from", str(tmp_path / "kept")) == printed("weight_decay")


def test_trimmed_sweep_is_found_by_its_folder(made: Make, printed: Any) -> None:
    made("weight_decay__epochs=4")
    assert printed("weight_decay", "--sweep", "weight_decay__epochs=4")[0] == 0
    assert printed("weight_decay")[0] == 2


def refused(found: tuple[int, str, str], *said: str) -> None:
    code, out, err = found
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(text in err for text in said)


def test_bad_input_is_refused_in_one_line(made: Make, sweep: Make, printed: Any, tmp_path: Path) -> None:
    refused(printed("weight_decai"), "weight_decai is no exercise", "weight_decay")
    refused(printed("swap_rates"), "swap_rates chooses no arms", "weight_decay")
    refused(printed("weight_decay"), str(tmp_path / "sweeps" / "weight_decay"), "is right")
    refused(printed("weight_decay", "--from", str(tmp_path)), "are right")
    sweep(SWEPT, truth, name="weight_decay__epochs=1")  # not validated
    refused(printed("weight_decay", "--sweep", "weight_decay__epochs=1"), "data.validation")
    made("swap_rates")
    refused(printed("weight_decay", "--sweep", "swap_rates"), "swap_rates is no weight_decay")


def test_lost_run_is_named_and_the_choice_made(made: Make, printed: Any) -> None:
    made(states={(4, 1): store.FAILED, (0, 0): store.UNFINISHED})
    code, out, err = printed("weight_decay")
    assert code == 0
    assert out.count('"') == 2 * len(ARMS)
    assert len(err.splitlines()) == 2
    assert "dropout1=0.2 dropout2=0 optimizer.weight_decay=1e-05, seed 1" in err


def test_arm_without_a_run_is_refused_unless_it_diverged(made: Make, printed: Any) -> None:
    made(states={(5, seed): store.UNFINISHED for seed in range(2)})
    refused(printed("weight_decay"), "optimizer.weight_decay=0.0002, seed 0", "is right")
    made(states={(5, seed): store.DIVERGED for seed in range(2)})
    code, out, err = printed("weight_decay")
    assert (code, len(err.splitlines())) == (0, 2)
    assert "optimizer.weight_decay=0.0002" not in out  # it has lost: both are best with 1e-05


def test_help_is_quick_and_bad_options_end_in_2(command: Command) -> None:
    shown = command("analysis.choose", "--help")
    assert shown.returncode == 0
    assert "--from FOLDER" in shown.stdout
    assert command("analysis.choose", "weight_decay", "--from", "a", "--output", "b").returncode == 2


# The second stage of any sweep

GIVEN = """hydra:
  sweeper: {{params: {{epochs: 4, optimizer.weight_decay: "0,1e-05,0.0002"}}, primary: {primary}}}
  overrides: {{task: [sweep=mine, dropout1=0.2, "seed=range(2)", data.validation=10000, output=el se,
                      schedule=piecewise, "schedule.points=[[0,1]]", device=cpu, resume=false]}}
"""
BEST, NEXT = (
    f"noise.input_rate=0 dropout1=0.2 dropout2=0 optimizer.weight_decay={decay}"
    for decay in ("0.0002", "1e-05")
)
USUAL = "noise.input_rate=0 dropout1=0.2 dropout2=0.5 optimizer.weight_decay=0"


@pytest.fixture
def stage(made: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """A validated sweep's folder, with sweeps/ in the test's own folder."""
    monkeypatch.setattr(design, "SWEEP_FILES", tmp_path)

    def make(primary: str = "null", **options: Any) -> Path:
        folder = made("tuning", **options)
        (folder / "multirun.yaml").write_text(GIVEN.format(primary=primary))
        return folder

    return make


def test_a_second_stage_is_a_sweep_that_ends_once_it_is_decided(
    stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stage()
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "run it: python -m src.train sweep=tuning_test 'output=el\\ se' device=cpu\n" in said
    path = tmp_path / "tuning_test.yaml"
    sweeper = yaml.safe_load(path.read_text())["hydra"]["sweeper"]
    assert sweeper == {
        "arms": [USUAL, BEST, NEXT],
        "params": {
            "epochs": 4,
            "data.validation": 0,
            "schedule": "piecewise",
            "schedule.points": "[[0,1]]",
            "seed": "range(2,62)",
        },
        "primary": {"metric": "test_acc", "reference": 0, "margin": 0.2},
        "until": {"looks": [10, 20, 30, 45, 60]},
    }
    assert main([str(folder)]) == 0, "the same again changes nothing"
    assert (design.read("tuning_test").primary or 0) and len(design.read("tuning_test").runs) == 180
    path.write_text("hydra: {}\n")
    capsys.readouterr()
    assert main([str(folder)]) == 2
    assert "says something else; --name NAME" in capsys.readouterr().err
    assert main([str(folder), "--name", "other", "--reference", "noise=none"]) == 0
    assert (
        yaml.safe_load((tmp_path / "other.yaml").read_text())["hydra"]["sweeper"]["arms"][0] == "noise=none"
    )


@pytest.mark.parametrize(
    ("train", "split", "said"), [("", None, "all"), (", data.train=500", "$\\{seed\\}", "500")]
)
def test_a_split_a_seed_goes_where_nothing_is_left_to_be_split(
    stage: Any, train: str, split: str | None, said: str
) -> None:
    folder = stage()
    given = folder / "multirun.yaml"
    given.write_text(given.read_text().replace("device=cpu", f'device=cpu, "data.split=${{seed}}"{train}'))
    of = second_stage.of(folder)
    assert of.params.get("data.split") == split and f"and {said} training images." in of.text


def arms_of(folder: Path, **options: Any) -> list[str]:
    return [arm for _, arm in second_stage.of(folder, **options).arms]


def test_the_reference_is_what_the_sweep_declares(stage: Any) -> None:
    first = "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=0"
    folder = stage("{metric: val_acc, contrast: [5, 0], margin: 0.5}")
    assert arms_of(folder) == [first, BEST, NEXT]
    assert second_stage.of(folder).margin == 0.5
    assert arms_of(stage("{metric: test_acc, reference: 5}")) == [BEST, NEXT], "the best one is the reference"
    lost = {(0, seed): store.FAILED for seed in range(2)}
    folder = stage("{metric: test_acc, reference: 5}", states=lost)
    assert arms_of(folder) == [BEST, NEXT], "an arm without a result is numbered, too"
    by_loss = second_stage.of(stage("{metric: test_loss, contrast: [5, 0], margin: 0.03}"))
    assert (by_loss.metric.column, by_loss.margin) == ("test_loss", 0.03)


def test_arms_have_spaces_in_quotes_and_brackets(stage: Any) -> None:
    folder = stage()
    given = folder / "multirun.yaml"
    arm = "noise=none  schedule.points=[[0, 1], [1, 0]]"
    given.write_text(given.read_text().replace("sweeper: {", f'sweeper: {{arms: ["{arm}"], '))
    of = second_stage.of(folder, reference=arm)
    assert of.params["noise"] == "none"
    assert of.arms[0][1] == "noise=none schedule.points=[[0, 1], [1, 0]]"


@pytest.mark.parametrize("state", [store.DIVERGED, store.FAILED, store.UNFINISHED])
def test_an_arm_that_lacks_a_run_is_not_chosen(stage: Any, state: str) -> None:
    assert arms_of(stage(states={(5, 1): state}))[1] == NEXT


def test_a_second_stage_names_the_runs_without_a_result(
    stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stage(states={(5, 1): store.FAILED, (0, 0): store.DIVERGED})
    assert main([str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert [problem["kind"] for problem in told["problems"]] == [store.DIVERGED, store.FAILED]
    assert all(problem["id"] in err for problem in told["problems"])
    assert told["command"] in err and told["arms"][1] == NEXT
    page = (REPOSITORY / "src" / "runs" / "README.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| `end` | `analysis.choose`")]
    assert all(f"`{key}`" in row for key in told.keys() - {"event"})


def test_what_nothing_can_be_chosen_from_is_one_line(
    stage: Any, sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = sweep(SWEPT, truth, name="plain", seeds=[7])
    (plain / "multirun.yaml").write_text(GIVEN.format(primary="null"))
    split = sweep({**SWEPT, "data.split": [1, 2]}, truth, name="split", seeds=[6])
    (split / "multirun.yaml").write_text(GIVEN.format(primary="null"))
    whole = stage().rename(tmp_path / "sweeps" / "whole")
    alone = stage(states={(arm, 3): store.FAILED for arm in range(5)}, seeds=(3, 4))
    lacking = sweep(SWEPT, truth, name="lacking", seeds=[8])
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        ([plain], "plain has no validation accuracy; a sweep with data.validation above 0 is right"),
        ([alone], "tuning has 1 arm to choose; two arms"),
        ([lacking], "multirun.yaml cannot be read"),
        ([split], "split sweeps data.split; arms that share their validation images are right"),
        ([tmp_path / "empty"], "has no runs.csv"),
        ([alone, "--from", "x"], "go with an exercise's name"),
        ([tmp_path / "nowhere"], "is no exercise, and no folder"),
        (["weight_decay", "--name", "x"], "is no sweep's folder"),
        ([whole, "--name", "../x"], "--name=../x: must be the name of a file of sweeps/ without .yaml"),
        ([whole, "--name", "x.yaml"], "--name=x.yaml: must be the name of a file of sweeps/ without .yaml"),
        ([whole, "--name", "ü"], "--name=ü: must be the name of a file of sweeps/ without .yaml"),
        ([whole, "--reference", "dropout1=0,1"], "must be one setting"),
        ([whole, "--reference", "data.validation=100"], "must be one setting"),
        ([whole, "--reference", "dropout1=2"], "dropout1=2: must be a finite number from 0 to 1"),
        ([whole, "--reference", "nope=2"], "--reference=nope=2: "),
        ([whole, "--reference", "noise=nope"], "--reference=noise=nope: "),
        ([whole, "--reference", "dropout1=("], "--reference=dropout1=(: "),
    ):
        assert main([str(argument) for argument in arguments]) == 2, said
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_a_long_name_is_cut(stage: Any) -> None:
    folder = stage()
    folder = folder.rename(folder.parent / f"optuna__{'x' * 60}")
    assert second_stage.of(folder).name.startswith("optuna-")
    assert len(second_stage.of(folder).name) == len("optuna-123456_test")
