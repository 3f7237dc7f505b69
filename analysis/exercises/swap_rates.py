"""Exercise 1: the rates of the two layers swapped, at the book's pair and over a grid of both rates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import figures, measures, runs, statistics, wording
from analysis.exercises import (
    Answer,
    Case,
    Grid,
    Picture,
    arm_grid,
    by_seed,
    case_grid,
    family,
    forest,
    pair_grid,
    reach,
    rows_of,
    with_gaps,
)
from analysis.measures import Measure
from analysis.statistics import Comparison, Paired
from analysis.tables import Tables

NUMBER = 1
TITLE = "Swapping the two dropout rates"
SWEEPS = ("swap_rates",)

Rates = tuple[float, float]
"""Of the first and of the second hidden layer."""

BOOK: Rates = (0.2, 0.5)
SWAPPED: Rates = (0.5, 0.2)
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS)
ORDER_SEEDS = {0.5: 30, 0.1: 30}
"""Common seeds of the book's pair at each lr, in the sweep's file."""
GRID_PAIRS, GRID_SEEDS = 10, 5
"""Pairs of rates in both orders and their common seeds, in the sweep's file."""


@dataclass(frozen=True)
class RateGrid:
    """The runs at the lr that has the most pairs of rates."""

    lr: float
    rows: pd.DataFrame
    """One a run, on the seeds that at least half of the cells have."""
    pairs: Sequence[Rates]
    """Lower and higher rate of each pair that was trained in both orders."""
    effects: Mapping[Measure, Paired]
    """Lower rate first minus higher rate first: mean over the pairs, one value a seed."""
    comparisons: Mapping[Measure, Sequence[Comparison]]
    """The same of each pair."""


def answer(tables: Tables) -> Answer:
    """What swapping the rates does, by two rules.

    Order at the book's pair: at each lr, (0.2, 0.5) and (0.5, 0.2) are compared on their common seeds at the
    last epoch in test accuracy and in test cross-entropy. These comparisons are one family for Holm's
    correction; each shows a difference or none by `statistics.RULE`. The order "matters" if at least one shows
    a difference.

    Thumb rule "lower near the input": over all pairs of different rates that the grid has in both orders (at
    the lr with the most cells), lower rate first minus higher rate first is averaged over the pairs within each
    seed that has them all: one value a seed, as the seeds are the independent units. For each measure the rule
    is "borne out" if the 95% interval of their mean lies on the side of lower first, "contradicted" if it lies
    on the other side, otherwise "neither borne out nor contradicted". These intervals are not corrected. Pair by
    pair, a difference is shown by `statistics.RULE` with Holm's correction over the pairs of one measure.

    The gap with the noise off is "smaller" with one order where the 95% interval of the paired difference,
    not corrected, leaves out 0.
    """
    table = tables[SWEEPS[0]]
    final = with_gaps(table.final)
    final = final.assign(lr=final.get("optimizer.lr", final["lr"]))
    cases = _order_cases(final, JUDGED)
    grid = rate_grid(final)
    paragraphs = [_order(cases), _gaps(final), _thumb_rule(grid), reach(table)]
    return Answer(
        headline=_headline(cases),
        n=_n(cases, len(final)),
        verdict=[text for text in paragraphs if text],
        parts=[*_order_parts(final, cases), *_grid_parts(grid)],
        outstanding=_outstanding(final, cases, grid),
    )


def rate_grid(final: pd.DataFrame) -> RateGrid:
    """The grid of rates and its effects of order, see `answer`.

    Args:
        final: a row a run, with the column lr.
    """
    cells = ["dropout1", "dropout2"]
    by_lr = _by_lr(final)
    lr = max(by_lr, key=lambda lr: len(by_lr[lr].drop_duplicates(cells)))
    rows = by_lr[lr]
    trained = rows.groupby("seed").size()
    rows = rows[rows["seed"].isin(trained.index[trained * 2 >= len(rows.drop_duplicates(cells))])]
    values = {
        measure: {rates: by_seed(cell, measure.column) for rates, cell in rows.groupby(cells)}
        for measure in JUDGED
    }
    arms = values[measures.TEST_ACC]
    rates = sorted({rate for arm in arms for rate in arm})
    pairs = [
        (low, high)
        for low, high in itertools.combinations(rates, 2)
        if arms.get((low, high), {}).keys() & arms.get((high, low), {}).keys()
    ]
    named = [(_name(pair), _name(pair[::-1])) for pair in pairs]
    return RateGrid(
        lr,
        rows,
        pairs,
        {measure: _mean_effect(values[measure], pairs) for measure in JUDGED},
        {
            measure: statistics.compare_arms(
                {_name(arm): found for arm, found in values[measure].items()},
                named,
                measure.higher_is_better is not False,
            )
            for measure in JUDGED
        },
    )


