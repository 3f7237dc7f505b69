"""Whose a sweep's folder is, where its runs are, and what a sweep refuses to drop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from configs import make_job
from hydra.core.override_parser.overrides_parser import OverridesParser
from test_train import SMALL, Train, train_here

from src.errors import InputError
from src.runs import sweep_folder
from src.runs.job import Job
from src.sweeping import naming, planning, space
from src.sweeping.naming import sweep_name, sweep_text

__all__ = ["train_here"]  # a fixture

PARSER = OverridesParser.create()
BASIC = ["hydra/launcher=basic", "epochs=1"]


def test_a_folder_keeps_its_sweep_and_refuses_another(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "sweeps" / "mine"
    sweep_folder.claim(folder, "seed=0,1", tmp_path / "out")
    sweep_folder.claim(folder, "seed=0,1", tmp_path / "out")
    assert json.loads((folder / "sweep.json").read_text()) == {"sweep": "seed=0,1", "runs": "../../runs"}
    with pytest.raises(
        InputError, match="holds the sweep seed=0,1, and this one is book; take another folder"
    ):
        sweep_folder.claim(folder, "", tmp_path / "out")
    (folder / "sweep.json").write_text("{")
    sweep_folder.check(folder, "other")


def test_a_file_in_the_folders_place_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="must be a folder"):
        sweep_folder.check(tmp_path / "file", "")


def test_the_runs_are_found_wherever_the_folder_is(tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tmp_path / "else" / "where"
    (output / "runs").mkdir(parents=True)
    for folder in (output / "sweeps" / "a", output / "deep" / "er" / "b", elsewhere):
        sweep_folder.claim(folder, "", output)
        assert sweep_folder.runs_of(folder) == output / "runs"
    moved = output.rename(tmp_path / "moved")
    assert sweep_folder.runs_of(moved / "sweeps" / "a") == moved / "runs"
    assert sweep_folder.runs_of(moved / "sweeps" / "without") == moved / "runs"


def test_arms_and_params_make_another_name() -> None:
    names = {
        sweep_name(["sweep=rate_order", *more])
        for more in (
            [],
            ["hydra.sweeper.params.seed=range(3)"],
            ["+hydra.sweeper.params.epochs=3"],
            ["hydra.sweeper.arms=['dropout1=0.2']"],
            ["hydra.sweeper.arms=['dropout1=0.3']"],
            ["hydra.sweeper.params={seed:1}"],
        )
    }
    assert len(names) == 6
    assert sweep_text(["a=1", "a=2", "hydra.sweeper.plan=true"]) == sweep_text(["a=2"]) == "a=2"
    assert sweep_name(["a=1", "a=2"]) != sweep_name(["a=2", "a=1"])


def test_where_the_file_asks_for_arms_they_make_no_name() -> None:
    assert naming._asks_for_arms(["sweep=weight_decay_test"])
    assert not naming._asks_for_arms(["sweep=weight_decay"])
    assert not naming._asks_for_arms(["sweep=nothing"]) and not naming._asks_for_arms([])


def test_elsewhere_the_report_command_works_and_another_sweep_is_refused(
    train_here: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from analysis.runs import read_sweep

    elsewhere = f"hydra.sweep.dir={tmp_path / 'x'}"
    assert train_here("-m", *SMALL, *BASIC, "seed=0,1", elsewhere).code == 0
    table = (tmp_path / "x" / "runs.csv").read_bytes()
    assert sorted(read_sweep(tmp_path / "x").seed) == [0, 1]
    code, _, err = train_here("-m", *SMALL, *BASIC, "seed=2,3", elsewhere)
    assert code == 2 and "holds the sweep" in err and "seed=0,1" in err
    assert (tmp_path / "x" / "runs.csv").read_bytes() == table
    code, _, err = train_here(
        "-m", *SMALL, *BASIC, "seed=0,1", elsewhere, "hydra.sweeper.arms=['dropout1=0.3']"
    )
    assert code == 2 and (tmp_path / "x" / "runs.csv").read_bytes() == table


@pytest.mark.parametrize(
    "more",
    [["hydra.sweeper.params.seed=1"], ["hydra.sweeper.arms=['seed=1']"], ["hydra/sweeper=optuna"],
     ["sweep=rate_order", "hydra.mode=RUN"]],
)  # fmt: skip
def test_a_single_run_refuses_what_it_would_ignore(
    train_here: Train, tmp_path: Path, more: list[str]
) -> None:
    more = [f"+{o}" if "params." in o else o for o in more]
    code, _, err = train_here(*SMALL, *more)
    assert code == 2 and "add -m" in err
    assert not (tmp_path / "outputs").exists()


# What a sweep drops


def job(number: int, **changes: Any) -> Job:
    return make_job(number, hydra={"runtime": {"choices": {}}}, **changes)


def test_equal_values_are_one_row_and_numbers_have_no_gaps() -> None:
    jobs = [job(i, dropout1=rate) for i, rate in enumerate((0, 0.0, 0.5, 0))]
    kept = planning.distinct(jobs, ["dropout1"])
    assert [(job.run.dropout1, job.number) for job in kept] == [(0, 0), (0.5, 1)]
    none = [job(i, dropout1=rate, noise={"name": "none"}) for i, rate in enumerate((0.2, 0.5))]
    assert len(planning.distinct(none, ["dropout1"])) == 1


def test_a_key_that_changes_no_result_is_refused() -> None:
    jobs = [job(i, matmul=kernel) for i, kernel in enumerate(("auto", "torch"))]
    with pytest.raises(InputError, match="matmul=torch: changes no result beside matmul=auto"):
        planning.distinct(jobs, ["matmul"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=range(3,0)", "holds no value"),
        ("seed=range(0)", "holds no value"),
        ("seed=range(0,3,-1)", "holds no value"),
        ("seed=range(1e400)", "must end after at most"),
        ("seed=range(0,1e12)", "must end after at most"),
        ("seed=range(0,3,0)", "must end after at most"),
        ("output=A,B", "takes one value"),
        ("++save_model=true,false", "takes one value"),
        ("data.root=a,b", "takes one value"),
        ("hydra.launcher.n_jobs=1,2", "takes one value"),
    ],
)
def test_what_would_run_nothing_or_for_ever_or_twice_is_refused(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planning.expand(PARSER.parse_overrides([override]), [])
    with pytest.raises(InputError, match=said):
        planning.expand([], [PARSER.parse_overrides([override])])


def test_a_product_without_end_is_refused() -> None:
    overrides = [f"{key}=range(1000)" for key in "abc"]
    with pytest.raises(InputError, match="1,000,000,000 runs is too large"):
        planning.expand(PARSER.parse_overrides(overrides), [])


# A search


def test_a_search_in_another_order_is_the_same_and_no_python_is_said() -> None:
    from src.sweeping import search_options

    given = [
        "noise=dropout,gaussian",
        "dropout1=interval(0,0.8)",
        "epochs=int(interval(1,9))",
        "seed=3",
        "batch_size=9",
    ]
    options = search_options.Options(("val_acc",), ("maximize",), 4, 2, "tpe", 0)
    first, second = (space.parse(PARSER.parse_overrides(order)) for order in (given, given[::-1]))
    assert search_options.about(first, options) == search_options.about(second, options)
    assert list(first.distributions) == list(second.distributions)
    assert search_options.about(first, options)["space"] == [
        "dropout1=interval(0.0,0.8)", "epochs=range(1,9,1)", "noise=choice(dropout,gaussian)",
    ]  # fmt: skip
