"""Exercise 5: dropout and weight decay at the same time, with and without each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis import charts, exercises, figures, measures, runs
from analysis.contrasts import Arm, Arms, Contrast, Result, described, family
from analysis.exercises import Facts, Rule, decided, pick, promised, rates_name, word
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.sensitivity import sensitivity
from analysis.tables import Table, Tables
from src.stats import BETTER, UNDECIDED, needed_seeds

NUMBER = 5
SWEEPS = ("weight_decay", "weight_decay_test")

KEYS = ("dropout1", "dropout2", "optimizer.weight_decay")
DECAY = KEYS[-1]
CELLS = ("neither", "dropout", "weight decay", "both")
PARTS, GAINS = CELLS[1:3], CELLS[1:]
INTERACTION = ("both", *PARTS, "neither")
"""Of (both - dropout) - (weight decay - neither)."""
OUTER, INNER = "both + neither", "dropout + weight decay"
"""The two sums that are its difference."""
FEWEST = 3
ALONE, TOGETHER = "best alone", "best together"
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.QUIET_GAP, measures.TEST_ECE)

RULES = (
    Rule("not decided", "there are fewer than three common seeds", lambda e: e.n < FEWEST),
    Rule(
        "additive",
        "the interval of I is inside ±margin",
        lambda e: e.inside(e.first) and word(e.first) != UNDECIDED,
    ),
    Rule("undecided", "the interval of I holds 0", lambda e: not e.first.side or word(e.first) == UNDECIDED),
    Rule("synergistic", "the interval of I lies above 0", lambda e: word(e.first) == BETTER),
    Rule(
        "redundant",
        "I is below 0, and both minus the better one is inside ±margin",
        lambda e: e.inside(e.over_better),
    ),
    Rule("diminishing", "… and both minus the better one is above 0", lambda e: e.over_better.gain > 0),
    Rule("less than the sum", "… and both minus the better one holds 0", lambda e: e.over_better.gain == 0),
    Rule(
        "cancelling",
        "… and both are below the worse one, or below neither, or within ±margin of neither",
        lambda e: e.over_worse.gain < 0 or e.gain("both").gain < 0 or e.inside(e.gain("both")),
    ),
    Rule("cancelling in part", "otherwise", lambda e: True),
)


@dataclass(frozen=True)
class Setting:
    """A pair of rates and a weight decay."""

    title: str
    rates: tuple[float, float]
    decay: float

    @property
    def cells(self) -> dict[str, Arm]:
        """With and without each."""
        values = ((0.0, 0.0, 0.0), (*self.rates, 0.0), (0.0, 0.0, self.decay), (*self.rates, self.decay))
        return {cell: dict(zip(KEYS, each, strict=True)) for cell, each in zip(CELLS, values, strict=True)}


@dataclass(frozen=True, kw_only=True)
class DecayFacts(Facts):
    ranked: pd.DataFrame
    """What was tried, the best first: `validation`."""
    settings: Sequence[Setting] = ()
    margin: float = 0.0

    @property
    def n(self) -> int:
        return self.first.paired.n if self.primary else 0

    def contrast(self, a: str, b: str, measure: Measure = measures.TEST_ACC, title: str = ALONE) -> Result:
        found = pick(self.described, a=a, b=b, measure=measure, setting=(title,))
        assert found is not None
        return found

    def gain(self, cell: str) -> Result:
        return self.contrast(cell, CELLS[0])

    @property
    def helping(self) -> list[str]:
        """Which of the two is shown to help alone."""
        return [cell for cell in PARTS if self.gain(cell).gain > 0]

    @property
    def by_gain(self) -> list[str]:
        """The two, the one with the larger gain alone first."""
        return sorted(PARTS, key=lambda cell: -self.gain(cell).paired.difference)

    @property
    def over_better(self) -> Result:
        return self.contrast("both", self.by_gain[0])

    @property
    def over_worse(self) -> Result:
        return self.contrast("both", self.by_gain[1])

    def inside(self, result: Result) -> bool:
        """Whether a difference's interval is inside the margin."""
        return result.paired.interval is not None and result.paired.interval.reach < self.margin

    @property
    def needed(self) -> int | None:
        """Seeds at which the interval of I would be no wider than the margin, at the SD that it has; None where the
        sweep went on until that was decided, as its intervals are wider."""
        sd = self.first.paired.sd if self.primary and self.first.contrast.look is None else None
        return needed_seeds(sd, self.margin) if sd and self.margin else None

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
    table, tested = tables[SWEEPS[0]], tables.get(SWEEPS[1])
    _, primary = promised(SWEEPS[1])
    ranked, settings = validation(table), choice(table)
    if tested is None or not settings:
        return DecayFacts(ranked=ranked, settings=settings, verdict=RULES[0].name, validated=True)
    pairs = [*((cell, CELLS[0]) for cell in GAINS), *(("both", part) for part in PARTS)]
    contrasts = []
    for setting in settings:
        for measure in JUDGED:
            arms = Arms(tested, setting.cells)
            values = common(arms, measure)
            contrasts += [Contrast(a, b, (setting.title,), measure, (values[a], values[b])) for a, b in pairs]
            contrasts.append(arms.contrast_of(INTERACTION, measure, setting.title))
    wanted = (OUTER, (ALONE,), primary.measure)
    judged = family([c for c in contrasts if (c.a, c.setting, c.measure) == wanted], primary.margin)
    splits = None
    if judged:
        alone = next(setting for setting in settings if setting.title == ALONE)
        splits = Arms(table, alone.cells).contrast_of(INTERACTION, measures.VAL_ACC, "validation")
    named = {_name(arm): arm for setting in settings for arm in setting.cells.values()}
    facts = DecayFacts(
        primary=judged,
        sensitivity=sensitivity(judged, splits=splits),
        arms=[arm for arm in Arms(tested, named).stats(JUDGED) if arm.planned],
        described=described(contrasts),
        contrasted=len(CELLS),
        ranked=ranked,
        settings=settings,
        margin=primary.measure.stored(primary.margin),
    )
    return decided(RULES, facts)


