"""Exercise 1: the rates of the two layers swapped, at the book's pair and over a grid of both rates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import figures, measures, runs
from analysis.contrasts import Arms, Contrast, Result, by_seed, described, family, sensitivity, with_gaps
from analysis.exercises import Facts, decided, promised, rates_name, word
from analysis.measures import Measure
from analysis.tables import Tables
from analysis.verdicts import Rule
from src.stats import EQUIVALENT

NUMBER = 1
SWEEPS = ("swap_rates",)
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS)
BOOK, SWAPPED = {"dropout1": 0.2, "dropout2": 0.5}, {"dropout1": 0.5, "dropout2": 0.2}
LOWER, HIGHER = "lower rate first", "higher rate first"

RULES = (
    Rule("not decided", "there are no two common seeds", lambda e: not e.tested),
    Rule("matters", "the interval of the difference leaves out 0", lambda e: e.first.side != 0),
    Rule("equivalent", "the interval is inside the margin", lambda e: word(e.first) == EQUIVALENT),
    Rule("undecided", "otherwise", lambda e: True),
)


@dataclass(frozen=True, kw_only=True)
class SwapFacts(Facts):
    pairs: Sequence[Result] = ()
    """Lower rate first minus higher rate first, of each pair of rates of the grid, and their mean."""
    ahead: int = 0
    """Seeds on which the book's order is ahead in the primary measure."""

    def thumb(self, measure: Measure) -> Result | None:
        """The mean over the pairs, a value a seed."""
        return next((r for r in self.pairs if r.measure is measure and r.contrast.a == LOWER), None)


def analyse(tables: Tables) -> SwapFacts:
    """The order at the book's pair, judged at the book's lr; the rule "lower near the input" over the grid."""
    table = tables[SWEEPS[0]]
    _, primary = promised(SWEEPS[0])
    lr = table.final.get("optimizer.lr", table.final["lr"])
    by_lr = {
        f"lr {runs.shown(each)}": Arms(
            table,
            {rates_name(rates): {**rates, "optimizer.lr": each} for rates in (BOOK, SWAPPED)},
        )
        for each in sorted(lr.unique(), reverse=True)
    }
    a, b = rates_name(BOOK), rates_name(SWAPPED)
    first = next(iter(by_lr))
    contrast = by_lr[first].contrast(a, b, primary.measure, first)
    judged = family([contrast], primary.margin, by_lr[first].diverged)
    order = [
        arms.contrast(a, b, measure, setting)
        for setting, arms in by_lr.items()
        for measure in (*JUDGED, measures.QUIET_GAP)
    ]
    named = {f"{name}, {setting}": arm for setting, of in by_lr.items() for name, arm in of.named.items()}
    facts = SwapFacts(
        primary=judged,
        sensitivity=sensitivity(judged, by_lr[first]),
        arms=[arm for arm in Arms(table, named).stats((*JUDGED, measures.QUIET_GAP)) if arm.planned],
        described=described(order),
        pairs=described(_grid(with_gaps(table.final).assign(lr=lr))),
        ahead=int(np.sum(judged[0].differences > 0)) if judged else 0,
    )
    return decided(RULES, facts)


def _grid(final: pd.DataFrame) -> list[Contrast]:
    """At the lr with the most pairs of rates: each pair in both orders, and the mean over the pairs."""
    cells = ["dropout1", "dropout2"]
    by_lr = dict(iter(final.groupby("lr")))
    rows = by_lr[max(by_lr, key=lambda lr: (len(by_lr[lr].drop_duplicates(cells)), lr))]
    trained = rows.groupby("seed").size()
    rows = rows[rows["seed"].isin(trained.index[trained * 2 >= len(rows.drop_duplicates(cells))])]
    contrasts = []
    for measure in JUDGED:
        of = {rates: by_seed(cell, measure) for rates, cell in rows.groupby(cells)}
        pairs = [
            (low, high)
            for low, high in itertools.combinations(sorted({rate for rates in of for rate in rates}), 2)
            if of.get((low, high), {}).keys() & of.get((high, low), {}).keys()
        ]
        for low, high in pairs:
            a, b = ((low, high), (high, low))
            contrasts.append(Contrast(_name(a), _name(b), ("grid",), measure, (of[a], of[b])))
        if pairs:
            sides = (_mean(of, pairs), _mean(of, [(high, low) for low, high in pairs]))
            contrasts.append(Contrast(LOWER, HIGHER, ("grid",), measure, sides))
    return contrasts


def _name(rates: tuple[float, float]) -> str:
    return rates_name({"dropout1": rates[0], "dropout2": rates[1]})


def _mean(
    of: Mapping[tuple[float, float], Mapping[int, float]], arms: Sequence[tuple[float, float]]
) -> dict[int, float]:
    """Mean over arms, on the seeds that every pair has in both orders."""
    both = [of[rates] for low, high in arms for rates in ((low, high), (high, low))]
    common = set.intersection(*map(set, both))
    return {seed: float(np.mean([of[rates][seed] for rates in arms])) for seed in sorted(common)}


def draw(facts: SwapFacts) -> dict[str, Figure]:
    order = [r for r in facts.described if r.measure in JUDGED]
    order = [*facts.primary, *(r for r in order if (r.contrast.setting, r.measure) != _place(facts))]
    drawn = {"order": figures.forest(order)}
    if facts.pairs:
        drawn["pairs"] = figures.forest(
            facts.pairs, lambda r: "mean of all pairs" if r.contrast.a == LOWER else f"{r.contrast.a} first"
        )
    return drawn


def _place(facts: SwapFacts) -> tuple[tuple[str, ...], Measure] | None:
    return (facts.first.contrast.setting, facts.first.measure) if facts.primary else None
