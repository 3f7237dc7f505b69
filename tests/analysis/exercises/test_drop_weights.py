"""What is said of dropped weights follows from the runs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import made

from analysis import chapter, design, measures
from analysis.exercises import INPUT, drop_weights, word
from analysis.exercises.drop_weights import NoiseFacts
from analysis.looks import Look
from analysis.runs import InputError, Problem
from analysis.tables import Table

NOISES = ("dropout", "dropconnect", "dropconnect_gaussian")
RATES = ((0.05, 0.125), (0.1, 0.25), (0.2, 0.5), (0.3, 0.75))
PIXELS = ("0", "0.1", "0", "0.1")
"""Dropout's rates of the input, as a table has them in which other noises have none."""
BEST = {
    "none": (0.0, 0.0),
    "dropout": (0.2, 0.5),
    "dropconnect": (0.3, 0.75),
    "dropconnect_gaussian": (0.1, 0.25),
}
Metrics = Callable[[Mapping[str, Any], int, int], Mapping[str, float]]


def arm(noise: str, rates: Sequence[float], pixels: str = "0") -> dict[str, Any]:
    """The cell of the input's rate is empty but for dropout."""
    hidden = {"dropout1": rates[0], "dropout2": rates[1]}
    return {"noise": noise, **hidden, INPUT: pixels if noise == "dropout" else ""}


ARMS = [
    arm("none", (0, 0)),
    *(arm(noise, rates, pixels) for rates, pixels in zip(RATES, PIXELS, strict=True) for noise in NOISES),
]
CHOSEN = [arm(noise, rates) for noise, rates in BEST.items()]
FEW_ARMS = [*design.read("drop_weights_5000").arms]
EXAMPLE_ARMS = [{INPUT: "", **arm} for arm in design.read("drop_weights_example").arms]


def chance(noise: str, seed: int) -> float:
    """A standard normal number of the noise and the seed."""
    return float(np.random.default_rng([zlib.crc32(noise.encode()), seed]).normal())


