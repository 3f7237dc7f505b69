"""Exercise 5: dropout and weight decay at the same time, with and without each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis import charts, exercises, figures, measures, runs
from analysis.contrasts import Arm, Arms, Contrast, Result, described
from analysis.exercises import INPUT, RATES, Facts, Rule, decided, pick, promised, rates_name
from analysis.runs import InputError
from analysis.sensitivity import Sensitivity, sensitivity
from analysis.tables import Table, Tables
from src.stats import BETTER, UNDECIDED
from src.stats.seeds import needed_seeds

NUMBER = 5
SWEEPS = FIRST, SECOND, FEW = ("weight_decay", "weight_decay_test", "weight_decay_5000")
PAIR = "weight_decay_pair"
BESIDE = (PAIR,)

DECAY = "optimizer.weight_decay"
STRENGTH = (INPUT, *RATES)
"""Rates of the input and of both hidden layers."""
KEYS = (*STRENGTH, DECAY)
CELLS = ("neither", "dropout", "weight decay", "both")
PARTS, GAINS = CELLS[1:3], CELLS[1:]
PAIRS = (*((cell, CELLS[0]) for cell in GAINS), *(("both", part) for part in PARTS))
INTERACTION = ("both", *PARTS, "neither")
"""Of (both - dropout) - (weight decay - neither)."""
OUTER, INNER = "both + neither", "dropout + weight decay"
"""The two sums that are its difference."""
FEWEST = 3
ALONE, TOGETHER = "best alone", "best together"
OVERLAPS = ("redundant", "diminishing", "less than the sum")
"""Verdicts by which both give less than the sum, and not less than the better one."""
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.QUIET_GAP, measures.TEST_ECE)

RULES = (
    Rule(
        "not decided",
        "there are fewer than three common seeds",
        lambda e: not e.primary or e.first.paired.n < FEWEST,
    ),
    Rule("additive", "the interval of I is inside ±margin", lambda e: is_additive(e.first)),
    Rule("undecided", "the interval of I holds 0", lambda e: not e.first.side or e.word == UNDECIDED),
    Rule("synergistic", "the interval of I lies above 0", lambda e: e.word == BETTER),
    Rule(
        "redundant",
        "I is below 0, and both minus the better one is inside ±margin",
        lambda e: e.inside(e.over_better),
    ),
    Rule("diminishing", "… and both minus the better one is above 0", lambda e: e.over_better.gain > 0),
    Rule("less than the sum", "… and both minus the better one holds 0", lambda e: e.over_better.gain == 0),
    Rule(
        "cancelling",
        "… and both are below the worse one, or below the net with neither, or within ±margin of it",
        lambda e: e.over(min).gain < 0 or e.gain("both").gain < 0 or e.inside(e.gain("both")),
    ),
    Rule("cancelling in part", "otherwise", lambda e: True),
)


@dataclass(frozen=True, kw_only=True)
class DecayFacts(Facts):
    ranked: pd.DataFrame
    """What was tried, see `exercises.ranked`."""
    few: Sequence[Result] = ()
    """The interaction on a small training set, judged by that sweep's own block."""
    images: int = 0
    """In the small training set."""
    other_pair: bool = False
    """Whether another pair is best together than the one that a sweep of its own judges, which is then not used."""
    pair: Sequence[Result] = ()
    """The interaction at the pair that is best together, judged by a sweep of its own on fresh seeds; none where
    another pair than that sweep's is best."""
    pair_sensitivity: Sensitivity | None = None
    pair_described: Sequence[Result] = ()
    """There, not judged: what each and both give, and both minus each."""

    def gain(self, cell: str, over: str = CELLS[0]) -> Result:
        """In test accuracy, at the values best alone."""
        result = pick(self.described, a=cell, b=over, measure=measures.TEST_ACC, setting=(ALONE,))
        assert result is not None
        return result

    @property
    def helping(self) -> list[str]:
        """Which of the two is shown to help alone."""
        return [cell for cell in PARTS if self.gain(cell).gain > 0]

    def over(self, end: Callable[..., str]) -> Result:
        """Both minus the one of the two with the larger gain alone (`max`), or the smaller (`min`)."""
        return self.gain("both", end(PARTS, key=lambda cell: self.gain(cell).paired.difference))

    @property
    def over_better(self) -> Result:
        """Both minus the better one alone."""
        return self.over(max)

    def is_lowest(self, key: str) -> bool:
        """Whether the pair that is best together has the lowest value above 0 that was tried."""
        tried = self.ranked[key]
        return bool(self.best["both"][key] == tried[tried > 0].min())

    @property
    def at_pair(self) -> Result | None:
        """The interaction in test accuracy at the pair that is best together, described."""
        return pick(self.described, a=OUTER, b=INNER, measure=measures.TEST_ACC, setting=(TOGETHER,))

    @property
    def pair_over_dropout(self) -> Result | None:
        """On fresh seeds at that pair, both minus dropout alone in test accuracy."""
        return pick(self.pair_described, a="both", b="dropout", measure=measures.TEST_ACC)

    @property
    def in_loss(self) -> Result:
        """The interaction in test cross-entropy, at the values best alone, described."""
        result = pick(self.described, a=OUTER, b=INNER, measure=measures.TEST_LOSS, setting=(ALONE,))
        assert result is not None
        return result

    @property
    def apart(self) -> bool:
        """Whether both lower cross-entropy by less than the sum of the two."""
        return self.in_loss.gain < 0

    def inside(self, result: Result) -> bool:
        """Whether a difference's interval is inside the margin."""
        interval, margin = result.paired.interval, self.first.margin or 0.0
        return interval is not None and interval.reach < margin

    @property
    def needed(self) -> int | None:
        """Seeds at which the interval of I would be no wider than the margin, at the SD that it has; None where the
        sweep went on until that was decided, as its intervals are wider."""
        sd = None if self.first.contrast.look else self.first.paired.sd
        return needed_seeds(sd, self.first.margin) if sd and self.first.margin else None

    @property
    def error(self) -> float:
        """Of a setting's mean validation accuracy, see `exercises.mean_error`."""
        return exercises.mean_error(self.ranked)

    @property
    def best(self) -> Mapping[str, pd.Series]:
        """Of each kind of setting the one with the highest validation accuracy."""
        return best_of(self.ranked)


