"""What the exercises that tune each noise share: rates chosen on validation, the chosen compared on the test set.

A noise is tried at several strengths, pairs of rates of the two hidden layers. The rates with the highest mean
validation accuracy at the last epoch are chosen, and a second sweep trains them anew with fresh seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from omegaconf import OmegaConf
from statsmodels.stats.power import TTestPower

from analysis import figures, measures, runs, statistics, wording
from analysis.exercises import (
    SWEEP_FILES,
    Answer,
    Grid,
    Picture,
    arm_grid,
    by_seed,
    pair_grid,
    reach,
    rows_of,
    with_gaps,
)
from analysis.figures import PALETTE, STYLE
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.statistics import Comparison
from analysis.tables import Table, Tables
from src.planning import expand

NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
KEYS = ("noise", "dropout1", "dropout2")
POWER = 0.8
MOST_SPANS = 3
"""More intervals in a row are left to the table."""
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)
"""What the chosen are compared by on the test set."""

NAMES = {
    NONE: "no noise",
    CLONE: "dropout's clone",
    "gaussian": "Gaussian dropout",
    "uniform": "uniform noise",
    "additive": "additive noise",
    "dropconnect": "DropConnect",
    "dropconnect_gaussian": "Gaussian DropConnect",
}

Rows = Mapping[str, pd.DataFrame]
"""Of each chosen noise that was tested: last epochs, one row a run."""


def named(noise: str) -> str:
    """A noise in words; those without an entry of their own go by the name of their file."""
    return NAMES.get(noise, noise.replace("_", " "))


@dataclass(frozen=True, eq=False)
class Strength:
    """A noise at one pair of rates."""

    noise: str
    rates: tuple[float, float]
    """Of the first and of the second hidden layer."""
    rows: pd.DataFrame
    """Last epochs of its runs on validation, one row a run."""

    @property
    def arm(self) -> dict[str, object]:
        return {"noise": self.noise, "dropout1": self.rates[0], "dropout2": self.rates[1]}

    @property
    def overrides(self) -> str:
        return " ".join(f"{key}={runs.shown(value)}" for key, value in self.arm.items())

    def mean(self, measure: Measure) -> float:
        """Rounded where two runs of one accuracy could differ by the order of a sum."""
        return round(float(self.rows[measure.column].mean()), 10)


def _final(table: Table) -> pd.DataFrame:
    """Last epochs with the gaps, and the noise where all runs have one and it is no swept key."""
    final = with_gaps(table.final)
    if "noise" in final:
        return final
    fixed = [override.partition("=")[2] for override in table.overrides if override.startswith("noise=")]
    return final.assign(noise=fixed[0] if fixed else DROPOUT)


Tried = dict[str, list[Strength]]
"""By noise, from the weakest strength to the strongest."""


def tried(table: Table) -> Tried:
    """What was tried on validation; runs without a finite validation accuracy and cross-entropy are left out."""
    final = _final(table)
    validated = np.isfinite(final[["val_acc", "val_loss"]].astype(float)).all(axis=1)
    found: Tried = {}
    for (noise, *rates), rows in final[validated].groupby(["noise", "dropout1", "dropout2"], sort=False):
        found.setdefault(str(noise), []).append(
            Strength(str(noise), (float(rates[0]), float(rates[1])), rows)
        )
    return {noise: sorted(strengths, key=lambda s: s.rates) for noise, strengths in found.items()}


def chosen(of: Tried) -> dict[str, Strength]:
    """Each noise's strength with the highest mean validation accuracy.

    Ties go to the lower cross-entropy, then to the smaller rates. A strength that lacks a seed which another one
    of the same noise has is not chosen: means over different seeds are not compared.
    """

    def order(strength: Strength) -> tuple:
        return -strength.mean(measures.VAL_ACC), strength.mean(measures.VAL_LOSS), strength.rates

    found = {}
    for noise, strengths in of.items():
        most = max(len(strength.rows) for strength in strengths)
        found[noise] = min((each for each in strengths if len(each.rows) == most), key=order)
    return found


def choose(table: Table) -> list[str]:
    """Overrides of each noise at its chosen rates, the arms of the second sweep.

    Raises:
        InputError: if the table has no validation accuracy.
    """
    found = chosen(tried(table))
    if not found:
        raise InputError(
            f"{table.name} has no validation accuracy; a sweep with data.validation above 0 is right"
        )
    return [strength.overrides for strength in found.values()]


def tested(table: Table | None, choice: Mapping[str, Strength]) -> dict[str, pd.DataFrame]:
    """Last epochs of each chosen noise's runs in the second sweep; what has none is left out."""
    if table is None:
        return {}
    final = _final(table)
    found = {noise: rows_of(final, strength.arm) for noise, strength in choice.items()}
    return {noise: rows for noise, rows in found.items() if len(rows)}