def on_validation(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
    far = abs(of["dropout1"] - BEST[of["noise"]][0])
    return {"val_acc": 0.89 - 0.05 * far + 0.001 * seed, "val_loss": 0.3 + 0.1 * far}


def on_test(effects: Mapping[str, float], sd: float = 0.001) -> Metrics:
    """Accuracy 88% and these effects of the noises, and cross-entropy the other way; a seed's part is common."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        gain = effects.get(of["noise"], 0) + sd * chance(of["noise"], seed)
        error = 0.03 + 0.002 * chance(f"{of['noise']} calibration", seed)
        return {
            "test_acc": 0.88 + gain + 0.002 * chance("", seed),
            "test_loss": 0.35 - gain,
            "test_ece": error,
        }

    return metrics


def first(seeds: Sequence[int] = (0, 1), arms: Sequence[Mapping[str, Any]] = ARMS, epochs: int = 20) -> Table:
    return made("drop_weights", arms, seeds, on_validation, epochs=epochs)


def second(metrics: Metrics, seeds: Sequence[int] = range(10, 20), epochs: int = 20) -> Table:
    return made("drop_weights_test", CHOSEN, seeds, metrics, epochs=epochs)


def few(metrics: Metrics) -> Table:
    return made("drop_weights_5000", FEW_ARMS, range(1000, 1010), metrics)


def each_example(metrics: Metrics) -> Table:
    return made("drop_weights_example", EXAMPLE_ARMS, range(6000, 6010), metrics)


def of_dropout(accuracies: Mapping[tuple[str, float, float], float]) -> Table:
    """The first sweep with these settings of dropout, rate of the input first, and their validation accuracies."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        setting = (of[INPUT], of["dropout1"], of["dropout2"])
        return {"val_acc": accuracies.get(setting, 0.5), "val_loss": 0.3}

    others = [arm("none", (0, 0)), arm("dropconnect", (0.1, 0.1))]
    arms = [*others, *(arm("dropout", hidden, pixels) for pixels, *hidden in accuracies)]
    return made("drop_weights", arms, (0, 1), metrics)


def facts(*tables: Table) -> NoiseFacts:
    return drop_weights.analyse({table.sweep: table for table in tables})


def without(table: Table, **values: Any) -> Table:
    lost = np.logical_and.reduce([table.epochs[key] == value for key, value in values.items()])
    gone = set(table.epochs[lost]["id"])
    return replace(
        table, epochs=table.epochs[~lost], runs=table.runs[[run not in gone for run in table.runs["id"]]]
    )


def test_choice_is_the_best_on_validation() -> None:
    assert drop_weights.choose(first()) == [
        "noise=none dropout1=0 dropout2=0",
        "noise=dropout noise.input_rate=0 dropout1=0.2 dropout2=0.5",
        "noise=dropconnect dropout1=0.3 dropout2=0.75",
        "noise=dropconnect_gaussian dropout1=0.1 dropout2=0.25",
    ]


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({0.05: (0.88, 0.3), 0.1: (0.89, 0.5), 0.2: (0.87, 0.2)}, "0.1"),
        ({0.05: (0.88, 0.3), 0.1: (0.88, 0.2), 0.2: (0.88, 0.4)}, "0.1"),
        ({0.2: (0.88, 0.3), 0.1: (0.88, 0.3), 0.05: (0.87, 0.1)}, "0.1"),
    ],
    ids=["accuracy", "then cross-entropy", "then the smaller rates"],
)
def test_order_of_the_choice(values: dict[float, tuple[float, float]], best: str) -> None:
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        # an earlier epoch, however good, and the test set, however bad, do not count
        accuracy, loss = values.get(of["dropout1"], (0.5, 1.0)) if epoch == 2 else (1 - of["dropout1"], 0.0)
        return {"val_acc": accuracy, "val_loss": loss, "test_acc": of["dropout1"]}

    arms = [
        arm("none", (0, 0.5)),
        arm("dropconnect", (0, 0.5)),
        *(arm("dropout", (rate, 0.5)) for rate in values),
    ]
    choice = drop_weights.choose(made("drop_weights", arms, (0, 1), metrics))
    assert choice[2] == f"noise=dropout noise.input_rate=0 dropout1={best} dropout2=0.5"


HIDDEN_ALONE, WEAK, STRONG = ("0", 0.1, 0.3), ("0", 0.02, 0.06), ("0", 0.2, 0.5)
PIXELS_ALONE, PIXELS_TOO = ("0.1", 0.0, 0.0), ("0.1", 0.1, 0.3)
SETTINGS = (WEAK, HIDDEN_ALONE, STRONG, PIXELS_ALONE, PIXELS_TOO)


@pytest.mark.parametrize(
    ("best", "overrides", "at_end", "drops_pixels"),
    [
        (HIDDEN_ALONE, "noise.input_rate=0 dropout1=0.1 dropout2=0.3", False, False),
        (STRONG, "noise.input_rate=0 dropout1=0.2 dropout2=0.5", True, False),
        (PIXELS_ALONE, "noise.input_rate=0.1 dropout1=0 dropout2=0", True, True),
        (PIXELS_TOO, "noise.input_rate=0.1 dropout1=0.1 dropout2=0.3", True, True),
    ],
    ids=["hidden layers alone", "the strongest of them", "pixels alone", "pixels, too"],
)
def test_a_choice_with_and_without_a_rate_of_the_input(
    best: tuple[str, float, float], overrides: str, at_end: bool, drops_pixels: bool
) -> None:
    """Settings that differ by the input's rate alone are two; its highest rate is an end, and 0 is none."""
    table = of_dropout({setting: 0.9 if setting == best else 0.89 for setting in SETTINGS})
    assert drop_weights.choose(table) == [
        "noise=none dropout1=0 dropout2=0",
        "noise=dropconnect dropout1=0.1 dropout2=0.1",
        f"noise=dropout {overrides}",
        "noise=dropconnect_gaussian dropout1=0.1 dropout2=0.1",  # not tried: at DropConnect's rates
        # beside a choice that drops pixels: of equal ones that do not, the one with the smaller rates
        *["noise=dropout noise.input_rate=0 dropout1=0.02 dropout2=0.06"] * drops_pixels,
    ]
    assert facts(table).edges == ["dropout"] * at_end
    assert facts(table).drops_pixels == drops_pixels
    assert facts(table).input_alone == (best is PIXELS_ALONE)


