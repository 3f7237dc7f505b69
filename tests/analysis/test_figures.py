"""Figures: what they show, what they say they leave out, and that the same input gives the same bytes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import charts, figures, page, translated
from analysis.contrasts import Contrast, described, family
from analysis.measures import TEST_ACC, TEST_LOSS
from analysis.phrases import named
from src.stats import summarise


def epochs(arms: int, seeds: int, length: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "arm": f"arm {arm}",
                "seed": seed,
                "epoch": epoch,
                **{
                    name: rng.uniform(0.7, 0.9)
                    for name in ("test_acc", "test_loss", "train_acc", "train_loss")
                },
            }
            for arm in range(arms)
            for seed in range(seeds)
            for epoch in range(1, length + 1)
        ]
    )


def texts(figure: Figure) -> str:
    """All text of a figure."""
    found = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    return "\n".join(found).replace("\n", " ")


def test_chosen_arms_are_the_ends_in_the_given_order() -> None:
    means = dict(zip("abcdef", [3.0, 1.0, 6.0, 2.0, 5.0, 4.0], strict=True))
    assert figures.chosen_arms(means, limit=6) == list("abcdef")
    assert figures.chosen_arms(means, limit=3) == list("bce")
    assert figures.chosen_arms(means, higher_is_better=False, limit=3) == list("bcd")


@pytest.mark.parametrize("arms", [2, 30])
def test_learning_curves_name_what_they_draw(arms: int) -> None:
    frame = epochs(arms, 2)
    means = frame.groupby("arm", sort=False)["test_acc"].mean().to_dict()
    figure = charts.learning_curves(frame, means, TEST_ACC)
    drawn = figures.chosen_arms(means)
    assert [len(axis.lines) for axis in figure.axes] == [len(drawn)] * 4
    assert all(arm in texts(figure) for arm in drawn)
    assert ("of 30 arms" in texts(figure)) == (arms == 30)
    assert {axis.get_ylabel() for axis in figure.axes} == {
        "test accuracy (%)",
        "test cross-entropy (nats)",
        "train accuracy (%)",
        "train cross-entropy (nats)",
    }
    line = figure.axes[0].lines[0]
    expected = frame[frame["arm"] == drawn[0]].groupby("epoch")["test_acc"].mean() * 100
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_one_seed_has_no_band_and_says_so() -> None:
    frame = epochs(2, 1)
    figure = charts.learning_curves(frame, {"arm 0": 0.8, "arm 1": 0.7}, TEST_ACC)
    assert "no band" in texts(figure)
    assert "band: 95%" in texts(charts.learning_curves(epochs(2, 2), {"arm 0": 0.8, "arm 1": 0.7}, TEST_ACC))


def test_final_values_hold_every_run_and_say_what_is_left_out() -> None:
    frame = epochs(50, 3, length=1)
    summaries = {arm: summarise(of["test_acc"]) for arm, of in frame.groupby("arm", sort=False)}
    figure = charts.final_values(frame, summaries, TEST_ACC)
    dots = sum(len(collection.get_offsets()) for collection in figure.axes[0].collections)
    assert dots == figures.LISTED_ROWS * 3
    assert "of 50 arms" in texts(figure)
    few = dict(list(summaries.items())[:3])
    figure = charts.final_values(frame[frame["arm"].isin(few)], few, TEST_ACC)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(few)


def contrast(a: str, shift: float, noise: float, n: int = 6) -> Contrast:
    rng = np.random.default_rng(0)
    base = dict(enumerate(rng.normal(0.4, 0.01, n)))
    moved = {seed: value + shift + rng.normal(0, noise) for seed, value in base.items()}
    return Contrast(a, "base", (f"{a} in a setting",), TEST_LOSS, (moved, base))


def test_a_forest_has_a_row_a_label_coloured_by_the_verdict() -> None:
    found = family([contrast("lower", -0.05, 0.001), contrast("same", 0, 1e-5)], 0.01)
    figure = figures.forest([*found, *described([contrast("described", 0.02, 0.001)])])
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        f"{a} in a setting" for a in ("lower", "same", "described")
    ]
    said = texts(figure)
    assert all(
        word in said for word in ("better", "equivalent", "inside the margin", "test cross-entropy (nats)")
    )
    assert "worse" not in said
    dots = [line.get_gid() for line in axis.lines if (line.get_gid() or "").startswith("seed-")]
    assert len(dots) == len(set(dots)) == 18


@pytest.mark.parametrize("names", [[], ["a clone", "none"], ["none", "tangent", "a clone"]])
def test_a_card_names_its_rows_where_there_are_several(names: list[str]) -> None:
    results = family([contrast(name, -0.05, 0.001) for name in names or ["lower"]], 0.01)
    (axis,) = figures.card(results, named).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [named(name) for name in names]
    assert len([line for line in axis.lines if line.get_marker() == "D"]) == len(results)


@pytest.mark.parametrize("broken", [5.0, -5.0])
def test_a_seed_far_from_all_others_is_cut_off_and_marked(broken: float) -> None:
    sound, bad = contrast("sound", 0.02, 0.004, 20), contrast("bad", -0.02, 0.004, 20)
    moved, base = bad.sides
    far = replace(bad, sides=({**moved, 3: base[3] + broken}, base))
    (axis,) = figures.forest(described([sound, far])).axes
    low, high = axis.get_xlim()
    mean = float(np.mean([value - base[seed] for seed, value in far.sides[0].items()]))
    assert low < mean < high and low < 0 < high and high - low < 1
    marks = [line for line in axis.lines if line.get_marker() in ("<", ">")]
    # the seed, and both ends of an interval that it makes wider than all other seeds
    seed, *ends = [(line.get_marker(), line.get_xdata()[0]) for line in marks]
    assert seed == ((">", high) if broken > 0 else ("<", low)) and ends == [("<", low), (">", high)]
    assert "cut off: values from" in texts(axis.figure)
    whole = texts(figures.forest(described([sound, bad])))
    assert "cut off" not in whole


def test_the_interval_of_what_is_decided_is_never_cut_off() -> None:
    bad = contrast("bad", -0.02, 0.004, 20)
    moved, base = bad.sides
    (result,) = family([replace(bad, sides=({**moved, 3: base[3] - 0.3}, base))], 0.2)
    assert result.verdict is not None and result.verdict.decided and result.paired.interval is not None
    (axis,) = figures.forest([result]).axes
    low, high = axis.get_xlim()
    assert low < result.paired.interval.lower < result.paired.interval.upper < 0 < high
    assert [line.get_marker() for line in axis.lines if line.get_marker() in ("<", ">")] == ["<"]


def test_a_forest_of_many_rows_says_what_is_left_out() -> None:
    figure = figures.forest(described([contrast(str(i), i / 100, 0.001) for i in range(50)]))
    assert len(figure.axes[0].get_yticklabels()) == figures.LISTED_ROWS
    assert "both ends of 50 rows" in texts(figure)


def test_what_lies_beyond_an_axis_is_said() -> None:
    runs = pd.DataFrame(np.full((60, 4), 0.85) + np.linspace(0, 0.05, 60)[:, None])
    runs.iloc[30, 0] = 0.1
    for is_cut, frame in ((True, runs), (False, runs.iloc[55:] * 0 + 0.9)):
        figure, axes = figures.panels(1)
        figures.curves(axes[0][0], frame, TEST_ACC, median=True, color="black")
        figures.limits(axes[0][0], [frame], TEST_ACC)
        assert ("cut off: values from 10.00 to 90.00" in texts(figure)) == is_cut


def test_runs_that_make_no_grid_are_dots_on_numeric_axes() -> None:
    rng = np.random.default_rng(0)
    final = pd.DataFrame({"a": rng.uniform(0.5, 1, 16), "b": 10 ** rng.uniform(-4, 0, 16), "val_acc": 0.8})
    figure = charts.scattered(
        final, ["a", "b"], TEST_ACC.__class__(**{**vars(TEST_ACC), "column": "val_acc"})
    )
    assert len(figure.axes[0].collections[0].get_offsets()) == 16
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("linear", "log")


def test_numbers_in_cells_are_legible() -> None:
    """On any colour black or white has a contrast of 4.5, which WCAG 2 asks of text."""
    values = np.linspace(0.1, 0.9, 60).reshape(6, 10)
    values[2, 3] = values[5, 9] = np.nan
    grid = pd.DataFrame(values).rename_axis(index="b", columns="a")
    for measure in (TEST_ACC, TEST_LOSS):
        figure = charts.heat_maps({measure: grid})
        axis = figure.axes[0]
        cells = axis.collections[0]
        assert len(axis.texts) == 58
        colours = cells.get_facecolor().reshape(6, 10, 4)
        for text in axis.texts:
            column, row = (int(place) for place in text.get_position())
            light, dark = sorted(map(luminance, (text.get_color(), colours[row, column])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: object) -> float:
    """Relative luminance of an sRGB colour, WCAG 2."""
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


def test_another_languages_texts_stay_texts_and_need_no_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = page.phrases("zh").label
    made = []
    for families in (["DejaVu Sans"], ["DejaVu Sans", "A Font of This Machine"]):
        monkeypatch.setitem(figures.STYLE, "font.family", families)
        figure = figures.forest(family([contrast("dropout", -0.05, 0.001)], 0.01), lambda r: "weight decay")
        made.append(translated.save(figure, tmp_path, "said", say).read_text())
    assert made[0] == made[1] and translated.FAMILIES in made[0]
    for text in ("权重衰减", "测试交叉熵（纳特）", "更好", "界限之内"):
        assert f">{text}</text>" in made[0]
    # the row's name has its place to the left of the axis
    start = re.search(r'x="([\d.]+)"[^>]*>权重衰减<', made[0])
    assert start is not None and float(start[1]) > 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("test accuracy (%)", "测试精度（%）"),
        ("dropout − none:\ntest cross-entropy (nats)", "暂退法 − 不用：测试交叉熵（纳特）"),
        ("hidden layer 2, p = 0.5, trained with (0.5, 0.5)", "第 2 隐藏层、p = 0.5、以 (0.5, 0.5) 训练"),
        ("cut off: values from −3.72 to 78.42", "截去：取值从 −3.72 到 78.42"),
        ("(0, 0.2) first", "(0, 0.2) 在前"),
        ("0.5", "0.5"),
        ("no such\nthing", "no such\nthing"),
        ("no {such} 1", "no {such} 1"),
    ],
)
def test_a_figures_texts_are_said_part_by_part(text: str, said: str) -> None:
    assert page.phrases("zh").label(text) == said
    assert page.phrases("en").label(text) == text


def test_the_books_curves_have_a_panel_a_model() -> None:
    frame = epochs(2, 3, 10).rename(columns={"arm": "model"})
    figure = charts.book_curves(frame)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["arm 0", "arm 1"]
    assert [len(axis.lines) for axis in figure.axes] == [3 * 4] * 2
    mean = frame[frame["model"] == "arm 1"].groupby("epoch")["train_loss"].mean()
    np.testing.assert_allclose(figure.axes[1].lines[3].get_ydata(), mean)


def test_saving_is_deterministic_and_leaves_no_trace(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    grid = pd.DataFrame(np.linspace(0.8, 0.9, 9).reshape(3, 3)).rename_axis(index="b", columns="a")
    for name in ("one", "two"):
        figures.save(charts.heat_maps({TEST_ACC: grid}), tmp_path / name, "grid")
    for ending in ("png", "svg"):
        one, two = ((tmp_path / name / f"grid.{ending}").read_bytes() for name in ("one", "two"))
        assert one == two
    assert dict(mpl.rcParams) == before
