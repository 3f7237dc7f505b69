"""Exercise 5: dropout and weight decay at the same time, with and without each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from analysis import measures, runs, statistics, wording
from analysis.exercises import (
    Answer,
    Arm,
    Grid,
    Picture,
    arm_grid,
    by_seed,
    pair_grid,
    posed,
    rows_of,
    with_gaps,
)
from analysis.figures import PALETTE, STYLE
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.statistics import Comparison, Interval, Paired
from analysis.tables import Table, Tables

NUMBER = 5
TITLE = "Dropout and weight decay at the same time"
SWEEPS = ("weight_decay", "weight_decay_test")

KEYS = ("dropout1", "dropout2", "optimizer.weight_decay")
DECAY = KEYS[-1]
CELLS = ("neither", "dropout", "weight decay", "both")
PARTS, GAINS = CELLS[1:3], CELLS[1:]
OUTER, INNER = "both + neither", "dropout + weight decay"
INTERACTION = (OUTER, INNER)
"""AB − A − B = (both − neither) − (dropout − neither) − (weight decay − neither) = the first sum − the second."""
FEWEST = 3
"""Common seeds that a verdict needs; the interval of two is short or long by luck."""
PAIRS = (*((cell, "neither") for cell in GAINS), *(("both", part) for part in PARTS), INTERACTION)
TOLERATED = {"%": (0.0005, 0.001), "nats": (0.002, 0.004)}
"""By the measure's unit, as stored: bounds of an interaction that is none, and of a difference that is next to
nothing; the latter is also the half-width of a short interval."""
ACCURACIES, LOSSES = (measures.TEST_ACC, measures.VAL_ACC), (measures.TEST_LOSS, measures.VAL_LOSS)
VAL_GAP = replace(measures.QUIET_GAP, column="quiet_val_gap", name="train−validation gap, noise off")


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

    def __str__(self) -> str:
        return _name(self.cells["both"])


@dataclass(frozen=True)
class Effects:
    """Gains by one measure over the seeds that all four cells have."""

    measure: Measure
    by_cell: Mapping[str, Mapping[int, float]]
    """Of each cell and of both sums, by seed."""
    pairs: Mapping[tuple[str, str], Comparison]
    """Of `PAIRS`, one family. The difference is a gain, positive where the pair's first is better: first minus
    second, but second minus first where lower is better, so that a cross-entropy's gain is its reduction."""

    def gain(self, cell: str) -> Paired:
        return self.pairs[cell, "neither"].paired

    @property
    def interaction(self) -> Paired:
        return self.pairs[INTERACTION].paired

    def seeds_needed(self, pair: tuple[str, str]) -> int:
        """For a short interval of this difference, see `answer`."""
        a, b = (list(self.by_cell[cell].values()) for cell in pair)
        sd, half_width = float(np.std(np.subtract(a, b), ddof=1)), TOLERATED[self.measure.unit][1]
        quantile = (1 + statistics.CONFIDENCE) / 2
        n = max(2, math.ceil((stats.norm.ppf(quantile) * sd / half_width) ** 2))
        while stats.t.ppf(quantile, n - 1) * sd / math.sqrt(n) > half_width:
            n += 1
        return n


@dataclass(frozen=True)
class Verdict:
    word: str
    short: str
    """What it means, as the end of a sentence."""
    reason: str
    """Why, in sentences."""


@dataclass(frozen=True)
class Source:
    """Where the gains are measured: on the test set or, while that is missing, on the validation images."""

    table: Table
    final: pd.DataFrame
    measures: tuple[Measure, ...]
    """Accuracy, cross-entropy, gap, and what else there is."""
    effects: Mapping[Setting, Mapping[Measure, Effects]]
    """Of the settings and measures that can be computed, the accuracy first."""