def test_the_lowest_rate_is_an_end_but_for_0() -> None:
    table = of_dropout({("0", 0.02, 0.3): 0.9, ("0", 0.1, 0.1): 0.8, ("0", 0.2, 0.5): 0.8})
    assert facts(table).edges == ["dropout"]
    table = of_dropout({("0", 0.0, 0.3): 0.9, ("0", 0.1, 0.1): 0.8, ("0", 0.2, 0.5): 0.8})
    assert facts(table).edges == []


def test_a_table_without_rates_of_the_input_is_refused() -> None:
    """Tables of before there were some: their arms would be taken for those with the same rates of the hidden
    layers."""

    def old(table: Table) -> Table:
        keys = tuple(key for key in table.keys if key != INPUT)
        return replace(table, keys=keys, epochs=table.epochs.drop(columns=INPUT))

    tests = second(on_test({}))
    for tables in ((old(first()),), (first(), old(tests)), (old(first()), tests)):
        with pytest.raises(
            InputError, match=r"does not sweep noise\.input_rate; sweep=drop_weights(_test)? does"
        ):
            facts(*tables)


def test_a_strength_that_lacks_a_seed_is_not_chosen() -> None:
    # seed 1 has the higher accuracies, so the rest of the best rates would look better still
    table = without(first(), noise="dropconnect", dropout1=0.3, seed=0)
    assert "noise=dropconnect dropout1=0.2 dropout2=0.5" in drop_weights.choose(table)
    assert facts(table).budgets == {(4, 7), (4, 8)}


@pytest.mark.parametrize("noise", ["none", "dropout", "dropconnect"])
def test_without_a_noise_that_is_judged_nothing_is_chosen(noise: str) -> None:
    table = made("drop_weights", [arm for arm in ARMS if arm["noise"] != noise], (0, 1), on_validation)
    with pytest.raises(InputError, match=f"^drop_weights has no result of {noise}; "):
        drop_weights.choose(table)
    # the other arms are not counted in its place, and the report has the other exercises
    designs = chapter._designs(chapter.Section("drop_weights", drop_weights, {"drop_weights": table}))
    assert not designs["drop_weights_test"].arms


def test_nothing_to_choose_from() -> None:
    table = made("drop_weights", ARMS, (0, 1), lambda *_: {"val_acc": np.nan, "val_loss": np.nan})
    for of in (drop_weights.choose, facts):
        with pytest.raises(InputError, match=r"data\.validation above 0 is right"):
            of(table)


@pytest.mark.parametrize(
    ("effect", "verdict"), [(-0.005, "worse"), (0.005, "better"), (0.0, "equivalent")], ids=str
)
def test_an_effect_is_found_with_its_sign(effect: float, verdict: str) -> None:
    found = facts(first(), second(on_test({"dropconnect": effect}, sd=0.0005)))
    assert found.verdict == word(found.first) == verdict
    result = found.first
    assert (result.contrast.a, result.contrast.b, result.paired.n, result.family) == (
        "dropconnect",
        "dropout",
        10,
        1,
    )
    assert result.paired.interval is not None
    assert result.paired.interval.lower < effect < result.paired.interval.upper
    loss = found.versus("dropconnect", "dropout", measures.TEST_LOSS)
    assert loss is not None and loss.paired.difference == pytest.approx(-result.paired.difference)


def test_what_is_not_shown_is_undecided_with_what_is_excluded() -> None:
    found = facts(first(), second(on_test({"dropconnect": -0.002}, sd=0.003)))
    assert found.verdict == "undecided"
    assert found.first.excludes("better") and not found.first.excludes("worse")