@dataclass(frozen=True)
class Tuned:
    """Both sweeps of an exercise, read."""

    tried: Tried
    choice: Mapping[str, Strength]
    rows: Rows
    """Of the test; empty where the second sweep is missing."""
    times: Mapping[str, float]
    """Seconds per epoch on the test, or else on validation."""
    table: Table
    """The last one that there is."""
    outstanding: Sequence[str]

    @property
    def n(self) -> str:
        """Of which runs the results are."""
        kind, frames = ("test", self.rows) if self.rows else ("validation", self.validated)
        seeds = {int(seed) for frame in frames.values() for seed in frame["seed"]}
        trained = sum(map(len, frames.values()))
        return f"{wording.count(len(seeds), 'seed')}, {wording.count(trained, 'run')} ({kind})"

    @property
    def validated(self) -> Rows:
        """Validation of the chosen."""
        return {noise: strength.rows for noise, strength in self.choice.items()}


def read(tables: Tables, sweeps: tuple[str, str]) -> Tuned:
    """What was tried, chosen and tested; `sweeps` are the first and the second sweep's names."""
    first, second = tables[sweeps[0]], tables.get(sweeps[1])
    of = tried(first)
    choice = chosen(of)
    rows = tested(second, choice)
    outstanding = lacking(first)
    if not of:
        outstanding.append(f"validation accuracies in {first.name}, which data.validation above 0 gives")
    if second is None:
        outstanding.append(f"the test of the chosen rates with fresh seeds: sweeps/{sweeps[1]}.yaml")
    else:
        outstanding += lacking(second, [strength.overrides for strength in choice.values()])
        outstanding += reused(of, rows)
    table = second if rows and second is not None else first
    validated = {noise: strength.rows for noise, strength in choice.items()}
    return Tuned(of, choice, rows, paces(table, rows or validated), table, outstanding)


def against(rows: Rows, noises: Sequence[str], reference: str, measure: Measure) -> list[Comparison]:
    """Paired differences of each of the noises to the reference: one family for Holm's correction.

    Noises without a common seed with the reference are left out.
    """
    values = {noise: by_seed(frame, measure.column) for noise, frame in rows.items()}
    pairs = [
        (noise, reference)
        for noise in noises
        if noise != reference and values.get(noise, {}).keys() & values.get(reference, {}).keys()
    ]
    return statistics.compare_arms(values, pairs, measure.higher_is_better is not False)


def differences(rows: Rows, pair: Comparison, measure: Measure) -> np.ndarray:
    """a - b of each common seed."""
    a, b = statistics.common_seeds(*(by_seed(rows[noise], measure.column) for noise in (pair.a, pair.b)))
    return a - b


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


def paces(table: Table, rows: Rows) -> dict[str, float]:
    """Seconds per epoch of each noise: the median over its runs of their mean over the epochs."""
    means = table.epochs.groupby("id")["seconds"].mean()
    found = {noise: float(means[frame["id"]].median()) for noise, frame in rows.items()}
    return {noise: seconds for noise, seconds in found.items() if seconds > 0}


def ratio(of: Mapping[str, float], noise: str, reference: str) -> str:
    """ "1.23"; a dash where either was not timed."""
    return f"{of[noise] / of[reference]:.2f}" if {noise, reference} <= of.keys() else "–"


def relabelled(pairs: Sequence[Comparison]) -> list[Comparison]:
    return [replace(pair, a=named(pair.a), b=named(pair.b)) for pair in pairs]


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


def lacking(table: Table, arms: Sequence[str] = ()) -> list[str]:
    """What the sweep's file asks for and neither the table's results nor its problems hold.

    Args:
        arms: overrides of the arms, where the file leaves them open.
    """
    sweeper = OmegaConf.load(SWEEP_FILES / f"{table.sweep}.yaml").hydra.sweeper
    parse = OverridesParser.create().parse_overrides
    parameters = parse([f"{key}={value}" for key, value in sweeper.params.items()])
    designed = [
        dict(override.split("=", 1) for override in job)
        for job in expand(parameters, [parse(arm.split()) for arm in sweeper.arms or arms])
    ]
    held = _final(table)
    places = {*runs.place_names(held, KEYS), *(problem.where for problem in table.problems)}
    missing = [place for place in map(_place, designed) if place not in places]
    found = []
    if missing:
        found.append(
            f"{len(missing)} of the {wording.count(len(designed), 'run')} of sweeps/{table.sweep}.yaml: "
            f"{wording.some(missing, 3)}"
        )
    epochs, shortest = int(designed[0]["epochs"]), int(table.runs["epochs"].min())
    if shortest < epochs:
        found.append(
            f"training for the {epochs} epochs of sweeps/{table.sweep}.yaml; these runs have {shortest}"
        )
    return found


