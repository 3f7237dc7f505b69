"""Exercise 1: the rates of the two layers swapped, at the book's pair and over a grid of both rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import exercises, figures, measures, runs
from analysis.contrasts import Contrast, Result, described
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, RATES, Facts, Rule, decided, pick, rates_name
from analysis.measures import Measure
from analysis.tables import Tables

NUMBER = 1
SWEEPS = FIRST, GRID, SLOWER = ("swap_rates", "swap_rates_grid", "swap_until")
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS)
REPORTED = (*JUDGED, measures.QUIET_GAP)
ORDERS = {
    rates_name(arm): arm for arm in ({"dropout1": 0.2, "dropout2": 0.5}, {"dropout1": 0.5, "dropout2": 0.2})
}
"""The book's, and the swapped one."""
BOOK, SWAPPED = ORDERS
LOWER, HIGHER = "lower rate first", "higher rate first"

RULES = (
    NOT_DECIDED,
    Rule("matters", "the interval of the difference leaves out 0", lambda e: e.first.side != 0),
    *NOT_SHOWN,
)


@dataclass(frozen=True, kw_only=True)
class SwapFacts(Facts):
    slower: Sequence[Result] = ()
    """The same contrast at a lower lr, judged by its sweep's own block."""
    pairs: Sequence[Result] = ()
    """Lower rate first minus higher rate first, of each pair of rates of the grid, and their mean."""

    @property
    def ahead(self) -> int:
        """Seeds on which the book's order is ahead in the primary measure."""
        return int(np.sum(self.first.differences > 0))

    def thumb(self, measure: Measure) -> Result | None:
        """The mean over the pairs, a value a seed."""
        return pick(self.pairs, a=LOWER, measure=measure)


def analyse(tables: Tables) -> SwapFacts:
    """The order at the book's pair, judged at the book's lr; the same at a lower lr, judged by that sweep's own
    block; the rule "lower near the input" over the grid."""
    compared = []
    for table in (tables[sweep] for sweep in (FIRST, SLOWER) if sweep in tables):
        setting = f"lr {runs.shown(table.final['lr'].iloc[0])}"
        compared.append((setting, *exercises.judged(table, ORDERS, setting)))
    (_, arms, primary), *slower = compared
    facts = SwapFacts(
        primary=primary,
        slower=[result for _, _, judged in slower for result in judged],
        arms=[
            replace(stats, name=f"{stats.name}, {setting}")
            for setting, arms, _ in compared
            for stats in arms.stats(REPORTED)
        ],
        described=described(
            arms.contrast(BOOK, SWAPPED, measure, setting)
            for setting, arms, _ in compared
            for measure in REPORTED
        ),
        pairs=described(_grid(tables[GRID].final)) if GRID in tables else (),
    )
    return decided(RULES, facts, arms)


def _grid(final: pd.DataFrame) -> Iterator[Contrast]:
    """Each pair of rates in both orders, and the mean over the pairs."""
    for measure in JUDGED:
        values = final.pivot_table(index="seed", columns=list(RATES), values=measure.column)
        pairs = [rates for rates in values if rates[0] < rates[1] and rates[::-1] in values]
        pairs = [rates for rates in pairs if values[[rates, rates[::-1]]].dropna().size]
        turned = [rates[::-1] for rates in pairs]
        sides = [(_name(a), _name(b), values[a], values[b]) for a, b in zip(pairs, turned, strict=True)]
        # a seed counts in the mean where it has every pair in both orders
        whole = values[pairs + turned].dropna()
        sides.append((LOWER, HIGHER, whole[pairs].mean(axis=1), whole[turned].mean(axis=1)))
        for a, b, low, high in sides:
            yield Contrast(a, b, ("grid",), measure, (low.dropna().to_dict(), high.dropna().to_dict()))


def _name(rates: tuple[float, float]) -> str:
    return rates_name(dict(zip(RATES, rates, strict=True)))


def draw(facts: SwapFacts) -> dict[str, Figure]:
    drawn = {"order": figures.forest([*facts.primary, *facts.slower, *facts.beside(JUDGED[1:])])}
    if facts.pairs:
        drawn["pairs"] = figures.forest(
            facts.pairs, lambda r: "mean of all pairs" if r.contrast.a == LOWER else f"{r.contrast.a} first"
        )
    return drawn