def answer(tables: Tables) -> Answer:
    """Do dropout and weight decay add up, diminish each other's returns, or cancel out?

    Asked twice: at the values best alone, each without the other, and at the pair best together. Best is what has
    the highest mean validation accuracy at the last epoch among values above 0 (of equal ones: the lower
    cross-entropy, then the smaller values); that 0 had more is said where it had. Answered on the test set; while
    that sweep is missing, on the validation images themselves. Over the seeds that all four cells have, A, B and
    AB are the gains of dropout alone, of weight decay alone and of both over neither, seed by seed, and I = AB − A
    − B is the interaction. The better one and the worse one are those with the larger and the smaller mean gain
    alone. Intervals are the 95% ones of the mean over the seeds. Short is an interval with a half-width of at most
    0.10 pp; next to nothing is a difference whose interval is inside ±0.10 pp, or covers 0 and is short. The
    verdict is the first of these that holds:

    1. undecided: there are fewer than three common seeds.
    2. additive: the interval of I is inside ±0.05 pp, or covers 0 and is short.
    3. undecided: the interval of I covers 0.
    4. synergistic: the interval of I lies above 0. From here on it lies below 0.
    5. redundant: AB minus the better one is next to nothing.
    6. diminishing: the interval of AB minus the better one lies above 0.
    7. undecided: the interval of AB minus the better one covers 0. From here on it lies below 0.
    8. cancelling: the interval of AB minus the worse one lies below 0, or that of AB does, or AB is next to
       nothing.
    9. cancelling in part: both are worse than the better one, but not shown to be worse than the worse one or to
       gain nothing.

    Where it is undecided by 3 or 7, the number of seeds that would decide is the smallest n for which Student's t
    interval of I, or of AB minus the better one, is short at the SD that it now has over the seeds. The headline is
    the accuracy's verdict. The cross-entropy has its own by the same steps, a gain being a reduction, with
    0.002 nats for the 0.05 pp and 0.004 nats for the 0.10 pp. A difference of two cells is shown or not by
    `statistics.RULE`; a setting's five pairs of cells and its interaction are one family for Holm's correction.
    """
    table, tested = tables[SWEEPS[0]], tables.get(SWEEPS[1])
    trained = wording.count(len(table.runs), "run")
    try:
        ranked, settings = validation(table), choice(table)
    except InputError as error:
        return Answer(f"Not answered: {error}.", trained, (), (), (str(error),))
    source = _measured(table, tested, settings)
    outstanding = tuple(_outstanding(ranked, settings, source, table, tested))
    if not source.effects:
        unmet = "Not answered: no seed has runs of neither, of each alone and of both at chosen values."
        return Answer(unmet, trained, (_chosen(ranked, settings),), (draw_grid(ranked),), outstanding)
    seeds = wording.count(_accuracy(source)[0][1].interaction.n, "common seed")
    tested_on = (
        "" if source.table is table else f"{wording.count(len(source.final), 'run')}; values chosen on "
    )
    return Answer(
        headline=_headline(source, table),
        n=f"{seeds}, {tested_on}{trained}",
        verdict=(
            _chosen(ranked, settings),
            *(_judged(setting, effects) for setting, effects in source.effects.items()),
            _beside(source),
            _reach(source, table),
        ),
        parts=(draw_grid(ranked), draw_gains(source), *_gains_grids(source), _arm_grid(source)),
        outstanding=outstanding,
    )


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
        seeds=("seed", "nunique"), val_acc=("val_acc", "mean"), val_loss=("val_loss", "mean")
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
    best = {cell: found.iloc[0] for cell, found in _by_cell(validation(table)).items() if len(found)}
    settings = []
    for title, (dropout, decay) in {"best alone": PARTS, "best together": ("both", "both")}.items():
        if dropout in best and decay in best:
            settings.append(Setting(title, _rates(best[dropout]), float(best[decay][DECAY])))
    return settings


