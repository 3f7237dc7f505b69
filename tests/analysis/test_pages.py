"""The committed page keeps its promises to a reader: short answers, few words outside the folds, few numbers."""

from __future__ import annotations

import itertools
import re

import pytest
from configs import REPOSITORY

from analysis import page

RESULTS = REPOSITORY / "analysis" / "results"
NAMED = re.compile(r"\(0(?:\.\d+)?, 0(?:\.\d+)?\)|95%|\blayer \d|\bexercise \d|\blr [\d.]+", re.I)
"""Digits that are names: pairs of rates, layers, exercises."""


@pytest.fixture(scope="module")
def text() -> str:
    return (RESULTS / page.TEXT).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def open_text(text: str) -> str:
    """What is read without opening a fold."""
    found = re.sub(r"<details.*?</details>|```.*?```", "", text, flags=re.S)
    return re.sub(r"!\[.*?\]\(.*?\)|<[^>]*>|\]\([^)]*\)", "", found)


def numbers(sentence: str) -> list[str]:
    return re.findall(r"(?<![\w.])[−+±]?\d[\d,.]*", NAMED.sub("", sentence))


def test_an_answer_is_short_and_has_one_number_at_most(text: str) -> None:
    answers = re.findall(r"^\*\*Answer\.\*\* (.*?) <span", text, re.M)
    assert len(answers) == 7
    for answer in answers:
        assert len(answer.split()) <= 25, answer
        assert len(numbers(answer)) <= 1, answer


def test_outside_the_folds_it_is_ten_minutes_to_read(open_text: str) -> None:
    assert len(re.findall(r"[^\W_][\w’'.,%−+-]*", open_text)) <= 2500


def test_no_paragraph_drowns_in_numbers(open_text: str) -> None:
    for paragraph in re.split(r"\n\n|\n(?=- )", open_text):
        if not paragraph.startswith(("**How sure", "`dropout_layer")):
            assert len(numbers(paragraph)) <= 3, paragraph


def test_every_figure_is_there_and_says_what_is_seen(text: str) -> None:
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert len(shown) >= 14
    assert all(alt and (RESULTS / name).exists() for alt, name in shown)
    assert {name for _, name in shown} == {
        f"figures/{path.name}" for path in (RESULTS / "figures").glob("*.png")
    }


def test_headings_go_down_one_step_at_a_time(text: str) -> None:
    plain = re.sub(r"```.*?```", "", text, flags=re.S)
    levels = [len(mark) for mark in re.findall(r"^(#+) ", plain, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_page_is_that_of_the_text(text: str) -> None:
    made = page.html(text, text.partition("\n")[0].removeprefix("# "), RESULTS)
    assert (RESULTS / page.PAGE).read_text(encoding="utf-8") == made
