"""Reading a sweep folder: what is usable, what is not and why, and what is no sweep folder at all."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import agreement, tables
from analysis.runs import InputError, arm_names, read, read_sweep
from src.runs import store

Make = Callable[..., Path]
SWEPT = {"dropout1": [0.2, 0.5], "dropout2": [0.5]}


@pytest.fixture
def made(sweep: Make) -> Make:
    """Makes a sweep of two arms and three seeds."""
    return functools.partial(sweep, SWEPT, lambda arm: 0.87, seeds=[0, 1, 2])


def run_folder(folder: Path, row: int) -> Path:
    """Folder of the run in a row of runs.csv, from 0."""
    run = (folder / "runs.csv").read_text().splitlines()[row + 1].split(",")[0]
    return folder.parents[1] / "runs" / run


def test_a_row_a_run_and_epoch(made: Make) -> None:
    frame = read_sweep(made(epochs=4))
    assert len(frame) == 2 * 3 * 4
    assert list(frame.columns[:5]) == ["id", "state", "dropout1", "dropout2", "seed"]
    assert set(frame.columns[5:]) == {
        *(name for name in store.METRICS if name not in SWEPT),
        "dropout1_used",
        "dropout2_used",
    }
    assert all(list(run["epoch"]) == [1, 2, 3, 4] for _, run in frame.groupby("id"))
    assert set(frame["state"]) == {"finished"}
    assert set(zip(frame["dropout1"], frame["seed"], strict=True)) == {
        (p, s) for p in (0.2, 0.5) for s in range(3)
    }


def test_numbers_are_those_of_the_run(made: Make) -> None:
    folder = made()
    record = store.read_record(run_folder(folder, 4))
    assert record is not None
    last = read_sweep(folder).query(f"id == '{record['id']}'").iloc[-1]
    for name, value in record["final"].items():
        assert last[f"{name}_used" if name in SWEPT else name] == value
    assert last["dropout1"] == record["config"]["dropout1"]


def test_problem_runs_are_named_with_their_reason(made: Make) -> None:
    states = {(0, 0): "failed", (0, 1): "diverged", (0, 2): "unfinished"}
    folder = made(states=states)
    (run_folder(folder, 3) / "metrics.csv").write_text("epoch,train_loss\n")
    shutil.rmtree(run_folder(folder, 4))
    found = read(folder)
    assert {problem.kind: problem.id for problem in found.problems} == {
        kind: run_folder(folder, row).name
        for row, kind in enumerate(["failed", "diverged", "unfinished", "damaged", "missing"])
    }
    reasons = {problem.kind: str(problem) for problem in found.problems}
    assert "out of memory" in reasons["failed"]
    assert "nan in epoch 2" in reasons["diverged"]
    assert "dropout1=0.2 dropout2=0.5, seed 2" in reasons["unfinished"]
    assert "metrics.csv" in reasons["damaged"]
    assert list(found.runs["id"]) == [run_folder(folder, 5).name]
    with pytest.warns(UserWarning, match="5 of the 6 runs"):
        assert set(read_sweep(folder)["id"]) == {run_folder(folder, 5).name}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text.replace("0.5", "half", 1), id="a word for a number"),
        pytest.param(lambda text: text.replace(",", ",,", 1), id="a cell too many"),
        pytest.param(lambda text: text.split("\n", 2)[0] + "\n" + text.split("\n", 2)[2], id="a row lost"),
        pytest.param(lambda text: text[: len(text) // 2], id="cut in the middle"),
        pytest.param(lambda text: "", id="emptied"),
    ],
)
def test_damaged_metrics_cost_one_run(made: Make, damage: Callable[[str], str]) -> None:
    folder = made()
    path = run_folder(folder, 2) / "metrics.csv"
    path.write_text(damage(path.read_text()))
    found = read(folder)
    assert [(problem.id, problem.kind) for problem in found.problems] == [(path.parent.name, "damaged")]
    assert found.epochs["id"].nunique() == 5


def test_damaged_record(made: Make) -> None:
    folder = made()
    record = json.loads((run_folder(folder, 0) / "run.json").read_text())
    (run_folder(folder, 0) / "run.json").write_text("{")
    (run_folder(folder, 1) / "run.json").write_text(json.dumps(record | {"config": {}}))
    assert [problem.kind for problem in read(folder).problems] == ["damaged", "damaged"]


@pytest.mark.parametrize(
    "change",
    [
        *({"seconds": seconds} for seconds in ("12.5", -5, float("nan"), float("inf"))),
        {"parameters": [1]},
        {"device": ["cpu"]},
        {"device": {"name": "cpu"}},
        {"config": {"seed": 0, "epochs": 4, "data": ["digits"], "dropout1": 0.2, "dropout2": 0.5}},
        {"metrics": ["gate"]},
        {"metrics": "gate"},
    ],
)
def test_a_word_for_a_number_in_a_record_costs_one_run(made: Make, change: dict) -> None:
    folder = made()
    path = run_folder(folder, 0) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = read(folder)
    assert [(problem.id, problem.kind) for problem in found.problems] == [(path.parent.name, "damaged")]
    assert "right" in found.problems[0].reason
    assert found.epochs["id"].nunique() == 5


def test_an_error_of_several_lines_is_told_whole(made: Make) -> None:
    folder = made(states={(0, 0): "failed"})
    path = run_folder(folder, 0) / "run.json"
    text = path.read_text().replace(
        "RuntimeError: out of memory", "RuntimeError: sizes differ:\\nexpected 3\\ngot 4"
    )
    path.write_text(text)
    assert read(folder).problems[0].reason == "RuntimeError: sizes differ: expected 3 got 4"


PROBE = "epoch,step,layer,var\n1,1,1,0.5\n1,1,2,0.25\n"


@pytest.mark.parametrize(
    "damage",
    [
        PROBE.replace("0.25", "much"),
        PROBE[:-4],
        PROBE + "1,2,3,4,5\n",
        PROBE.encode().replace(b"0.25", b"\xff\xfe"),
    ],
    ids=["a word", "cut", "a cell too many", "no text"],
)
def test_a_damaged_probe_costs_its_run_alone(made: Make, damage: str | bytes) -> None:
    folder = made()
    for row in range(6):
        (run_folder(folder, row) / "probe.csv").write_text(PROBE)
    path = run_folder(folder, 4) / "probe.csv"
    path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    table = tables.collect(folder)
    assert [(problem.id, problem.kind) for problem in table.problems] == [(path.parent.name, "damaged")]
    assert table.extra("probe").groupby("id").size().to_dict() == dict.fromkeys(table.runs["id"], 2)
    assert len(table.runs) == 5 and table.epochs["id"].nunique() == 5


def test_a_run_that_another_sweep_finished_since_is_usable(made: Make) -> None:
    folder = made()
    path = folder / "runs.csv"
    path.write_text(path.read_text().replace("finished", "unfinished"))
    assert not read(folder).problems


def test_text_and_null_are_values(sweep: Make) -> None:
    folder = sweep({"noise": ["none", "null", "gaussian"]}, lambda arm: 0.87)
    assert set(read_sweep(folder)["noise"]) == {"none", "null", "gaussian"}


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ({"dropout1": [0.1 + 0.2], "dropout2": [0.5]}, "dropout1=0.3 dropout2=0.5"),
        ({"dropout1": [0.2]}, "dropout1=0.2"),
        ({"noise": ["gaussian"], "model.hidden1": [256]}, "noise=gaussian model.hidden1=256"),
        ({}, "all"),
        ({"optimizer.max_norm": [None]}, "optimizer.max_norm=null"),
        ({"noise": ["none"], "dropout1": [0], "dropout2": [0], "epochs": [4]}, "noise=none epochs=4"),
        ({"noise": ["gaussian"], "dropout1": [0.5], "noise.q": [None]}, "noise=gaussian dropout1=0.5"),
    ],
)
def test_arm_names(sweep: Make, swept: dict, name: str) -> None:
    found = read(sweep(swept, lambda arm: 0.87))
    assert set(arm_names(found.epochs, found.keys)) == {name}


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("optimizer.lr", [0.1234567890123, 0.1234567890124]),
        ("optimizer.lr", [0.12345678901234567, 0.12345678901234568]),
        ("noise", ["007", "7"]),
        ("optimizer.max_norm", [None, 1.0, 2.5]),
        ("flag", [True, False]),
    ],
    ids=["13th digit", "17th digit", "leading zeros", "null", "true and false"],
)
def test_different_values_are_different_arms(sweep: Make, tmp_path: Path, key: str, values: list) -> None:
    folder = sweep({key: values}, lambda arm: 0.87, seeds=[1700000000123, 1700000000124])
    tables.save(tables.collect(folder), tmp_path / "kept")
    for table in (tables.collect(folder), tables.load(tmp_path / "kept", folder.name)):
        names = arm_names(table.final, table.keys)
        assert names.value_counts().to_dict() == dict.fromkeys(names, 2)
        assert names.nunique() == len(set(map(str, values)))
        assert set(table.final["seed"]) == {1700000000123, 1700000000124}


def test_a_long_seed_is_named_as_it_is(sweep: Make) -> None:
    folder = sweep(
        {"dropout1": [0.1]}, lambda arm: 0.87, seeds=[1700000000123, 5], states={(0, 1700000000123): "failed"}
    )
    (problem,) = read(folder).problems
    assert (problem.arm, problem.seed) == ({"dropout1": 0.1}, 1700000000123)
    assert problem.where == "dropout1=0.1, seed 1700000000123"


def test_swept_key_named_like_a_fact_of_the_run(sweep: Make) -> None:
    folder = sweep({"epochs": [2, 3]}, lambda arm: 0.87, epochs=lambda arm: arm["epochs"])
    assert read_sweep(folder).groupby("epochs").size().to_dict() == {2: 2 * 5, 3: 3 * 5}


def test_a_key_that_was_swept_after_the_seed(sweep: Make) -> None:
    swept = {"dropout1": [0.2, 0.5], "epochs": [2, 3]}
    folder = sweep(swept, lambda arm: 0.87, epochs=lambda arm: arm["epochs"])
    rows = [line.split(",") for line in (folder / "runs.csv").read_text().splitlines()]
    assert rows[0][2:5] == [*swept, "seed"]
    moved = [",".join([*row[:3], row[4], row[3], *row[5:]]) for row in rows]
    (folder / "runs.csv").write_text("\n".join(moved) + "\n")
    found = read(folder)
    assert found.keys == ("dropout1", "epochs")
    assert set(arm_names(found.epochs, found.keys)) == {
        f"dropout1={p} epochs={e}" for p in (0.2, 0.5) for e in (2, 3)
    }


def test_paths_that_are_no_sweep(tmp_path: Path, made: Make) -> None:
    folder = made()
    empty = tmp_path / "empty"
    empty.mkdir()
    runs_csv = folder / "runs.csv"
    for path, words in [
        (tmp_path / "nowhere", "is not there"),
        (empty, "has no runs.csv"),
        (runs_csv, "is a file"),
    ]:
        with pytest.raises(InputError, match=words) as error:
            read_sweep(path)
        assert str(path) in str(error.value)
        assert "is right" in str(error.value)
        assert "\n" not in str(error.value)
    for text, words in [
        ("", "is empty"),
        ('id,state,"seed', "cannot be read"),
        ("id,state,seed\na,finished\n", "line 2: must have 3 cells, and has 2"),
        ("id,state,dropout1,dropout1,seed\n", "dropout1 is there twice"),
        ("id,state,seed\n", "lists no run"),
        ("a,b\n1,2\n", "no list of runs"),
        ("id,state,seed\na,finished,0\nb,finished,0\n", "two runs of seed 0"),
        ("id,state,seed\na,finished,0\n", "no finished run"),
    ]:
        runs_csv.write_text(text)
        with pytest.raises(InputError, match=words) as error:
            read(folder)
        assert "\n" not in str(error.value)


Change = Callable[[pd.DataFrame], pd.DataFrame]
WHOLE = "its runs do not have all of their epochs, one after the other"


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("", lambda rows: rows.drop(columns="test_acc"), "its epochs have no column test_acc"),
        ("", lambda rows: rows.drop(columns="dropout1"), "its epochs have no column dropout1"),
        ("", lambda rows: rows.assign(test_acc="high"), "of its epochs a cell of test_acc is not a number"),
        ("", lambda rows: rows.iloc[:-1], WHOLE),
        ("", lambda rows: rows.iloc[::-1], WHOLE),
        ("", lambda rows: pd.concat([rows, rows]), WHOLE),
        ("", lambda rows: rows.iloc[:0], WHOLE),
        (".runs", lambda rows: rows.drop(columns="seconds"), "its runs have no column seconds"),
        (".runs", lambda rows: rows.assign(epochs="all"), "of its runs a cell of epochs is not a number"),
        (".runs", lambda rows: rows.iloc[1:], WHOLE),
        (".runs", lambda rows: pd.concat([rows, rows.iloc[:1]]), WHOLE),
    ],
)  # fmt: skip
def test_a_kept_table_that_was_changed_is_refused(
    made: Make, tmp_path: Path, part: str, change: Change, words: str
) -> None:
    folder, kept = made(), tmp_path / "kept"
    tables.save(tables.collect(folder), kept)
    path = kept / f"{folder.name}{part}.csv.gz"
    rows = pd.read_csv(path, dtype=str)
    change(rows).to_csv(path, index=False)
    with pytest.raises(InputError) as error:
        tables.load(kept, folder.name)
    assert words in str(error.value) and "\n" not in str(error.value)
    rows.set_index(rows["id"]).to_csv(path, index_label=False)  # a cell more than the header has
    with pytest.raises(InputError, match="has rows that are longer than its first one"):
        tables.load(kept, folder.name)


def test_brackets_without_end_are_no_record_of_a_sweep(made: Make) -> None:
    folder = made(overrides=["dropout1=0.2,0.5"])
    assert tables.overrides(folder) == ["dropout1=0.2,0.5"]
    for name in ("multirun.yaml", "sweep.json", "tags.json"):
        (folder / name).write_text("[" * 100_000)
    assert tables.overrides(folder) is None
    assert not read(folder).problems


def test_a_thousand_runs_in_a_second_or_two(sweep: Make) -> None:
    folder = sweep({"dropout1": [i / 400 for i in range(200)]}, lambda arm: 0.87)
    start = time.perf_counter()
    assert len(read_sweep(folder)) == 200 * 5 * 4
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("row", "key", "value"),
    [(0, "dropout1", "0.9"), (1, "seed", "77"), (2, "noise", "none"), (3, "epochs", "9")],
)
def test_a_row_that_contradicts_its_run_is_a_problem(
    sweep: Callable[..., Path], row: int, key: str, value: str
) -> None:
    noise = {"name": "dropout"}
    folder = sweep(
        {"dropout1": (0.2, 0.5), "noise": (noise,), "epochs": (4,)}, lambda arm: 0.8, seeds=range(2)
    )
    table = pd.read_csv(folder / "runs.csv", dtype=str).assign(noise="dropout")
    table.to_csv(folder / "runs.csv", index=False)
    assert not read(folder).problems
    was = table.loc[row, key]
    table.loc[row, key] = value
    table.to_csv(folder / "runs.csv", index=False)
    (problem,) = read(folder).problems
    assert (problem.id, problem.kind) == (table.loc[row, "id"], "damaged")
    assert problem.reason == f"{folder / 'runs.csv'} says {key}={value}, and its run.json {key}={was}"


def test_values_are_the_same_however_they_are_written() -> None:
    config = {
        "a": [[0, 1], ["b"]],
        "c": {"d": None, "e": True},
        "noise": {"name": "none"},
        "dropout1": 0.3,
        "n": 256,
    }
    row = {
        "a": "[[0, 1], ['b']]",
        "c.d": "",
        "c.e": "True",
        "noise": "none",
        "dropout1": 0,
        "n": 256.0,
        "lost": 1,
    }
    assert agreement.contradiction([row], row, config) is None
    for key, value in {
        "a": "[[0,1],[c]]",
        "c.d": 0,
        "c.e": "False",
        "noise": "dropout",
        "dropout1": 0.3,
    }.items():
        assert f"says {key}=" in str(agreement.contradiction([row, row | {key: value}], row, config))
