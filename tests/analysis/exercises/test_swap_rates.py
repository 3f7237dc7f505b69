"""What swapping the rates is said to do, on tables of known truth."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from tables import made

from analysis import measures
from analysis.exercises import pick, swap_rates, word
from analysis.exercises.swap_rates import SwapFacts
from analysis.tables import Table, Tables

BOOK, SWAPPED = (0.2, 0.5), (0.5, 0.2)
RATES = (0.0, 0.2, 0.35, 0.5, 0.65)


def arm(rates: tuple[float, float], lr: float) -> dict[str, float]:
    return {"dropout1": rates[0], "dropout2": rates[1], "optimizer.lr": lr}


def sweep(
    effect: Mapping[float, float],
    *,
    loss: float | None = None,
    rates: Sequence[float] = RATES,
    seeds: int = 30,
    grid_seeds: int = 5,
    noise: float = 0.002,
    gap: float = 0.02,
) -> Tables:
    """The exercise's sweeps, where lower rate first has `effect` (by lr) more accuracy than higher first, and
    `loss` more cross-entropy: ten times the accuracy's effect the other way unless it is given."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        lr = of["optimizer.lr"]
        values = of["dropout1"], of["dropout2"]
        rng = np.random.default_rng([seed, *(int(100 * value) for value in (*values, lr))])
        side = np.sign(values[1] - values[0]) / 2
        acc = 0.85 + 0.01 * np.sin(seed) + effect[lr] * side + rng.normal(0, noise)
        nats = 0.4 + side * (-10 * effect[lr] if loss is None else loss) + rng.normal(0, 2 * noise)
        quiet = acc + gap + 0.01 * side + rng.normal(0, 0.001)
        return {"test_acc": acc, "test_loss": nats, "eval_train_acc": quiet, "lr": lr}

    pairs = {"swap_rates": (0.5, seeds), "swap_until": (0.1, seeds), "swap_rates_grid": (0.5, grid_seeds)}
    cells = {"swap_rates_grid": [*itertools.product(rates, rates)]}
    return {
        name: made(name, [arm(pair, lr) for pair in cells.get(name, [BOOK, SWAPPED])], range(count), metrics)
        for name, (lr, count) in pairs.items()
    }


def kept(table: Table, rows: Any) -> Table:
    """The table without the runs of the other rows."""
    epochs = table.epochs[rows]
    return dataclasses.replace(table, epochs=epochs, runs=table.runs[table.runs["id"].isin(epochs["id"])])


@pytest.fixture(scope="module")
def better() -> Tables:
    return sweep({0.5: 0.01, 0.1: 0.01})


@pytest.fixture(scope="module")
def facts_better(better: Tables) -> SwapFacts:
    return swap_rates.analyse(better)


@pytest.mark.parametrize(
    ("effect", "noise", "verdict"),
    [
        (0.01, 0.002, "matters"),
        (-0.01, 0.002, "matters"),
        (0.0, 0.002, "equivalent"),
        (0.0, 0.02, "undecided"),
    ],
)
def test_verdicts(effect: float, noise: float, verdict: str) -> None:
    found = swap_rates.analyse(sweep({0.5: effect, 0.1: 0.0}, noise=noise, rates=(0.2, 0.5)))
    assert found.verdict == verdict
    if verdict == "matters":
        assert found.first.gain == np.sign(effect)
        assert found.ahead == (30 if effect > 0 else 0)


def test_an_effect_of_the_order_is_found_with_its_size(facts_better: SwapFacts) -> None:
    assert (facts_better.first.contrast.setting, facts_better.first.paired.n) == (("lr 0.5",), 30)
    assert facts_better.first.paired.difference == pytest.approx(0.01, abs=0.002)
    for lr in ("lr 0.5", "lr 0.1"):
        loss = pick(facts_better.described, setting=(lr,), measure=measures.TEST_LOSS)
        gap = pick(facts_better.described, setting=(lr,), measure=measures.QUIET_GAP)
        assert loss is not None and loss.gain == 1
        assert gap is not None and gap.side == 1  # smaller with the swapped order


def test_the_mean_over_the_pairs_has_a_value_a_seed(better: Tables, facts_better: SwapFacts) -> None:
    effect = facts_better.thumb(measures.TEST_ACC)
    assert effect is not None and effect.paired.n == 5
    grid_runs = better["swap_rates_grid"].final
    of_seed = [
        np.sign(runs["dropout2"] - runs["dropout1"]) @ runs["test_acc"] / 10
        for _, runs in grid_runs.groupby("seed")
    ]
    assert effect.paired.difference == pytest.approx(np.mean(of_seed))
    half = 2.776 * np.std(of_seed, ddof=1) / np.sqrt(5)
    interval = effect.paired.interval
    assert interval is not None
    assert interval.upper - effect.paired.difference == pytest.approx(half, rel=1e-3)
    assert effect.gain == 1
    assert len(facts_better.pairs) == 2 * 11


def test_the_lower_lr_is_judged_by_its_own_sweep() -> None:
    found = swap_rates.analyse(sweep({0.5: 0.01, 0.1: 0.0}, rates=(0.2, 0.5)))
    (slower,) = found.slower
    assert (slower.contrast.setting, word(slower), word(found.first)) == (("lr 0.1",), "equivalent", "better")
    assert [stats.name for stats in found.arms][2:] == ["(0.2, 0.5), lr 0.1", "(0.5, 0.2), lr 0.1"]


def test_a_lost_run_costs_its_seed_alone(better: Tables) -> None:
    of_pair, of_grid = better["swap_rates"].epochs, better["swap_rates_grid"].epochs
    lost = (of_pair["dropout1"] == 0.2) & of_pair["seed"].isin([7, 8])
    cell = (of_grid["dropout1"] == 0.65) & (of_grid["dropout2"] == 0) & (of_grid["seed"] == 1)
    tables = {"swap_rates": kept(better["swap_rates"], ~lost)}
    tables["swap_rates_grid"] = kept(better["swap_rates_grid"], ~cell)
    found = swap_rates.analyse(tables)
    assert found.first.paired.n == 28 and not found.slower
    effect = found.thumb(measures.TEST_ACC)
    assert effect is not None and effect.paired.n == 4


def test_one_seed_decides_nothing(better: Tables) -> None:
    table = better["swap_rates"]
    assert swap_rates.analyse({"swap_rates": kept(table, table.epochs["seed"] == 0)}).verdict == "not decided"


def test_its_figures(facts_better: SwapFacts) -> None:
    assert list(swap_rates.draw(facts_better)) == ["order", "pairs"]
