"""What dropout and weight decay are said to do together, on tables of known truth."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tables import made

from analysis import measures
from analysis.exercises import Answer, Grid, Picture, weight_decay
from analysis.exercises.weight_decay import DECAY, KEYS, Setting, answer, choose, effects_of, judge
from analysis.tables import Table, as_kept

RATES = ((0.0, 0.0), (0.1, 0.25), (0.2, 0.5), (0.5, 0.5))
DECAYS = (0.0, 1e-5, 5e-5, 2e-4, 1e-3)
ALONE = Setting("best alone", (0.2, 0.5), 5e-5)
TOGETHER = Setting("best together", (0.1, 0.25), 2e-4)
FRESH = range(10, 20)
PATTERN = np.random.default_rng(0).normal(size=10)
PATTERN = (PATTERN - PATTERN.mean()) / PATTERN.std(ddof=1)
"""Of mean 0 and SD 1: what it is multiplied with is the SD of the interaction over the ten seeds."""

Gains = tuple[float, float, float]
"""Of dropout alone, of weight decay alone and of both over neither, in percentage points."""


def cell(rates: tuple[float, float], decay: float) -> dict[str, float]:
    return {"dropout1": rates[0], "dropout2": rates[1], DECAY: decay}


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are most of the time; the test that looks at them is marked."""
    if "with_figures" not in request.fixturenames:
        for draw in ("draw_grid", "draw_gains"):
            monkeypatch.setattr(weight_decay, draw, lambda shown: "no figure")


@pytest.fixture
def with_figures() -> None:
    """Asks for the figures, see `_no_figures`."""


def grid(
    accuracy_of: Callable[[Mapping[str, Any]], float] | None = None,
    *,
    rates: Sequence[tuple[float, float]] = RATES,
    decays: Sequence[float] = DECAYS,
    seeds: int = 2,
    **options: Any,
) -> Table:
    """The first sweep; ALONE and TOGETHER are the best unless `accuracy_of` gives the validation accuracy."""

    def peaked(arm: Mapping[str, Any]) -> float:
        has_both = arm["dropout1"] > 0 and arm[DECAY] > 0
        best = TOGETHER if has_both else ALONE
        distance = RATES.index((arm["dropout1"], arm["dropout2"])) - RATES.index(best.rates)
        steps = DECAYS.index(arm[DECAY]) - DECAYS.index(best.decay)
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
        for (name, arm), gain in zip(setting.cells.items(), (0.0, *found), strict=True)
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


def without(table: Table, setting: Setting, cell_name: str, seeds: Sequence[int]) -> Table:
    """The table without these runs."""
    lost = table.epochs["seed"].isin(seeds)
    for key, value in setting.cells[cell_name].items():
        lost &= table.epochs[key] == value
    assert lost.any()
    return dataclasses.replace(table, epochs=table.epochs[~lost])


def answered(first: Table, second: Table | None = None) -> Answer:
    tables = {"weight_decay": first} | ({} if second is None else {"weight_decay_test": second})
    return answer(tables)


def test_choice_is_each_best_arm_once() -> None:
    assert choose(grid()) == [
        "dropout1=0 dropout2=0 optimizer.weight_decay=0",
        "dropout1=0.2 dropout2=0.5 optimizer.weight_decay=0",
        "dropout1=0 dropout2=0 optimizer.weight_decay=5e-05",
        "dropout1=0.2 dropout2=0.5 optimizer.weight_decay=5e-05",
        "dropout1=0.1 dropout2=0.25 optimizer.weight_decay=0",
        "dropout1=0 dropout2=0 optimizer.weight_decay=0.0002",
        "dropout1=0.1 dropout2=0.25 optimizer.weight_decay=0.0002",
    ]
    assert choose(as_kept(grid())) == choose(grid())


def test_ties_go_to_the_lower_loss_and_then_to_the_smaller_values() -> None:
    equal = grid(lambda arm: 0.88)
    assert choose(equal)[-1] == "dropout1=0.1 dropout2=0.25 optimizer.weight_decay=1e-05"
    better = (equal.epochs["dropout1"] == 0.5) & (equal.epochs[DECAY] == 1e-3)
    loss = equal.epochs["val_loss"] - 0.01 * better
    choice = choose(dataclasses.replace(equal, epochs=equal.epochs.assign(val_loss=loss)))
    assert choice[-1] == "dropout1=0.5 dropout2=0.5 optimizer.weight_decay=0.001"
    assert choice[1:3] == [
        "dropout1=0.1 dropout2=0.25 optimizer.weight_decay=0",
        "dropout1=0 dropout2=0 optimizer.weight_decay=1e-05",
    ]


def test_last_epoch_chooses_not_the_best() -> None:
    table = grid()
    first = table.epochs["epoch"] == 1
    peak = table.epochs["val_acc"] + 0.5 * (first & (table.epochs["dropout1"] == 0.5))
    assert choose(dataclasses.replace(table, epochs=table.epochs.assign(val_acc=peak))) == choose(table)


