"""The chapter's report: what it takes, says and keeps, its exit codes, and its page in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browser import GLUED, show
from matplotlib.figure import Figure

from analysis import chapter, design, exercises, measures, page, tables
from analysis.contrasts import Arms, family
from analysis.exercises import Facts, Rule
from analysis.report import main
from analysis.runs import arm_name
from analysis.tables import Tables

Make = Callable[..., Path]
RATES = {"dropout1": [0.2, 0.5]}
SVG = "data:image/svg+xml;base64,"
RULES = (Rule("never", "the moon is <green>", lambda e: False), Rule("always", "otherwise", lambda e: True))
TEMPLATE = """{% extends "exercise.md" %}
{% block title %}Made up {{ number }}{% endblock %}
{% block answer %}The mean is {{ "%.6f" | format(f.seen.mean) }}, says {{ f.seen.by }}.{% endblock %}
{% block guess %}Guess.{% endblock %}
{% block why %}Because.{% endblock %}
{% block alt %}A line by epoch{% endblock %}
{% block caption %}A caption{% endblock %}
{% block seen %}- A bullet.{% endblock %}
{% block tables %}All that was found{% endblock %}
"""


@dataclass(frozen=True, kw_only=True)
class MadeUp(Facts):
    seen: Mapping[str, Any]


def analyse(given: Tables) -> Facts:
    """The mean, and a contrast of both arms."""
    table = next(iter(given.values()))
    arms = Arms(table, {arm_name({"dropout1": rate}): {"dropout1": rate} for rate in RATES["dropout1"]})
    judged = family([arms.contrast(*arms.named, measures.TEST_ACC)], 0.2)
    seen = {"mean": table.final["test_acc"].mean(), "by": "a <b> | 'c'"}
    return MadeUp(primary=judged, verdict="always", arms=arms.stats([measures.TEST_ACC]), seen=seen)


def draw(facts: Facts) -> dict[str, Figure]:
    found = Figure(figsize=(4, 2))
    found.subplots().plot([1, 2], [3, 4])
    return {"curve": found}


def exercise(number: int, *sweeps: str, says: Callable[[Tables], Facts] = analyse) -> SimpleNamespace:
    return SimpleNamespace(
        NUMBER=number, SWEEPS=sweeps, RULES=RULES, analyse=says, draw=draw, choose=lambda table: []
    )


@pytest.fixture
def pose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts exercises of a test's own in the place of the chapter's, by name."""

    def posed(**modules: SimpleNamespace) -> None:
        files, templates = tmp_path / "posed", tmp_path / "templates"
        files.mkdir(exist_ok=True)
        shutil.copytree(Path(page.__file__).parent / "templates", templates, dirs_exist_ok=True)
        for name in modules:
            (templates / "en" / "exercises" / f"{name}.md").write_text(TEMPLATE)
        for sweep in (sweep for module in modules.values() for sweep in module.SWEEPS):
            comment = (
                f"What of\n{sweep}?\n\nDesign: of {sweep},\ntwo arms.\n\npython -m src.train sweep={sweep}"
            )
            text = textwrap.indent(comment, "# ", lambda line: True).replace("# \n", "#\n")
            (files / f"{sweep}.yaml").write_text(
                f"{text}\nhydra:\n  sweeper:\n    params: {{dropout1: '0.2,0.5'}}\n"
            )
        monkeypatch.setattr(design, "SWEEP_FILES", files)
        monkeypatch.setattr(page, "TEMPLATES", templates)
        monkeypatch.setattr(exercises, "names", lambda: tuple(modules))
        monkeypatch.setattr(exercises, "load", modules.__getitem__)

    posed(first=exercise(1, "first"), second=exercise(2, "second", "second_test"))
    return posed


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are most of the time; the tests that look at them are marked, the others have their numbers alone."""

    def save(figure: Figure, folder: Path, name: str, languages: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [line.get_xydata().tolist() for axis in figure.axes for line in axis.lines]
        for ending in ("png", "svg", "zh.svg"):
            (folder / f"{name}.{ending}").write_text(f"<svg>{numbers}</svg>")

    if "with_figures" not in request.fixturenames:
        monkeypatch.setattr(chapter, "save", save)


@pytest.fixture
def with_figures() -> None:
    """Asks for the figures, see `_no_figures`."""


@pytest.fixture
def run(tmp_path: Path, pose: Callable[..., None]) -> Callable[..., int]:
    return lambda *options: main(["--output", str(tmp_path), *options])


def flat(arm: Mapping[str, Any]) -> float:
    return 0.87


def texts(folder: Path) -> tuple[str, str]:
    return (folder / "index.html").read_text(), (folder / "report.md").read_text()


class Page(HTMLParser):
    """Addresses, anchors, alternative texts and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("link", "iframe", "object") and not (tag == "script" and attrs)
        given = dict(attrs)
        self.links += [given["href"] or ""] if "href" in given else []
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag == "img":
            self.images.append(given)
        elif given.get("role") == "img":
            self.images.append({"alt": given["aria-label"], "src": None})

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_and_text_hold_every_answer(tmp_path: Path, sweep: Make, run: Callable[..., int]) -> None:
    for name in ("first", "second", "second_test"):
        sweep(RATES, flat, name=name)
    assert run() == 0
    page, text = texts(tmp_path / "report")
    read = Page(page)
    for said in (read.text, text):
        assert said.count("The mean is 0.8") == 4  # on a card and in the section
        for words in (
            "What of first?",
            "Of second_test, two arms.",
            "Guess.",
            "Because.",
            "A bullet.",
            "All that was found",
            "A caption",
            "margin ±0.20 pp",
            "| always |" if said == text else "always",
            "python -m src.train sweep=second_test",
            "10 runs with a result, 40 run-epochs. Training time: cpu 1 min 0 s (10 runs)",
            "python -m analysis.report --from FOLDER",
            "torch 2.13.0",
            tables.machine(),
            tables.commit(),
        ):
            assert words in said, words
        assert "mall version" not in said
    assert "a <b> | 'c'" in read.text
    assert "the moon is <green>" in read.text
    assert "a &lt;b&gt; \\| 'c'" in text