def analyse(tables: Tables) -> DecayFacts:
    """The interaction, judged on the test set at the values that are best alone; all else described."""
    table, tested = tables[FIRST], tables.get(SECOND)
    ranked = exercises.ranked(exercises.validated(table, KEYS), KEYS)
    settings = choice(ranked)
    if tested is None or ALONE not in settings:
        return decided(RULES, DecayFacts(ranked=ranked, validated=True))
    _, judged = exercises.judged(tested, settings[ALONE], ALONE)
    is_chosen = dict(zip(CELLS, promised(PAIR)[0].arms, strict=True)) == settings.get(TOGETHER)
    pair, pair_described = _at_pair(tables[PAIR]) if PAIR in tables and is_chosen else ([], [])
    splits = Arms(table, settings[ALONE]).contrast_of(INTERACTION, measures.VAL_ACC, "validation")
    contrasts = []
    for title, cells in settings.items():
        arms = Arms(tested, cells)
        for measure in JUDGED:
            values = pd.DataFrame({cell: arms.values(cell, measure) for cell in CELLS})
            common = values.dropna().sort_index().to_dict()  # the seeds that all four have
            contrasts += [Contrast(a, b, (title,), measure, (common[a], common[b])) for a, b in PAIRS]
            contrasts.append(arms.contrast_of(INTERACTION, measure, title))
    named = {_name(arm): arm for cells in settings.values() for arm in cells.values()}
    facts = DecayFacts(
        primary=judged,
        arms=Arms(tested, named).stats(JUDGED),
        described=described(contrasts),
        ranked=ranked,
        few=on_few(tables[FEW]) if FEW in tables else (),
        images=promised(FEW)[0].fixed["data.train"],
        other_pair=PAIR in tables and not is_chosen,
        pair=pair,
        pair_sensitivity=sensitivity(pair),
        pair_described=pair_described,
    )
    return decided(RULES, facts, splits=splits)


def is_additive(result: Result) -> bool:
    """Whether an interaction's interval is inside the margin."""
    interval = result.paired.interval
    is_inside = interval is not None and interval.reach < (result.margin or 0.0)
    return is_inside and exercises.word(result) != UNDECIDED


def said(result: Result) -> str:
    """Of an interaction: additive, or on which side of 0 its interval is, or its verdict's word."""
    if is_additive(result):
        return "additive"
    return {-1: "below 0", 1: "above 0"}.get(result.side) or exercises.word(result)


