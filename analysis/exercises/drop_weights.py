"""Exercise 6: weights dropped instead of activations, by DropConnect and its Gaussian form.

Each noise is tried at several strengths; a second sweep trains those that were chosen anew with fresh seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis import exercises, figures, measures
from analysis.contrasts import Arm, Arms, Result, described, family
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Facts, Rule, decided, pick, word
from analysis.exercises._noises import (
    CLONE,
    DROPOUT,
    KEYS,
    NONE,
    chosen,
    rates_of,
    strengths_figure,
    ticks,
    tried,
)
from analysis.measures import Measure
from analysis.phrases import named
from analysis.sensitivity import sensitivity
from analysis.tables import Table, Tables
from src.stats import BETTER, WORSE

NUMBER = 6
SWEEPS = FIRST, SECOND = ("drop_weights", "drop_weights_test")
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)

RULES = (
    NOT_DECIDED,
    Rule(
        "better", "the interval of DropConnect minus dropout lies above 0", lambda e: word(e.first) == BETTER
    ),
    Rule("worse", "it lies below 0", lambda e: word(e.first) == WORSE),
    *NOT_SHOWN,
)


@dataclass(frozen=True, kw_only=True)
class NoiseFacts(Facts):
    tried: pd.DataFrame
    """Runs of the choosing sweep."""
    choice: Mapping[str, Arm]
    """By noise."""
    error: float = math.nan
    """Of a strength's mean validation accuracy, see `exercises.mean_error`; without runs that broke down."""

    def versus(self, noise: str, reference: str, measure: Measure) -> Result | None:
        return pick(self.described, a=noise, b=reference, measure=measure)

    @property
    def budgets(self) -> set[tuple[int, int]]:
        """Pairs of rates and runs that went into each noise's choice."""
        of_noises = self.tried[self.tried["noise"] != NONE].groupby("noise")
        return {(len(of.drop_duplicates(KEYS)), len(of)) for _, of in of_noises}

    @property
    def edges(self) -> list[str]:
        """Noises whose choice lies at an end of what was tried."""
        rates = {noise: ticks(of) for noise, of in self.tried.groupby("noise", sort=False)}
        ends = {noise: (of[0], of[-1]) for noise, of in rates.items() if len(of) > 1}
        return [noise for noise, of in ends.items() if rates_of(self.choice[noise]) in of]


def analyse(tables: Tables) -> NoiseFacts:
    """DropConnect minus dropout in test accuracy, each at its chosen rates, judged; all else described."""
    first, second = tables[FIRST], tables.get(SECOND)
    of = tried(first)
    choice = chosen(of)
    error = exercises.mean_error(exercises.ranked(of[~of["id"].isin(Arms(first, {}).broken)], KEYS))
    if second is None:
        return decided(RULES, NoiseFacts(tried=of, choice=choice, error=error, validated=True))
    _, primary = exercises.promised(SECOND, choose(first))
    # by what the table swept; the noise counts even where it was not
    arms = Arms(
        second, {noise: {k: v for k, v in arm.items() if k in second.keys} for noise, arm in choice.items()}
    )
    present = [noise for noise in choice if len(arms.rows(noise))]
    judged = family(primary.contrasts(arms, list(choice), "test"), primary.margin, arms.diverged)
    tuned = Arms(first, choice)
    splits = replace(primary, measure=measures.VAL_ACC).contrasts(tuned, list(choice), "validation")
    shown = (*JUDGED, measures.QUIET_GAP)
    contrasts = [
        arms.contrast(noise, reference, measure, "test")
        for measure in shown
        for reference in (NONE, DROPOUT, CLONE)
        for noise in present
        if reference in present and noise != reference
    ]
    facts = NoiseFacts(
        primary=judged,
        sensitivity=sensitivity(judged, arms, next(iter(splits), None)),
        arms=[stats for stats in arms.stats(shown) if stats.planned],
        described=described(contrasts),
        tried=of,
        choice=choice,
        error=error,
    )
    return decided(RULES, facts)


def choose(table: Table) -> list[str]:
    """Overrides of each noise at its chosen rates, the arms of the second sweep.

    Raises:
        InputError: if the table has no validation accuracy.
    """
    return [exercises.overrides(arm) for arm in chosen(tried(table)).values()]


def draw(facts: NoiseFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        rest = [r for r in facts.beside(JUDGED[:2]) if r.contrast.b == DROPOUT]
        shown = sorted([*facts.primary, *rest], key=lambda r: r.measure is not facts.first.measure)
        drawn["differences"] = figures.forest(shown, lambda r: named(r.contrast.a))
    for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS)):
        drawn[name] = strengths_figure(facts.tried, facts.choice, measure)
    return drawn
