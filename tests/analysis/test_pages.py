"""The committed page keeps its promises to a reader: short answers, few words outside the folds, few numbers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from browser import GLUED, evaluate
from configs import REPOSITORY

from analysis import design, exercises, page
from analysis.report import LANGUAGES

CHINESE = r"[\u4e00-\u9fff]"
ENGLISH = re.compile(r"\b[a-z]+(?: [a-z]+){3}\b")
"""Four words in a row, as in a sentence; names of machines and papers have capitals or signs between them."""
RESULTS = REPOSITORY / "analysis" / "results"
NAMED = re.compile(
    r"\(0(?:\.\d+)?, 0(?:\.\d+)?\)|95%|\blayer \d|\bexercise \d|\blr [\d.]+|第 \d 层|练习 \d|学习率 [\d.]+",
    re.I,
)
"""Digits that are names: pairs of rates, layers, exercises."""


def read(language: str) -> str:
    return (RESULTS / page.name(page.TEXT, language)).read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def text(language: str) -> str:
    return read(language)


@pytest.fixture(scope="module")
def open_text(text: str) -> str:
    """What is read without opening a fold."""
    found = re.sub(r"<details.*?</details>|```.*?```", "", text, flags=re.S)
    return re.sub(r"!\[.*?\]\(.*?\)|<[^>]*>|\]\([^)]*\)", "", found)


def all_numbers(part: str) -> list[str]:
    """Every number of a text, sorted."""
    return sorted(re.findall(r"[−+±]?\d[\d,.]*(?<![,.])", part))


def numbers(sentence: str) -> list[str]:
    return re.findall(r"(?<![A-Za-z_.\d])[−+±]?\d[\d,.]*", NAMED.sub("", sentence))


def words(open_text: str) -> int:
    """Words; of Chinese, two characters are about one."""
    return (
        len(re.findall(r"[\w’'.,%−+-]*[a-zA-Z\d][\w’'.,%−+-]*", re.sub(CHINESE, " ", open_text)))
        + len(re.findall(CHINESE, open_text)) // 2
    )


@pytest.mark.parametrize("folder", [RESULTS, RESULTS / "noises"], ids=["exercises", "noises"])
def test_a_table_begins_behind_an_empty_line(folder: Path, language: str) -> None:
    """Else it is none, but a paragraph with strokes in it."""
    lines = (folder / page.name(page.TEXT, language)).read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        assert not line.startswith("|") or not before or before.startswith("|"), line


def test_both_languages_say_the_same_numbers() -> None:
    sections = [re.split(r"^## ", read(language), flags=re.M) for language in LANGUAGES]
    for english, chinese in zip(*sections, strict=True):
        assert all_numbers(english) == all_numbers(chinese), english.partition("\n")[0]


SHOWN = {sweep for name in exercises.names() for sweep in exercises.sweeps_of(exercises.load(name))}
"""The sweeps whose designs the report shows."""
TRANSLATED = {path.stem for path in (page.TEMPLATES / "zh" / "designs").iterdir()}


@pytest.mark.parametrize("sweep", sorted(SHOWN | TRANSLATED))
def test_every_design_is_there_in_chinese_with_the_same_numbers(sweep: str) -> None:
    """Who edits a number of a sweep's comment edits `templates/zh/designs/SWEEP.md`, too."""
    english = design.read(sweep)
    chinese = page.translated(english, "zh")
    assert chinese.language == "zh", f"analysis/templates/zh/designs/{sweep}.md is missing"
    for original, translation in ((english.question, chinese.question), (english.text, chinese.text)):
        assert all_numbers(original) == all_numbers(translation)
        assert re.search(CHINESE, translation) and not ENGLISH.search(translation)


@pytest.mark.parametrize("folder", [RESULTS, RESULTS / "noises"])
def test_no_fold_of_a_chinese_page_has_an_english_sentence(folder: Path) -> None:
    text = (folder / page.name(page.TEXT, "zh")).read_text(encoding="utf-8")
    assert ENGLISH.findall(re.sub(r"```.*?```", "", text, flags=re.S)) == []


def test_the_chinese_page_is_chinese() -> None:
    """Its open text has no English word but names."""
    shown = re.sub(r"<details.*?</details>|```.*?```|`[^`]*`", "", read("zh"), flags=re.S)
    shown = re.sub(r"\]\([^)]*\)|<[^>]*>", "", shown)
    names = {
        "DropConnect",
        "Fashion",
        "MNIST",
        "ReLU",
        "softmax",
        "Bonferroni",
        "Hessian",
        "jumpout",
        "blend",
        "shakeout",
    }
    assert set(re.findall(r"[A-Za-z]{4,}", shown)) <= names
    assert all(
        term in shown for term in ("暂退法", "轮", "权重衰减", "测试精度", "交叉熵", "激活值", "隐藏层")
    )