def effects_of(final: pd.DataFrame, setting: Setting, measure: Measure) -> Effects | None:
    """Gains and interaction of a setting's four cells; None without a common seed.

    Args:
        final: a row a run, its last epoch.
    """
    found = {cell: by_seed(rows_of(final, arm), measure.column) for cell, arm in setting.cells.items()}
    seeds = sorted(set.intersection(*map(set, found.values())))
    if not seeds:
        return None
    values = {cell: {seed: of_cell[seed] for seed in seeds} for cell, of_cell in found.items()}
    for name, parts in ((OUTER, ("both", "neither")), (INNER, PARTS)):
        values[name] = {seed: values[parts[0]][seed] + values[parts[1]][seed] for seed in seeds}
    is_higher = measure.higher_is_better is not False
    pairs = [pair if is_higher else pair[::-1] for pair in PAIRS]
    compared = statistics.compare_arms(values, pairs, is_higher)
    return Effects(measure, values, dict(zip(PAIRS, compared, strict=True)))


def judge(effects: Effects) -> Verdict:
    """The verdict by the rule in `answer`."""
    measure, (none, small) = effects.measure, TOLERATED[effects.measure.unit]
    better, worse = sorted(PARTS, key=lambda cell: -effects.gain(cell).difference)
    over_better, over_worse = (effects.pairs["both", cell].paired for cell in (better, worse))
    found = [effects.interaction, over_better, over_worse, effects.gain("both")]
    intervals = [each.interval for each in found if each.interval is not None]
    if effects.interaction.n < FEWEST or len(intervals) < len(found):
        needed = max(FEWEST, effects.seeds_needed(INTERACTION)) if len(intervals) == len(found) else FEWEST
        few = f"with {wording.count(effects.interaction.n, 'common seed')} nothing is decided"
        return Verdict("undecided", few, f"W{few[1:]}; it would take about {needed:,}.")
    of_interaction, of_better, of_worse, of_both = intervals

    if _is_nothing(of_interaction, none, small):
        within = max(-of_interaction.lower, of_interaction.upper)
        shown = any(effects.pairs[cell, "neither"].verdict for cell in GAINS)
        which = "effects" if shown else "effects, none of them shown,"
        short = f"the {which} add up to within {wording.size(within, measure)}"
        why = f"is inside ±{wording.size(none, measure)}"
        if within > none:
            half, most = (wording.size(each, measure) for each in (_half(of_interaction), small))
            why = f"covers 0 with a half-width of {half}, at most {most}"
        return Verdict("additive", short, f"Its interval {why}: {short}.")
    if not of_interaction.excludes(0):
        seeds = f"it would take about {effects.seeds_needed(INTERACTION):,} common seeds to tell"
        reason = (
            f"Its interval covers 0 with a half-width of {wording.size(_half(of_interaction), measure)}, more than "
            f"{wording.size(small, measure)}: no departure from the sum is shown, and those inside it remain "
            f"possible; {seeds}."
        )
        return Verdict("undecided", seeds, reason)
    if of_interaction.lower > 0:
        short = "together they give more than the sum of both"
        return Verdict("synergistic", short, f"Its interval lies above 0: {short}.")

    less = "Its interval lies below 0: together they give less than the sum"
    against = f"both minus {better} alone, {_shown(over_better, measure)}"
    if _is_nothing(of_better, small, small):
        short = f"together they give about what {better} gives alone"
        return Verdict("redundant", short, f"{less}; {against}, is next to nothing.")
    if of_better.lower > 0:
        short = "together they give more than the better one alone, but less than the sum"
        return Verdict("diminishing", short, f"{less}, but {against}, is above 0.")
    if not of_better.excludes(0):
        seeds = f"it would take about {effects.seeds_needed(('both', better)):,} common seeds to tell"
        short = f"together they give less than the sum; how much less is open, {seeds}"
        reason = (
            f"{less}; {against}, may be above 0 (diminishing), 0 (redundant) or below (cancelling): {seeds}."
        )
        return Verdict("undecided", short, reason)
    if of_worse.upper < 0:
        short = "together they give less than either gives alone"
        reason = (
            f"{less}; {against}, and both minus {worse} alone, {_shown(over_worse, measure)}, are below 0."
        )
        return Verdict("cancelling", short, reason)
    if of_both.upper < 0 or _is_nothing(of_both, small, small):
        short = "together they gain nothing over neither"
        return Verdict("cancelling", short, f"{less}; {against}, is below 0, and {short}.")
    short = f"together they give less than {better} gives alone"
    open_ = f"that they are worse than {worse} alone or than neither is not shown"
    return Verdict("cancelling in part", short, f"{less}; {against}, is below 0; {open_}.")


