"""The comparison report: its verdicts on sweeps of known truth, its exit codes, its page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from analysis import comparison, figures, search
from analysis.compare import main
from src.errors import InputError
from src.runs import store

Make = Callable[..., Path]
RATES = {"dropout1": [0.2, 0.5]}


def better(arm: Mapping) -> float:
    return 0.87 if arm["dropout1"] == 0.2 else 0.86


def equal(arm: Mapping) -> float:
    return 0.87


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are most of the time; the tests that look at them are marked."""
    if "with_figures" not in request.fixturenames:
        monkeypatch.setattr(comparison, "draw", lambda compared, folder: [])


@pytest.fixture
def with_figures() -> None:
    """Asks for the figures, see `_no_figures`."""


class Links(HTMLParser):
    """Every address in a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images = self.pictures = 0
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        self.pictures += tag == "svg"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset")]
        assert tag not in ("link", "iframe", "object") and not (tag == "script" and attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def words(compared: comparison.Compared) -> list[str]:
    return [result.verdict.word for result in compared.judged if result.verdict]


def test_known_effect_is_found(sweep: Make, capsys: pytest.CaptureFixture) -> None:
    folder = sweep(RATES, better)
    assert main([str(folder)]) == 0
    output = capsys.readouterr().out
    assert "dropout1=0.2 is better" in output
    assert output.splitlines()[-1] == f"Open {folder / 'index.html'}"
    compared = comparison.compare(folder)
    (result,) = compared.judged
    assert words(compared) == ["better"]
    assert result.paired.difference == pytest.approx(0.01, abs=0.002)
    (loss,) = compared.described
    assert loss.gain == 1  # lower, so better
    text = (folder / "report.md").read_text()
    assert f"{100 * compared.arms[0].summaries[compared.measure].mean:.2f} ± " in text
    assert "| better; by more than the margin of 0.20 pp |" in text


def test_null_is_equivalent_or_undecided_never_better(sweep: Make) -> None:
    found = comparison.compare(sweep(RATES, equal))
    assert words(found)[0] in ("equivalent", "undecided")
    assert "is better" not in comparison.conclusion(found)
    noisy = comparison.compare(sweep(RATES, equal, name="noisy", arm_noise=0.02))
    assert comparison.conclusion(noisy).startswith("Undecided between dropout1=0.2 and dropout1=0.5")


def test_loss_is_better_when_lower(sweep: Make) -> None:
    found = comparison.compare(sweep(RATES, better), "test_loss")
    assert [result.measure.column for result in found.judged] == ["test_loss"]
    assert "dropout1=0.2 is better" in comparison.conclusion(found)
    assert "nats" in comparison.conclusion(found)


def test_an_arm_is_not_better_because_its_bad_runs_are_missing(sweep: Make) -> None:
    lost = {(0, seed): "diverged" for seed in (0, 1, 2)}
    folder = sweep(RATES, lambda arm: 0.87 if arm["dropout1"] == 0.2 else 0.8, states=lost)
    found = comparison.compare(folder)
    assert words(found) == ["undecided"]
    said = comparison.conclusion(found)
    assert "is better" not in said
    assert "dropout1=0.2: 3 of 5 runs diverged." in said
    main([str(folder)])
    assert "| dropout1=0.2 | 2 of 5; 3 diverged |" in (folder / "report.md").read_text()
    # the other side's bad runs do not help this one
    other = sweep(RATES, better, name="other", states={(1, seed): "diverged" for seed in (0, 1)})
    assert words(comparison.compare(other)) == ["better"]


def test_runs_that_broke_down_are_counted_and_kept(sweep: Make) -> None:
    folder = sweep(RATES, lambda arm: 0.87 if arm["dropout1"] == 0.2 else 0.12)
    found = comparison.compare(folder)
    assert [(arm.name, arm.n, arm.broken) for arm in found.arms] == [
        ("dropout1=0.2", 5, 0),
        ("dropout1=0.5", 5, 5),
    ]
    assert "dropout1=0.5: 5 of 5 runs broke down." in comparison.conclusion(found)


def test_what_the_sweep_declares_is_judged(sweep: Make) -> None:
    arms = {"dropout1": [0.1, 0.2, 0.3]}
    folder = sweep(arms, lambda arm: 0.87 + arm["dropout1"] / 20)
    block = "hydra:\n  sweeper:\n    primary: {metric: test_loss, contrast: [2, 0], margin: 0.05}\n"
    (folder / "multirun.yaml").write_text(block)
    found = comparison.compare(folder)
    (result,) = found.judged
    assert (result.contrast.a, result.contrast.b, result.margin) == ("dropout1=0.3", "dropout1=0.1", 0.05)
    assert result.measure.column == "test_loss" and result.family == 1
    assert len(comparison.compare(folder, "test_acc").judged) == 3
    (folder / "multirun.yaml").write_text(block.replace("[2, 0]", "[7, 0]"))
    assert len(comparison.compare(folder).judged) == 3


def test_an_arm_goes_by_the_name_of_the_sweeps_own_table(sweep: Make) -> None:
    swept = {"noise": ["none", "dropout"], "dropout1": [0], "dropout2": [0, 0.5]}
    lists = {"noise": ["none", "dropout", "gaussian"], "dropout1": [0.2], "dropout2": [0.5]}
    found = comparison.compare(sweep(lists, equal))
    assert found.arms[0].name == "noise=none"
    assert found.arms[1].name == "noise=dropout dropout1=0.2 dropout2=0.5"
    for given in ("noise=dropout", "dropout2=0.5, noise=dropout", "noise=dropout dropout1=0.2 dropout2=0.5"):
        assert comparison.compare(found.sweep.folder, baseline=given).reference == found.arms[1].name
    assert comparison.compare(found.sweep.folder, baseline="noise=none").reference == "noise=none"
    # where two arms would have one name, each has all of its keys
    names = [arm.name for arm in comparison.compare(sweep(swept, equal, name="alike")).arms]
    assert len(set(names)) == 4 and "noise=none dropout1=0 dropout2=0.5" in names


def test_several_folders_are_one_comparison(sweep: Make, capsys: pytest.CaptureFixture) -> None:
    first = sweep(RATES, better, name="first")
    shared = sweep({"dropout1": [0.5, 0.7]}, equal, name="second", epochs=4)
    longer = sweep({"noise": ["none", "dropout"]}, equal, name="third", epochs=6)
    found = comparison.compare([first, shared])
    assert [(arm.name, arm.planned, arm.lost) for arm in (*found.arms, *found.empty)] == [
        ("dropout1=0.2", 5, 0),
        ("dropout1=0.5", 5, 0),
        ("dropout1=0.7", 5, 0),
    ]
    names = [arm.name for arm in comparison.compare([first, longer]).arms]
    assert names == [
        "dropout1=0.2 noise=null epochs=4",
        "dropout1=0.5 noise=null epochs=4",
        "noise=none epochs=6",
        "dropout1=null noise=dropout epochs=6",
    ]
    assert main([str(shared), str(longer)]) == 0
    page = shared.parent.parent / "comparisons" / "second+third" / "index.html"
    assert f"Open {page}" in capsys.readouterr().out
    assert "third" in page.with_name("report.md").read_text()
    assert main([str(shared), str(longer), "--to", str(page.parent / "own")]) == 0
    assert (page.parent / "own" / "index.html").exists()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_search_among_several_folders_is_not_judged_by_the_test_set(
    sweep: Make, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    write = store.write_metrics

    def with_validation(folder: Path, rows: list[dict[str, float]]) -> None:
        for row in rows:
            row["val_acc"] = 1 - row["test_acc"]  # the best by one is the worst by the other
        write(folder, rows)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_metrics", with_validation)
        found = sweep({"dropout1": [0.2, 0.5]}, better, name="search")
    (found / "multirun.yaml").write_text("hydra: {sweeper: {metric: val_acc}}\n")
    (found / search.FILE).touch()
    plain = sweep({"dropout1": [0.7]}, equal, name="plain")
    compared = comparison.compare([plain, found] if reverse else [found, plain])
    assert compared.measure.column == "val_acc"
    assert [arm.name for arm in compared.arms] == ["dropout1=0.5", "dropout1=0.2"]
    assert compared.without == ("dropout1=0.7",)
    assert "test_acc" not in {measure.column for measure in compared.arms[0].summaries}


def test_final_is_the_last_epoch_not_the_best(sweep: Make) -> None:
    folder = sweep({"epochs": [2, 6]}, equal, epochs=lambda arm: arm["epochs"])
    found = comparison.compare(folder)
    assert found.sweep.final.groupby("epochs")["epoch"].unique().map(list).to_dict() == {2: [2], 6: [6]}


def test_problem_runs_are_counted_and_named(
    tmp_path: Path, sweep: Make, capsys: pytest.CaptureFixture
) -> None:
    states = {(0, 0): "failed", (0, 1): "diverged", (1, 2): "unfinished"}
    folder = sweep(RATES, better, seeds=range(8), states=states)
    lines = (folder / "runs.csv").read_text().splitlines()
    damaged = lines[-1].split(",")[0]
    (tmp_path / "runs" / damaged / "run.json").write_text("{}")
    assert main([str(folder)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    named = [damaged, *(line.split(",")[0] for line in lines if ",finished," not in line)][:-1]
    for report in ("index.html", "report.md"):
        text = (folder / report).read_text()
        assert "4 of 16 runs are left out" in text
        assert "1 diverged" in text
        assert all(run in text for run in named)
        assert "out of memory" in text
    (result,) = comparison.compare(folder).judged
    assert result.paired.n == 4  # seeds 3 to 6


def test_single_seed_is_not_tested(sweep: Make) -> None:
    folder = sweep(RATES, better, seeds=[3])
    assert main([str(folder)]) == 0
    text = (folder / "report.md").read_text()
    assert "binomial standard error" in text
    assert re.search(r"is 0\.3[34] pp", text)
    assert "Paired differences" not in text


def test_one_arm(sweep: Make) -> None:
    folder = sweep({}, equal)
    assert main([str(folder)]) == 0
    assert "nothing is compared: all reached" in (folder / "report.md").read_text()


def test_missing_seeds_leave_a_pair_untested(sweep: Make) -> None:
    states = {(0, seed): "unfinished" for seed in (0, 1, 2, 3)}
    folder = sweep({"noise": ["none", "a|b", "<b>"]}, equal, states=states)
    assert main([str(folder)]) == 1
    text = (folder / "report.md").read_text()
    assert "not tested" in text
    assert r"noise=a\|b" in text
    page = (folder / "index.html").read_text()
    assert "<b>" not in page
    assert "noise=&lt;b&gt;" in page and "noise=a|b" in page


def test_many_arms_are_compared_with_the_first_or_the_named_one(sweep: Make) -> None:
    folder = sweep({"dropout1": [0.1 * i for i in range(8)]}, lambda arm: 0.87 - arm["dropout1"] / 50)
    found = comparison.compare(folder)
    assert found.reference == "dropout1=0"
    assert {result.contrast.b for result in found.judged} == {"dropout1=0"}
    assert [result.family for result in found.judged] == [7] * 7
    assert "7 show a difference" in comparison.conclusion(found)
    assert comparison.compare(folder, baseline="dropout1=0.3").reference == "dropout1=0.3"
    few = sweep({"dropout1": [0.1 * i for i in range(6)]}, equal, name="few")
    assert len(comparison.compare(few).judged) == 15


def test_command_is_that_of_the_sweep(sweep: Make) -> None:
    folder = sweep(RATES, equal, overrides=["dropout1=0.2,0.5", "seed=range(5)"])
    main([str(folder)])
    text = (folder / "report.md").read_text()
    assert "\npython -m src.train -m dropout1=0.2,0.5 'seed=range(5)'\n" in text
    (folder / "multirun.yaml").unlink()
    main([str(folder)])
    text = (folder / "report.md").read_text()
    assert "\npython -m src.train -m dropout1=0.2,0.5 seed=0,1,2,3,4\n" in text
    assert "rebuilt" in text


def test_facts_are_those_of_the_records(sweep: Make) -> None:
    folder = sweep(RATES, equal, epochs=10)
    assert main([str(folder)]) == 0
    text = (folder / "report.md").read_text()
    for row in (
        "Swept | dropout1: 0.2, 0.5",
        "Runs | 10",
        "Epochs | 10",
        "Versions | python 3.11.2, torch 2.13.0",
        "Training time, all runs | 2 min 30 s",
    ):
        assert f"| {row} |" in text


def recorded(folder: Path, **record: Any) -> None:
    """Writes this into the record of each run of the sweep."""
    for path in folder.parents[1].glob("runs/*/run.json"):
        if path.parent.name in (folder / "runs.csv").read_text():
            store.write_record(path.parent, {**json.loads(path.read_text()), **record})


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"src/noise/mine.py": "a"}, {"src/noise/mine.py": "b"}, "src/noise/mine.py"),
        ({"src/noise/mine.py": "a"}, {"src/noise/mine.py": "a"}, "data=fashion_mnist"),
        ({"src/noise/mine.py": "a", "src/optimizers/sgd.py": "a"}, {"src/optimizers/sgd.py": "b"}, "sgd.py"),
    ],
    ids=["the noise was edited", "the data were", "what both arms share was"],
)
def test_runs_of_two_versions_of_code_or_data_are_no_comparison(
    sweep: Make, first: dict[str, str], second: dict[str, str], what: str
) -> None:
    """Their seeds differ, so that no arm and seed has two runs."""
    one = sweep({"noise": ["mine", "dropout"]}, equal, name="one", seeds=range(3))
    other = sweep({"noise": ["mine", "dropout"]}, equal, name="other", seeds=range(3, 6))
    recorded(one, code={"files": first}, arrays="a")
    recorded(other, code={"files": second}, arrays="b" if first == second else "a")
    for folders in ([one, other], [other, one]):
        with pytest.raises(
            InputError, match=rf"have runs of two versions of \S*{re.escape(what)}; runs of one"
        ):
            comparison.compare(folders)
    recorded(other, code={"files": first}, arrays="a")
    assert comparison.compare([one, other]).arms[0].n == 6
    recorded(other, code=None, arrays=None)  # as old records have none
    assert comparison.compare([one, other]).arms[0].n == 6


def test_an_arm_of_several_machines_is_said(sweep: Make) -> None:
    folder = sweep(RATES, equal)
    assert comparison.mixed(comparison.compare(folder)) == []
    (path, *_) = sorted((folder.parents[1] / "runs").glob("*/run.json"))
    record = json.loads(path.read_text())
    processor = {"maker": "AuthenticAMD", "model": "", "instructions": "AVX512"}
    path.write_text(json.dumps(record | {"processor": processor, "matmul": "onednn"}))
    compared = comparison.compare(folder)
    assert comparison.mixed(compared) == ["device"]
    assert comparison.facts(compared)["device"] == "cpu; cpu (AuthenticAMD, AVX512; products by onednn)"
    main([str(folder)])
    assert "come from several devices" in (folder / "report.md").read_text()
    path.write_text(json.dumps(record | {"versions": {"torch": "2.14.1"}}))
    assert comparison.mixed(comparison.compare(folder)) == ["versions"]


def test_bad_input(tmp_path: Path, sweep: Make, capsys: pytest.CaptureFixture) -> None:
    good = sweep(RATES, equal)
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (empty, tmp_path / "nowhere"):
        assert main([str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(path) in line
    assert main([str(empty), str(good)]) == 2
    capsys.readouterr()
    for options, words in [
        (["--metric", "val_acc"], "no val_acc"),
        (["--metric", "epoch"], "has no epoch; one of train_loss, "),
        (["--to", __file__], "is no folder; one that is there, or a new one, is right"),
        (["--to", ""], "'' is no folder"),
        (["--baseline", "x"], "no arm 'x'"),
        (["--baseline", "dropout1=0.20"], "no arm 'dropout1=0.20'"),
    ]:
        assert main([str(good), *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    shutil.rmtree(tmp_path / "runs")
    assert main([str(good)]) == 2
    assert "no finished run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("with_figures")
def test_page_is_self_contained_and_the_same_each_time(sweep: Make) -> None:
    grid = {"dropout1": [0.2, 0.5], "dropout2": [0.1, 0.2]}
    folder = sweep(grid, better, seeds=[0, 1], epochs=2, states={(2, 1): "failed"})
    assert main([str(folder)]) == 1

    page = Links((folder / "index.html").read_text())
    assert page.images >= 2 and page.pictures > 4
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import|https?://", (folder / "index.html").read_text())

    shown = re.findall(r"!\[.*?\]\((.*?)\)", (folder / "report.md").read_text())
    assert sorted(shown) == sorted(f"figures/{path.name}" for path in (folder / "figures").glob("*.png"))
    assert all((folder / name).with_suffix(".svg").exists() for name in shown)

    def written() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = written()
    main([str(folder)])
    assert written() == before


@pytest.mark.slow
@pytest.mark.usefixtures("with_figures")
@pytest.mark.filterwarnings("error:Glyph")
def test_any_name_of_an_arm_is_shown(sweep: Make) -> None:
    names = ["none", "$a_b$ $", "x" * 600, "*a* `b` [c](d) <b>", *["暂退法"] * bool(figures.CJK)]
    folder = sweep({"noise": names}, equal, seeds=[0, 1], epochs=2)
    assert main([str(folder)]) == 0
    shown = Links((folder / "index.html").read_text()).text
    for name in names:
        assert f"noise={name}" in shown


def test_an_interval_of_accuracy_ends_at_0_and_100(sweep: Make) -> None:
    found = comparison.compare(sweep(RATES, lambda arm: 0.95, seeds=[0, 1], seed_noise=0.04))
    for arm in found.arms:
        interval = arm.summaries[found.measure].interval
        assert interval is not None and 0 <= interval.lower <= interval.upper <= 1


def test_help_is_quick_and_needs_no_heavy_package() -> None:
    code = (
        "import sys; from analysis.compare import main\n"
        "try: main(['--help'])\n"
        "finally: assert not {'pandas', 'seaborn', 'torch'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "index.html" in found.stdout