def _place(job: Mapping[str, str]) -> str:
    """A designed run's arm and seed, as `runs.place_names` writes them."""
    rates = [f"{key}={runs.shown(float(job[key]))}" for key in KEYS[1:]]
    return ", ".join([f"noise={job['noise']}", *rates, f"seed {job['seed']}"])


def reused(of: Tried, rows: Rows) -> list[str]:
    """Seeds of the test that took part in the choice."""
    before = {int(seed) for each in of.values() for s in each for seed in s.rows["seed"]}
    seeds = sorted({int(seed) for frame in rows.values() for seed in frame["seed"]} & before)
    return [f"fresh seeds for the test: {wording.listing(seeds)} also made the choice"] if seeds else []


def choice_grid(of: Tried, choice: Mapping[str, Strength]) -> Grid:
    """The chosen rates and what they were chosen by."""
    rows = []
    for noise, strength in choice.items():
        means = [measure.shown(strength.mean(measure)) for measure in (measures.VAL_ACC, measures.VAL_LOSS)]
        total = sum(len(each.rows) for each in of[noise])
        rows.append([named(noise), f"({_rates(strength)})", *means, str(len(of[noise])), str(total)])
    headers = [
        "noise",
        "chosen rates",
        measures.VAL_ACC.label,
        measures.VAL_LOSS.label,
        "pairs tried",
        "runs",
    ]
    caption = (
        "What was chosen: rates of the first and the second hidden layer, means over the seeds at the last epoch. "
        "As the highest of several, these accuracies flatter; the test set judges anew."
    )
    return Grid(caption, headers, rows, texts=2)


def _rates(strength: Strength) -> str:
    return ", ".join(runs.shown(rate) for rate in strength.rates)


def result_grids(rows: Rows, times: Mapping[str, float], reference: str) -> list[Grid]:
    """Test results of the chosen, and seconds per epoch over the reference's."""
    frames = {named(noise): frame for noise, frame in rows.items()}
    first = arm_grid(
        "The chosen rates on the test set, last epoch.",
        frames,
        (measures.TEST_ACC, measures.TEST_LOSS),
        "noise",
    )
    second = arm_grid(
        "Calibration, overfitting and time of the same runs. Time: median over the runs of their mean seconds per "
        f"epoch, over that of {named(reference)}; rough, as several runs shared the machine and its load changes.",
        frames,
        (measures.TEST_ECE, measures.QUIET_GAP),
        "noise",
    )
    timed = [
        [*row, f"{times[noise]:.2f}" if noise in times else "–", ratio(times, noise, reference)]
        for noise, row in zip(rows, second.rows, strict=True)
    ]
    headers = [*second.headers, "s per epoch", f"over {named(reference)}"]
    return [first, Grid(second.caption, headers, timed)]


