"""When dropout is said to begin to pay, on tables of known truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import made

from analysis import measures
from analysis.exercises import Answer, Picture, more_epochs
from analysis.exercises.more_epochs import DROPOUT, NONE, Setting
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


def answered(table: Table) -> Answer:
    return more_epochs.answer({"more_epochs": table})


@pytest.fixture(scope="module")
def late() -> Table:
    """Dropout costs 0.055 nats up to epoch 19, and gains as much from epoch 20 on; with cosine it does nothing."""
    return sweep(lambda decay, epoch: 0.0 if decay == "cosine" else -0.055 if epoch < 20 else 0.055)


@pytest.fixture(scope="module")
def answer_late(late: Table) -> Answer:
    return answered(late)


def test_it_pays_from_where_it_does_and_costs_before(answer_late):
    assert (
        "In test cross-entropy, with a constant lr dropout pays after 30 and 100 epochs, dropout costs after 10 "
        "epochs (after 100, dropout minus none is −0.05" in answer_late.headline
    )
    assert "; with a cosine lr no difference is shown after 10, 30 and 100 epochs" in answer_late.headline
    assert answer_late.n == "5 common seeds, 40 runs"
    constant, cosine, ahead, peaks, reach = answer_late.verdict
    for measure in ("test cross-entropy", "test accuracy", "expected calibration error"):
        assert (
            f"In {measure}, dropout is shown better after 30 and 100 epochs, no dropout is shown better after "
            "10 epochs (after 100:" in constant
        )
        assert f"In {measure}, no difference is shown after 10, 30 and 100 epochs" in cosine
    told = "ahead from epoch 20 to the end in test cross-entropy, test accuracy, expected calibration error."
    assert told in ahead
    assert "noise off, after 100: 3.00 pp against 6.00 pp, difference −3.00 pp" in constant
    assert "diverged" not in constant + answer_late.headline
    assert "optimistic" in peaks
    assert "epochs: 10 to 100, by arm" in reach
    assert not answer_late.outstanding


def test_its_figures(answer_late):
    names = [part.name for part in answer_late.parts if isinstance(part, Picture)]
    assert names == ["curves_constant", "curves_cosine", "differences", "last_epoch"]


def test_it_never_pays():
    found = answered(sweep(lambda decay, epoch: -0.05, arms=SHORT))
    assert found.headline.count("dropout costs after 10 and 30 epochs") == 2
    assert "pays" not in found.headline
    assert (
        "dropout is not ahead at the end in test cross-entropy, test accuracy, expected" in found.verdict[2]
    )


def test_no_effect_is_not_called_equal():
    found = answered(sweep(lambda decay, epoch: 0.0, arms=SHORT))
    text = found.headline + " ".join(found.verdict)
    assert found.headline.count("lr no difference is shown after 10 and 30 epochs") == 2
    assert "is shown better" not in text and "are equal" not in text
    assert text.count("no difference is shown after 10 and 30 epochs") == 2 + 6


def test_a_shorter_run_at_constant_lr_is_the_start_of_a_longer_one(late):
    epochs = more_epochs.histories(late)
    short = more_epochs.runs_of(epochs, DROPOUT, Setting("constant", 10))
    assert (short["epoch"].max(), set(short["length"]), len(short)) == (10, {100}, 50)
    own = more_epochs.runs_of(epochs, DROPOUT, Setting("cosine", 10))
    assert (own["epoch"].max(), set(own["length"]), len(own)) == (10, {10}, 50)


def test_a_seed_without_its_long_run_is_there_with_its_own_short_one():
    arms = [
        {**arm, "epochs": length}
        for arm in ARMS
        if arm["optimizer.decay"] == "constant"
        for length in (10, 30)
    ]
    table = sweep(lambda decay, epoch: 0.05, arms=arms)
    whole = kept(table, (table.epochs["epochs"] == 10) | (table.epochs["seed"] > 0))
    epochs = more_epochs.histories(whole)
    short = more_epochs.runs_of(epochs, NONE, Setting("constant", 10))
    assert short.groupby("seed").size().to_dict() == dict.fromkeys(range(5), 10)
    assert set(short.loc[short["seed"] == 0, "length"]) == {10}
    assert more_epochs.runs_of(epochs, NONE, Setting("constant", 30))["seed"].nunique() == 4


def test_the_first_epoch_ahead_is_the_last_change_of_sides():
    sides = [1, -1, 1, -1, -1]
    found = pd.DataFrame({seed: np.array(sides) + 0.01 * seed for seed in range(5)}, index=range(1, 6))
    assert more_epochs.ahead_from(found, measures.TEST_LOSS) == 4
    assert more_epochs.ahead_from(-found, measures.TEST_ACC) == 4
    assert more_epochs.ahead_from(found, measures.TEST_ACC) is None
    assert more_epochs.ahead_from(found[[0]], measures.TEST_LOSS) is None


def test_peaks_and_what_the_last_epoch_loses():
    def metrics(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        best = 4 + seed % 2
        return {"test_loss": 0.3 + 0.01 * abs(epoch - best), "test_acc": 0.9 - 0.001 * abs(epoch - best - 2)}

    arms = [{**arm, "epochs": 8} for arm in ARMS if arm["optimizer.decay"] == "constant"]
    table = made("more_epochs", arms, range(4), metrics, epochs=8)
    epochs = more_epochs.histories(table)
    loss, acc = (
        more_epochs.find_peak(epochs, NONE, Setting("constant", 8), measure)
        for measure in (measures.TEST_LOSS, measures.TEST_ACC)
    )
    assert (loss.epochs, acc.epochs) == ([4, 5, 4, 5], [6, 7, 6, 7])
    assert loss.lost.mean == pytest.approx(0.035)
    assert acc.lost.mean == pytest.approx(0.0015)
    assert "peaks before test accuracy in 8 of 8 runs" in answered(table).verdict[2]
    assert "dropout at epoch 4.5 (4 to 5), the last epoch worse by 0.0350 nats" in answered(table).verdict[2]


def test_diverged_runs_are_said_and_the_rest_is_paired(late):
    lost = (late.epochs["dropout1"] == 0) & (late.epochs["epochs"] == 100) & late.epochs["seed"].isin([1, 3])
    lost &= late.epochs["optimizer.decay"] == "constant"
    places = [f"dropout1=0, dropout2=0, optimizer.decay=constant, epochs=100, seed {seed}" for seed in (1, 3)]
    unfinished = "dropout1=0, dropout2=0, optimizer.decay=cosine, epochs=100, seed 9"
    problems = [Problem(str(n), "diverged", where, "the loss ceased") for n, where in enumerate(places)]
    problems.append(Problem("9", "unfinished", unfinished, "stopped"))
    table = dataclasses.replace(kept(late, ~lost), problems=tuple(problems))
    found = answered(table)
    assert "2 of 5 runs of 100 epochs with no dropout diverged); with a cosine lr" in found.headline
    assert found.headline.count("diverged") == 1
    assert "in favour of the arm that diverges" in found.verdict[0]
    assert found.n == "3 to 5 common seeds, 38 runs"
    assert "common seeds at constant lr, 30 epochs: 3 of 5" in found.outstanding
    assert "dropout minus none is −0.05" in found.headline and "3 common seeds" in found.headline


def test_trimmed_to_one_epoch_and_two_seeds():
    arms = [{**arm, "epochs": 1} for arm in ARMS if arm["epochs"] == 100]
    table = sweep(lambda decay, epoch: 0.0, arms=arms, seeds=2, overrides=["epochs=1"])
    table = dataclasses.replace(
        table, keys=("dropout1", "dropout2", "optimizer.decay"), epochs=table.epochs.drop(columns="epochs")
    )
    found = answered(table)
    assert "no difference is shown after 1 epoch (after 1, dropout minus none is" in found.headline
    assert "common seeds at cosine lr, 100 epochs: 0 of 5" in found.outstanding
    assert not any("the runs peak" in text for text in found.verdict)


def test_one_way_for_lr_that_was_set_once():
    arms = [arm for arm in SHORT if arm["optimizer.decay"] == "cosine"]
    table = sweep(lambda decay, epoch: 0.05, arms=arms, overrides=["optimizer.decay=cosine"])
    found = answered(dataclasses.replace(table, epochs=table.epochs.drop(columns="optimizer.decay")))
    assert "with a cosine lr dropout pays after 10 and 30 epochs" in found.headline
    assert "constant" not in found.headline
    assert not any("Epoch by epoch" in text for text in found.verdict)


@pytest.mark.parametrize("rates", [0.0, 0.2])
def test_one_arm_alone_is_not_judged(rates):
    table = sweep(lambda decay, epoch: 0.0, arms=[arm for arm in SHORT if arm["dropout1"] == rates], seeds=2)
    assert "cannot be judged" in answered(table).headline


def test_one_seed_and_no_gap():
    table = sweep(lambda decay, epoch: 0.05, arms=SHORT, seeds=1)
    table = dataclasses.replace(table, epochs=table.epochs.assign(eval_train_acc=np.nan))
    found = answered(table)
    assert "interval" not in found.headline
    assert "the train−test gap with the noise off: needs probe.train" in found.outstanding
