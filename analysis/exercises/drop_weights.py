"""Exercise 6: weights dropped instead of activations, by DropConnect and its Gaussian form.

Each noise is tried at several settings, rates of the two hidden layers and, with dropout, of the input; a second
sweep trains those with the highest mean validation accuracy anew with fresh seeds, the Gaussian form at
DropConnect's rates, and where dropout's drops pixels its best that drops none. A third one, on few images, and one
beside them, on all, have DropConnect with a mask for each example, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import exercises, figures, measures
from analysis.contrasts import Arm, Arms, Result, described
from analysis.exercises import INPUT, NOT_DECIDED, NOT_SHOWN, RATES, Facts, Rule, decided, pick, promised
from analysis.figures import PALETTE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.runs import InputError
from analysis.sensitivity import Sensitivity, sensitivity
from analysis.tables import Table, Tables
from src.stats import BETTER, WORSE

NUMBER = 6
SWEEPS = FIRST, SECOND, FEW = ("drop_weights", "drop_weights_test", "drop_weights_5000")
EXAMPLE = "drop_weights_example"
BESIDE = (EXAMPLE,)
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)
NONE, DROPOUT = "none", "dropout"
DROPCONNECT, GAUSSIAN = "dropconnect", "dropconnect_gaussian"
HIDDEN = "dropout_hidden"
"""Dropout at its best setting that drops no pixels, where its best one does."""
COUNTED = (NONE, DROPOUT, DROPCONNECT)
"""The noises whose places among the arms the second sweep's primary contrast counts."""
SETTING = (INPUT, *RATES)
KEYS = ("noise", *SETTING)

RULES = (
    NOT_DECIDED,
    Rule("better", "the interval of DropConnect minus dropout lies above 0", lambda e: e.word == BETTER),
    Rule("worse", "it lies below 0", lambda e: e.word == WORSE),
    *NOT_SHOWN,
)


@dataclass(frozen=True, kw_only=True)
class NoiseFacts(Facts):
    tried: pd.DataFrame
    """Runs of the choosing sweep, see `exercises.validated`."""
    choice: Mapping[str, Arm]
    """By noise."""
    error: float
    """Of a setting's mean validation accuracy, see `exercises.mean_error`; without runs that broke down."""
    few: Sequence[Result] = ()
    """The same contrast on a small training set, judged by that sweep's own block."""
    few_described: Sequence[Result] = ()
    """What else that sweep compares in test accuracy, not judged."""
    images: int = 0
    """In the small training set."""
    example: Sequence[Result] = ()
    """On all images, a mask for each example minus a mask for each step, judged by that sweep's own block."""
    example_sensitivity: Sensitivity | None = None
    example_described: Sequence[Result] = ()
    """There, not judged: a mask for each example minus dropout, and the judged contrast in other measures."""

    @property
    def budgets(self) -> set[tuple[int, int]]:
        """Settings and runs that went into each noise's choice."""
        of_noises = self.tried[self.tried["noise"] != NONE].groupby("noise")
        return {(len(of.drop_duplicates(KEYS)), len(of)) for _, of in of_noises}

    @property
    def edges(self) -> list[str]:
        """Noises of whose choice a rate is the highest or lowest that was tried; 0 has nothing below it."""
        return [
            str(noise)
            for noise, of in self.tried.groupby("noise", sort=False)
            if any(map(_is_end, rates_of(self.choice[str(noise)]), zip(*settings(of), strict=True)))
        ]

    @property
    def shown(self) -> dict[str, Arm]:
        """The choice of each noise that was tried."""
        tried = {*self.tried["noise"]}
        return {noise: arm for noise, arm in self.choice.items() if noise in tried}

    @property
    def drops_pixels(self) -> bool:
        """Whether dropout's choice has a rate of the input above 0."""
        return DROPOUT in self.choice and rates_of(self.choice[DROPOUT])[0] > 0

    @property
    def input_alone(self) -> bool:
        """Whether dropout's choice drops pixels and no activation of the hidden layers."""
        return self.drops_pixels and not any(rates_of(self.choice[DROPOUT])[1:])

    def on_few(self, a: str, b: str = DROPOUT) -> Result | None:
        """What is described of these two noises on the small training set."""
        return pick(self.few_described, a=a, b=b)


def _is_end(rate: float, tried: Sequence[float]) -> bool:
    low, high = min(tried), max(tried)
    return low < high and (rate == high or rate == low != 0)


