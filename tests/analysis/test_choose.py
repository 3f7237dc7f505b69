"""The command that prints the arms a sweep chooses: Hydra's reading of its line, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from configs import Command
from hydra.core.override_parser.overrides_parser import OverridesParser

from analysis import tables
from analysis.choose import main
from src.runs import store

Make = Callable[..., Path]
SWEPT = {"dropout1": [0, 0.2], "dropout2": [0], "optimizer.weight_decay": [0, 1e-05, 0.0002]}
ARMS = [
    "dropout1=0 dropout2=0 optimizer.weight_decay=0",
    "dropout1=0.2 dropout2=0 optimizer.weight_decay=0",
    "dropout1=0 dropout2=0 optimizer.weight_decay=1e-05",
    "dropout1=0.2 dropout2=0 optimizer.weight_decay=1e-05",
    "dropout1=0 dropout2=0 optimizer.weight_decay=0.0002",
    "dropout1=0.2 dropout2=0 optimizer.weight_decay=0.0002",
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

    def make(name: str = "weight_decay", **options: Any) -> Path:
        with monkeypatch.context() as patch:
            patch.setitem(sweep.func.__globals__, "metrics", metrics)
            return sweep(SWEPT, truth, name=name, seeds=range(2), **options)

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
    assert values[2] == [0, 0, 1e-05]
    assert values[5] == [0.2, 0, 0.0002]


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
