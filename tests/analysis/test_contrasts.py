"""Families of contrasts, runs that broke down, sensitivity, and texts that hold any name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from markdown_it import MarkdownIt
from scipy import stats
from tables import made

from analysis import phrases
from analysis.arm_stats import ArmStats
from analysis.contrasts import (
    Arms,
    Contrast,
    broken,
    described,
    family,
    matches,
    rows_of,
)
from analysis.exercises import Facts, Rule, decided
from analysis.looks import Look
from analysis.measures import TEST_ACC, TEST_LOSS, VAL_ACC
from analysis.sensitivity import sensitivity
from src.stats import paired


def contrast(shift: float, seed: int = 0, n: int = 8, a: str = "a") -> Contrast:
    rng = np.random.default_rng(seed)
    base = dict(enumerate(rng.normal(0.87, 0.01, n)))
    moved = {k: v + shift + rng.normal(0, 0.002) for k, v in base.items()}
    return Contrast(a, "b", (), TEST_ACC, (moved, base))


def test_a_family_has_simultaneous_intervals_and_p_of_one_method() -> None:
    contrasts = [contrast(shift, seed) for seed, shift in enumerate((0.0, 0.002, 0.004, 0.01))]
    judged, alone = family(contrasts, 0.2), described(contrasts)
    for one, other in zip(judged, alone, strict=True):
        assert one.family == 4 and other.family == 1
        assert one.paired == paired(*one.samples, alpha=0.05 / 4)
        assert one.p == pytest.approx(min(1, 4 * other.p))  # type: ignore[operator]
        assert one.paired.interval is not None
        assert one.paired.interval.excludes(0) == (one.p < 0.05)  # type: ignore[operator]
        assert one.verdict is not None and other.verdict is None
    assert judged[-1].verdict is not None and judged[-1].verdict.word == "better"


def test_what_has_no_common_seed_is_no_member() -> None:
    lonely = Contrast("a", "b", (), TEST_ACC, ({1: 0.5}, {2: 0.5}))
    one_seed = Contrast("a", "b", (), TEST_ACC, ({1: 0.5}, {1: 0.4}))
    results = family([lonely, one_seed, contrast(0.01)], 0.2)
    assert [(r.paired.n, r.family) for r in results] == [(1, 1), (8, 1)]
    assert results[0].verdict is not None and results[0].verdict.word == "not tested"


def test_an_arm_gets_no_credit_for_its_diverged_runs() -> None:
    contrasts = [contrast(0.01), contrast(-0.01, a="c")]
    words = [r.verdict.word for r in family(contrasts, 0.2, {"a": 2, "c": 2, "b": 0}) if r.verdict]
    assert words == ["undecided", "worse"]
    words = [r.verdict.word for r in family(contrasts, 0.2, {"a": 1, "b": 1, "c": 1}) if r.verdict]
    assert words == ["better", "worse"]


def history(*accuracies: float, test: float = 0.8, run: str = "r") -> pd.DataFrame:
    return pd.DataFrame({"id": run, "train_acc": accuracies, "test_acc": test})


@pytest.mark.parametrize(
    ("epochs", "is_broken"),
    [
        (history(0.5, 0.7, 0.8, 0.85), False),
        (history(0.5, 0.9, 0.851, 0.9), False),
        (history(0.5, 0.9, 0.84, 0.9), True),
        (history(0.9, 0.89, 0.88, 0.87, 0.86, 0.849), True),
        (history(0.1, 0.11, test=0.15), True),
        (history(0.1, 0.11, test=0.151), False),
    ],
)
def test_which_runs_broke_down(epochs: pd.DataFrame, is_broken: bool) -> None:
    both = pd.concat([history(0.95, 0.96, run="before"), epochs, history(0.2, 0.3, run="after")])
    assert broken(both, 10) == (frozenset({"r"}) if is_broken else frozenset())


def test_without_classes_nothing_ends_at_chance() -> None:
    assert not broken(history(0.1, 0.11, test=0.1), None)


@given(some.integers(0, 12), some.integers(0, 12), some.integers(0, 12), some.integers(0, 12))
def test_the_share_of_runs_that_go_wrong_is_that_of_the_runs_that_ended(
    diverged: int, broken: int, lost: int, sound: int
) -> None:
    planned = diverged + broken + lost + sound
    share = ArmStats("a", planned, diverged, broken, lost, {}).bad_share
    bad, ended = diverged + broken, planned - lost
    # Clopper and Pearson's own definition: the ends are those at which so few, or so many, have 2.5 %
    if bad:
        assert stats.binom.sf(bad - 1, ended, share.lower) == pytest.approx(0.025)
    if bad < ended:
        assert stats.binom.cdf(bad, ended, share.upper) == pytest.approx(0.025)
    assert (share.lower == 0) == (bad == 0) and (share.upper == 1) == (bad == ended)


def test_sensitivity_of_a_look_has_its_seeds_and_its_level() -> None:
    arms = [{"dropout1": 0.2}, {"dropout1": 0.5}]
    gains = [0.001, 0.002, 0.003, 0.001, 0.002, 0.003, 0.5]

    def accuracy(arm: dict, seed: int, epoch: int) -> dict[str, float]:
        return {"test_acc": 0.4 + (gains[seed] if arm["dropout1"] == 0.2 else 0.0), "train_acc": 0.9}

    table = made("a", arms, range(7), accuracy, epochs=3)
    for level, word in ((0.05, "better"), (0.0001, "undecided")):
        # of the six seeds that were looked at the t-test has p = 0.003; the seventh would hide the difference
        look = Look(*arms, "test_acc", tuple(range(6)), (0.0011, 0.0029), level, "better")
        named = Arms(dataclasses.replace(table, looks=(look,)), {"low": arms[0], "high": arms[1]})
        found = sensitivity(family([named.contrast("low", "high", TEST_ACC)], 0.05), named)
        assert found is not None and found.word == "better"
        assert found.holds == (found.analyses if word == "better" else 0)


def test_sensitivity_says_where_the_verdict_changes() -> None:
    arms = [{"dropout1": 0.2}, {"dropout1": 0.5}]

    def accuracy(arm: dict, seed: int, epoch: int) -> dict[str, float]:
        noise = np.random.default_rng([seed, int(10 * arm["dropout1"])]).normal(0, 0.001)
        falls = arm["dropout1"] == 0.5 and seed == 0 and epoch == 3
        ahead = 0.01 if arm["dropout1"] == 0.2 and epoch == 5 else 0.0
        return {"test_acc": 0.87 + ahead + noise, "train_acc": 0.5 if falls else 0.9}

    table = made("a", arms, range(7), accuracy, epochs=5)
    named = Arms(table, {"low": arms[0], "high": arms[1]})
    (result,) = family([named.contrast("low", "high", TEST_ACC)], 0.2)
    found = sensitivity([result], named)
    assert found is not None
    # at the mean of three epochs it is a third as large: still better; a broken seed may go
    assert (found.word, found.holds, found.analyses) == ("better", 15, 15)
    assert named.stats([TEST_ACC])[1].broken == 1 and found.splits is None
    assert found.averaged and found.sound
    alike = Contrast(
        "low", "high", ("validation",), VAL_ACC, ({0: 0.86, 1: 0.87}, {0: 0.87, 1: 0.86, 2: 0.9})
    )
    found = sensitivity([result], named, alike)
    assert found is not None and found.splits is not None
    assert (found.holds, found.analyses, found.other) == (15, 16, ("validation splits, t",))
    assert (found.splits.paired.n, found.splits.paired.difference) == (2, 0)
    (loss,) = family([named.contrast("low", "high", TEST_LOSS)], 0.01)
    assert loss.verdict is not None and loss.verdict.word == "equivalent"


@pytest.mark.parametrize("broken", [None, 3, 9])
def test_analyses_without_broken_runs_are_others_only_where_a_run_broke_down(broken: int | None) -> None:
    """Else each analysis would count twice; a run that is in no look changes none."""
    arms = [{"dropout1": 0.2}, {"dropout1": 0.5}]

    def accuracy(arm: dict, seed: int, epoch: int) -> dict[str, float]:
        falls = seed == broken and arm["dropout1"] == 0.5 and epoch == 3
        noise = np.random.default_rng([seed, int(10 * arm["dropout1"])]).normal(0, 0.001)
        return {
            "test_acc": 0.87 + 0.01 * (arm["dropout1"] == 0.2) + noise,
            "train_acc": 0.5 if falls else 0.9,
        }

    look = Look(*arms, "test_acc", tuple(range(8)), (0.008, 0.012), 0.02, "better")
    table = dataclasses.replace(made("a", arms, range(10), accuracy, epochs=4), looks=(look,))
    named = Arms(table, {"low": arms[0], "high": arms[1]})
    result = family([named.contrast("low", "high", TEST_ACC)], 0.05)
    found, alone = sensitivity(result, named), sensitivity(result)
    assert found is not None and alone is not None
    assert (found.sound, found.averaged) == (broken == 3, True) and not (alone.sound or alone.averaged)
    # both tests, at the last epoch and at the mean of three, with and without broken runs; without each of 8 seeds
    assert found.analyses == 2 * 2 * (1 + found.sound) + 8
    assert alone.analyses == 2 + 8


def test_the_first_rule_that_holds() -> None:
    rules = (
        Rule("none", "there is nothing", lambda e: not e.described),
        Rule("few", "there are fewer than two", lambda e: len(e.described) < 2),
        Rule("many", "otherwise", lambda e: True),
    )
    results = described([contrast(0.01), contrast(0.02)])
    verdicts = [decided(rules, Facts(described=results[:n])).verdict for n in range(3)]
    assert verdicts == ["none", "few", "many"]


@settings(max_examples=200, deadline=None)
@given(
    some.text(some.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1)
)
def test_any_name_is_shown_as_it_is(name: str) -> None:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = markdown.parse(f"x {phrases.plain(name)} y\n\n| a |\n| --- |\n| x {phrases.plain(name)} y |\n")
    inline = [token for token in tokens if token.type == "inline"]
    for token in (inline[0], inline[-1]):
        children = token.children or []
        assert {child.type for child in children} <= {"text", "text_special"}
        assert "".join(child.content for child in children) == f"x {name} y"


@pytest.mark.parametrize(
    ("values", "arm", "same"),
    [
        ({"noise.input_rate": "0.1"}, {"noise.input_rate": 0.1}, True),
        ({"noise.input_rate": ""}, {"noise.input_rate": None}, True),
        ({"noise.input_rate": ""}, {"noise.input_rate": 0.1}, False),
        ({"noise.input_rate": "0.1"}, {"noise.input_rate": 0.15}, False),
        ({"tag": "007"}, {"tag": 7}, False),
        ({"noise": "none"}, {"noise": "none", "noise.input_rate": 0.1}, True),
    ],
    ids=str,
)
def test_a_number_that_some_arms_lack_is_text_in_a_table(
    values: dict[str, Any], arm: dict[str, Any], same: bool
) -> None:
    assert matches(values, arm) == same


@pytest.mark.parametrize("cells", [["2", "", "2"], [2.0, float("nan"), 2.0], [2.0, None, 2.0]])
def test_an_arm_without_a_value_has_the_rows_with_an_empty_cell(cells: list[object]) -> None:
    frame = pd.DataFrame({"optimizer.max_norm": cells, "seed": [0, 1, 2]})
    assert list(rows_of(frame, {"optimizer.max_norm": None})["seed"]) == [1]
    assert list(rows_of(frame, {"optimizer.max_norm": 2})["seed"]) == [0, 2]