def test_neither_best_is_said_and_the_best_above_0_taken() -> None:
    table = grid(lambda arm: 0.9 - arm["dropout2"] / 100 - arm[DECAY])
    assert choose(table)[-1] == "dropout1=0.1 dropout2=0.25 optimizer.weight_decay=1e-05"
    assert len(choose(table)) == 4
    said = answered(table).verdict[0]
    assert "Doing without was better than dropout alone" in said
    assert "Doing without was better than weight decay alone" in said
    assert "two questions are one" in said
    assert "Doing without" not in answered(grid()).verdict[0]


VERDICTS: dict[str, tuple[Gains, float, str]] = {
    "short around 0": ((0.5, 0.3, 0.8), 0.1, "additive"),
    "not 0 but inside": ((0.5, 0.3, 0.82), 0.02, "additive"),
    "harms that add up": ((-0.5, -0.3, -0.8), 0.1, "additive"),
    "no effect at all": ((0.0, 0.0, 0.0), 0.1, "additive"),
    "too wide": ((0.5, 0.3, 0.75), 0.3, "undecided"),
    "more than the sum": ((0.5, 0.3, 1.2), 0.1, "synergistic"),
    "the second adds nothing": ((0.5, 0.3, 0.5), 0.1, "redundant"),
    "the first adds nothing": ((0.3, 0.5, 0.5), 0.1, "redundant"),
    "more than the better": ((0.5, 0.3, 0.65), 0.1, "diminishing"),
    "more than the better one, decay": ((0.3, 0.5, 0.65), 0.1, "diminishing"),
    "below the sum, how far is open": ((0.5, 0.3, 0.45), 0.3, "undecided"),
    "less than the worse": ((0.5, 0.3, 0.1), 0.1, "cancelling"),
    "nothing left": ((0.5, 0.0, 0.0), 0.1, "cancelling"),
    "between the two": ((0.5, 0.1, 0.25), 0.1, "cancelling in part"),
}


