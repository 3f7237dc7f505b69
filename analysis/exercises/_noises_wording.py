"""What the exercises that tune each noise say of it, in sentences that are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.power import TTestPower

from analysis import measures, statistics, wording
from analysis.exercises import Answer, Grid, Picture, reach
from analysis.exercises._noises import (
    CLONE,
    DROPOUT,
    NONE,
    Rows,
    Strength,
    Tried,
    Tuned,
    against,
    differences,
    named,
)
from analysis.measures import Measure
from analysis.statistics import Comparison

POWER = 0.8
MOST_SPANS = 3
"""More intervals in a row are left to the table."""


def detectable(of: ArrayLike, tests: int) -> float | None:
    """True mean difference that the paired t-test shows with 80% probability; None for less than three seeds.

    At the level 0.05/tests, which the smallest p-value of a family of so many must pass, with as many seeds and
    the SD of these differences, shape (n,).
    """
    sample = np.asarray(of, dtype=float)
    if len(sample) < 3 or np.ptp(sample) == 0:
        return None
    effect = TTestPower().solve_power(nobs=len(sample), alpha=statistics.ALPHA / tests, power=POWER)
    return float(effect) * float(sample.std(ddof=1))


def shown_by(rows: Rows, pairs: Sequence[Comparison], measure: Measure) -> str:
    """How large a difference the family could have shown; empty where that cannot be said."""
    compared = [pair for pair in pairs if pair.paired.p is not None]
    found = [detectable(differences(rows, pair, measure), len(compared)) for pair in compared]
    sizes = [size for size in found if size is not None]
    if not sizes:
        return ""
    ends = f"{measure.shown(min(sizes))} to {measure.shown(max(sizes))}"
    spread = f" ({ends}, by noise)" if len(sizes) > 1 else ""
    level = f"0.05/{len(compared)}" if len(compared) > 1 else "0.05"
    return (
        f"With so many seeds, a true difference to {named(pairs[0].b)} of "
        f"{wording.size(float(np.median(sizes)), measure)}{spread} in {measure.name} would have been shown with "
        f"80% probability (paired t-test at {level}, Holm's strictest step); smaller ones are easily missed."
    )


def sentence(pair: Comparison, measure: Measure) -> str:
    """What a pair shows by `statistics.RULE`, with its numbers, without a full stop."""
    a, b = named(pair.a), named(pair.b)
    found = f"({wording.evidence(pair.paired, measure, pair.adjusted_p)})"
    if pair.paired.p is None:
        return f"{a} and {b} were not tested in {measure.name} {found}"
    if pair.verdict:
        return f"{a} is {'better' if pair.verdict > 0 else 'worse'} than {b} in {measure.name} {found}"
    return f"no difference shown between {a} and {b} in {measure.name} {found}"


def sides(pairs: Sequence[Comparison], measure: Measure) -> str:
    """A family's verdicts in one sentence: who is better than the reference, who is worse, and who neither."""
    parts = []
    for verdict, word in ((1, "shown better"), (-1, "shown worse"), (0, "no difference shown")):
        of_side = [pair for pair in pairs if pair.paired.p is not None and pair.verdict == verdict]
        of_side.sort(key=lambda pair: -abs(pair.paired.difference))
        if of_side:
            parts.append(f"{word}: {_members(of_side, measure)}")
    untested = [named(pair.a) for pair in pairs if pair.paired.p is None]
    if untested:
        parts.append(f"not tested, with less than two common seeds: {', '.join(untested)}")
    if not parts:
        return ""
    return f"Against {named(pairs[0].b)} in {measure.name} – {'; '.join(parts)}."