def on_few(table: Table) -> Sequence[Result]:
    """The interaction at the arms of the sweep's file, the values best alone."""
    cells = dict(zip(CELLS, promised(FEW)[0].arms, strict=True))
    return exercises.judged(table, cells, ALONE)[1]


def _at_pair(table: Table) -> tuple[list[Result], list[Result]]:
    """The interaction at the arms of the sweep's file, judged, and what is described there."""
    cells = dict(zip(CELLS, promised(PAIR)[0].arms, strict=True))
    arms, judged = exercises.judged(table, cells, TOGETHER)
    of = (measures.TEST_ACC, measures.TEST_LOSS)
    return judged, described(
        [arms.contrast(a, b, measure, TOGETHER) for measure in of for a, b in PAIRS]
        + [arms.contrast_of(INTERACTION, measures.TEST_LOSS, TOGETHER)]
    )


def choose(table: Table) -> list[str]:
    """Arms of the test: the four cells at the values best alone and at the pair best together, each arm once.

    Raises:
        InputError: if the sweep lacks what the choice is made from.
    """
    settings = choice(exercises.ranked(exercises.validated(table, KEYS), KEYS))
    if len(settings) < 2:
        raise InputError(
            f"{table.name} has too few arms; dropout and weight decay alone, and both, are right"
        )
    return list(
        dict.fromkeys(exercises.overrides(arm) for cells in settings.values() for arm in cells.values())
    )


def choice(ranked: pd.DataFrame) -> dict[str, dict[str, Arm]]:
    """Cells at the values best alone and at the pair best together; without those that the sweep has no runs for.

    Best alone are the best rates above 0 without weight decay and the best weight decay above 0 without dropout;
    the best together have both above 0.
    """
    best, settings = best_of(ranked), {}
    for title, (dropout, decay) in {ALONE: PARTS, TOGETHER: ("both", "both")}.items():
        if dropout in best and decay in best:
            rates = [float(best[dropout][rate]) for rate in STRENGTH]
            settings[title] = cells_of(rates, float(best[decay][DECAY]))
    return settings


def cells_of(rates: Sequence[float], decay: float) -> dict[str, Arm]:
    """With and without rates, in the order of `STRENGTH`, and weight decay."""
    off = [0.0] * len(rates)
    values = ((*off, 0.0), (*rates, 0.0), (*off, decay), (*rates, decay))
    return {cell: dict(zip(KEYS, arm, strict=True)) for cell, arm in zip(CELLS, values, strict=True)}


def best_of(ranked: pd.DataFrame) -> dict[str, pd.Series]:
    """The best of the ranked settings by which of the two they have above 0."""
    dropout, decay = (ranked[list(STRENGTH)] > 0).any(axis=1), ranked[DECAY] > 0
    kinds = ranked.groupby(dropout + 2 * decay.astype(int))
    return {CELLS[kind]: rows.iloc[0] for kind, rows in kinds}


def _name(arm: Mapping[str, object]) -> str:
    return f"{rates_name(arm)}, weight decay {runs.shown(arm[DECAY])}"


def draw(facts: DecayFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        sums = [r for r in facts.beside(JUDGED[:2]) if r.contrast.b in (CELLS[0], INNER)]
        order = (*GAINS, OUTER)
        drawn["gains"] = figures.forest(
            sorted(
                [*sums, *facts.primary],
                key=lambda r: (r.contrast.setting, order.index(r.contrast.a), r.measure.name),
            ),
            lambda r: f"{r.contrast.setting[0]}: {'interaction' if r.contrast.a == OUTER else r.contrast.a}",
        )
    return {**drawn, "grid": draw_grid(facts.ranked)}


def draw_grid(ranked: pd.DataFrame) -> Figure:
    """Validation accuracy and cross-entropy of every setting tried."""
    shown = ranked.sort_values(list(STRENGTH))
    shown = shown.assign(rates=[rates_name(row) for row in shown.to_dict("records")])
    grids = shown.pivot_table(index="rates", columns=DECAY).loc[shown["rates"].unique()]
    names = {"index": "dropout rates", "columns": "weight decay"}
    return charts.heat_maps(
        {m: grids[m.column].rename_axis(**names) for m in (measures.VAL_ACC, measures.VAL_LOSS)}
    )