@pytest.mark.parametrize(("gains", "sd", "word"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(gains: Gains, sd: float, word: str) -> None:
    table = measured(gains, sd=sd)
    for measure in (measures.TEST_ACC, measures.TEST_LOSS):
        effects = effects_of(table.final, ALONE, measure)
        assert effects is not None
        unit = 100 if measure is measures.TEST_ACC else 25
        found = [unit * effects.gain(name).difference for name in ("dropout", "weight decay", "both")]
        assert found == pytest.approx(gains, abs=1e-9)
        interval = effects.interaction.interval
        assert interval is not None
        half = stats.t.ppf(0.975, 9) * sd / math.sqrt(10)
        middle = gains[2] - gains[1] - gains[0]
        assert [unit * interval.lower, unit * interval.upper] == pytest.approx([middle - half, middle + half])
        assert judge(effects).word == word


def test_number_of_seeds_is_the_first_that_makes_the_interval_short() -> None:
    effects = effects_of(measured((0.5, 0.3, 0.75), sd=0.3).final, ALONE, measures.TEST_ACC)
    assert effects is not None

    def half(n: int) -> float:
        return stats.t.ppf(0.975, n - 1) * 0.3 / math.sqrt(n)

    needed = next(n for n in itertools.count(2) if half(n) <= 0.1)
    assert f"about {needed} common seeds" in judge(effects).reason
    assert needed > 10


def test_known_effects_are_told_with_their_numbers(with_figures: None) -> None:
    found = answered(grid(), measured((0.5, 0.3, 0.65), (0.4, 0.2, 1.0)))
    half = stats.t.ppf(0.975, 9) * 0.1 / math.sqrt(10)
    ends = f"−{0.15 + half:.2f} to −{0.15 - half:.2f}"
    assert "+0.50 pp" in found.headline
    assert "+0.30 pp" in found.headline
    assert "+0.65 pp" in found.headline
    assert f"−0.15 pp (95% interval {ends}): diminishing" in found.headline
    assert found.headline.endswith("at the values best together it is synergistic.")
    assert found.n == "10 common seeds, 70 runs; values chosen on 40 runs"
    choice, alone, together, gap, reach = found.verdict
    assert "dropout (0.2, 0.5) of 3 with dropout alone" in choice
    assert "dropout (0.1, 0.25) and weight decay 0.0002 of 12 with both" in choice
    assert "diminishing, as by test accuracy" in alone
    assert "+0.40 pp (95% interval +0.33 to +0.47): synergistic" in together
    assert "9.00 pp with neither and changes by −3.00 pp with dropout" in gap
    assert "269,322" in reach
    assert found.outstanding == ()
    pictures = [part for part in found.parts if isinstance(part, Picture)]
    assert [picture.name for picture in pictures] == ["grid", "gains"]
    assert len([part for part in found.parts if isinstance(part, Grid)]) == 5
    kept = answered(as_kept(grid()), as_kept(measured((0.5, 0.3, 0.65), (0.4, 0.2, 1.0))))
    assert (kept.headline, kept.verdict) == (found.headline, found.verdict)


def test_other_way_round_is_told_the_other_way_round() -> None:
    more = answered(grid(), measured((0.5, 0.3, 1.0)))
    less = answered(grid(), measured((0.5, 0.3, 0.1)))
    assert "more than the sum of both" in more.headline
    assert "less than either gives alone" in less.headline


def test_no_effect_is_none_shown() -> None:
    found = answered(grid(), measured((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    assert "additive, the effects, none of them shown, add up to within 0.07 pp" in found.headline
    assert "Shown to differ from neither: none." in found.verdict[1]
    assert "covers 0 with a half-width of 0.07 pp, at most 0.10 pp" in found.verdict[1]


def test_lost_runs_leave_the_common_seeds() -> None:
    whole = measured((0.5, 0.3, 0.65))
    lost = without(without(whole, ALONE, "dropout", [11]), ALONE, "both", [12, 13])
    effects = effects_of(lost.final, ALONE, measures.TEST_ACC)
    assert effects is not None
    kept = [PATTERN[seed - 10] for seed in FRESH if seed not in (11, 12, 13)]
    assert effects.interaction.n == 7
    assert 100 * effects.interaction.difference == pytest.approx(-0.15 + 0.1 * np.mean(kept))
    assert answered(grid(), lost).n.startswith("7 common seeds, 67 runs")


def test_missing_arm_is_outstanding_and_the_rest_answered() -> None:
    lost = without(measured((0.5, 0.3, 0.65)), TOGETHER, "both", FRESH)
    found = answered(grid(), lost)
    assert "diminishing" in found.headline
    assert "best together" not in found.headline
    assert any(
        "no usable run of: dropout (0.1, 0.25) and weight decay 0.0002." in said for said in found.outstanding
    )


def test_missing_measure_is_outstanding() -> None:
    table = measured((0.5, 0.3, 0.65))
    found = answered(grid(), dataclasses.replace(table, epochs=table.epochs.assign(eval_train_acc=math.nan)))
    assert "diminishing" in found.headline
    assert any("train−test gap, noise off" in said for said in found.outstanding)


def test_without_the_test_the_validation_images_answer() -> None:
    found = answered(grid(seeds=4))
    assert found.headline.startswith("On validation images that also chose the values, dropout (0.2, 0.5)")
    assert found.n == "4 common seeds, 80 runs"
    assert "also chose the values" in found.verdict[-1]
    assert any("python -m src.train sweep=weight_decay_test" in said for said in found.outstanding)
    assert "test accuracy" not in " ".join(found.verdict)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(seeds: int, with_figures: None) -> None:
    found = answered(grid(seeds=seeds, epochs=1))
    assert "undecided" in found.headline
    assert f"{seeds} common seed" in found.n


def test_hole_in_the_grid_is_outstanding(with_figures: None) -> None:
    found = answered(
        without(grid(), Setting("", (0.5, 0.5), 1e-3), "both", range(2)), measured((0.5, 0.3, 0.65))
    )
    assert found.outstanding == (
        "weight_decay has no usable run of: dropout (0.5, 0.5) and weight decay 0.001.",
    )
    assert "of 11 with both" in found.verdict[0]


def test_trimmed_grids_do_not_crash() -> None:
    no_both = grid()
    lone = (no_both.epochs["dropout1"] == 0) | (no_both.epochs[DECAY] == 0)
    found = answered(dataclasses.replace(no_both, epochs=no_both.epochs[lone]))
    assert found.headline.startswith("Not answered")
    assert any("too few arms to choose the values best together" in said for said in found.outstanding)
    no_neither = answered(grid(rates=RATES[1:]))
    assert no_neither.headline.startswith("Not answered")
    other = grid()
    for lacking in (
        dataclasses.replace(other, keys=("dropout1", "dropout2"), epochs=other.epochs.drop(columns=DECAY)),
        dataclasses.replace(other, epochs=other.epochs.assign(val_acc=math.nan)),
    ):
        said = answered(lacking)
        assert said.headline.startswith("Not answered")
        assert said.outstanding


def test_test_of_other_arms_or_of_the_same_seeds_is_told() -> None:
    second = measured((0.5, 0.3, 0.65))
    unswept = dataclasses.replace(second, keys=("dropout1", "dropout2"))
    assert any("does not sweep" in said for said in answered(grid(), unswept).outstanding)
    repeated = answered(grid(seeds=12), second)
    assert any("repeats seeds that chose the values: 10, 11" in said for said in repeated.outstanding)