def _members(pairs: Sequence[Comparison], measure: Measure) -> str:
    """Names with their numbers; of a long list that shows nothing, what all intervals span."""
    intervals = [pair.paired.interval for pair in pairs if pair.paired.interval is not None]
    if len(pairs) > MOST_SPANS and not pairs[0].verdict and intervals:
        ends = min(found.lower for found in intervals), max(found.upper for found in intervals)
        low, high = (wording.difference(end, measure) for end in ends)
        return f"{', '.join(named(pair.a) for pair in pairs)} (95% intervals between {low} and {high})"
    return ", ".join(f"{named(pair.a)} ({_numbers(pair, measure)})" for pair in pairs)


def _numbers(pair: Comparison, measure: Measure) -> str:
    found = wording.interval(pair.paired.interval, measure, signed=True)
    p = f"Holm p = {wording.p_value(pair.adjusted_p)}".replace("= <", "< ")
    return f"{wording.difference(pair.paired.difference, measure)}, 95% interval {found}, {p}"


def best_so_far(choice: Mapping[str, Strength]) -> str:
    """Which of the chosen is first on validation, and its difference to dropout; without a full stop."""
    measure = measures.VAL_ACC
    first = max((noise for noise in choice if noise != CLONE), key=lambda noise: choice[noise].mean(measure))
    summary = statistics.summarise(choice[first].rows[measure.column])
    pairs = against({noise: each.rows for noise, each in choice.items()}, [first], DROPOUT, measure)
    beside = f"; its difference to dropout is {wording.evidence(pairs[0].paired, measure)}" if pairs else ""
    return (
        f"{named(first)} at its best rates has the highest {measure.name}, "
        f"{wording.mean_with_interval(summary, measure)}{beside}"
    )


def budget(of: Tried) -> str:
    """What was spent on each noise's choice, and whether it is the same for all."""
    tuned = {noise: strengths for noise, strengths in of.items() if noise != NONE}
    spent = {noise: (len(each), sum(len(s.rows) for s in each)) for noise, each in tuned.items()}
    if len(set(spent.values())) == 1:
        strengths, trained = next(iter(spent.values()))
        return (
            f"Each noise had the same budget: {wording.count(strengths, 'pair')} of rates, "
            f"{wording.count(trained, 'run')}."
        )
    each = [
        f"{named(noise)} {n} with {wording.count(trained, 'run')}" for noise, (n, trained) in spent.items()
    ]
    return f"The budgets differ, in pairs of rates: {'; '.join(each)}."


def edges(of: Tried, choice: Mapping[str, Strength]) -> str:
    """Which choices lie at an end of what was tried."""
    parts = []
    for word, end in (("strongest", -1), ("weakest", 0)):
        at = [named(n) for n, each in of.items() if len(each) > 1 and choice[n] is each[end]]
        if at:
            parts.append(f"the {word} rates tried were chosen for {', '.join(at)}")
    if not parts:
        return "No choice lies at an end of the rates tried."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}: more might be had beyond them."


def spent(tuned: Tuned) -> str:
    """The paragraph on the choice: what it cost, where it lies, and how far the answer goes."""
    return f"{budget(tuned.tried)} {edges(tuned.tried, tuned.choice)} {reach(tuned.table)}"


def undecided(tuned: Tuned, parts: Sequence[Picture | Grid]) -> Answer:
    """The answer where the test set has not compared the chosen: validation alone, and no verdict."""
    if not tuned.choice:
        headline = "Not answered: no run has a validation accuracy, so no rates could be chosen."
        return Answer(headline, "–", [headline], outstanding=tuned.outstanding)
    pairs = against(tuned.validated, list(tuned.choice), DROPOUT, measures.VAL_ACC)
    headline = (
        f"Not decided yet, as the test is outstanding: on validation alone {best_so_far(tuned.choice)}; no winner "
        "is declared."
    )
    verdict = [
        "The chosen rates have not been compared on the test set. The choice took the highest of several "
        "validation accuracies and is judged here on the same images, so these numbers flatter and nothing is "
        f"concluded from them; no winner is declared. {sides(pairs, measures.VAL_ACC)}".strip(),
        spent(tuned),
    ]
    return Answer(headline, tuned.n, verdict, parts, tuned.outstanding)