def test_where_pairing_gains_nothing_the_spread_of_all_arms_judges_too() -> None:
    found = facts(first(), second(on_test({"dropconnect": -0.01}, sd=0.004)))
    assert found.first.paired.correlation is not None and found.first.paired.correlation < 0.3
    assert found.pooled is not None and (found.pooled.free, found.pooled.word) == (4 * 9, "worse")
    assert found.pooled.half_width < 0.005
    assert facts(first(), second(on_test({"dropconnect": -0.01}, sd=0.0001))).pooled is None


def test_pairs_are_those_of_the_common_seeds() -> None:
    table = second(on_test({"dropconnect": -0.005}))
    table = without(without(table, noise="dropconnect", seed=12), noise="dropout", seed=19)
    failed = Problem("0", "failed", arm("dropconnect", (0.3, 0.75)), 12, "a reason")
    found = facts(first(), replace(table, problems=(failed,)))
    assert found.first.paired.n == 8
    (stats,) = [stats for stats in found.arms if stats.name == "dropconnect"]
    assert (stats.n, stats.planned, stats.lost, stats.diverged) == (9, 10, 1, 0)


def test_it_is_not_better_because_its_bad_runs_are_missing() -> None:
    table = second(on_test({"dropconnect": 0.02}))
    for seed in (10, 11, 12):
        table = without(table, noise="dropconnect", seed=seed)
    lost = [Problem(f"{s}", "diverged", arm("dropconnect", (0.3, 0.75)), s, "nan") for s in (10, 11, 12)]
    found = facts(first(), replace(table, problems=tuple(lost)))
    assert found.verdict == "undecided" and found.first.verdict is not None and found.first.verdict.diverged


def test_without_the_test_nothing_is_decided() -> None:
    found = facts(first())
    assert found.validated and not found.tested
    assert list(drop_weights.draw(found)) == ["validation", "validation_loss"]


def test_a_choice_at_an_end_of_what_was_tried_is_known() -> None:
    assert facts(first()).edges == ["dropconnect"]


def test_few_images_are_judged_by_their_own_sweep() -> None:
    """Neither sweep moves the other's verdict, and the small one's names are those of its own arms."""
    small = few(on_test({"dropconnect": -0.01, "dropconnect_example": 0.004, "none": -0.006}, sd=0.0005))
    all_images = second(on_test({"dropconnect": 0.005}, sd=0.0005))
    found = facts(first(), all_images, small)
    (judged,) = found.few
    assert (found.verdict, word(found.first), word(judged)) == ("better", "better", "worse")
    assert (judged.contrast.a, judged.contrast.b, judged.margin) == ("dropconnect", "dropout", 0.002)
    assert found.images == 5000
    example, control = found.on_few("dropconnect_example"), found.on_few("dropout", "none")
    assert example is not None and example.paired.difference == pytest.approx(0.004, abs=0.0005)
    assert control is not None and control.paired.difference == pytest.approx(0.006, abs=0.0005)
    assert found.versus("dropconnect_example", "dropout", measures.TEST_ACC) is None
    assert {arm.name for arm in found.arms} == {*BEST}
    for without_few in (facts(first(), all_images), facts(first())):
        assert not without_few.few and without_few.on_few("dropconnect_example") is None


def test_few_images_are_judged_by_their_own_look() -> None:
    small = few(on_test({"dropconnect": -0.01}, sd=0.0005))
    look = Look(FEW_ARMS[2], FEW_ARMS[1], "test_acc", (1000, 1001), (-0.001, 0.0015), 0.02, "equivalent")
    (judged,) = facts(first(), second(on_test({})), replace(small, looks=(look,))).few
    assert judged.paired.n == 2 and word(judged) == "equivalent"


def on_each_example(of: Mapping[str, Any], seed: int, epoch: int) -> Mapping[str, float]:
    """A mask for each example is 0.4 points above one a step, dropout 0.2 and, without pixels, 0.1."""
    dropout = 0.002 if of[INPUT] else 0.001
    return on_test({"dropconnect_example": 0.004, "dropout": dropout}, sd=0.0002)(of, seed, epoch)


