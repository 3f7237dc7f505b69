"""Exercise 5: dropout and weight decay at the same time, with and without each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import figures, heat, measures, runs
from analysis.contrasts import Arm, Arms, Contrast, Result, described, family, sensitivity
from analysis.exercises import Facts, decided, pick, promised, rates_name, word
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.tables import Table, Tables
from analysis.verdicts import Rule
from src.stats import BETTER, needed_seeds

NUMBER = 5
SWEEPS = ("weight_decay", "weight_decay_test")

KEYS = ("dropout1", "dropout2", "optimizer.weight_decay")
DECAY = KEYS[-1]
CELLS = ("neither", "dropout", "weight decay", "both")
PARTS, GAINS = CELLS[1:3], CELLS[1:]
OUTER, INNER = "both + neither", "dropout + weight decay"
"""AB - A - B = (both - neither) - (dropout - neither) - (weight decay - neither) = the first sum - the second."""
FEWEST = 3
ALONE, TOGETHER = "best alone", "best together"
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.QUIET_GAP, measures.TEST_ECE)

RULES = (
    Rule("not decided", "there are fewer than three common seeds", lambda e: e.n < FEWEST),
    Rule("additive", "the interval of I is inside ±margin", lambda e: e.inside(e.first)),
    Rule("undecided", "the interval of I holds 0", lambda e: e.first.side == 0),
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

    def contrast(self, a: str, b: str, measure: Measure, title: str = ALONE) -> Result | None:
        return pick(self.described, a=a, b=b, measure=measure, setting=(title,))

    def gain(self, cell: str, measure: Measure = measures.TEST_ACC, title: str = ALONE) -> Result:
        found = self.contrast(cell, CELLS[0], measure, title)
        assert found is not None
        return found

    @property
    def helping(self) -> list[str]:
        """Which of the two is shown to help alone."""
        return [cell for cell in PARTS if self.gain(cell).gain > 0]

    def interaction(self, measure: Measure, title: str = ALONE) -> Result | None:
        return self.contrast(OUTER, INNER, measure, title)

    @property
    def better(self) -> str:
        """The one of the two with the larger gain alone."""
        return max(PARTS, key=lambda cell: self.gain(cell).paired.difference)

    @property
    def over_better(self) -> Result:
        found = self.contrast("both", self.better, measures.TEST_ACC)
        assert found is not None
        return found

    @property
    def over_worse(self) -> Result:
        found = self.contrast("both", min(set(PARTS) - {self.better}), measures.TEST_ACC)
        assert found is not None
        return found

    def inside(self, result: Result) -> bool:
        """Whether a difference's interval is inside the margin."""
        return result.paired.interval is not None and result.paired.interval.reach < self.margin

    @property
    def needed(self) -> int | None:
        """Seeds at which the interval of I would be no wider than the margin, at the SD that it has."""
        sd = self.first.paired.sd if self.primary else None
        return needed_seeds(sd, self.margin) if sd and self.margin else None

    @property
    def error(self) -> float:
        """Standard error of a setting's mean validation accuracy, as stored; the seeds' variance pooled over all
        settings, as two or three seeds say little of each one's own. NaN for a seed a setting."""
        free = self.ranked["seeds"] - 1
        pooled = (self.ranked["variance"] * free).sum() / free.sum() if free.sum() else math.nan
        return math.sqrt(pooled / self.ranked["seeds"].median())

    @property
    def best(self) -> Mapping[str, pd.Series]:
        """Of each kind of setting the one with the highest validation accuracy."""
        return {cell: found.iloc[0] for cell, found in by_cell(self.ranked).items() if len(found)}


def analyse(tables: Tables) -> DecayFacts:
    """The interaction, judged on the test set at the values that are best alone; all else described."""
    table, tested = tables[SWEEPS[0]], tables.get(SWEEPS[1])
    _, primary = promised(SWEEPS[1])
    ranked, settings = validation(table), choice(table)
    if tested is None or not settings:
        return DecayFacts(ranked=ranked, settings=settings, verdict=RULES[0].name, validated=True)
    contrasts, judged = [], []
    for setting in settings:
        arms = Arms(tested, setting.cells)
        for measure in JUDGED:
            values = common(arms, measure)
            pairs = [
                *((cell, CELLS[0]) for cell in GAINS),
                *(("both", part) for part in PARTS),
                (OUTER, INNER),
            ]
            found = [Contrast(a, b, (setting.title,), measure, (values[a], values[b])) for a, b in pairs]
            contrasts += found
            if setting.title == ALONE and measure is primary.measure:
                judged = family([found[-1]], primary.margin)
    named = {_name(arm): arm for setting in settings for arm in setting.cells.values()}
    facts = DecayFacts(
        primary=judged,
        sensitivity=sensitivity(judged),
        arms=[arm for arm in Arms(tested, named).stats(JUDGED) if arm.planned],
        described=described(contrasts),
        ranked=ranked,
        settings=settings,
        margin=primary.measure.stored(primary.margin),
    )
    return decided(RULES, facts)