def test_an_answer_is_short_and_has_one_number_at_most(text: str) -> None:
    answers = re.findall(r"^\*\*(?:Answer\.|答案。)\*\* (.*?) <span", text, re.M)
    assert len(answers) == 7
    for answer in answers:
        assert words(answer) <= 30, answer
        assert len(answer.split()) <= 25, answer
        assert len(numbers(answer)) <= 1, answer


def test_outside_the_folds_it_is_ten_minutes_to_read(open_text: str) -> None:
    assert words(open_text) <= 2500


def test_of_what_else_was_seen_there_are_five_bullets_at_most(open_text: str) -> None:
    lists = re.findall(r"^\*\*(?:What else was seen\.|还看到了什么。)\*\*\n\n((?:- .*\n+)+)", open_text, re.M)
    assert len(lists) == 7
    assert all(1 <= bullets.count("\n- ") + 1 <= 5 for bullets in lists)


def test_no_paragraph_drowns_in_numbers(open_text: str) -> None:
    for paragraph in re.split(r"\n\n|\n(?=- )", open_text):
        if not paragraph.startswith(("**How sure", "**有多确定", "`dropout_layer")):
            assert len(numbers(paragraph)) <= 3, paragraph


def test_every_figure_is_there_and_says_what_is_seen(language: str, text: str) -> None:
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert len(shown) >= 14
    assert all(alt and (RESULTS / name).exists() for alt, name in shown)
    ending = ".png" if language == "en" else f".{language}.svg"
    assert {name for _, name in shown} == {
        f"figures/{path.name}" for path in (RESULTS / "figures").glob(f"*{ending}")
    }


def test_the_chinese_pages_figures_are_chinese() -> None:
    paths = sorted((RESULTS / "figures").glob("*.zh.svg"))
    said = " ".join(text for path in paths for text in re.findall(r">([^<>]+)</text>", path.read_text()))
    assert len(paths) > 14
    assert set(re.findall(r"[A-Za-z]{2,}", said)) <= {"DropConnect", "jumpout", "blend", "shakeout"}


@pytest.mark.parametrize("folder", [RESULTS, RESULTS / "noises"])
def test_no_markup_is_left_in_the_page(folder: Path, language: str) -> None:
    """A link, a bold or a code that was escaped on its way through the template."""
    shown = (folder / page.name(page.PAGE, language)).read_text(encoding="utf-8")
    plain = re.sub(r"<(script|style|svg|pre)\b.*?</\1>|<[^>]*>", "", shown, flags=re.S)
    assert re.findall(r".*(?:\]\(|\*\*|`|\{[{%]).*", plain) == []


def test_a_fold_has_empty_lines_around_its_markdown(text: str) -> None:
    assert text.count("<details") == text.count("</details>") > 20
    assert re.findall(GLUED, text) == []


def test_headings_go_down_one_step_at_a_time(text: str) -> None:
    plain = re.sub(r"```.*?```", "", text, flags=re.S)
    levels = [len(mark) for mark in re.findall(r"^(#+) ", plain, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_page_is_that_of_the_text(language: str, text: str) -> None:
    made = page.html(text, text.partition("\n")[0].removeprefix("# "), RESULTS, language)
    assert (RESULTS / page.name(page.PAGE, language)).read_text(encoding="utf-8") == made


@pytest.mark.slow
def test_a_click_sorts_a_table_and_a_dot_says_its_seed() -> None:
    """The committed page's own script, on its own tables and figures."""
    column, seed, marked, alike = evaluate(
        (RESULTS / page.PAGE).read_text(encoding="utf-8"),
        """
        const table = [...document.querySelectorAll("table")].find(t => t.rows.length > 20);
        const place = [...table.rows[0].cells].findIndex(cell => cell.textContent === "difference");
        table.rows[0].cells[place].click();
        table.rows[0].cells[place].click();
        const dot = document.querySelector("svg [id*='-seed-3-']");
        dot.dispatchEvent(new Event("pointerenter"));
        return [[...table.tBodies[0].rows].map(row => row.cells[place].textContent),
          dot.querySelector("title").textContent, dot.ownerSVGElement.querySelectorAll(".same").length,
          dot.ownerSVGElement.querySelectorAll("[id*='-seed-3-']").length];
        """,
    )
    values = [float(text.split()[0].replace("−", "-")) for text in column]
    assert len(values) > 20 and values == sorted(values, reverse=True)
    assert seed == "seed 3" and marked == alike > 0


@pytest.mark.slow
@pytest.mark.parametrize("folder", [RESULTS, RESULTS / "noises"])
def test_no_column_of_a_chinese_page_is_one_character_wide(folder: Path) -> None:
    """Chinese may break between any two characters: a table too wide for a phone would shrink its columns."""
    narrow = evaluate(
        (folder / page.name(page.PAGE, "zh")).read_text(encoding="utf-8"),
        """
        document.body.style.width = "370px";
        document.querySelectorAll("details").forEach(fold => fold.open = true);
        return [...document.querySelectorAll("th, td")]
          .filter(cell => cell.textContent.length > 3 && cell.clientWidth < 40).map(cell => cell.textContent);
        """,
    )
    assert narrow == []