def test_what_make_reproduce_leaves_out_is_shown_where_it_is_and_missed_nowhere(
    tmp_path: Path, sweep: Make, run: Callable[..., int], pose: Callable[..., None]
) -> None:
    only = exercise(1, "first", "further")
    pose(first=only)  # leaves the files of both
    only.SWEEPS, only.BESIDE = ("first",), ("further",)
    sweep(RATES, flat, name="first")
    assert run() == 0
    _, text = texts(tmp_path / "report")
    assert "further" not in text
    assert "`make reproduce` leaves out" not in text
    sweep(RATES, flat, name="further", seeds=range(50, 53))
    assert run() == 0
    _, text = texts(tmp_path / "report")
    assert "Of further, two arms." in text and "python -m src.train sweep=further" in text
    lengths = dict(re.findall(r"^\| `([^`]+)` \| (\d+) \|", text, re.M))
    own = {"make reproduce ONLY=1": "10", "make reproduce": "10"}
    assert lengths == {**own, "python -m src.train sweep=further": "6"}
    assert "| Runs of the exercises | 16 |" in text
    assert "the last rows are sweeps that `make reproduce` leaves out: 1 beside exercise 1." in text
    assert (
        "10 runs with a result, 40 run-epochs, without the sweep above that `make reproduce` leaves out."
        in text
    )
    assert "All other sweeps and the report" in text


@pytest.mark.parametrize("number", [5, 7])
def test_of_sweeps_beside_an_exercise_those_that_are_there_are_spoken_of(
    tmp_path: Path, sweep: Make, run: Callable[..., int], pose: Callable[..., None], number: int
) -> None:
    only = exercise(number, "first", "further")
    pose(first=only)
    only.SWEEPS, only.BESIDE = ("first",), ("further",)
    only.CHOICES = {"choose it": tables.NOISES / "new_noise_race.csv"}
    for name in ("first", "further"):
        sweep(RATES, flat, name=name)
    assert run() == 0
    _, text = texts(tmp_path / "report")
    assert ("so was exercise 5 at the pair best together" in text) == (number == 5)
    assert ("so was exercise 7's later contest" in text) == (number == 7)
    sweep(RATES, flat, name="first__epochs=2", epochs=2, overrides=["sweep=first", "epochs=2"])
    assert run("--small") == 0
    _, text = texts(tmp_path / "report_small")
    assert "All sweeps and the report" in text and "All other" not in text