def common(arms: Arms, measure: Measure) -> dict[str, dict[int, float]]:
    """Each cell's values on the seeds that all four have."""
    found = {cell: arms.values(cell, measure) for cell in CELLS}
    seeds = sorted(set.intersection(*map(set, found.values())))
    return {cell: {seed: of_cell[seed] for seed in seeds} for cell, of_cell in found.items()}


def choose(table: Table) -> list[str]:
    """Arms of the test: the four cells at the values best alone and at the pair best together, each arm once.

    Raises:
        InputError: if the sweep lacks what the choice is made from.
    """
    settings = choice(table)
    if len(settings) < 2:
        raise InputError(
            f"{table.name} has too few arms; dropout and weight decay alone, and both, are right"
        )
    arms = [exercises.overrides(arm) for setting in settings for arm in setting.cells.values()]
    return list(dict.fromkeys(arms))


def validation(table: Table) -> pd.DataFrame:
    """The settings tried, see `exercises.ranked`.

    Raises:
        InputError: if rates and weight decay were not swept or nothing was validated.
    """
    absent = [key for key in KEYS if key not in table.keys]
    if absent:
        raise InputError(f"{table.name} does not sweep {absent[0]}; sweep=weight_decay does")
    return exercises.ranked(exercises.validated(table.final), KEYS)


def choice(table: Table) -> list[Setting]:
    """The values best alone and the pair best together; one that the sweep has no runs for is left out.

    Best alone are the best rates above 0 without weight decay and the best weight decay above 0 without dropout;
    the best together have both above 0.

    Raises:
        InputError: as `validation`.
    """
    best = best_of(validation(table))
    settings = []
    for title, (dropout, decay) in {ALONE: PARTS, TOGETHER: ("both", "both")}.items():
        if dropout in best and decay in best:
            rates = float(best[dropout]["dropout1"]), float(best[dropout]["dropout2"])
            settings.append(Setting(title, rates, float(best[decay][DECAY])))
    return settings


def best_of(ranked: pd.DataFrame) -> dict[str, pd.Series]:
    """The best of the ranked settings by which of the two they have above 0."""
    dropout, decay = (ranked["dropout1"] > 0) | (ranked["dropout2"] > 0), ranked[DECAY] > 0
    kinds = (~dropout & ~decay, dropout & ~decay, ~dropout & decay, dropout & decay)
    return {cell: ranked[kind].iloc[0] for cell, kind in zip(CELLS, kinds, strict=True) if kind.any()}


def _name(arm: Mapping[str, object]) -> str:
    return f"{rates_name(arm)}, weight decay {runs.shown(arm[DECAY])}"


def draw(facts: DecayFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        shown = [r for r in facts.beside(JUDGED[:2]) if r.contrast.b in (CELLS[0], INNER)] + list(
            facts.primary
        )
        order = {cell: place for place, cell in enumerate((*GAINS, OUTER))}
        shown.sort(key=lambda r: (r.contrast.setting, order[r.contrast.a], r.measure.name))
        drawn["gains"] = figures.forest(
            shown,
            lambda r: f"{r.contrast.setting[0]}: {'interaction' if r.contrast.a == OUTER else r.contrast.a}",
        )
    return {**drawn, "grid": draw_grid(facts.ranked)}


def draw_grid(ranked: pd.DataFrame) -> Figure:
    """Validation accuracy and cross-entropy of every setting tried."""
    shown = ranked.sort_values(["dropout1", "dropout2"])
    shown = shown.assign(rates=[rates_name(row) for row in shown.to_dict("records")])
    grids = shown.pivot_table(index="rates", columns=DECAY).loc[shown["rates"].unique()]
    names = {"index": "dropout rates", "columns": "weight decay"}
    return charts.heat_maps(
        {m: grids[m.column].rename_axis(**names) for m in (measures.VAL_ACC, measures.VAL_LOSS)}
    )