def test_masks_for_each_example_are_judged_by_their_own_sweep() -> None:
    """They do not move the exercise's verdict, and both dropouts keep their names."""
    tables = (first(), second(on_test({"dropconnect": -0.005}, sd=0.0005)), each_example(on_each_example))
    found = facts(*tables)
    (judged,) = found.example
    assert (found.verdict, word(judged), judged.margin) == ("worse", "better", 0.002)
    assert (judged.contrast.a, judged.contrast.b) == ("dropconnect_example", "dropconnect")
    shown = {
        (r.contrast.b, r.measure.column): r.paired.difference
        for r in found.example_described
        if r.contrast.a == "dropconnect_example"
    }
    assert len(shown) == len(found.example_described) == 8
    assert shown["dropout", "test_acc"] == pytest.approx(0.002, abs=0.0005)
    assert shown["dropout_hidden", "test_acc"] == pytest.approx(0.003, abs=0.0005)
    assert shown["dropconnect", "test_loss"] == pytest.approx(-0.004, abs=0.0005)
    assert found.example_sensitivity is not None
    # both tests at the last epoch and at the mean of three, and without each seed
    assert found.example_sensitivity.holds == found.example_sensitivity.analyses == 2 * 2 + 10
    assert not facts(*tables[:2]).example and not facts(first()).example


@pytest.mark.parametrize("gain", [0.0, 0.004], ids=str)
def test_both_languages_say_of_masks_for_each_example_what_comes_out(gain: float) -> None:
    table = each_example(on_test({"dropconnect_example": gain}, sd=0.0005))
    for rest in ((first(), second(on_test({}))), (first(),)):
        english, chinese = (said(*rest, table, language=language) for language in ("en", "zh"))
        assert numbers(english) == numbers(chinese)
        assert "A mask for each image, minus" not in said(*rest)
    english = said(first(), second(on_test({})), table)
    (line,) = re.findall(r"^- A mask for each image, minus a mask for each step: .*$", english, re.M)
    assert ("better" in line) == (gain > 0) and ("equivalent" in line) == (not gain)
    assert "The verdict holds in" in english


def said(*tables: Table, language: str = "en") -> str:
    """What the report says of them, without its figures."""
    read = {table.sweep: table for table in tables}
    section = chapter.Section(
        "drop_weights", drop_weights, read, facts(*tables), ["differences", "validation"]
    )
    report = chapter.Chapter(Path(), chapter.Source(read), [section])
    return str(chapter.content(report, language)["sections"][0]["text"])


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"[−+±]?\d[\d,.]*(?<![,.])", text))


@pytest.mark.parametrize("effect", [-0.005, 0.0, 0.005], ids=str)
@pytest.mark.parametrize("gaussian", [-0.005, 0.0, 0.005], ids=str)
def test_both_languages_say_the_same_whatever_comes_out(effect: float, gaussian: float) -> None:
    effects = {"dropconnect": effect, "dropconnect_gaussian": gaussian}
    read = (first(), second(on_test(effects, sd=0.0005)), few(on_test({}, sd=0.0005)))
    english = said(*read)
    assert numbers(english) == numbers(said(*read, language="zh"))
    assert "the whole reason" not in english or effect < 0 > gaussian
    assert "not shown to be worse, as this suggests" not in english or effect < 0 <= gaussian


def test_what_is_said_of_few_images_needs_their_table() -> None:
    small, rest = few(on_test({}, sd=0.0005)), (first(), second(on_test({})))
    for language, open_text, fold in (
        ("en", "- On 5,000 images", "On 5,000 training images"),
        ("zh", "- 在 5,000 张图像上", "在 5,000 张训练图像上"),
    ):
        text = said(*rest, small, language=language)
        assert open_text in text and fold in text
        text = said(*rest, language=language)
        assert open_text not in text and fold not in text
    for language in ("en", "zh"):
        assert numbers(said(first(), small)) == numbers(said(first(), small, language=language))