@pytest.mark.parametrize("name", ["further.json", "further.csv.gz", "first.json"])
@pytest.mark.parametrize("damaged", [True, False])
def test_a_kept_table_that_is_damaged_or_lacks_a_file_is_named_in_the_page(
    tmp_path: Path, sweep: Make, run: Callable[..., int], pose: Callable[..., None], name: str, damaged: bool
) -> None:
    pose(first=exercise(1, "first", "further"), second=exercise(2, "second"))
    module = exercises.load("first")
    module.SWEEPS, module.BESIDE = ("first",), ("further",)
    for made in ("first", "further", "second"):
        sweep(RATES, flat, name=made)
    assert run() == 0
    kept = tmp_path / "report"
    if damaged:
        (kept / name).write_text("no table")
    else:
        (kept / name).unlink()
    assert main(["--from", str(kept), "--to", str(tmp_path / "again")]) == 1
    _, text = texts(tmp_path / "again")
    sweep_name = name.partition(".")[0]
    assert re.search(rf"(Outstanding: further, |\*\*No answer\.\*\* ).*report/{sweep_name}", text)


def test_a_design_is_quoted_where_the_language_has_none(
    tmp_path: Path, sweep: Make, run: Callable[..., int]
) -> None:
    for name in ("first", "second"):
        sweep(RATES, flat, name=name)
    words = "第一次扫描问什么？\n\n两组设置，见 `sweeps/first.yaml`。\n"
    designs = page.TEMPLATES / "zh" / "designs"
    (designs / "first.md").write_text(words, encoding="utf-8")
    assert run() == 0
    text = (tmp_path / "report" / "report.zh.md").read_text(encoding="utf-8")
    assert (
        text.count("第一次扫描问什么？") == 2 and "What of first?" not in text
    )  # on the card and in the section
    assert "\n\n两组设置，见 `sweeps/first.yaml`。\n\n```sh" in text
    assert "\n\n摘自扫描文件（英文）：Of second, two arms.\n\n" in text
    assert "\n\n摘自扫描文件（英文）：然后：What of second_test? Of second_test, two arms.\n\n" in text