def _is_nothing(interval: Interval, bound: float, half_width: float) -> bool:
    """Whether it is inside ±bound, or covers 0 with at most this half-width."""
    inside = -bound <= interval.lower and interval.upper <= bound
    return inside or (not interval.excludes(0) and _half(interval) <= half_width)


def _half(interval: Interval) -> float:
    return (interval.upper - interval.lower) / 2


def draw_grid(ranked: pd.DataFrame) -> Picture:
    """Validation accuracy and cross-entropy of every setting tried; the best of each kind are marked."""
    shown = ranked.assign(rates=[_pair(_rates(row)) for _, row in ranked.iterrows()])
    rows = list(shown.sort_values(["dropout1", "dropout2"])["rates"].unique())
    best = {
        (found["rates"].iloc[0], found[DECAY].iloc[0]): f"\nbest\n{'together' if cell == 'both' else 'alone'}"
        for cell, found in _by_cell(shown).items()
        if len(found) and cell != "neither"
    }
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10, 1.4 + 0.65 * len(rows)), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, measure in zip(axes, (measures.VAL_ACC, measures.VAL_LOSS), strict=True):
            means = shown.pivot_table(measure.column, index="rates", columns=DECAY).loc[rows]
            texts = [
                [measure.shown(value) + best.get((rates, decay), "") for decay, value in row.items()]
                for rates, row in means.iterrows()
            ]
            names = [runs.shown(decay) for decay in means.columns]
            # light enough for its numbers to be read in every cell
            colours = sns.light_palette(PALETTE[9], reverse=measure is measures.VAL_LOSS, as_cmap=True)
            style: dict[str, Any] = {
                "annot_kws": {"fontsize": 8, "color": "black"},
                "linewidths": 0.5,
                "xticklabels": names,
            }
            sns.heatmap(means * measure.scale, ax=axis, cmap=colours, annot=np.array(texts), fmt="", **style)
            axis.set(xlabel="weight decay", ylabel="", title=measure.label)
            axis.tick_params(rotation=0)
        axes[0].set_ylabel("dropout rates")
    caption = (
        f"Validation at the last epoch, mean over {_counts(ranked['seeds'])} a setting; darker is better. Marked: "
        "the best by accuracy of dropout alone, of weight decay alone, and of both together."
    )
    return Picture("grid", caption, figure)