def _mean_effect(values: Mapping[Rates, Mapping[int, float]], pairs: Sequence[Rates]) -> Paired:
    """Mean over the pairs of lower first minus higher first, on the seeds that have every pair."""
    orders = [pairs, [(high, low) for low, high in pairs]]
    seeds = [set(values[rates]) for order in orders for rates in order]
    common = sorted(set.intersection(*seeds)) if seeds else []
    lower, higher = (
        [float(np.mean([values[rates][seed] for rates in order])) for seed in common] for order in orders
    )
    return statistics.paired(lower, higher)


def _by_lr(final: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Rows by lr, highest first."""
    return {lr: final[final["lr"] == lr] for lr in sorted(final["lr"].unique(), reverse=True)}


def _rows(rows: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    return rows_of(rows, {"dropout1": rates[0], "dropout2": rates[1]})


def _name(rates: Rates) -> str:
    return f"({runs.shown(rates[0])}, {runs.shown(rates[1])})"


def _setting(lr: float) -> str:
    return f"lr {runs.shown(lr)}"


def _order_cases(final: pd.DataFrame, judged: Sequence[Measure]) -> list[Case]:
    """The book's pair in both orders: a family over the lrs and the measures."""
    members = [
        (
            _setting(lr),
            each,
            by_seed(_rows(rows, BOOK), each.column),
            by_seed(_rows(rows, SWAPPED), each.column),
        )
        for lr, rows in _by_lr(final).items()
        for each in judged
    ]
    return family(_name(BOOK), _name(SWAPPED), members)


def _headline(cases: Sequence[Case]) -> str:
    swap = f"Swapping the rates from {_name(BOOK)} to {_name(SWAPPED)}"
    clauses, meaning = [], f"{_name(BOOK)} minus {_name(SWAPPED)}: "
    for case in cases:
        found, measure = case.comparison, case.measure
        agrees = any(
            case.setting == other.setting and found.verdict == other.comparison.verdict
            for other in cases
            if other.measure is measures.TEST_ACC
        )
        if measure is not measures.TEST_ACC and agrees:
            continue
        does = {0: "shows no difference in", 1: "worsens", -1: "improves"}[found.verdict]
        clauses.append(
            f"{does} {measure.name} at {case.setting} ({meaning}{wording.evidence(found.paired, measure)})"
        )
        meaning = ""
    if not clauses:
        return f"{swap} cannot be judged: no seed was trained in both orders."
    return f"{swap} {'; it '.join(clauses)}."


def _n(cases: Sequence[Case], total: int) -> str:
    seeds = {case.setting: wording.count(case.comparison.paired.n, "common seed") for case in cases}
    told = [f"{n} at {setting}" for setting, n in seeds.items()]
    if len(set(seeds.values())) == 1:
        told = [f"{next(iter(seeds.values()))}{' at each lr' if len(seeds) > 1 else ''}"]
    return ", ".join([*told, wording.count(total, "run")])


def _order(cases: Sequence[Case]) -> str:
    """The order at the book's pair, in words."""
    tested = [case for case in cases if case.comparison.paired.p is not None]
    if not tested:
        return f"{_name(BOOK)} and {_name(SWAPPED)} have no two common seeds, so no difference is judged."
    differing, of = (
        sum(case.comparison.verdict != 0 for case in tested),
        f"{_name(BOOK)} with {_name(SWAPPED)}",
    )
    compared, holm = wording.count(len(tested), "comparison"), "(p after Holm's correction)"
    sentences = [
        f"The order of the book's rates matters: of {compared} of {of}, a difference is shown in "
        f"{differing} {holm}."
        if differing
        else f"At the book's rates no effect of the order is shown in {compared} of {of} {holm}; differences "
        "inside the intervals remain possible."
    ]
    sentences += [f"At {case.setting}, {case.said}." for case in tested]
    first = tested[0]
    differences = first.differences
    ahead, n = int(np.sum(differences > 0)), len(differences)
    sentences.append(
        f"From seed to seed the difference in {first.measure.name} at {first.setting} has an SD of "
        f"{wording.size(float(np.std(differences, ddof=1)), first.measure)}; {_name(BOOK)} is ahead on {ahead} of "
        f"{n} seeds" + (", so a single run of each may put either order ahead." if 0 < ahead < n else ".")
    )
    return " ".join(sentences)


def _gaps(final: pd.DataFrame) -> str:
    """What the order does to the gap with the noise off, at each lr."""
    clauses = []
    for case in _order_cases(final, [measures.QUIET_GAP]):
        found = case.comparison.paired
        if found.interval is None:
            continue
        smaller = case.comparison.b if found.difference > 0 else case.comparison.a
        shown = f"is smaller with {smaller}" if found.interval.excludes(0) else "shows no difference"
        means = [wording.value(statistics.summarise(each).mean, case.measure) for each in case.samples]
        clauses.append(
            f"at {case.setting} it {shown} ({_name(BOOK)} {means[0]}, {_name(SWAPPED)} {means[1]}, difference "
            f"{wording.evidence(found, case.measure)})"
        )
    told = "; ".join(clauses)
    return f"The train−test gap with the noise off measures overfitting alone: {told}." if told else ""


def _thumb_rule(grid: RateGrid) -> str:
    sentences = []
    for measure, found in grid.effects.items():
        if found.interval is None:
            continue
        tested = [pair for pair in grid.comparisons[measure] if pair.paired.p is not None]
        lower, higher = (sum(pair.verdict == side for pair in tested) for side in (1, -1))
        sentences.append(
            f"In {measure.name} it is {borne_out(found, measure)}: the mean over the pairs of lower rate first "
            f"minus higher rate first is {wording.evidence(found, measure)}"
            f"{'' if found.interval.excludes(0) else ' (effects inside the interval remain possible)'}; pair by "
            f"pair, lower first is shown better in {lower} of {len(tested)} and higher first in {higher}."
        )
    if not sentences:
        return ""
    rates = wording.listing(sorted({rate for pair in grid.pairs for rate in pair}))
    first = (
        f"The thumb rule “lower near the input” is tried on {wording.count(len(grid.pairs), 'pair')} of different "
        f"rates ({rates}), each in both orders, at {_setting(grid.lr)}."
    )
    return " ".join([first, *sentences])


def borne_out(found: Paired, measure: Measure) -> str:
    """What lower first minus higher first says of the thumb rule, see `answer`."""
    if found.interval is None or not found.interval.excludes(0):
        return "neither borne out nor contradicted"
    return "borne out" if (found.difference > 0) == measure.higher_is_better else "contradicted"


def _outstanding(final: pd.DataFrame, cases: Sequence[Case], grid: RateGrid) -> list[str]:
    seeds = {case.setting: case.comparison.paired.n for case in cases}
    counts = [
        (
            f"common seeds of {_name(BOOK)} and {_name(SWAPPED)} at {_setting(lr)}",
            seeds.get(_setting(lr), 0),
            n,
        )
        for lr, n in ORDER_SEEDS.items()
    ]
    counts += [
        (f"pairs of rates in both orders at {_setting(grid.lr)}", len(grid.pairs), GRID_PAIRS),
        ("seeds that have every such pair", grid.effects[measures.TEST_ACC].n, GRID_SEEDS),
    ]
    missing = [f"{what}: {found} of {planned}" for what, found, planned in counts if found < planned]
    if final["quiet_gap"].isna().all():
        missing.append("the train−test gap with the noise off: needs probe.train")
    return missing


def _order_parts(final: pd.DataFrame, cases: Sequence[Case]) -> list[Picture | Grid | str]:
    if not cases:
        return []
    arms = {
        f"{_name(rates)}, {_setting(lr)}": found
        for lr, rows in _by_lr(final).items()
        for rates in (BOOK, SWAPPED)
        if len(found := _rows(rows, rates))
    }
    caption = "The book's rates in both orders, last epoch"
    return [
        Picture(
            "order",
            f"{_name(BOOK)} minus {_name(SWAPPED)} at the last epoch. Dots: a seed each; diamond: mean over the "
            "common seeds, with its 95% interval; coloured and filled where a difference is shown. Right of 0 the "
            "book's order has the higher accuracy, or the higher (worse) cross-entropy.",
            forest(cases),
        ),
        arm_grid(caption, arms, (*JUDGED, measures.QUIET_GAP), "rates and lr"),
        case_grid(
            f"A: {_name(BOOK)}, B: {_name(SWAPPED)}; Holm's correction over all rows of this table", cases
        ),
    ]


def _grid_parts(grid: RateGrid) -> list[Picture | Grid | str]:
    at = f"at {_setting(grid.lr)}, last epoch, mean over {wording.count(grid.rows['seed'].nunique(), 'seed')}"
    panels = [
        _cells(grid.rows, each)
        for each in (*JUDGED, measures.QUIET_GAP)
        if grid.rows[each.column].notna().any()
    ]
    parts: list[Picture | Grid | str] = [
        Picture(
            "grid",
            f"All rates {at}: test accuracy, test cross-entropy, and the train−test gap with the noise off. "
            "The brighter, the higher the accuracy, the lower the cross-entropy, the smaller the gap. "
            f"{_blur(grid.rows)}",
            figures.heat_maps(panels),
        )
    ]
    if not grid.pairs:
        return parts
    parts.append(
        Picture(
            "pairs",
            f"Lower rate first minus higher rate first for each pair of rates {at}. Blue: lower first is better; "
            "red: higher first is better; a star marks a difference that is shown (Holm's correction over the "
            "pairs of the panel).",
            figures.heat_maps([_triangle(grid, each) for each in JUDGED]),
        )
    )
    caption = f"Lower rate first (A) and higher rate first (B) at {_setting(grid.lr)}"
    return parts + [
        pair_grid(f"{caption}: {each.name}; Holm's correction over the rows", grid.comparisons[each], each)
        for each in JUDGED
    ]


def _blur(rows: pd.DataFrame) -> str:
    """How well a cell's mean is known."""
    known = []
    for measure in JUDGED:
        cells = [
            statistics.summarise(cell) for _, cell in rows.groupby(["dropout1", "dropout2"])[measure.column]
        ]
        halves = [(each.interval.upper - each.interval.lower) / 2 for each in cells if each.interval]
        if halves:
            known.append(f"±{wording.size(float(np.median(halves)), measure)}")
    return f"A cell's 95% interval is typically {' and '.join(known)} (median)." if known else ""


def _cells(rows: pd.DataFrame, measure: Measure) -> figures.Matrix:
    means = rows.pivot_table(index="dropout1", columns="dropout2", values=measure.column)
    means = means.rename_axis(index="rate of layer 1", columns="rate of layer 2")
    texts = means.map(measure.shown)
    return figures.Matrix(measure.label, means * measure.scale, texts, bool(measure.higher_is_better))


def _triangle(grid: RateGrid, measure: Measure) -> figures.Matrix:
    """Each pair's effect of the order, with the mean over the pairs in the title."""
    cells = pd.DataFrame(grid.pairs, columns=["lower rate", "higher rate"]).assign(
        difference=[pair.paired.difference for pair in grid.comparisons[measure]],
        text=[
            measure.shown(pair.paired.difference, signed=True) + ("*" if pair.verdict else "")
            for pair in grid.comparisons[measure]
        ],
    )
    values, texts = (
        cells.pivot_table(aggfunc="first", index="higher rate", columns="lower rate", values=each)
        for each in ("difference", "text")
    )
    found = grid.effects[measure]
    title = f"{measure.name} ({measure.difference_unit})\nmean {measure.shown(found.difference, signed=True)}"
    if found.interval is not None:
        title += f", 95% interval {wording.interval(found.interval, measure, signed=True)}"
    return figures.Matrix(
        title, values * measure.scale, texts.fillna(""), bool(measure.higher_is_better), centred=True
    )