def test_facts_count_a_shared_run_once_and_json_says_what_was_answered(
    tmp_path: Path, sweep: Make, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        sweep(RATES, flat, name=name)  # the same runs
    run("--json")
    told = json.loads(capsys.readouterr().out)
    assert [(of["name"], of["verdict"]) for of in told["exercises"]] == [
        ("first", "always"),
        ("second", "always"),
    ]
    assert told["pages"][0] == str(tmp_path / "report" / "index.html")
    assert told["event"] == "end" and len(told["problems"]) <= 1
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| Runs of the exercises | 10; 10 of them serve several sweeps |" in text
    assert "| `make reproduce` | 10 | 40 | cpu 1 min 0 s (10 runs) |" in text


@pytest.mark.usefixtures("with_figures")
def test_page_needs_nothing_but_itself(tmp_path: Path, sweep: Make, run: Callable[..., int]) -> None:
    sweep(RATES, flat, name="first", states={(0, 1): "failed"})
    assert run() == 1
    page, text = texts(tmp_path / "report")
    read = Page(page)
    assert [image["alt"] for image in read.images][1:] == ["A line by epoch"]
    assert "interval" in (read.images[0]["alt"] or "")
    assert all((image["src"] or SVG).startswith(SVG) for image in read.images)
    assert not re.search(r"url\((?!#)|@import|https?://", page)
    assert all(link[0] == "#" and link[1:] in read.ids for link in read.links if link)
    assert len(read.ids) == len(set(read.ids))
    inside = set(re.findall(r'<a id="(.*?)"></a>', text)) | set(re.findall(r'<details id="(.*?)">', text))
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= inside
    assert "without a result" in text and not re.findall(GLUED, text)
    shown = ["figures/first_card.png", "figures/first_curve.png"]
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == shown
    assert (tmp_path / "report/figures/first_curve.svg").exists()


def test_kept_tables_make_the_same_report(tmp_path: Path, sweep: Make, run: Callable[..., int]) -> None:
    for name in ("first", "second"):
        sweep(RATES, flat, name=name, states={(0, 1): "failed"})
    assert run() == 1

    def written(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    before = written(tmp_path / "report")
    assert set(before) >= {"first.csv.gz", "first.runs.csv.gz", "first.json", "index.html", "report.md"}
    run()
    assert written(tmp_path / "report") == before
    for gone in ("runs", "sweeps"):
        shutil.rmtree(tmp_path / gone)
    assert main(["--from", str(tmp_path / "report")]) == 1
    assert written(tmp_path / "report") == before
    assert main(["--from", str(tmp_path / "report"), "--to", str(tmp_path / "again")]) == 1
    assert written(tmp_path / "again") == before


def test_runs_without_a_result_are_named(
    tmp_path: Path, sweep: Make, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    sweep(RATES, flat, name="first")
    folder = sweep(
        RATES, flat, name="second", seeds=range(20, 28), states={(0, 21): "failed", (1, 22): "unfinished"}
    )
    assert run() == 1
    lost = [
        line.split(",")[0]
        for line in (folder / "runs.csv").read_text().splitlines()[1:]
        if "finished" not in line
    ]
    assert len(lost) == 1
    for text in texts(tmp_path / "report"):
        assert "Runs without a result: 2" in text
        assert "24 usable of 26" in text
        assert "out of memory" in text
        assert "seed 22" in text
        assert lost[0] in text
        assert "second-problems" in text
        assert "first-problems" not in text
    chinese = (tmp_path / "report" / "report.zh.md").read_text(encoding="utf-8")
    assert "dropout1=0.5，种子 22 | 未完成 |" in chinese and "，种子 21 | 失败 | " in chinese
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "out of memory" in errors[0]


def test_an_exercise_that_raises_costs_no_other(
    tmp_path: Path,
    sweep: Make,
    run: Callable[..., int],
    pose: Callable[..., None],
    capsys: pytest.CaptureFixture,
) -> None:
    def broken(given: Tables) -> Facts:
        raise ZeroDivisionError("no <arm>\nat all")

    pose(first=exercise(1, "first", says=broken), second=exercise(2, "second"))
    for name in ("first", "second"):
        sweep(RATES, flat, name=name)
    assert run() == 1
    found = capsys.readouterr()
    assert "Traceback" in found.err
    assert "1. first: no answer" in found.out
    page, text = texts(tmp_path / "report")
    assert "ZeroDivisionError: no &lt;arm&gt; at all" in page
    assert "**No answer.** ZeroDivisionError: no &lt;arm&gt; at all" in text
    assert "2 of 10" not in text
    assert "The mean is 0.8" in text


def test_an_exercise_without_a_sweep_is_outstanding(
    tmp_path: Path, sweep: Make, run: Callable[..., int]
) -> None:
    sweep(RATES, flat, name="second")
    sweep(RATES, flat, name="first__epochs=1", overrides=["sweep=first", "epochs=1"])
    assert run() == 0
    for text in texts(tmp_path / "report"):
        assert "Not run yet" in text
        assert "Outstanding: first, not run yet." in text
        assert "Outstanding: second_test, not run yet." in text
        assert "python -m src.train sweep=first" in text
        assert "mall version" not in text


def test_small_version_is_marked_and_apart(
    tmp_path: Path, sweep: Make, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    sweep(RATES, flat, name="first")
    old = sweep(
        RATES, lambda arm: 0.5, name="first__epochs=2", overrides=["sweep=first", "epochs=2"], seeds=[3, 4]
    )
    new = ["sweep=first", "epochs=1", "seed=0,1", "output=elsewhere"]
    sweep(RATES, flat, name="first__epochs=1__seed=0,1", overrides=new, seeds=[0, 1])
    os.utime(old / "runs.csv", (1, 1))
    assert run() == 0
    assert "first__epochs=2 is not used" not in capsys.readouterr().err
    full = texts(tmp_path / "report")
    assert run("--small") == 0
    assert texts(tmp_path / "report") == full
    assert not re.findall(GLUED, texts(tmp_path / "report_small")[1])
    for text in texts(tmp_path / "report_small"):
        assert "Small version: few seeds" in text
        assert "first is a small version (epochs=1 seed=0,1)" in text
        assert "python -m src.train sweep=first epochs=1 seed=0,1\n" in text
        assert "The mean is 0.8" in text
    capsys.readouterr()
    assert main(["--from", str(tmp_path / "report_small"), "--to", str(tmp_path / "again")]) == 0
    assert texts(tmp_path / "again") == texts(tmp_path / "report_small")
    for path in (tmp_path / "report").glob("first.*"):  # both sizes in one folder
        shutil.copy(path, tmp_path / "again")
    for options, same in ([], full), (["--small"], texts(tmp_path / "report_small")):
        assert main(["--from", str(tmp_path / "again"), *options]) == 0
        assert texts(tmp_path / "again") == same
    shutil.rmtree(tmp_path / "sweeps" / "first")
    assert run() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "first__epochs=2 is not used: it is a small version; with --small it is" in line


def test_bad_input(
    tmp_path: Path, sweep: Make, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    def refused(*arguments: str, words: str) -> None:
        assert main(list(arguments)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line

    refused("--output", str(tmp_path / "nowhere"), words="python -m analysis.reproduce")
    refused("--from", str(tmp_path), words=str(tmp_path))
    sweep(RATES, flat, name="first")
    (tmp_path / "file").write_text("")
    refused("--output", str(tmp_path), "--to", str(tmp_path / "file"), words="file' is no folder")
    assert run() == 0
    (tmp_path / "report/first.csv.gz").write_bytes(b"\x1f\x8b")
    capsys.readouterr()
    refused("--from", str(tmp_path / "report"), words="first")
    shutil.rmtree(tmp_path / "runs")
    refused("--output", str(tmp_path), words="no finished run")


def test_a_sweep_that_cannot_be_read_costs_no_other(
    tmp_path: Path, sweep: Make, run: Callable[..., int]
) -> None:
    sweep(RATES, flat, name="first")
    for name in ("second", "second_test"):
        sweep(RATES, flat, name=name, seeds=[9], states={(0, 9): "failed", (1, 9): "unfinished"})
    assert run() == 1
    for text in texts(tmp_path / "report"):
        assert "The mean is 0.8" in text
        assert "no finished run" in text


def test_a_bit_flipped_in_a_kept_table_costs_no_other(
    tmp_path: Path, sweep: Make, run: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    for name in ("first", "second"):
        sweep(RATES, flat, name=name)
    assert run() == 0
    folder = tmp_path / "report"
    for name in ("first.csv.gz", "first.runs.csv.gz", "first.json"):
        whole = (folder / name).read_bytes()
        middle = len(whole) // 2
        (folder / name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
        assert main(["--from", str(folder), "--to", str(tmp_path / "again")]) == 1
        assert "first" in capsys.readouterr().err
        text = (tmp_path / "again" / "report.md").read_text()
        assert "**No answer.**" in text and "The mean is 0.8" in text
        (folder / name).write_bytes(whole)


@pytest.mark.usefixtures("with_figures")
def test_large_figures_are_held_as_png_where_that_is_smaller(
    tmp_path: Path, sweep: Make, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LARGEST_SVG", 100)
    sweep(RATES, flat, name="first")
    run()
    figures = sorted((tmp_path / "report" / "figures").glob("*.png"))
    smaller = [png for png in figures if png.stat().st_size < png.with_suffix(".svg").stat().st_size]
    images = [image["src"] or "" for image in Page(texts(tmp_path / "report")[0]).images]
    as_png = [source for source in images if source.startswith("data:image/png;base64,iVBOR")]
    assert 0 < len(as_png) == len(smaller) < len(figures)


def test_a_figure_of_an_earlier_report_goes(tmp_path: Path, sweep: Make, run: Callable[..., int]) -> None:
    sweep(RATES, flat, name="first")
    folder = tmp_path / "report" / "figures"
    folder.mkdir(parents=True)
    for name in ("first_gone.png", "mine.png"):
        (folder / name).write_text("")
    run()
    assert sorted(path.name for path in folder.iterdir()) == [
        "first_card.png",
        "first_card.svg",
        "first_card.zh.svg",
        "first_curve.png",
        "first_curve.svg",
        "first_curve.zh.svg",
        "mine.png",
    ]


def test_help_is_quick_and_needs_no_heavy_package() -> None:
    code = (
        "import sys; from analysis.report import main\n"
        "try: main(['--help'])\n"
        "finally: assert not {'pandas', 'seaborn', 'torch'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "index.html" in found.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("with_figures")
def test_browser_shows_the_page(tmp_path: Path, sweep: Make, run: Callable[..., int]) -> None:
    sweep(RATES, flat, name="first", states={(0, 1): "failed"})
    sweep(RATES, flat, name="second", seeds=[8, 9])
    assert run() == 1
    for width in (1200, 390):
        shown = show(texts(tmp_path / "report")[0], width)
        assert shown.errors == []
        assert shown.broken == []
        assert shown.links >= 4
        assert len(shown.images) == 4
        assert all(alt and pixels > 200 for alt, pixels in shown.images)
        assert shown.text > 2000
        assert shown.inner == width
        assert shown.scroll <= width


def test_browser_finds_what_is_broken() -> None:
    page = """<!DOCTYPE html><html><head><title>x</title></head><body style="margin: 0"><a href="#no">x</a>
    <img alt="none" src="data:image/png;base64,AAAA"><div style="width: 500px">x</div>
    <script>undefined_function()</script></body></html>"""
    shown = show(page, 390)
    assert shown.broken == ["#no"]
    assert shown.images == [("none", 0)]
    assert shown.scroll == 500
    assert any("undefined_function" in error for error in shown.errors)