def draw_gains(source: Source) -> Picture:
    """Gains alone and together with their intervals, the sum of those alone, and the interaction."""
    rows: list[tuple[str, Setting | None, tuple[str, str]]] = []
    for setting in source.effects:
        rows.append((setting.title, None, INTERACTION))
        rows += [(_name(setting.cells[cell]), setting, (cell, "neither")) for cell in PARTS]
        rows += [("both", setting, ("both", "neither")), ("interaction", setting, INTERACTION)]
    panels = [m for m in source.measures[:3] if any(m in effects for effects in source.effects.values())]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.2 + 0.36 * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, measure in zip(axes, panels, strict=True):
            axis.axvline(0, color="0.3", linewidth=1)
            for row, (_, each, pair) in enumerate(rows):
                if each is not None and measure in source.effects[each]:
                    _draw_gain(axis, row, source.effects[each][measure], pair)
            label = f"{_verb(measure)[1]} {measure.name} ({measure.difference_unit})"
            axis.set(xlabel=textwrap.fill(label, 28, break_on_hyphens=False))
            axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axis.grid(visible=False, axis="y")
        axes[0].set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        for tick, (_, each, _) in zip(axes[0].get_yticklabels(), rows, strict=True):
            tick.set_fontweight("normal" if each else "bold")
    none, small = (
        " and ".join(wording.size(TOLERATED[m.unit][at], m) for m in source.measures[:2]) for at in range(2)
    )
    caption = (
        "Paired differences from neither, and the interaction: both minus the sum of the two gains alone. Diamond: "
        "mean over the common seeds; line: its 95% interval; circle: the sum of the two gains, where both would be "
        f"if they added up; grey: an interaction inside it counts as none, of at most {none}; so does one whose "
        f"interval covers 0 with a half-width of at most {small}."
    )
    return Picture("gains", caption, figure)


def _draw_gain(axis: Any, row: int, effects: Effects, pair: tuple[str, str]) -> None:
    measure, found = effects.measure, effects.pairs[pair].paired
    colour = PALETTE[3] if pair == INTERACTION else PALETTE[0]
    if pair == INTERACTION and measure.unit in TOLERATED:
        none = TOLERATED[measure.unit][0] * measure.scale
        axis.fill_betweenx([row - 0.45, row + 0.45], -none, none, color="0.85", linewidth=0)
    if pair == ("both", "neither"):
        total = sum(effects.gain(cell).difference for cell in PARTS) * measure.scale
        axis.plot(
            [total], [row], "o", color="0.3", markerfacecolor="none", markersize=11, markeredgewidth=1.3
        )
    if found.interval is not None:
        ends = np.array([found.interval.lower, found.interval.upper]) * measure.scale
        axis.plot(ends, [row, row], color=colour, linewidth=2, solid_capstyle="butt")
    axis.plot([found.difference * measure.scale], [row], "D", color=colour, markersize=6)


def _measured(table: Table, tested: Table | None, settings: Sequence[Setting]) -> Source:
    """The test's gains where it has any, otherwise the validation images'."""
    if len(settings) == 2 and settings[0].cells == settings[1].cells:
        settings = [replace(settings[0], title="best alone and together")]
    if tested is not None and set(KEYS) <= set(tested.keys):
        judged = (measures.TEST_ACC, measures.TEST_LOSS, measures.QUIET_GAP, measures.TEST_ECE)
        source = _source(tested, with_gaps(tested.final), judged, settings)
        if source.effects:
            return source
    gap = table.final.get("eval_train_acc", np.nan) - table.final["val_acc"]
    validated = (measures.VAL_ACC, measures.VAL_LOSS, VAL_GAP)
    return _source(table, table.final.assign(**{VAL_GAP.column: gap}), validated, settings)


def _source(
    table: Table, final: pd.DataFrame, judged: tuple[Measure, ...], settings: Sequence[Setting]
) -> Source:
    effects = {}
    for setting in settings:
        found = {measure: effects_of(final, setting, measure) for measure in judged}
        known = {measure: each for measure, each in found.items() if each is not None}
        if judged[0] in known:
            effects[setting] = known
    return Source(table, final, judged, effects)


def _accuracy(source: Source) -> list[tuple[Setting, Effects]]:
    return [(setting, effects[source.measures[0]]) for setting, effects in source.effects.items()]


def _headline(source: Source, table: Table) -> str:
    (setting, found), *others = _accuracy(source)
    gains = [wording.difference(found.gain(cell).difference, found.measure) for cell in GAINS]
    verdict = judge(found)
    where = "validation images that also chose the values" if source.table is table else "test images"
    text = (
        f"On {where}, {_name(setting.cells['dropout'])} changes the accuracy by {gains[0]}, "
        f"{_name(setting.cells['weight decay'])} by {gains[1]} and both by {gains[2]}; the interaction, both minus "
        f"the sum, is {_shown(found.interaction, found.measure)}: {verdict.word}, {verdict.short}"
    )
    for other, its in others:
        text += f"; at the values {other.title} it is {judge(its).word}"
    return text + "."


