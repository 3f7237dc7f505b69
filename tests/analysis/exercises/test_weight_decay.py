"""What dropout and weight decay are said to do together, on tables of known truth."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tables import macros, made

from analysis import design, exercises, measures, page
from analysis.exercises import INPUT, pick
from analysis.exercises.weight_decay import (
    DECAY,
    FEW,
    INNER,
    KEYS,
    OUTER,
    PAIR,
    DecayFacts,
    analyse,
    cells_of,
    choose,
    draw,
    is_additive,
    said,
)
from analysis.looks import Look
from analysis.runs import InputError, Problem
from analysis.tables import Table, load, save

RATES = ((0.0, 0.0, 0.0), (0.05, 0.1, 0.25), (0.1, 0.2, 0.5), (0.1, 0.5, 0.5))
"""Of the input and both hidden layers."""
DECAYS = (0.0, 1e-5, 5e-5, 2e-4, 1e-3)
ALONE = (RATES[2], 5e-5)
TOGETHER = (RATES[1], 2e-4)
FRESH = range(10, 20)
PATTERN = np.random.default_rng(0).normal(size=10)
PATTERN = (PATTERN - PATTERN.mean()) / PATTERN.std(ddof=1)
"""Of mean 0 and SD 1: what it is multiplied with is the SD of the interaction over the ten seeds."""

Gains = tuple[float, float, float]
"""Of dropout alone, of weight decay alone and of both over neither, in percentage points."""


Rates = tuple[float, float, float]


def cell(rates: Rates, decay: float) -> dict[str, float]:
    return dict(zip(KEYS, (*rates, decay), strict=True))


def grid(
    accuracy_of: Callable[[Mapping[str, Any]], float] | None = None,
    *,
    rates: Sequence[Rates] = RATES,
    decays: Sequence[float] = DECAYS,
    seeds: int = 2,
    **options: Any,
) -> Table:
    """The first sweep; ALONE and TOGETHER are the best unless `accuracy_of` gives the validation accuracy."""

    def peaked(arm: Mapping[str, Any]) -> float:
        has_both = arm["dropout1"] > 0 and arm[DECAY] > 0
        best = TOGETHER if has_both else ALONE
        distance = RATES.index((arm[INPUT], arm["dropout1"], arm["dropout2"])) - RATES.index(best[0])
        steps = DECAYS.index(arm[DECAY]) - DECAYS.index(best[1])
        return 0.88 - 0.001 * abs(distance) - 0.001 * abs(steps) + 0.01 * has_both

    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        accuracy = (accuracy_of or peaked)(arm) + 0.002 * seed
        # nobody has looked at the test set yet
        return {"val_acc": accuracy, "val_loss": 1 - accuracy, "test_acc": math.nan, "test_loss": math.nan}

    arms = [cell(pair, decay) for pair, decay in itertools.product(rates, decays)]
    return made("weight_decay", arms, range(seeds), metrics, **options)


def measured(alone: Gains, together: Gains = (0.4, 0.2, 0.6), sd: float = 0.1) -> Table:
    """The second sweep: gains of accuracy that are exact but for the interaction's SD `sd`; of cross-entropy four
    hundredths of it in nats, and of the gap with the noise off 3 pp less with dropout."""
    gains = {
        tuple(arm.values()): (gain, name == "both")
        for setting, found in ((ALONE, alone), (TOGETHER, together))
        for (name, arm), gain in zip(cells_of(*setting).items(), (0.0, *found), strict=True)
    }

    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        gain, is_both = gains[tuple(arm.values())]
        change = gain + is_both * sd * PATTERN[seed - FRESH[0]]
        accuracy = 0.88 + 0.004 * math.sin(seed) + change / 100
        gap = 0.09 - 0.03 * (arm["dropout1"] > 0)
        nats = 0.35 + 0.01 * math.sin(seed) - 0.04 * change
        return {
            "test_acc": accuracy,
            "test_loss": nats,
            "eval_train_acc": accuracy + gap,
            "val_acc": math.nan,
        }

    arms = [dict(zip(KEYS, values, strict=True)) for values in gains]
    return made("weight_decay_test", arms, FRESH, metrics)


def without(table: Table, setting: tuple[Rates, float], cell_name: str, seeds: Sequence[int]) -> Table:
    """The table without these runs."""
    lost = table.epochs["seed"].isin(seeds)
    for key, value in cells_of(*setting)[cell_name].items():
        lost &= table.epochs[key] == value
    assert lost.any()
    return dataclasses.replace(table, epochs=table.epochs[~lost])


def facts(first: Table, second: Table | None = None) -> DecayFacts:
    return analyse({"weight_decay": first} | ({} if second is None else {"weight_decay_test": second}))


def test_choice_is_each_best_arm_once(tmp_path: Path) -> None:
    assert choose(grid()) == [
        "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=0",
        "noise.input_rate=0.1 dropout1=0.2 dropout2=0.5 optimizer.weight_decay=0",
        "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=5e-05",
        "noise.input_rate=0.1 dropout1=0.2 dropout2=0.5 optimizer.weight_decay=5e-05",
        "noise.input_rate=0.05 dropout1=0.1 dropout2=0.25 optimizer.weight_decay=0",
        "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=0.0002",
        "noise.input_rate=0.05 dropout1=0.1 dropout2=0.25 optimizer.weight_decay=0.0002",
    ]
    save(grid(), tmp_path)
    assert choose(load(tmp_path, grid().name)) == choose(grid())


def test_ties_go_to_the_lower_loss_and_then_to_the_smaller_values() -> None:
    equal = grid(lambda arm: 0.88)
    assert (
        choose(equal)[-1] == "noise.input_rate=0.05 dropout1=0.1 dropout2=0.25 optimizer.weight_decay=1e-05"
    )
    better = (equal.epochs["dropout1"] == 0.5) & (equal.epochs[DECAY] == 1e-3)
    loss = equal.epochs["val_loss"] - 0.01 * better
    choice = choose(dataclasses.replace(equal, epochs=equal.epochs.assign(val_loss=loss)))
    assert choice[-1] == "noise.input_rate=0.1 dropout1=0.5 dropout2=0.5 optimizer.weight_decay=0.001"
    assert choice[1:3] == [
        "noise.input_rate=0.05 dropout1=0.1 dropout2=0.25 optimizer.weight_decay=0",
        "noise.input_rate=0 dropout1=0 dropout2=0 optimizer.weight_decay=1e-05",
    ]


def test_last_epoch_chooses_not_the_best() -> None:
    table = grid()
    first = table.epochs["epoch"] == 1
    peak = table.epochs["val_acc"] + 0.5 * (first & (table.epochs["dropout1"] == 0.5))
    assert choose(dataclasses.replace(table, epochs=table.epochs.assign(val_acc=peak))) == choose(table)


def test_neither_best_still_takes_the_best_above_0() -> None:
    table = grid(lambda arm: 0.9 - arm["dropout2"] / 100 - arm[DECAY])
    assert (
        choose(table)[-1] == "noise.input_rate=0.05 dropout1=0.1 dropout2=0.25 optimizer.weight_decay=1e-05"
    )
    assert len(choose(table)) == 4


VERDICTS: dict[str, tuple[Gains, float, str]] = {
    "short around 0": ((0.5, 0.3, 0.8), 0.1, "additive"),
    "not 0 but inside": ((0.5, 0.3, 0.9), 0.1, "additive"),
    "harms that add up": ((-0.5, -0.3, -0.8), 0.1, "additive"),
    "too wide": ((0.5, 0.3, 0.8), 0.5, "undecided"),
    "more than the sum": ((0.5, 0.3, 1.2), 0.1, "synergistic"),
    "the second adds nothing": ((0.9, 0.5, 0.9), 0.1, "redundant"),
    "the first adds nothing": ((0.5, 0.9, 0.9), 0.1, "redundant"),
    "more than the better": ((0.9, 0.6, 1.3), 0.1, "diminishing"),
    "more than the better one, decay": ((0.6, 0.9, 1.3), 0.1, "diminishing"),
    "below the sum, how far is open": ((0.9, 0.6, 0.95), 0.6, "less than the sum"),
    "less than the worse": ((0.9, 0.6, 0.2), 0.1, "cancelling"),
    "nothing left": ((0.9, 0.0, 0.0), 0.1, "cancelling"),
    "between the two": ((0.9, 0.2, 0.45), 0.1, "cancelling in part"),
}


@pytest.fixture(scope="module")
def chosen() -> Table:
    return grid()


@pytest.mark.parametrize(("gains", "sd", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(chosen: Table, gains: Gains, sd: float, verdict: str) -> None:
    found = facts(chosen, measured(gains, sd=sd))
    shown = [100 * found.gain(cell).paired.difference for cell in ("dropout", "weight decay", "both")]
    assert shown == pytest.approx(gains, abs=1e-9)
    interval = found.first.paired.interval
    assert interval is not None
    half, middle = stats.t.ppf(0.975, 9) * sd / math.sqrt(10), gains[2] - gains[1] - gains[0]
    assert [100 * interval.lower, 100 * interval.upper] == pytest.approx([middle - half, middle + half])
    assert found.verdict == verdict
    loss = pick(found.described, a=OUTER, b=INNER, measure=measures.TEST_LOSS, setting=("best alone",))
    assert loss is not None and 25 * loss.paired.difference == pytest.approx(-middle)


def test_interaction_at_the_pair_that_is_best_together_is_described(chosen: Table) -> None:
    found = facts(chosen, measured((0.9, 0.5, 0.9), together=(0.7, 0.3, 0.8), sd=0.2)).at_pair
    assert found is not None and found.paired.interval is not None
    assert 100 * found.paired.difference == pytest.approx(-0.2)
    half = stats.t.ppf(0.975, 9) * 0.2 / math.sqrt(10)
    assert 100 * found.paired.interval.reach == pytest.approx(0.2 + half)


def test_number_of_seeds_is_the_first_that_makes_the_interval_as_wide_as_the_margin(chosen: Table) -> None:
    found = facts(chosen, measured((0.5, 0.3, 0.8), sd=0.6))
    assert found.needed is not None

    def half(n: int) -> float:
        return float(stats.t.ppf(0.975, n - 1) * 0.6 / math.sqrt(n))

    assert half(found.needed) <= 0.2 < half(found.needed - 1)


def test_common_seeds_are_those_of_all_four_cells(chosen: Table) -> None:
    table = without(measured((0.5, 0.3, 0.8)), ALONE, "both", [10, 11])
    table = without(table, ALONE, "dropout", [19])
    found = facts(chosen, table)
    assert found.first.paired.n == 7
    assert {r.paired.n for r in found.described if r.contrast.setting == ("best alone",)} == {7}
    for cell in ("neither", "weight decay"):
        table = without(table, ALONE, cell, [12, 13, 14, 15, 16])
    assert facts(chosen, table).verdict == "not decided"


def test_both_are_not_more_than_the_sum_because_their_bad_runs_are_missing(chosen: Table) -> None:
    both = cells_of(*ALONE)["both"]
    lost = tuple(Problem(f"{seed}", "diverged", both, seed, "nan") for seed in (10, 11))
    table = without(measured((0.5, 0.3, 1.2)), ALONE, "both", [10, 11])
    assert facts(chosen, table).verdict == "synergistic"
    found = facts(chosen, dataclasses.replace(table, problems=lost))
    assert found.verdict == "undecided" and found.first.verdict is not None and found.first.verdict.diverged


def test_without_the_test_nothing_is_decided(chosen: Table) -> None:
    found = facts(chosen)
    assert (found.verdict, found.validated, list(found.primary)) == ("not decided", True, [])
    assert list(draw(found)) == ["grid"]


def test_what_the_choice_cannot_be_made_from_is_refused() -> None:
    for table, right in (
        (made("weight_decay", [{"dropout1": 0.2}], [0], lambda *_: {}), "sweep=weight_decay does"),
        (grid(lambda arm: math.nan), "data.validation above 0"),
    ):
        with pytest.raises(InputError, match=right):
            facts(table)
    with pytest.raises(InputError, match="too few arms"):
        choose(grid(rates=[RATES[0]]))


def test_its_figures(chosen: Table) -> None:
    assert list(draw(facts(chosen, measured((0.5, 0.3, 0.8))))) == ["gains", "grid"]


def test_a_sweep_that_looked_is_judged_as_it_judged(chosen: Table, tmp_path: Path) -> None:
    cells, gains = cells_of(*ALONE), (0.9, 0.5, 0.9)
    four = cells["both"], cells["dropout"], cells["weight decay"], cells["neither"]

    def judged(verdict: str, ends: tuple[float, float], order: Sequence[int] = (0, 1, 2, 3)) -> DecayFacts:
        a, b, *further = (four[place] for place in order)
        look = Look(a, b, "test_acc", tuple(FRESH)[:6], ends, 0.02, verdict, tuple(further))
        save(dataclasses.replace(measured(gains), looks=(look,)), tmp_path)
        return facts(chosen, load(tmp_path, "weight_decay_test"))

    found = judged("worse", (-0.009, -0.001))
    interval = found.first.paired.interval
    assert interval is not None and (interval.lower, interval.upper) == (-0.009, -0.001)
    assert (found.first.paired.n, found.verdict, found.needed) == (6, "redundant", None)
    # t, on the splits, and without each seed; for sign flips at the look's level of 2% six seeds are too few
    assert found.sensitivity is not None and found.sensitivity.analyses == 8
    assert judged("equivalent", (-0.0015, 0.001)).verdict == "additive"
    for ends in ((-0.009, -0.001), (-0.0015, 0.001)):
        assert judged("undecided, 2 of 40 broke", ends).verdict == "undecided"
    smaller = judged("smaller", (-0.009, -0.001))
    assert (smaller.verdict, smaller.first.said(smaller.word)) == ("redundant", "smaller")
    # of another contrast of these arms it says nothing
    assert judged("worse", (-0.009, -0.001), (3, 1, 2, 0)).first.paired.n == len(FRESH)


@pytest.mark.parametrize(("interaction", "word"), [(0.0, "equivalent"), (-0.006, "worse"), (0.006, "better")])
def test_few_images_are_judged_by_their_own_sweep(chosen: Table, interaction: float, word: str) -> None:
    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        is_both = arm["dropout1"] > 0 and arm[DECAY] == 1e-3
        accuracy = 0.85 + interaction * is_both + 0.0003 * math.sin(7 * seed)
        return {"test_acc": accuracy + 0.0002 * math.cos(5 * seed) * is_both}

    few = made(FEW, design.read(FEW).arms, FRESH, metrics)
    found = analyse({"weight_decay": chosen, "weight_decay_test": measured((0.5, 0.3, 0.8)), FEW: few})
    (result,) = found.few
    assert found.images == 5000 and exercises.word(result) == word
    assert result.paired.difference == pytest.approx(interaction, abs=2e-4)
    assert is_additive(result) == (word == "equivalent")
    assert found.verdict == "additive" and not facts(chosen, measured((0.5, 0.3, 0.8))).few


@pytest.mark.parametrize(
    ("gains", "ends"),
    [
        ((0.9, 0.5, 0.9), ("of the better one alone, dropout.", "（暂退法）相同。")),
        ((0.5, 0.9, 0.9), ("of the better one alone, weight decay.", "（权重衰减）相同。")),
    ],
)
def test_what_is_redundant_is_said_with_the_better_one(
    chosen: Table, gains: Gains, ends: tuple[str, str]
) -> None:
    found = facts(chosen, measured(gains))
    for language, end in zip(("en", "zh"), ends, strict=True):
        template = page.environment(language).get_template("exercises/weight_decay.md")
        assert "".join(template.blocks["answer"](template.new_context({"f": found}))).strip().endswith(end)


def test_at_the_pair_best_together_it_is_judged_on_fresh_seeds() -> None:
    """The committed numbers, by numpy; the arms are the first sweep's choice."""
    results = Path(exercises.__file__).parents[1] / "results"
    read = {sweep: load(results, sweep) for sweep in ("weight_decay", "weight_decay_test", PAIR)}
    found = analyse(read)
    best = found.best["both"]
    wanted = cells_of([float(best[rate]) for rate in KEYS[:3]], float(best[DECAY]))
    arms = dict(zip(wanted, design.read(PAIR).arms, strict=True))
    assert arms == wanted
    last = read[PAIR].final.set_index("seed")

    def cells_in(column: str) -> dict[str, Any]:
        return {
            name: last[(last[list(KEYS)] == [arm[key] for key in KEYS]).all(axis=1)][column].sort_index()
            for name, arm in arms.items()
        }

    cells = cells_in("test_acc")
    I = cells["both"] - cells["dropout"] - cells["weight decay"] + cells["neither"]  # noqa: E741
    (judged,) = found.pair
    assert judged.paired.n == len(I) == 20
    assert judged.paired.difference == pytest.approx(I.mean(), abs=1e-12) and judged.side < 0
    added = found.pair_over_dropout
    assert added is not None and added.gain == 0
    assert added.paired.difference == pytest.approx((cells["both"] - cells["dropout"]).mean(), abs=1e-12)
    in_loss = cells_in("test_loss")
    expected = in_loss["both"] - in_loss["dropout"]
    (r,) = (r for r in found.pair_described if r.measure == measures.TEST_LOSS and r.contrast.b == "dropout")
    assert r.contrast.a == "both" and r.paired.difference == pytest.approx(expected.mean(), abs=1e-12)
    # of the words above those without a seed, by hand
    others = [np.delete(I.to_numpy(), seed) for seed in range(20)]
    level = judged.level
    halves = [stats.t.ppf(1 - level / 2, 18) * stats.sem(of) for of in others]
    out = [n + 1 for n, (of, half) in enumerate(zip(others, halves, strict=True)) if of.mean() + half >= 0]
    assert found.pair_sensitivity is not None
    assert found.pair_sensitivity.other == tuple(f"without one seed ({n})" for n in out) and len(out) == 11
    for language, words in (
        ("en", "I is −0.11 pp: below 0, in half of the analyses;"),
        ("zh", "低于 0，半数分析如此；"),
    ):
        template = page.environment(language).get_template("exercises/weight_decay.md")
        given = {"f": found, "measures": measures, "m": exercises.load("weight_decay")}
        context = template.new_context(given | macros(language))
        assert words in "".join(template.blocks["seen"](context))
    without = analyse({sweep: table for sweep, table in read.items() if sweep != PAIR})
    assert not without.pair and without.verdict == found.verdict


