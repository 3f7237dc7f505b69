"""The report of a sweep that ended once it was decided: its own intervals, n and verdicts."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tables import made

from analysis import chapter, comparison, page, tables, watch
from analysis.contrasts import Arms
from analysis.exercises import swap_rates
from analysis.live import Live
from analysis.looks import Look
from analysis.measures import TEST_ACC
from analysis.runs import InputError
from src.runs import store, tags
from src.sweeping.decisions import COLUMNS

Make = Callable[..., Path]
ROW = {"a": 1, "b": 0, "metric": "test_acc", "level": 0.01}


def better(arm: Mapping) -> float:
    return 0.86 if arm["dropout1"] == 0.2 else 0.87


@pytest.fixture
def looked(sweep: Make) -> Path:
    folder = sweep({"dropout1": [0.2, 0.5, 0.7]}, better, seeds=range(8))
    primary = "hydra:\n  sweeper:\n    primary: {metric: test_acc, reference: 0, margin: 0.2}\n"
    store.write_whole(folder / "multirun.yaml", primary)
    write(
        folder,
        ROW | {"seeds": 4, "n": 4, "lower": -0.01, "upper": 0.03, "verdict": "open"},
        ROW | {"seeds": 6, "n": 6, "lower": 0.005, "upper": 0.015, "verdict": "better"},
        ROW
        | {"a": 2, "seeds": 8, "n": 8, "lower": 0.004, "upper": 0.016, "verdict": "undecided, 2 of 8 broke"},
    )
    return folder


def write(folder: Path, *rows: Mapping[str, object]) -> None:
    store.write_whole(folder / "looks.csv", store.csv_text(COLUMNS, rows))


def test_the_report_has_the_sweeps_intervals_and_verdicts(looked: Path) -> None:
    first, second = comparison.compare(looked).judged
    assert first.paired.interval is not None
    assert (first.paired.n, first.paired.interval.lower, first.paired.interval.upper) == (6, 0.005, 0.015)
    assert first.verdict is not None
    assert (first.verdict.word, first.verdict.size) == ("better", "more")
    # by the seeds that were looked at alone, and below 0.05 where the t-test is below the level
    assert first.p == pytest.approx(5 * stats.ttest_1samp(first.differences, 0).pvalue)
    assert second.verdict is not None
    assert (second.verdict.word, second.verdict.diverged) == ("undecided", True)
    assert second.paired.n == 8


STOPPED = "A sweep added seeds only while contrasts of its own were undecided"


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        ({"metric": "test_loss"}, []),
        ({"baseline": "dropout1=0.5"}, ["dropout1!=0.2"]),
        ({}, ["seed!=0"]),
        ({}, ["seed!=7", "dropout1!=0.5"]),
    ],
)
def test_what_was_not_looked_at_has_plain_intervals_and_says_so(
    looked: Path, asked: dict[str, str], conditions: list[str]
) -> None:
    compared = comparison.compare(looked, **asked, conditions=conditions)
    assert compared.judged and not any(result.contrast.look for result in compared.judged)
    assert compared.stopped and STOPPED in comparison.conclusion(compared)


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        ({}, []),
        ({"baseline": "dropout1=0.2"}, []),
        ({"baseline": "dropout1=0.5"}, ["dropout1!=0.7"]),
        ({}, ["epochs=4"]),
        ({}, ["dropout1!=0.7", "seed!=7"]),
    ],
)
def test_the_same_pair_has_the_same_interval_however_it_is_asked_for(
    looked: Path, asked: dict[str, str], conditions: list[str]
) -> None:
    compared = comparison.compare(looked, **asked, conditions=conditions)
    arms = {"dropout1=0.2", "dropout1=0.5"}
    (result,) = (r for r in compared.judged if {r.contrast.a, r.contrast.b} == arms)
    assert result.paired.n == 6 and result.paired.interval is not None and result.verdict is not None
    turned = result.contrast.a == "dropout1=0.2"
    ends = (result.paired.interval.lower, result.paired.interval.upper)
    assert (*ends, result.verdict.word) == ((-0.015, -0.005, "worse") if turned else (0.005, 0.015, "better"))
    assert not [
        r for r in compared.described if {r.contrast.a, r.contrast.b} == arms and r.measure == TEST_ACC
    ]
    # without the third arm no pair is another one than those looked at
    assert compared.stopped == (STOPPED in comparison.conclusion(compared))
    assert compared.stopped == any(r.contrast.look is None for r in compared.judged)


def test_several_sweeps_say_that_one_of_them_stopped(looked: Path, sweep: Make) -> None:
    other = sweep({"dropout1": [0.9]}, better, seeds=range(8), name="other")
    compared = comparison.compare([looked, other])
    assert compared.stopped and STOPPED in comparison.conclusion(compared)
    assert not comparison.compare(other).stopped
    tags.add(looked, ["pilot"], None)
    alone = comparison.compare([other, looked], conditions=["tags has pilot"])
    assert not alone.stopped or any(r.contrast.look for r in alone.judged)
    assert [r.paired.n for r in alone.judged if r.contrast.look] == [6, 8]


def test_a_kept_table_has_them_too(looked: Path, tmp_path: Path) -> None:
    kept = tables.collect(looked)
    tables.save(kept, tmp_path / "kept")
    again = tables.load(tmp_path / "kept", kept.name)
    assert again.looks == kept.looks
    arms = Arms(again, {"a": {"dropout1": 0.5}, "b": {"dropout1": 0.2}})
    look = arms.contrast("a", "b", TEST_ACC).look
    assert look is not None
    assert (look.seeds, look.ends, look.verdict) == ([0, 1, 2, 3, 4, 5], [0.005, 0.015], "better")
    turned = arms.contrast("b", "a", TEST_ACC).look
    assert turned is not None and turned == look.turned and turned.turned == look
    assert (turned.ends, turned.verdict) == ([-0.015, -0.005], "worse")


@pytest.mark.parametrize(
    "text", ["", "look,seeds\n1,2\n", ",".join(COLUMNS) + "\n1,4,9,0,,,test_acc,4,,,0.1,,,,,,\n"]
)
def test_a_damaged_file_is_said_in_a_line(looked: Path, text: str) -> None:
    store.write_whole(looked / "looks.csv", text)
    with pytest.raises(InputError, match=r"looks.csv cannot be read"):
        comparison.compare(looked)


@pytest.mark.slow
def test_the_exercises_say_so_in_both_languages() -> None:
    arms = [{"dropout1": a, "dropout2": b} for a, b in ((0.2, 0.5), (0.5, 0.2))]
    table = made("swap_rates", arms, range(20), by_chance)
    slower = made("swap_until", arms, range(20), lambda *at: {**by_chance(*at), "lr": 0.1})
    plain = said(table, slower)
    looks = [
        Look(a, b, "test_acc", tuple(range(12)), (-0.01, 0.03), 0.0144, "undecided") for a, b in pairs(arms)
    ]
    assert swap_rates.analyse({"swap_rates": table, "swap_until": slower}).pooled is not None
    table = replace(table, looks=tuple(looks))
    english, chinese = repeated = said(table, slower)
    assert numbers(english) == numbers(chinese)
    for text, without, sentence, n in zip(
        repeated,
        plain,
        ("; all at the level of the look that decided", "；都取作出决定的那次查看的显著性水平"),
        ("12 common seeds", "共同的种子 12 个"),
        strict=True,
    ):
        assert sentence in text and n in text and sentence not in without
        assert "−1.00" in text and "+3.00" in text
    # another interval than the repeated one is not shown beside it
    assert swap_rates.analyse({"swap_rates": table, "swap_until": slower}).pooled is None


def by_chance(arm: Mapping[str, float], seed: int, epoch: int) -> Mapping[str, float]:
    rng = np.random.default_rng([seed, epoch, *(int(100 * value) for value in arm.values())])
    return {"test_acc": 0.8 + rng.normal(0, 0.003), "lr": 0.5}


def pairs(arms: Sequence[Mapping[str, float]]) -> Iterator[tuple[Mapping[str, float], ...]]:
    """Each with every other, in this order."""
    return itertools.permutations(arms, 2)


def said(*of: tables.Table) -> list[str]:
    """An exercise's text in each language."""
    given = {table.sweep: table for table in of}
    section = chapter.Section("swap_rates", swap_rates, given, swap_rates.analyse(given))
    whole = chapter.Chapter(Path(), chapter.Source(given), [section])
    return [str(chapter.content(whole, language)["sections"][0]["text"]) for language in ("en", "zh")]


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"[−+±]?\d[\d,.]*(?<![,.])", text))


def test_the_watched_pages_verdicts_are_chinese(looked: Path) -> None:
    said, given = Live(looked).read(), page.phrases("zh").say
    (text,) = re.findall(r'type="application/json">(.*?)</script>', watch.html(said, 5, "zh"), re.S)
    assert [look["verdict"] for look in json.loads(text)["looks"]] == [
        "更好",
        "未定，8 次运行中有 2 次出了问题",
    ]
    assert not re.search("[a-z]", given("open"))