def _chosen(ranked: pd.DataFrame, settings: Sequence[Setting]) -> str:
    cells = {cell: found for cell, found in _by_cell(ranked).items() if len(found)}
    best = [
        f"{_name(cells[cell].iloc[0])} of {len(cells[cell])} with {cell}{'' if cell == 'both' else ' alone'}"
        for cell in GAINS
        if cell in cells
    ]
    text = (
        f"Chosen by validation accuracy, mean over {_counts(ranked['seeds'])} a setting: {'; '.join(best)}. Of all "
        f"{wording.count(len(ranked), 'setting')} the best has {_name(ranked.iloc[0])}."
    )
    if len(settings) == 2 and settings[0].cells == settings[1].cells:
        text += " The values best alone are also the best together, so the two questions are one."
    for cell in PARTS:
        if "neither" in cells and cell in cells and cells["neither"].index[0] < cells[cell].index[0]:
            text += f" Doing without was better than {cell} alone, whose best above 0 is taken all the same."
    return text


def _judged(setting: Setting, effects: Mapping[Measure, Effects]) -> str:
    (measure, found), *more = [(m, effects[m]) for m in (*ACCURACIES, *LOSSES) if m in effects]
    verdict = judge(found)
    differ = [cell for cell in GAINS if found.pairs[cell, "neither"].verdict]
    text = (
        f"At the values {setting.title}, {setting}: the {measure.name} {_gains(found)}, over "
        f"{wording.count(found.interaction.n, 'common seed')}. Shown to differ from neither: "
        f"{', '.join(differ) or 'none'}. The interaction is {_shown(found.interaction, measure)}: {verdict.word}. "
        f"{verdict.reason}"
    )
    for loss, its in more:
        same = f"as by {measure.name}" if judge(its).word == verdict.word else f"unlike by {measure.name}"
        text += (
            f" By {loss.name}, of which a gain is a reduction, the interaction is {_shown(its.interaction, loss)}: "
            f"{judge(its).word}, {same}. {judge(its).reason}"
        )
    return text


def _beside(source: Source) -> str:
    gap, said = source.measures[2], []
    for setting, effects in source.effects.items():
        if found := effects.get(gap):
            neither = statistics.summarise(list(found.by_cell["neither"].values())).mean
            said.append(
                f"At the values {setting.title} the {gap.name}, is {wording.value(neither, gap)} with neither and "
                f"{_gains(found)}."
            )
    return " ".join(said) or f"The {gap.name}, was not measured."


def _reach(source: Source, table: Table) -> str:
    facts = source.table.runs
    text = (
        f"This holds for {wording.distinct(facts['data'])}, a net of {wording.ends(facts['parameters'].dropna())} "
        f"parameters, {wording.ends(facts['epochs'])} epochs and these values; others may answer otherwise, and "
        "values next to the chosen ones may be as good."
    )
    if source.table is table:
        text += " The images that show the gains also chose the values: gains look larger than they are."
    return text


def _gains_grids(source: Source) -> Iterator[Grid]:
    for setting, effects in source.effects.items():
        for measure, found in effects.items():
            if measure not in source.measures[:2]:
                continue
            caption = (
                f"{measure.name.capitalize()} at the values {setting.title}, {setting}, paired by seed. The last "
                "row is the interaction."
            )
            yield pair_grid(caption, list(found.pairs.values()), measure)


def _arm_grid(source: Source) -> Grid:
    arms = {_name(arm): arm for setting in source.effects for arm in setting.cells.values()}
    found = {name: rows_of(source.final, arm) for name, arm in arms.items()}
    return arm_grid("The arms at the last epoch.", found, source.measures)