def common(arms: Arms, measure: Measure) -> dict[str, dict[int, float]]:
    """Each cell's values and both sums, on the seeds that all four cells have."""
    found = {cell: arms.values(cell, measure) for cell in CELLS}
    seeds = sorted(set.intersection(*map(set, found.values())))
    values = {cell: {seed: of_cell[seed] for seed in seeds} for cell, of_cell in found.items()}
    for name, parts in ((OUTER, ("both", CELLS[0])), (INNER, PARTS)):
        values[name] = {seed: values[parts[0]][seed] + values[parts[1]][seed] for seed in seeds}
    return values


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
    arms = [arm for setting in settings for arm in setting.cells.values()]
    return list(
        dict.fromkeys(" ".join(f"{key}={runs.shown(value)}" for key, value in arm.items()) for arm in arms)
    )


def validation(table: Table) -> pd.DataFrame:
    """The settings tried, the best first: the keys, number of seeds, mean val_acc and val_loss at the last epoch.

    The best has the highest accuracy; of equal ones the lowest cross-entropy, then the smallest rates and decay.

    Raises:
        InputError: if rates and weight decay were not swept or nothing was validated.
    """
    absent = [key for key in KEYS if key not in table.keys]
    if absent:
        raise InputError(f"{table.name} does not sweep {absent[0]}; sweep=weight_decay does")
    final = table.final[np.isfinite(table.final["val_acc"]) & np.isfinite(table.final["val_loss"])]
    if final.empty:
        raise InputError(f"{table.name} has no validation accuracy; data.validation above 0 is right")
    means = final.groupby(list(KEYS), as_index=False).agg(
        seeds=("seed", "nunique"),
        val_acc=("val_acc", "mean"),
        val_loss=("val_loss", "mean"),
        variance=("val_acc", "var"),
    )
    # sums of the same numbers in another order differ in their last digit: no reason to prefer one
    order = means.assign(val_acc=-means["val_acc"].round(8), val_loss=means["val_loss"].round(8))
    return means.loc[order.sort_values(["val_acc", "val_loss", *KEYS]).index].reset_index(drop=True)


def choice(table: Table) -> list[Setting]:
    """The values best alone and the pair best together; one that the sweep has no runs for is left out.

    Best alone are the best rates above 0 without weight decay and the best weight decay above 0 without dropout;
    the best together have both above 0.

    Raises:
        InputError: as `validation`.
    """
    best = {cell: found.iloc[0] for cell, found in by_cell(validation(table)).items() if len(found)}
    settings = []
    for title, (dropout, decay) in {ALONE: PARTS, TOGETHER: ("both", "both")}.items():
        if dropout in best and decay in best:
            rates = float(best[dropout]["dropout1"]), float(best[dropout]["dropout2"])
            settings.append(Setting(title, rates, float(best[decay][DECAY])))
    return settings


def by_cell(ranked: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The ranked settings by which of the two they have above 0."""
    dropout, decay = (ranked["dropout1"] > 0) | (ranked["dropout2"] > 0), ranked[DECAY] > 0
    kinds = (~dropout & ~decay, dropout & ~decay, ~dropout & decay, dropout & decay)
    return {cell: ranked[kind] for cell, kind in zip(CELLS, kinds, strict=True)}


def _name(arm: Mapping[str, object]) -> str:
    return f"{rates_name(arm)}, weight decay {runs.shown(arm[DECAY])}"


def draw(facts: DecayFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        shown = [r for r in facts.described if r.measure in JUDGED[:2] and r.contrast.b in (CELLS[0], INNER)]
        shown = [r for r in shown if r.contrast != facts.first.contrast] + list(facts.primary)
        order = {cell: place for place, cell in enumerate((*GAINS, OUTER))}
        shown.sort(key=lambda r: (r.contrast.setting, order[r.contrast.a], r.measure.name))
        drawn["gains"] = figures.forest(
            shown,
            lambda r: f"{r.contrast.setting[0]}: {'interaction' if r.contrast.a == OUTER else r.contrast.a}",
        )
    return {**drawn, "grid": draw_grid(facts.ranked)}


def draw_grid(ranked: pd.DataFrame) -> Figure:
    """Validation accuracy and cross-entropy of every setting tried."""
    shown = ranked.assign(rates=[rates_name(row) for row in ranked.to_dict("records")])
    rows = list(shown.sort_values(["dropout1", "dropout2"])["rates"].unique())
    maps = []
    for measure in (measures.VAL_ACC, measures.VAL_LOSS):
        means = shown.pivot_table(measure.column, index="rates", columns=DECAY).loc[rows]
        means = means.rename_axis(index="dropout rates", columns="weight decay")
        texts = means.map(measure.shown)
        maps.append(heat.Matrix(measure.label, means * measure.scale, texts, measure.sign > 0))
    return heat.heat_maps(maps)
