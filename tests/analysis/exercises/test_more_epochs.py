"""When dropout is said to begin to pay, on tables of known truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from tables import made

from analysis import measures
from analysis.exercises import more_epochs, pick, word
from analysis.exercises.more_epochs import DROPOUT, NONE, EpochFacts
from analysis.looks import Look
from analysis.runs import Problem
from analysis.tables import Table

ARMS = [
    {"dropout1": rates[0], "dropout2": rates[1], "optimizer.decay": decay, "epochs": length}
    for rates in ((0.0, 0.0), (0.2, 0.5))
    for decay, lengths in (("constant", [100]), ("cosine", [10, 30, 100]))
    for length in lengths
]
SHORT = [
    *({**arm, "epochs": 30} for arm in ARMS if arm["optimizer.decay"] == "constant"),
    *(arm for arm in ARMS if arm["optimizer.decay"] == "cosine" and arm["epochs"] < 100),
]
Gain = Callable[[str, int], float]
"""What dropout takes off test cross-entropy, by how lr moves and by epoch; accuracy gains a tenth of it."""


def sweep(gain: Gain, *, arms: Any = ARMS, seeds: int = 5, noise: float = 0.002, **more: Any) -> Table:
    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        on = arm["dropout1"] > 0
        rng = np.random.default_rng([seed, epoch, on, arm["epochs"], len(arm["optimizer.decay"])])
        better = gain(arm["optimizer.decay"], epoch) if on else 0.0
        acc = 0.85 + 0.01 * np.sin(seed) + better / 10 + rng.normal(0, noise / 10)
        return {
            "test_loss": 0.5 - better + 0.02 * np.cos(seed) + rng.normal(0, noise),
            "test_acc": acc,
            "test_ece": 0.05 - better / 10 + rng.normal(0, noise / 10),
            "eval_train_acc": acc + (0.03 if on else 0.06),
        }

    return made("more_epochs", arms, range(seeds), metrics, epochs=lambda arm: arm["epochs"], **more)


def kept(table: Table, rows: Any) -> Table:
    """The table without the runs of the other rows."""
    epochs = table.epochs[rows]
    return dataclasses.replace(table, epochs=epochs, runs=table.runs[table.runs["id"].isin(epochs["id"])])


def facts(table: Table) -> EpochFacts:
    return more_epochs.analyse({"more_epochs": table})


@pytest.fixture(scope="module")
def late() -> Table:
    """Dropout costs 0.055 nats up to epoch 19, and gains as much from epoch 20 on."""
    return sweep(lambda decay, epoch: -0.055 if epoch < 20 else 0.055)


@pytest.fixture(scope="module")
def facts_late(late: Table) -> EpochFacts:
    return facts(late)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.05, "pays"), (-0.05, "costs"), (0.0, "equivalent")], ids=str
)
def test_verdicts(gain: float, verdict: str) -> None:
    found = facts(sweep(lambda decay, epoch: gain, arms=SHORT))
    assert found.verdict == verdict
    assert found.first.contrast.setting == ("cosine lr", "30 epochs")  # the longest there is
    assert found.first.paired.difference == pytest.approx(-gain, abs=0.005)


def test_it_is_undecided_where_seeds_differ_too_much() -> None:
    assert facts(sweep(lambda decay, epoch: 0.01, arms=SHORT, noise=0.05)).verdict == "undecided"


def test_it_pays_from_where_it_does_and_costs_before(facts_late: EpochFacts) -> None:
    assert facts_late.verdict == "pays"
    assert facts_late.first.contrast.setting == ("cosine lr", "100 epochs")
    assert facts_late.sensitivity is not None
    assert facts_late.sensitivity.holds == facts_late.sensitivity.analyses
    for decay, lengths in (("constant", (100,)), ("cosine", (10, 30, 100))):
        for length in lengths:
            result = pick(
                facts_late.described, setting=(f"{decay} lr", f"{length} epochs"), measure=measures.TEST_LOSS
            )
            assert result is not None and result.gain == (1 if length > 20 else -1)


def test_runs_that_fall_apart_or_diverge_are_counted() -> None:
    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        falls = not arm["dropout1"] and arm["optimizer.decay"] == "constant" and epoch == 20
        return {"test_loss": 0.4, "train_acc": 0.5 if falls else 0.9}

    table = made("more_epochs", SHORT, range(5), metrics, epochs=lambda arm: arm["epochs"])
    arm = next(arm for arm in SHORT if not arm["dropout1"] and arm["optimizer.decay"] == "constant")
    rows = (table.epochs["epochs"] == 30) & (table.epochs["dropout1"] == 0) & (table.epochs["seed"] == 4)
    table = kept(table, ~(rows & (table.epochs["optimizer.decay"] == "constant")))
    table = dataclasses.replace(table, problems=(Problem("0", "diverged", arm, 4, "nan in epoch 20"),))
    found = facts(table)
    assert (found.steady(NONE), found.steady(DROPOUT)) == ((5, 5), (0, 5))
    (stats,) = [stats for stats in found.arms if stats.name == "no dropout, constant lr, 30 epochs"]
    assert (stats.n, stats.planned, stats.diverged, stats.broken) == (4, 5, 1, 4)


def test_peaks_and_what_is_lost_from_there() -> None:
    found = facts(sweep(lambda decay, epoch: 0.3 - abs(epoch - 8) / 100, arms=SHORT, noise=0.0))
    (peak,) = [peak for peak in found.peaks if (peak.decay, peak.arm) == ("cosine", DROPOUT)]
    assert set(peak.epochs) == {8}
    assert peak.lost == pytest.approx(0.22)


def test_one_seed_decides_nothing() -> None:
    assert facts(sweep(lambda decay, epoch: 0.05, arms=SHORT, seeds=1)).verdict == "not decided"


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.01, "better"), (-0.01, "worse"), (0.0, "equivalent")], ids=str
)
def test_a_small_training_set_is_judged_by_its_own_sweep(gain: float, verdict: str, late: Table) -> None:
    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        on = arm["dropout1"] > 0
        rng = np.random.default_rng([seed, on])
        return {"test_acc": 0.85 + gain * on + rng.normal(0, 0.0005), "test_loss": 0.5 - 0.05 * on}

    arms = [{"dropout1": 0.0, "dropout2": 0.0}, {"dropout1": 0.2, "dropout2": 0.5}]
    small = made("more_epochs_1000", arms, range(10), metrics)
    (found,) = more_epochs.analyse({"more_epochs": late, small.sweep: small}).small_sets
    assert (found.images, word(found.judged)) == (1000, verdict)
    assert found.judged.paired.difference == pytest.approx(gain, abs=0.0005)
    assert found.beside[0].measure is measures.TEST_LOSS
    assert found.beside[0].paired.difference == pytest.approx(-0.05)


def test_its_figures(facts_late: EpochFacts) -> None:
    names = list(more_epochs.draw(facts_late))
    assert names == ["curves_constant", "curves_cosine", "last_epoch", "differences"]
    labels = more_epochs.draw(facts_late)["curves_cosine"].legends[0].get_texts()
    assert len({text.get_text() for text in labels}) == 6


def test_a_sweep_that_looked_is_judged_as_it_judged(late: Table) -> None:
    none, dropout = (
        {"dropout1": a, "dropout2": b, "optimizer.decay": "cosine", "epochs": 100}
        for a, b in ((0, 0), (0.2, 0.5))
    )
    look = Look(dropout, none, "test_loss", (0, 1, 2), (-0.3, -0.1), 0.03, "better")
    found = facts(dataclasses.replace(late, looks=(look,)))
    interval = found.first.paired.interval
    assert interval is not None and (interval.lower, interval.upper) == (-0.3, -0.1)
    assert (found.first.paired.n, found.verdict) == (3, "pays")
    looked = [r for r in found.described if r.contrast.look is not None]
    assert [(r.contrast.setting, r.measure) for r in looked] == [(found.judged.parts, measures.TEST_LOSS)]
    assert {r.paired.n for r in found.described if r not in looked} == {5}
