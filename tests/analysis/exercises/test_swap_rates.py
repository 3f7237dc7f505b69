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
from analysis.exercises import Picture, swap_rates
from analysis.exercises.swap_rates import BOOK, SWAPPED
from analysis.tables import Table

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
) -> Table:
    """The exercise's design, where lower rate first has `effect` (by lr) more accuracy than higher first, and
    `loss` more cross-entropy: ten times the accuracy's effect the other way unless it is given."""

    def metrics(of: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        values = list(of.values())
        rng = np.random.default_rng([seed, *(int(100 * value) for value in values)])
        side = np.sign(values[1] - values[0]) / 2
        more = effect[values[2]]
        acc = 0.85 + 0.01 * np.sin(seed) + more * side + rng.normal(0, noise)
        nats = 0.4 + side * (-10 * more if loss is None else loss) + rng.normal(0, 2 * noise)
        quiet = acc + gap + 0.01 * side + rng.normal(0, 0.001)
        return {"test_acc": acc, "test_loss": nats, "eval_train_acc": quiet}

    full = made(
        "swap_rates",
        [arm(pair, 0.5) for pair in itertools.product(rates, rates)]
        + [arm(pair, 0.1) for pair in (BOOK, SWAPPED)],
        range(seeds),
        metrics,
    )
    pair = [rows.isin(BOOK) for rows in (full.epochs["dropout1"], full.epochs["dropout2"])]
    of_book = pair[0] & pair[1] & (full.epochs["dropout1"] != full.epochs["dropout2"])
    return kept(full, of_book | (full.epochs["seed"] < grid_seeds))


def kept(table: Table, rows: Any) -> Table:
    """The table without the runs of the other rows."""
    epochs = table.epochs[rows]
    return dataclasses.replace(table, epochs=epochs, runs=table.runs[table.runs["id"].isin(epochs["id"])])


def said(table: Table) -> tuple[str, str]:
    """Headline and verdict."""
    found = swap_rates.answer({"swap_rates": table})
    return found.headline, "\n".join(found.verdict)


@pytest.fixture(scope="module")
def better() -> Table:
    return sweep({0.5: 0.01, 0.1: 0.01})


def test_an_effect_of_the_order_is_found_with_its_size(better):
    found = swap_rates.answer({"swap_rates": better})
    assert "worsens test accuracy at lr 0.5 ((0.2, 0.5) minus (0.5, 0.2): +1.0" in found.headline
    assert "it worsens test accuracy at lr 0.1" in found.headline
    assert "cross-entropy" not in found.headline
    assert found.n == "30 common seeds at each lr, 235 runs"
    order, gaps, thumb, reach = found.verdict
    assert "matters: of 4 comparisons of (0.2, 0.5) with (0.5, 0.2), a difference is shown in 4" in order
    assert order.count("(0.2, 0.5) is shown better in test cross-entropy") == 2
    assert "is ahead on 30 of 30 seeds." in order
    assert gaps.count("it is smaller with (0.5, 0.2)") == 2
    assert "10 pairs of different rates (0, 0.2, 0.35, 0.5, 0.65)" in thumb
    assert "In test accuracy it is borne out" in thumb
    assert "In test cross-entropy it is borne out" in thumb
    assert "lower first is shown better in 10 of 10 and higher first in 0" in thumb
    assert "fashion_mnist" in reach
    assert not found.outstanding


def test_the_mean_over_the_pairs_has_a_value_a_seed(better):
    final = better.final.assign(lr=better.final["optimizer.lr"])
    grid = swap_rates.rate_grid(final)
    effect = grid.effects[measures.TEST_ACC]
    assert (grid.lr, len(grid.pairs), effect.n) == (0.5, 10, 5)
    grid_runs = final[(final["lr"] == 0.5) & (final["seed"] < 5)]
    of_seed = [
        np.sign(runs["dropout2"] - runs["dropout1"]) @ runs["test_acc"] / 10
        for _, runs in grid_runs.groupby("seed")
    ]
    assert effect.difference == pytest.approx(np.mean(of_seed))
    half = 2.776 * np.std(of_seed, ddof=1) / np.sqrt(5)
    assert effect.interval.upper - effect.difference == pytest.approx(half, rel=1e-3)
    assert effect.interval.lower < 0.01 < effect.interval.upper
    assert all(pair.paired.n == 5 for pair in grid.comparisons[measures.TEST_ACC])


def test_the_other_way_round_gives_the_opposite_sentences():
    headline, verdict = said(sweep({0.5: -0.01, 0.1: -0.01}))
    assert "improves test accuracy at lr 0.5 ((0.2, 0.5) minus (0.5, 0.2): −1.0" in headline
    assert verdict.count("(0.5, 0.2) is shown better in") == 4
    assert verdict.count("it is contradicted") == 2
    assert "borne out" not in verdict
    assert "lower first is shown better in 0 of 10 and higher first in 10" in verdict


def test_no_effect_is_not_called_equal():
    headline, verdict = said(sweep({0.5: 0, 0.1: 0}))
    assert "shows no difference in test accuracy at lr 0.5" in headline
    assert "no effect of the order is shown in 4 comparisons" in verdict
    assert "differences inside the intervals remain possible" in verdict
    assert verdict.count("neither borne out nor contradicted") == 2
    assert "so a single run of each may put either order ahead" in verdict
    assert "equal" not in headline + verdict


def test_measures_and_lrs_are_judged_each_for_itself():
    headline, verdict = said(sweep({0.5: 0, 0.1: 0.01}, loss=0.05, seeds=12))
    assert "shows no difference in test accuracy at lr 0.5" in headline
    assert "improves test cross-entropy at lr 0.5" in headline
    assert "worsens test accuracy at lr 0.1" in headline
    assert "In test accuracy it is neither borne out nor contradicted" in verdict
    assert "In test cross-entropy it is contradicted" in verdict


def test_runs_without_a_result_cost_only_their_seed(better):
    epochs = better.epochs
    pair = (epochs["dropout1"] == 0.2) & (epochs["dropout2"] == 0.5) & (epochs["optimizer.lr"] == 0.5)
    cell = (epochs["dropout1"] == 0.65) & (epochs["dropout2"] == 0)
    lost = (pair & epochs["seed"].isin([7, 8])) | (cell & (epochs["seed"] == 1))
    found = swap_rates.answer({"swap_rates": kept(better, ~lost)})
    assert "+1.0" in found.headline and "28 common seeds" in found.headline
    assert found.n == "28 common seeds at lr 0.5, 30 common seeds at lr 0.1, 232 runs"
    assert found.outstanding == [
        "common seeds of (0.2, 0.5) and (0.5, 0.2) at lr 0.5: 28 of 30",
        "seeds that have every such pair: 4 of 5",
    ]
    assert "In test accuracy it is borne out" in found.verdict[2]


def test_one_lr_that_was_not_swept():
    full = sweep({0.5: 0.01, 0.1: 0}, rates=(0.2, 0.5), seeds=4)
    one = kept(full, full.epochs["optimizer.lr"] == 0.5)
    table = dataclasses.replace(
        one, keys=("dropout1", "dropout2"), epochs=one.epochs.drop(columns="optimizer.lr")
    )
    found = swap_rates.answer({"swap_rates": table})
    assert "worsens test accuracy at lr 0.5" in found.headline
    assert found.n == "4 common seeds, 16 runs"
    assert "1 pair of different rates (0.2, 0.5)" in found.verdict[2]
    assert "common seeds of (0.2, 0.5) and (0.5, 0.2) at lr 0.1: 0 of 30" in found.outstanding
    assert "pairs of rates in both orders at lr 0.5: 1 of 10" in found.outstanding


def test_one_seed_has_no_interval_and_no_verdict():
    found = swap_rates.answer({"swap_rates": sweep({0.5: 0.01, 0.1: 0}, seeds=1)})
    assert "interval" not in found.headline
    assert "1 common seed" in found.headline
    assert "no two common seeds" in found.verdict[0]
    assert "better" not in " ".join(found.verdict)
    assert "seeds that have every such pair: 1 of 5" in found.outstanding


def test_no_pair_in_both_orders():
    full = sweep({0.5: 0, 0.1: 0}, rates=(0.2,), seeds=3)
    found = swap_rates.answer({"swap_rates": kept(full, full.epochs["dropout1"] == 0.2)})
    assert "cannot be judged" in found.headline
    assert "pairs of rates in both orders at lr 0.5: 0 of 10" in found.outstanding


def test_without_the_probe_the_gap_is_outstanding(better):
    table = dataclasses.replace(better, epochs=better.epochs.assign(eval_train_acc=np.nan))
    found = swap_rates.answer({"swap_rates": table})
    assert not any("noise off" in text for text in found.verdict)
    assert found.outstanding == ["the train−test gap with the noise off: needs probe.train"]
    assert [part.name for part in found.parts if isinstance(part, Picture)] == ["order", "grid", "pairs"]