def test_where_another_pair_is_best_together_the_pairs_sweep_is_not_shown(chosen: Table) -> None:
    """Its arms are those that the committed first sweep chose."""
    results = Path(exercises.__file__).parents[1] / "results"
    found = analyse(
        {"weight_decay": chosen, "weight_decay_test": measured((0.9, 0.5, 0.9)), PAIR: load(results, PAIR)}
    )
    assert found.at_pair is not None and found.other_pair
    assert not found.pair and not found.pair_described and found.pair_sensitivity is None
    for language, words in (
        ("en", "judges another pair of values"),
        ("zh", "判断的不是这里共同最佳的那一对值"),
    ):
        template = page.environment(language).get_template("exercises/weight_decay.md")
        context = template.new_context({"f": found, "m": exercises.load("weight_decay")} | macros(language))
        assert words in "".join(template.blocks["tables"](context))


@pytest.mark.parametrize(
    ("gains", "sd", "words"),
    [
        ((0.5, 0.3, 0.3), 0.1, ("below 0", "低于 0")),
        ((0.5, 0.3, 1.3), 0.1, ("above 0", "高于 0")),
        ((0.5, 0.3, 0.8), 0.1, ("additive", "相加")),
        ((0.5, 0.3, 0.8), 1.0, ("undecided", "未定")),
    ],
)
def test_an_interaction_is_said_by_its_side_of_0(
    chosen: Table, gains: Gains, sd: float, words: tuple[str, str]
) -> None:
    found = facts(chosen, measured(gains, sd=sd))
    for language, word in zip(("en", "zh"), words, strict=True):
        assert page.phrases(language).say(said(found.first)) == word