def _outstanding(
    ranked: pd.DataFrame, settings: Sequence[Setting], source: Source, table: Table, tested: Table | None
) -> Iterator[str]:
    have = set(ranked[list(KEYS)].itertuples(index=False, name=None))
    lost = sorted({(*a[:2], b[2]) for a in have for b in have} - have)
    if lost:
        names = [_name(dict(zip(KEYS, cell, strict=True))) for cell in lost]
        yield f"{table.name} has no usable run of: {'; '.join(names)}."
    for title in sorted({"best alone", "best together"} - {setting.title for setting in settings}):
        yield f"{table.name} has too few arms to choose the values {title}."
    if tested is None:
        yield (
            "The test set: the chosen values are still to be trained on all training images, with fresh seeds: "
            f"{posed(SWEEPS[1]).command}"
        )
    elif absent := [key for key in KEYS if key not in tested.keys]:
        yield f"{tested.name} does not sweep {absent[0]}, so the chosen arms are not in it."
    else:
        arms = {_name(arm): arm for setting in settings for arm in setting.cells.values()}
        if unmet := [name for name, arm in arms.items() if rows_of(tested.final, arm).empty]:
            yield f"{tested.name} has no usable run of: {'; '.join(unmet)}."
        if shared := sorted(set(tested.final["seed"]) & set(table.final["seed"])):
            yield f"{tested.name} repeats seeds that chose the values: {wording.listing(shared)}."
    for setting in settings:
        known = next((its for each, its in source.effects.items() if each.cells == setting.cells), {})
        if unknown := [measure.name for measure in source.measures if measure not in known]:
            yield f"No seed of {source.table.name} has all four cells {setting.title} with {', '.join(unknown)}."


def _by_cell(ranked: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The ranked settings by which of the two they have above 0."""
    dropout, decay = (ranked["dropout1"] > 0) | (ranked["dropout2"] > 0), ranked[DECAY] > 0
    kinds = (~dropout & ~decay, dropout & ~decay, ~dropout & decay, dropout & decay)
    return {cell: ranked[kind] for cell, kind in zip(CELLS, kinds, strict=True)}


def _rates(arm: Any) -> tuple[float, float]:
    return float(arm["dropout1"]), float(arm["dropout2"])


def _pair(rates: tuple[float, float]) -> str:
    return f"({', '.join(map(runs.shown, rates))})"


def _name(arm: Any) -> str:
    """An arm in words: "dropout (0.2, 0.5) and weight decay 0.0002"."""
    parts = [f"dropout {_pair(_rates(arm))}"] if any(_rates(arm)) else []
    parts += [f"weight decay {runs.shown(arm[DECAY])}"] if arm[DECAY] else []
    return " and ".join(parts) or CELLS[0]


def _verb(measure: Measure) -> tuple[str, str]:
    """Of a gain, and its noun."""
    return ("falls by", "fall of") if measure.higher_is_better is False else ("changes by", "change of")


def _gains(found: Effects) -> str:
    """ "changes by +0.50 pp with dropout (95% interval …), … and … with both (…)"."""
    gains = [_shown(found.gain(cell), found.measure, f" with {cell}") for cell in GAINS]
    return f"{_verb(found.measure)[0]} {gains[0]}, {gains[1]} and {gains[2]}"


def _shown(found: Paired, measure: Measure, by: str = "") -> str:
    """ "+0.50 pp with dropout (95% interval +0.31 to +0.69)"."""
    text = wording.difference(found.difference, measure) + by
    if found.interval is None:
        return f"{text} (one seed)"
    return f"{text} (95% interval {wording.interval(found.interval, measure, signed=True)})"


def _counts(seeds: pd.Series) -> str:
    least, most = int(seeds.min()), int(seeds.max())
    return wording.count(most, "seed") if least == most else f"{least} to {most} seeds"
