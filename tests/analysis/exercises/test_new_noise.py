"""What is said of new noises follows from the runs; a clone of dropout must not win."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from tables import made

from analysis import measures
from analysis.exercises import Answer, Grid, Picture, _noises, _noises_parts, _noises_wording, new_noise
from analysis.tables import Table

NOISES = ("dropout", "dropout_clone", "gaussian", "additive", "jumpout")
RATES = ((0.05, 0.125), (0.1, 0.25), (0.2, 0.5), (0.3, 0.75))
CHOSEN = (0.1, 0.25)
DRAWN = {name: getattr(_noises_parts, name) for name in ("strengths_figure", "differences_figure")}


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Figures take most of an answer's time; `test_figures` draws them."""
    for name in DRAWN:
        monkeypatch.setattr(_noises_parts, name, lambda *_: Figure())
    yield


def arm(noise: str, rates: Sequence[float]) -> dict[str, Any]:
    return {"noise": noise, "dropout1": rates[0], "dropout2": rates[1]}


def chance(*of: Any) -> float:
    """A standard normal number that depends on nothing else."""
    return float(np.random.default_rng(zlib.crc32(repr(of).encode())).normal())


@cache
def first(best: tuple[tuple[str, float], ...] = (), seeds: tuple[int, ...] = (0, 1)) -> Table:
    """Validation: 0.1 is best of each noise's first rates, but for those in `best`."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        far = abs(of["dropout1"] - dict(best).get(of["noise"], CHOSEN[0]))
        return {"val_acc": 0.89 - 0.05 * far, "val_loss": 0.3 + 0.1 * far}

    arms = [arm("none", (0, 0)), *(arm(noise, rates) for rates in RATES for noise in NOISES)]
    return made("new_noise", arms, seeds, metrics)


def second(
    effects: Mapping[str, float],
    *,
    losses: Mapping[str, float] | None = None,
    seeds: Sequence[int] = range(10, 20),
    noises: Sequence[str] = ("none", *NOISES),
    rates: Mapping[str, Sequence[float]] | None = None,
    sd: float = 0.001,
) -> Table:
    """Test: these effects on accuracy, and on cross-entropy, over dropout's; a seed's part is common to all."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        noise = of["noise"]
        common = chance("seed", seed)
        return {
            "test_acc": 0.88 + 0.002 * common + effects.get(noise, 0) + sd * chance(noise, seed),
            "test_loss": 0.35
            - 0.005 * common
            + (losses or {}).get(noise, 0)
            + sd * chance(noise, seed, "loss"),
            "test_ece": 0.03 + sd * chance(noise, seed, "ece"),
        }

    places = dict.fromkeys(noises, CHOSEN) | {"none": (0, 0)} | dict(rates or {})
    return made("new_noise_test", [arm(noise, places[noise]) for noise in noises], seeds, metrics)


def answered(*tables: Table) -> Answer:
    return new_noise.answer({table.sweep: table for table in tables})


def said(answer: Answer) -> str:
    return " ".join(answer.verdict)


def test_a_noise_that_is_better_wins() -> None:
    answer = answered(first(), second({"additive": 0.005}))
    assert answer.headline.startswith("Additive noise beats dropout in test accuracy (+0.5")
    assert "and its clone as well." in answer.headline
    assert answer.verdict[0].startswith("Additive noise wins in test accuracy. ")
    assert "shown better: additive noise (+0.5" in answer.verdict[0]
    assert answer.verdict[1].startswith(
        "The control holds: no difference shown between dropout's clone and dropout"
    )
    assert answer.verdict[2].startswith("No noise wins in test cross-entropy.")
    assert answer.n == "10 seeds, 60 runs (test)"
    pairs = next(
        part
        for part in answer.parts
        if isinstance(part, Grid) and "differences in test accuracy" in part.caption
    )
    references = [row[1] for row in pairs.rows]
    assert [references.count(name) for name in ("dropout", "dropout's clone", "no noise")] == [4, 3, 5]
    found = next(row for row in pairs.rows if row[:2] == ["additive noise", "dropout"])
    low, high = (float(end.replace("−", "-")) for end in found[4].split(" to "))
    assert low < 0.5 < high and high - low < 0.4


def test_several_winners() -> None:
    answer = answered(first(), second({"additive": 0.005, "gaussian": 0.009, "jumpout": 0.007}))
    assert answer.headline.startswith("Gaussian dropout beats dropout")
    assert answer.headline.endswith("as well, as do jumpout and additive noise.")
    assert answer.verdict[0].startswith("Gaussian dropout, jumpout and additive noise win in test accuracy.")


