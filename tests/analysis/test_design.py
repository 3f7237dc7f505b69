"""What a sweep's file promises: its arms, its primary contrast, and what a table lacks of it."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from configs import REPOSITORY
from tables import made

from analysis import design, exercises, measures
from analysis.looks import Look
from analysis.runs import InputError, Problem

SWEEPS = sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_file_is_read(sweep: str) -> None:
    found = design.read(sweep)
    assert found.question
    assert bool(found.runs) == (not sweep.endswith("_test"))


def test_every_exercise_declares_what_it_judges() -> None:
    for name in exercises.names():
        assert exercises.promised(exercises.load(name).SWEEPS[-1])[1].margin > 0


@pytest.fixture
def posed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a sweep file of the test's own."""
    monkeypatch.setattr(design, "SWEEP_FILES", tmp_path)

    def read(name: str, body: str) -> design.Design:
        text = "# What?\n#\n# Design: so.\n#\n# python -m src.train\nhydra:\n  sweeper:\n"
        text += "".join(f"    {line}\n" for line in body.split("\n"))
        (tmp_path / f"{name}.yaml").write_text(text, encoding="latin-1")
        return design.read(name)

    return read


BODY = (
    "arms: [dropout1=0.1 noise=none, 'dropout1=0.2,0.3 noise=dropout']\nparams: {seed: range(2), epochs: 3}"
)


def test_a_file_that_is_edited_is_read_anew(posed: Any) -> None:
    first = posed("edited", BODY)
    os.utime(design.SWEEP_FILES / "edited.yaml", (1, 1))  # two edits within the clock's step
    assert len(posed("edited", BODY.replace("range(2)", "range(4)")).runs) == 2 * len(first.runs)


def test_a_pattern_stands_for_the_choices_that_it_matches(posed: Any) -> None:
    found = posed(
        "all",
        "arms: ['noise=glob(dropout*,exclude=*_*)', 'noise=glob([none,add*])']\nparams: {model: glob(c*)}",
    )
    assert [arm["noise"] for arm in found.arms] == ["dropout", "additive", "none"]
    assert found.fixed == {"model": "concise"}
    with pytest.raises(InputError, match=r"^noise=glob\(no\): holds no value"):
        posed("nothing", "arms: ['noise=glob(no)']")


def test_arms_are_numbered_seeds_aside(posed: Any) -> None:
    found = posed("a", BODY + "\nprimary: {metric: test_loss, contrast: [2, 0], margin: 0.01}")
    assert found.arms == [
        {"dropout1": 0.1, "noise": "none"},
        {"dropout1": 0.2, "noise": "dropout"},
        {"dropout1": 0.3, "noise": "dropout"},
    ]
    assert (len(found.runs), found.epochs, found.question, found.text) == (6, 3, "What?", "so.")
    assert found.primary == design.Primary(measures.TEST_LOSS, (2, 0), 0.01)
    later = posed("b", "arms: [noise=none, noise=dropout noise.input_rate=0.1]\nparams: {dropout1: 0.1}")
    assert later.arms == [{"noise": "none"}, {"noise": "dropout", "noise.input_rate": 0.1}]
    assert later.fixed == {"dropout1": 0.1}
    names = ["a", "b", "c"]
    assert found.primary.arms(names) == [("c", "a")]
    assert dataclasses.replace(found.primary, contrast=(1,)).arms(names) == [("a", "b"), ("c", "b")]
    assert found.primary.arms(names[:2]) == []


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("{metric: accuracy}", "metric=accuracy"),
        ("{contrast: [3, 0]}", "from 0 to 2"),
        ("{contrast: [1, 2, 0]}", "one, two or four"),
        ("{contrast: one}", "are right"),
        ("{margin: 0}", "margin=0"),
        ("{margin: much}", "are right"),
        ("{margins: 1}", "are right"),
    ],
)
def test_a_wrong_block_is_refused_in_one_line(posed: Any, block: str, words: str) -> None:
    with pytest.raises(InputError, match=r"hydra\.sweeper\.primary") as error:
        posed("wrong", f"{BODY}\nprimary: {block}")
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("arms: [", "wrong.yaml cannot be read: line "),
        ("\targ: 1", "wrong.yaml cannot be read: line "),
        ("arms: [noise=\xe9]", "wrong.yaml cannot be read: 'utf-8' codec can't decode byte 0xe9"),
        ("- noise=none", "sweeps/wrong.yaml: hydra.sweeper: "),
        ("arms: 5", "/wrong.yaml: hydra.sweeper.arms must be a list of texts"),
        ("arms: [[noise=none]]", "sweeps/wrong.yaml: hydra.sweeper: "),
        ("arms: [noise=none]\nparams: [seed]", "/wrong.yaml: hydra.sweeper.params must be keys"),
        ("arms: [noise=none]\nparams: {seed: [1, 2]}", "sweeps/wrong.yaml: hydra.sweeper: "),
        ("arms: [noise=none]\nparams: {seed: first}", "sweeps/wrong.yaml: seed=first: must be a whole number"),
        ("arms: [noise=none]\nprimary: 5", "sweeps/wrong.yaml: hydra.sweeper.primary: "),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(posed: Any, body: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        posed("wrong", body)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_a_table_lacks(posed: Any) -> None:
    found = posed("made", BODY)
    arms = found.arms
    table = made("made", arms, [0, 1], lambda *_: {}, epochs=3)
    assert not found.missing(table)
    short = made("made", arms, [0, 1], lambda *_: {}, epochs=2)
    assert found.missing(short).epochs == (3, 2)
    lost = dataclasses.replace(table, epochs=table.epochs[table.epochs["id"] != table.epochs["id"].iloc[0]])
    assert found.missing(lost).lost == ((arms[0], 0),)
    failed = dataclasses.replace(lost, problems=(Problem("0", "failed", arms[0], 0, "why"),))
    assert not found.missing(failed)


def test_nothing_is_missing_once_every_pair_is_decided(posed: Any) -> None:
    body = "arms: [dropout1=0, dropout1=0.5]\nparams: {seed: 'range(10)'}"
    arms = [{"dropout1": 0.0}, {"dropout1": 0.5}]
    table = made("mine", arms, range(5), lambda *at: {"test_acc": 0.8})
    look = Look(arms[0], arms[1], "test_acc", tuple(range(5)), (-0.1, 0.1), 0.01, "equivalent")
    promised = posed("mine", body)
    assert len(promised.missing(table).lost) == 10
    assert len(promised.missing(replace(table, looks=(replace(look, verdict="open"),))).lost) == 10
    assert not promised.missing(replace(table, looks=(look,)))