def test_dropconnect_is_compared_with_dropout_of_the_hidden_layers_too() -> None:
    """Where dropout's choice drops pixels alone, the answer says so, and a third arm drops none."""
    tried = [arm("dropout", hidden, pixels) for pixels, *hidden in (PIXELS_ALONE, WEAK, STRONG)]
    best = {0.0: 0.9, 0.02: 0.89}
    table = made(
        "drop_weights",
        [arm("none", (0, 0)), *tried, arm("dropconnect", (0.1, 0.1))],
        (0, 1),
        lambda of, *_: {"val_acc": best.get(of["dropout1"], 0.88), "val_loss": 0.3},
    )
    arms = list(drop_weights.chosen(table.final).values())

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        gain = 0.002 if of["dropout1"] > 0 else 0.010
        return on_test({"dropout": gain}, sd=0.0002)(of, seed, epoch)

    found = facts(table, made("drop_weights_test", arms, range(10, 20), metrics))
    hidden = found.versus("dropconnect", "dropout_hidden", measures.TEST_ACC)
    assert found.verdict == "worse" and hidden is not None
    assert hidden.paired.difference == pytest.approx(-0.002, abs=0.0005)
    read = (table, made("drop_weights_test", arms, range(10, 20), metrics))
    text, chinese = (said(*read, language=language) for language in ("en", "zh"))
    assert "worse than dropout on the input alone" in text and "只作用于输入的暂退法" in chinese
    assert "DropConnect minus dropout of the hidden layers: −0.2" in text
    assert numbers(text) == numbers(chinese)
    assert "on the input alone" not in said(first(), second(on_test({"dropconnect": -0.005}, sd=0.0005)))


def test_the_pixels_of_dropouts_choice_are_named() -> None:
    for best, are_named in ((HIDDEN_ALONE, False), (PIXELS_ALONE, True)):
        table = of_dropout({setting: 0.9 if setting == best else 0.89 for setting in SETTINGS})
        assert ("pixels, which dropout's choice drops" in said(table)) == are_named


def test_figures() -> None:
    names = list(drop_weights.draw(facts(first(), second(on_test({})))))
    assert names == ["differences", "validation", "validation_loss"]


def test_a_panel_has_its_noises_own_settings() -> None:
    """A line for each rate of the input, and dropout's chosen mean beside the other noises."""
    found = facts(of_dropout({WEAK: 0.88, HIDDEN_ALONE: 0.89, PIXELS_ALONE: 0.9, PIXELS_TOO: 0.87}))
    dropconnect, dropout = drop_weights.draw(found)["validation"].axes
    ticks = [[label.get_text() for label in axis.get_xticklabels()] for axis in (dropout, dropconnect)]
    assert ticks == [["0\n0.02\n0.06", "0\n0.1\n0.3", "0.1\n0\n0", "0.1\n0.1\n0.3"], ["0.1\n0.1"]]
    lines = [line.get_xydata() for line in dropout.lines if line.get_label() == "the panel's noise"]
    assert np.allclose(lines, [[(0, 88), (1, 89)], [(2, 90), (3, 87)]])
    # a line of one setting would show nothing
    assert {line.get_marker() for line in dropout.lines if line.get_label() == "the panel's noise"} == {"s"}
    ((level, _),) = [line.get_ydata() for line in dropconnect.lines if line.get_label() == "dropout's choice"]
    assert level == pytest.approx(90)
    assert not [line for line in dropout.lines if line.get_label() == "dropout's choice"]


def test_a_sweep_that_looked_is_judged_as_it_judged() -> None:
    table = second(on_test({"dropconnect": -0.002}))
    look = Look(CHOSEN[2], CHOSEN[1], "test_acc", (10, 11, 12, 13), (-0.004, 0.001), 0.02, "undecided")
    found = facts(first(), replace(table, looks=(look,)))
    interval = found.first.paired.interval
    assert interval is not None and (interval.lower, interval.upper) == (-0.004, 0.001)
    assert (found.first.contrast.a, found.first.paired.n, found.verdict) == ("dropconnect", 4, "undecided")
