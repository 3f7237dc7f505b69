"""Exercise 1: the rates of the two layers swapped, at the book's pair and over a grid of both rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import figures, measures, runs
from analysis.contrasts import Arms, Contrast, Result, described, family, sensitivity, with_gaps
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Facts, Rule, decided, promised, rates_name
from analysis.measures import Measure
from analysis.tables import Tables

NUMBER = 1
SWEEPS = ("swap_rates",)
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS)
BOOK, SWAPPED = {"dropout1": 0.2, "dropout2": 0.5}, {"dropout1": 0.5, "dropout2": 0.2}
LOWER, HIGHER = "lower rate first", "higher rate first"

RULES = (
    NOT_DECIDED,
    Rule("matters", "the interval of the difference leaves out 0", lambda e: e.first.side != 0),
    *NOT_SHOWN,
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
        values = rows.pivot_table(index="seed", columns=cells, values=measure.column)
        pairs = [rates for rates in values if rates[0] < rates[1] and rates[::-1] in values]
        pairs = [rates for rates in pairs if values[[rates, rates[::-1]]].dropna().size]
        turned = [rates[::-1] for rates in pairs]
        sides = [(_name(a), _name(b), values[a], values[b]) for a, b in zip(pairs, turned, strict=True)]
        if pairs:  # a seed counts in the mean where it has every pair in both orders
            whole = values[pairs + turned].dropna()
            sides.append((LOWER, HIGHER, whole[pairs].mean(axis=1), whole[turned].mean(axis=1)))
        for a, b, low, high in sides:
            both = (low.dropna().to_dict(), high.dropna().to_dict())
            contrasts.append(Contrast(a, b, ("grid",), measure, both))
    return contrasts


def _name(rates: tuple[float, float]) -> str:
    return rates_name({"dropout1": rates[0], "dropout2": rates[1]})


def draw(facts: SwapFacts) -> dict[str, Figure]:
    drawn = {"order": figures.forest([*facts.primary, *facts.beside(JUDGED)])}
    if facts.pairs:
        drawn["pairs"] = figures.forest(
            facts.pairs, lambda r: "mean of all pairs" if r.contrast.a == LOWER else f"{r.contrast.a} first"
        )
    return drawn