def test_a_noise_that_is_worse_is_named_and_does_not_win() -> None:
    answer = answered(first(), second({"jumpout": -0.005}))
    assert answer.headline.startswith(
        "No noise is shown better than dropout in test accuracy: of 3 others tried, "
    )
    assert "jumpout" not in answer.headline
    assert answer.verdict[0].startswith("No noise wins in test accuracy.")
    assert "shown worse: jumpout (−0." in answer.verdict[0]
    assert "Against no noise in test accuracy – shown worse: jumpout (−0." in answer.verdict[3]


def test_no_effect_has_no_winner() -> None:
    answer = answered(first(), second({}))
    assert answer.headline.startswith("No noise is shown better than dropout")
    assert "95% interval" in answer.headline and "10 common seeds" in answer.headline
    assert "shown better" not in said(answer) and "shown worse" not in said(answer)
    assert "those inside the interval remain possible" in said(answer)
    assert "with 80% probability" in said(answer)


def test_in_cross_entropy_lower_is_better() -> None:
    lower, higher = (answered(first(), second({}, losses={"additive": sign * 0.02})) for sign in (-1, 1))
    assert lower.verdict[2].startswith("Additive noise wins in test cross-entropy.")
    assert "shown better: additive noise (−0.02" in lower.verdict[2]
    assert higher.verdict[2].startswith("No noise wins in test cross-entropy.")
    assert "shown worse: additive noise (+0." in higher.verdict[2]
    assert lower.headline.startswith("No noise is shown better than dropout in test accuracy")


@pytest.mark.parametrize("effect", [-0.005, 0.005])
def test_a_clone_that_differs_makes_the_experiment_untrustworthy(effect: float) -> None:
    answer = answered(first(), second({"dropout_clone": effect, "additive": 0.02}))
    assert answer.headline.startswith("No winner can be named: ")
    assert answer.headline.endswith("so the experiment is untrustworthy.")
    assert answer.verdict[0].startswith(
        "No noise wins in test accuracy; additive noise is better than dropout alone"
    )
    assert answer.verdict[1].startswith("The control fails: ")
    assert "is declared untrustworthy in test accuracy" in answer.verdict[1]
    assert "untrustworthy" not in answer.verdict[2]  # the clone's cross-entropy is dropout's


def test_a_clone_that_differs_by_its_tuning_is_said_to() -> None:
    other = (0.2, 0.5)
    best = (("dropout_clone", other[0]),)
    answer = answered(first(best), second({"dropout_clone": -0.005}, rates={"dropout_clone": other}))
    assert "with the rates that its own tuning chose, (0.2, 0.5) and not (0.1, 0.25)," in answer.headline
    assert answer.headline.endswith("so the experiment is untrustworthy, its tuning included.")


def test_better_than_dropout_but_not_than_the_clone_is_no_win() -> None:
    # the clone's luck: half way between dropout and the noise, and too scattered to differ from either
    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        gain = {"additive": 0.004 + 0.0005 * (seed % 3), "dropout_clone": 0.002 + 0.008 * (-1) ** seed}
        return {"test_acc": 0.88 + gain.get(of["noise"], 0.0002 * chance(of["noise"], seed))}

    arms = [arm("none", (0, 0)), *(arm(noise, CHOSEN) for noise in NOISES)]
    answer = answered(first(), made("new_noise_test", arms, range(10, 20), metrics))
    assert answer.headline.startswith(
        "No noise wins: additive noise is better than dropout in test accuracy (+0.4"
    )
    assert answer.headline.endswith("but not than dropout under other masks.")
    assert "additive noise is better than dropout alone, which is no win" in answer.verdict[0]
    assert "The control holds" in answer.verdict[1]


@pytest.mark.parametrize(("missing", "counted"), [("dropout_clone", "missing"), ("none", "holds")])
def test_no_winner_without_the_clone(missing: str, counted: str) -> None:
    noises = [noise for noise in ("none", *NOISES) if noise != missing]
    answer = answered(first(), second({"additive": 0.005}, noises=noises))
    assert f"The control {'is ' * (counted == 'missing')}{counted}" in answer.verdict[1]
    assert ("beats dropout" in answer.headline) == (counted == "holds")
    assert any(" of the 60 runs of sweeps/new_noise_test.yaml" in text for text in answer.outstanding)


def test_the_clone_is_the_yardstick() -> None:
    table = second({"dropout_clone": 0.0005})
    clone, dropout = (
        table.final[table.final["noise"] == noise].set_index("seed")["test_acc"]
        for noise in ("dropout_clone", "dropout")
    )
    answer = answered(first(), table)
    differences = 100 * (clone - dropout)
    farther = abs(differences.mean()) + stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    assert f"equal arms may differ by here is {farther:.2f} pp, the farther end" in answer.verdict[1]
    assert "chosen rates" not in answer.verdict[1]
    table = second({}, rates={"dropout_clone": (0.2, 0.5)})
    answer = answered(first((("dropout_clone", 0.2),)), table)
    assert "Its chosen rates, (0.2, 0.5), are not dropout's, (0.1, 0.25)" in answer.verdict[1]