def analyse(tables: Tables) -> NoiseFacts:
    """DropConnect minus dropout in test accuracy, each at its chosen rates, judged; all else described.

    On few images the same contrast is judged by its own sweep and does not count in the verdict.
    """
    first, second = tables[FIRST], tables.get(SECOND)
    tried = exercises.validated(first, KEYS)
    choice = chosen(tried)
    tuned = Arms(first, choice)
    error = exercises.mean_error(exercises.ranked(tried[~tried["id"].isin(tuned.broken)], KEYS))
    few, few_described = _on_few(tables[FEW]) if FEW in tables else ([], [])
    example, checked, example_described = (
        _each_example(tables[EXAMPLE]) if EXAMPLE in tables else ([], None, [])
    )
    facts = NoiseFacts(
        tried=tried,
        choice=choice,
        error=error,
        validated=second is None,
        few=few,
        few_described=few_described,
        images=promised(FEW)[0].fixed["data.train"],
        example=example,
        example_sensitivity=checked,
        example_described=example_described,
    )
    if second is None:
        return decided(RULES, facts)
    if INPUT not in second.keys:  # of other arms, which these rates of the hidden layers could match
        raise InputError(f"{second.name} does not sweep {INPUT}; sweep={SECOND} does")
    arms, judged = exercises.judged(second, choice, "test")
    splits = [tuned.contrast(r.contrast.a, r.contrast.b, measures.VAL_ACC, "validation") for r in judged]
    reported = (*JUDGED, measures.QUIET_GAP)
    contrasts = (
        arms.contrast(noise, reference, measure, "test")
        for measure in reported
        for reference in (NONE, DROPOUT, HIDDEN)
        if reference in choice
        for noise in choice
        if noise != reference
    )
    facts = replace(facts, primary=judged, arms=arms.stats(reported), described=described(contrasts))
    return decided(RULES, facts, arms, next(iter(splits), None))


def _on_few(table: Table) -> tuple[list[Result], list[Result]]:
    """What is judged on few images, and every other noise minus dropout and dropout minus none, described."""
    named_arms = {arm["noise"]: arm for arm in promised(FEW)[0].arms}
    arms, judged = exercises.judged(table, named_arms, "test")
    pairs = [(noise, DROPOUT) for noise in named_arms if noise not in COUNTED] + [(DROPOUT, NONE)]
    return judged, described(arms.contrast(a, b, measures.TEST_ACC, "test") for a, b in pairs)


def _each_example(table: Table) -> tuple[list[Result], Sensitivity | None, list[Result]]:
    """What is judged of masks for each example on all images, by which analyses, and what is described there."""
    choice, step, example, hidden = promised(EXAMPLE)[0].arms
    named_arms = {DROPOUT: choice, DROPCONNECT: step, example["noise"]: example, HIDDEN: hidden}
    arms, judged = exercises.judged(table, named_arms, "test")
    pairs = [(measure, other) for measure in JUDGED for other in (DROPCONNECT, DROPOUT, HIDDEN)]
    rest = described(
        arms.contrast(example["noise"], other, measure, "test")
        for measure, other in pairs
        if (measure, other) != (measures.TEST_ACC, DROPCONNECT)  # it is what is judged
    )
    return judged, sensitivity(judged, arms), rest


def choose(table: Table) -> list[str]:
    """Overrides of each noise at its chosen rates, the arms of the second sweep.

    Raises:
        InputError: if the table has no validation accuracy, or none of a noise that is judged.
    """
    choice = chosen(exercises.validated(table, KEYS))
    absent = [noise for noise in COUNTED if noise not in choice]
    if absent:
        raise InputError(f"{table.name} has no result of {', '.join(absent)}; one of each is right")
    return [exercises.overrides(arm) for arm in choice.values()]


def chosen(tried: pd.DataFrame) -> dict[str, Arm]:
    """Each noise's best arm, see `exercises.ranked`, by its name; of the Gaussian form, if untried, DropConnect's;
    and where dropout's drops pixels, its best that does not.

    A setting that lacks a seed which another one of the same noise has is not chosen: means over different seeds
    are not compared.
    """
    order = exercises.ranked(tried, KEYS)
    full = order[order["seeds"] == order.groupby("noise")["seeds"].transform("max")]
    best = full.drop_duplicates("noise").set_index("noise")
    arms: dict[str, Arm] = {
        noise: {"noise": noise, **best.loc[noise, list(SETTING)]} for noise in tried["noise"].unique()
    }
    if DROPCONNECT in arms:
        arms.setdefault(GAUSSIAN, {**arms[DROPCONNECT], "noise": GAUSSIAN})
    dropouts: list[Arm] = full.loc[full["noise"] == DROPOUT, list(KEYS)].to_dict("records")
    hidden = [arm for arm in dropouts if not rates_of(arm)[0]]
    if hidden and arms[DROPOUT] != hidden[0]:
        arms[HIDDEN] = hidden[0]
    return arms


def rates_of(arm: Arm) -> tuple[float, ...]:
    """Of the input, 0 where the noise has none (an empty cell), and of the hidden layers."""
    return tuple(float(arm[key] or 0) for key in SETTING)