def window(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> tuple[float, float]:
    """Ends of what the figure of the strengths shows, as stored: one collapsed run would flatten all the others.

    From the lowest to the highest of the chosen means and of the runs within Tukey's outer fences, three
    interquartile ranges beyond the quartiles of all runs (Tukey 1977, "Exploratory data analysis", section 2D).
    """
    values = np.concatenate([s.rows[measure.column] for each in of.values() for s in each])
    low, high = np.nanquantile(values, [0.25, 0.75])
    reach = 3 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    # not `mean`, which is rounded: with one seed the choice is a run itself
    shown = [*inside, *(strength.rows[measure.column].mean() for strength in choice.values())]
    return min(shown), max(shown)


def off_scale(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> str:
    """A sentence on the runs beyond the window; empty if there are none."""
    low, high = window(of, choice, measure)
    found = []
    for noise, strengths in of.items():
        for strength in strengths:
            values = strength.rows[measure.column]
            if beyond := [measure.shown(value) for value in values if not low <= value <= high]:
                found.append(f"{named(noise)} at {_rates(strength)}: {', '.join(beyond)}")
    return f" Triangles: runs off the scale ({'; '.join(found)})." if found else ""


def strengths_figure(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> Figure:
    """A panel a noise: the measure by strength, beside dropout and no noise; runs beyond `window` at its edge."""
    noises = [noise for noise in of if noise != NONE]
    ticks = sorted({strength.rates for noise in noises for strength in of[noise]})
    columns = min(5, len(noises)) or 1
    lines = math.ceil(len(noises) / columns) or 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.9 + 2.5 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        low, high = (end * measure.scale for end in window(of, choice, measure))
        margin = 0.1 * ((high - low) or 1.0)
        axes[0, 0].set_ylim(low - 1.2 * margin, high + 1.2 * margin)  # all panels share it
        for axis, noise in zip(axes.flat, noises, strict=False):
            if NONE in of:
                level = choice[NONE].mean(measure) * measure.scale
                axis.axhline(level, color="0.35", linestyle=":", linewidth=1.5, label=named(NONE))
            if noise != DROPOUT and DROPOUT in of:
                _line(axis, of[DROPOUT], ticks, measure, color="0.6", linestyle="--", label=DROPOUT)
            _line(axis, of[noise], ticks, measure, color=PALETTE[0], linewidth=2, label="the panel's noise")
            for strength in of[noise]:
                values = strength.rows[measure.column] * measure.scale
                place = ticks.index(strength.rates)
                dots: dict[str, Any] = {"color": PALETTE[0], "linewidths": 0}
                inside = values[values.between(low, high)]
                axis.scatter([place] * len(inside), inside, s=16, alpha=0.5, **dots)
                if (values < low).any():
                    axis.scatter([place], [low - margin], s=45, marker="v", zorder=3, **dots)
                if (values > high).any():
                    axis.scatter([place], [high + margin], s=45, marker="^", zorder=3, **dots)
            best = choice[noise]
            axis.plot(
                [ticks.index(best.rates)],
                [best.mean(measure) * measure.scale],
                marker="D",
                linestyle="none",
                color=PALETTE[3],
                label="chosen",
            )
            axis.set_title(named(noise), fontsize=10)
            axis.set_xticks(range(len(ticks)), [f"{a:g}\n{b:g}" for a, b in ticks], fontsize=8.5)
            axis.set_xmargin(0.12)
        for axis in list(axes.flat)[len(noises) :]:
            axis.set_visible(False)
        figure.supxlabel("rates of the first (above) and the second hidden layer", fontsize=10)
        figure.supylabel(measure.label, fontsize=10)
        handles, labels = axes.flat[len(noises) - 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _line(
    axis: Axes,
    strengths: Sequence[Strength],
    ticks: Sequence[tuple[float, float]],
    measure: Measure,
    **style: Any,
) -> None:
    values = [strength.mean(measure) * measure.scale for strength in strengths]
    axis.plot([ticks.index(strength.rates) for strength in strengths], values, **style)


def differences_figure(rows: Rows, families: Mapping[Measure, Sequence[Comparison]]) -> Figure:
    """Paired differences to one reference: a panel a measure, a row a noise, a dot a seed."""
    return figures.forests(
        {
            measure: {
                named(pair.a): (
                    replace(pair, a="the noise", b=named(pair.b)),
                    differences(rows, pair, measure),
                )
                for pair in pairs
            }
            for measure, pairs in families.items()
        }
    )


def spent(tuned: Tuned) -> str:
    """The paragraph on the choice: what it cost, where it lies, and how far the answer goes."""
    return f"{budget(tuned.tried)} {edges(tuned.tried, tuned.choice)} {reach(tuned.table)}"


def shared_parts(tuned: Tuned, reference: str) -> list[Picture | Grid]:
    """What both exercises show: validation by strength, what was chosen, and its test results.

    Args:
        reference: the noise that times are given over.
    """
    parts: list[Picture | Grid] = []
    if set(tuned.tried) - {NONE}:
        caption = (
            "{} by strength, last epoch. Line: mean over the seeds; dots: one run each; diamond: the chosen "
            "rates. For comparison dropout (grey, dashed) and no noise (dotted)."
        )
        parts += [
            Picture(
                name,
                caption.format(measure.label.capitalize()) + off_scale(*of, measure),
                strengths_figure(*of, measure),
            )
            for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS))
            for of in [(tuned.tried, tuned.choice)]
        ]
    if tuned.choice:
        parts.append(choice_grid(tuned.tried, tuned.choice))
    return parts + (result_grids(tuned.rows, tuned.times, reference) if tuned.rows else [])


def family_parts(
    rows: Rows, families: Mapping[Measure, Sequence[Sequence[Comparison]]], noises: str
) -> list[Picture | Grid]:
    """Differences to dropout as a figure, and every family of each measure as a table.

    Args:
        families: of each measure the families, the one with dropout for reference first.
        noises: what the figure shows, in words.
    """
    first = {measure: of[0] for measure, of in families.items() if of[0]}
    parts: list[Picture | Grid] = []
    if first:
        caption = (
            f"Paired differences of {noises} to dropout on the test set, last epoch. Dots: one seed each; diamond: "
            "mean, with its 95% interval; filled where a difference is shown. Accuracy is better to the right, "
            "cross-entropy and calibration error to the left."
        )
        parts.append(Picture("differences", caption, differences_figure(rows, first)))
    for measure, of in families.items():
        pairs = relabelled([pair for pairs in of for pair in pairs])
        if pairs:
            caption = (
                f"Paired differences in {measure.name}; all pairs with the same B are one family for Holm."
            )
            parts.append(pair_grid(caption, pairs, measure))
    return parts


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