def test_least_difference_that_would_be_shown() -> None:
    rng = np.random.default_rng(0)
    sample = rng.normal(0, 0.002, 10)
    least = _noises_wording.detectable(sample, tests=4)
    assert least is not None
    # the power of the t-test at that difference, from the noncentral t distribution
    critical = stats.t.ppf(1 - 0.05 / 4 / 2, 9)
    shift = least / sample.std(ddof=1) * np.sqrt(10)
    power = stats.nct.sf(critical, 9, shift) + stats.nct.cdf(-critical, 9, shift)
    assert power == pytest.approx(0.8, abs=1e-4)
    assert _noises_wording.detectable(sample[:2], tests=4) is None
    table = second({})
    rows = _noises.tested(table, _noises.chosen(_noises.tried(first())))
    pairs = _noises.against(rows, NOISES, "dropout", measures.TEST_ACC)
    assert len(pairs) == 4
    sizes = [
        _noises_wording.detectable(_noises.differences(rows, pair, measures.TEST_ACC), 4) for pair in pairs
    ]
    assert f"of {100 * np.median(np.array(sizes, float)):.2f} pp (" in answered(first(), table).verdict[1]


def test_choices_at_an_end_are_named() -> None:
    best = (("additive", 0.3), ("gaussian", 0.05), ("jumpout", 0.3))
    rates = {"additive": RATES[3], "gaussian": RATES[0], "jumpout": RATES[3]}
    answer = answered(first(best), second({}, rates=rates))
    assert (
        "The strongest rates tried were chosen for additive noise, jumpout; the weakest rates tried were chosen "
        "for Gaussian dropout: more might be had beyond them."
    ) in answer.verdict[-1]
    assert "No choice lies at an end" in answered(first(), second({})).verdict[-1]


def test_without_the_test_there_is_no_winner() -> None:
    answer = answered(first())
    assert answer.headline.startswith("Not decided yet, as the test is outstanding: on validation alone ")
    assert answer.headline.endswith("no winner is declared.")
    assert "wins" not in said(answer) and "beats" not in said(answer)
    assert any("sweeps/new_noise_test.yaml" in text for text in answer.outstanding)
    assert answer.n == "2 seeds, 12 runs (validation)"


@pytest.mark.parametrize("seeds", [(0, 1), (10, 11), (10,)])
def test_a_trimmed_version_is_answered(seeds: Sequence[int]) -> None:
    answer = answered(first(seeds=(0, 1)[: len(seeds)]), second({"jumpout": -0.2}, seeds=seeds))
    assert any("training for the 50 epochs" in text for text in answer.outstanding)
    assert any("sweeps/new_noise_test.yaml" in text for text in answer.outstanding)
    if len(seeds) == 1:
        assert "The control is missing" in answer.verdict[1]
        assert "95% interval" not in answer.headline


@pytest.mark.parametrize("collapsed", [True, False])
def test_a_collapsed_run_does_not_flatten_the_others(
    collapsed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_noises_parts, "strengths_figure", DRAWN["strengths_figure"])

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        fell = collapsed and (of["noise"], of["dropout1"], seed) == ("jumpout", 0.3, 1)
        return {"val_acc": 0.1 if fell else 0.89 + 0.002 * chance(of["noise"], seed), "val_loss": 0.3}

    arms = [arm("none", (0, 0)), *(arm(noise, rates) for rates in RATES for noise in NOISES)]
    answer = answered(made("new_noise", arms, (0, 1), metrics))
    picture = next(part for part in answer.parts if isinstance(part, Picture) and part.name == "validation")
    low, high = picture.figure.axes[0].get_ylim()
    assert 85 < low < 89 < high < 92
    note = "Triangles: runs off the scale (jumpout at 0.3, 0.75: 10.00)."
    assert picture.caption.endswith(note) == collapsed
    assert ("Triangles" in picture.caption) == collapsed


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, draw in DRAWN.items():
        monkeypatch.setattr(_noises_parts, name, draw)
    answer = answered(first(), second({"additive": 0.005}))
    pictures = {part.name: part.figure for part in answer.parts if isinstance(part, Picture)}
    assert list(pictures) == ["validation", "validation_loss", "differences"]
    assert sum(axis.get_visible() for axis in pictures["validation"].axes) == len(NOISES)
    assert [len(axis.collections) for axis in pictures["differences"].axes] == [4, 4, 4]