def settings(tried: pd.DataFrame) -> list[tuple[float, ...]]:
    """The settings that were tried, by `rates_of`: by the input's rate, then by the hidden layers'."""
    return sorted({rates_of(arm) for arm in tried[list(SETTING)].to_dict("records")})


def draw(facts: NoiseFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        rest = [r for r in facts.beside(JUDGED[:2]) if r.contrast.b == DROPOUT]
        shown = sorted([*facts.primary, *rest], key=lambda r: r.measure is not facts.first.measure)
        drawn["differences"] = figures.forest(shown, lambda r: named(r.contrast.a))
    for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS)):
        drawn[name] = draw_strengths(facts, measure)
    return drawn


def window(facts: NoiseFacts, measure: Measure) -> tuple[float, float]:
    """Ends of what the figure of the strengths shows, as stored: one collapsed run would flatten all the others.

    From the lowest to the highest of the chosen means and of the runs within Tukey's outer fences, three
    interquartile ranges beyond the quartiles of all runs (Tukey 1977, "Exploratory data analysis", section 2D).
    """
    values = facts.tried[measure.column]
    low, high = values.quantile([0.25, 0.75])
    inside = values[values.between(low - 3 * (high - low), high + 3 * (high - low))]
    means = facts.tried.groupby(list(KEYS))[measure.column].mean()
    shown = [*inside, *(means[tuple(arm.values())] for arm in facts.shown.values())]
    return min(shown), max(shown)


@figures.styled
def draw_strengths(facts: NoiseFacts, measure: Measure) -> Figure:
    """A panel a noise: the measure by setting, a line for each rate of the input, beside dropout's choice and no
    noise; runs beyond `window` at the panel's edge."""
    runs = facts.tried.assign(
        rates=[rates_of(arm) for arm in facts.tried[list(SETTING)].to_dict("records")],
        value=facts.tried[measure.column] * measure.scale,
    )
    means = runs.groupby(["noise", "rates"])["value"].mean()
    best = {noise: means[noise, rates_of(arm)] for noise, arm in facts.shown.items()}
    shown = [noise for noise in best if noise != NONE]
    low, high = (end * measure.scale for end in window(facts, measure))
    margin = 0.1 * ((high - low) or 1.0)
    figure, axes = figures.panels(1, len(shown) or 1, 2.4, sharey=True)
    axes[0, 0].set_ylim(low - 1.2 * margin, high + 1.2 * margin)  # all panels share it
    for axis, noise in zip(axes[0], shown, strict=False):
        if NONE in best:
            axis.axhline(best[NONE], color="0.35", linestyle=":", linewidth=1.5, label=named(NONE))
        if noise != DROPOUT and DROPOUT in best:
            axis.axhline(best[DROPOUT], color="0.6", linestyle="--", label="dropout's choice")
        of_noise = runs[runs["noise"] == noise]
        tried = settings(of_noise)
        for rate in sorted({rates[0] for rates in tried}):
            line = [(place, means[noise, rates]) for place, rates in enumerate(tried) if rates[0] == rate]
            places, values = zip(*line, strict=True)
            axis.plot(
                places, values, "s-", color=PALETTE[0], linewidth=2, markersize=4, label="the panel's noise"
            )
        _dots(axis, of_noise.assign(place=of_noise["rates"].map(tried.index)), (low, high), margin)
        place = tried.index(rates_of(facts.choice[noise]))
        axis.plot([place], [best[noise]], "D", color=PALETTE[3], label="chosen")
        axis.set_title(named(noise), fontsize=10)
        begin = 0 if (of_noise[INPUT] != "").any() else 1  # without a rate of the input
        ticks = ["\n".join(f"{rate:g}" for rate in rates[begin:]) for rates in tried]
        axis.set_xticks(range(len(tried)), ticks, fontsize=8.5)
        axis.set_xmargin(0.12)
    figure.supylabel(measure.label, fontsize=10)
    title = "below each panel: rates of the input (with dropout), of the first and of the second hidden layer"
    return figures.finish(figure, 5, title)


def _dots(axis: Axes, runs: pd.DataFrame, ends: tuple[float, float], margin: float) -> None:
    """A dot a run; those beyond the ends are triangles at the edge."""
    look: dict[str, Any] = {"color": PALETTE[0], "linewidths": 0}
    inside = runs[runs["value"].between(*ends)]
    axis.scatter(inside["place"], inside["value"], s=16, alpha=0.5, **look)
    below, above = runs[runs["value"] < ends[0]], runs[runs["value"] > ends[1]]
    for beyond, edge, mark in ((below, ends[0] - margin, "v"), (above, ends[1] + margin, "^")):
        at = beyond["place"].unique()
        if len(at):
            axis.scatter(at, [edge] * len(at), s=45, marker=mark, zorder=3, label="off the scale", **look)
