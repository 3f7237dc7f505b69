"""What the exercises that tune each noise share: rates chosen on validation, the chosen compared on the test set.

A noise is tried at several strengths, pairs of rates of the two hidden layers. The rates with the highest mean
validation accuracy at the last epoch are chosen, and a second sweep trains them anew with fresh seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import figures, measures, runs
from analysis.contrasts import Arms, Result, described, family, sensitivity
from analysis.exercises import Facts, promised
from analysis.figures import PALETTE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.runs import InputError
from analysis.tables import Table, Tables

NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
KEYS = ("noise", "dropout1", "dropout2")
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)


@dataclass(frozen=True, eq=False)
class Strength:
    """A noise at one pair of rates."""

    noise: str
    rates: tuple[float, float]
    """Of the first and of the second hidden layer."""
    rows: pd.DataFrame
    """Last epochs of its runs on validation, one row a run."""

    @property
    def arm(self) -> dict[str, Any]:
        return {"noise": self.noise, "dropout1": self.rates[0], "dropout2": self.rates[1]}

    @property
    def overrides(self) -> str:
        return " ".join(f"{key}={runs.shown(value)}" for key, value in self.arm.items())

    def mean(self, measure: Measure) -> float:
        """Rounded where two runs of one accuracy could differ by the order of a sum."""
        return round(float(self.rows[measure.column].mean()), 10)


Tried = dict[str, list[Strength]]
"""By noise, from the weakest strength to the strongest."""


def with_noise(table: Table) -> pd.DataFrame:
    """Last epochs, with the noise where all runs have one and it is no swept key."""
    if "noise" in table.final:
        return table.final
    fixed = [override.partition("=")[2] for override in table.overrides if override.startswith("noise=")]
    return table.final.assign(noise=fixed[0] if fixed else DROPOUT)


def tried(table: Table) -> Tried:
    """What was tried on validation; runs without a finite validation accuracy and cross-entropy are left out."""
    final = with_noise(table)
    validated = np.isfinite(final[["val_acc", "val_loss"]].astype(float)).all(axis=1)
    found: Tried = {}
    for (noise, *rates), rows in final[validated].groupby(list(KEYS), sort=False):
        strength = Strength(str(noise), (float(rates[0]), float(rates[1])), rows)
        found.setdefault(str(noise), []).append(strength)
    return {noise: sorted(strengths, key=lambda s: s.rates) for noise, strengths in found.items()}


def chosen(of: Tried) -> dict[str, Strength]:
    """Each noise's strength with the highest mean validation accuracy.

    Ties go to the lower cross-entropy, then to the smaller rates. A strength that lacks a seed which another one
    of the same noise has is not chosen: means over different seeds are not compared.
    """

    def order(strength: Strength) -> tuple[Any, ...]:
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


@dataclass(frozen=True, kw_only=True)
class NoiseFacts(Facts):
    tried: Tried
    choice: Mapping[str, Strength]
    reused: Sequence[int] = ()
    """Seeds of the test that also made the choice."""

    def to(self, reference: str, measure: Measure) -> list[Result]:
        """Differences of each other noise to a reference."""
        return [r for r in self.described if r.contrast.b == reference and r.measure is measure]

    def versus(self, noise: str, reference: str, measure: Measure) -> Result | None:
        return next((r for r in self.to(reference, measure) if r.contrast.a == noise), None)

    def judged(self, noise: str) -> Result | None:
        return next((r for r in self.primary if r.contrast.a == noise), None)

    @property
    def budgets(self) -> set[tuple[int, int]]:
        """Pairs of rates and runs that went into each noise's choice."""
        of = {noise: each for noise, each in self.tried.items() if noise != NONE}
        return {(len(each), sum(len(s.rows) for s in each)) for each in of.values()}

    @property
    def edges(self) -> list[str]:
        """Noises whose choice lies at an end of what was tried."""
        return [n for n, of in self.tried.items() if len(of) > 1 and self.choice[n] in (of[0], of[-1])]


def read(tables: Tables, sweeps: tuple[str, str], kind: type[NoiseFacts]) -> NoiseFacts:
    """Both sweeps of an exercise: what was tried, chosen and tested; the primary contrasts are judged."""
    first, second = tables[sweeps[0]], tables.get(sweeps[1])
    of = tried(first)
    if not of:
        raise InputError(
            f"{first.name} has no validation accuracy; a sweep with data.validation above 0 is right"
        )
    choice = chosen(of)
    if second is None:
        return kind(tried=of, choice=choice, validated=True)
    _, primary = promised(sweeps[1], choose(first))
    arms = Arms(second, {noise: _swept(strength.arm, second) for noise, strength in choice.items()})
    present = [noise for noise in choice if len(arms.rows(noise))]
    judged = family(primary.contrasts(arms, list(choice)), primary.margin, arms.diverged)
    contrasts = [
        arms.contrast(noise, reference, measure, "test")
        for measure in (*JUDGED, measures.QUIET_GAP)
        for reference in (NONE, DROPOUT, CLONE)
        for noise in present
        if reference in present and noise != reference
    ]
    before = {int(seed) for each in of.values() for s in each for seed in s.rows["seed"]}
    return kind(
        primary=judged,
        sensitivity=sensitivity(judged, arms),
        arms=[stats for stats in arms.stats((*JUDGED, measures.QUIET_GAP)) if stats.planned],
        described=described(contrasts),
        tried=of,
        choice=choice,
        reused=sorted(before & {int(seed) for seed in second.final["seed"]}),
    )


def _swept(arm: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The arm by what the table swept; the noise counts even where it was not."""
    return {key: value for key, value in arm.items() if key in table.keys}


def draw(facts: NoiseFacts) -> dict[str, Figure]:
    drawn = {}
    if facts.primary:
        rest = [
            r
            for r in facts.described
            if r.contrast.b == DROPOUT and r.measure in JUDGED[:2] and not _is_primary(r, facts)
        ]
        shown = sorted([*facts.primary, *rest], key=lambda r: r.measure is not facts.first.measure)
        drawn["differences"] = figures.forest(shown, lambda r: named(r.contrast.a))
    for name, measure in (("validation", measures.VAL_ACC), ("validation_loss", measures.VAL_LOSS)):
        drawn[name] = strengths_figure(facts.tried, facts.choice, measure)
    return drawn


def _is_primary(result: Result, facts: NoiseFacts) -> bool:
    return any(
        (result.contrast.a, result.contrast.b, result.measure) == (p.contrast.a, p.contrast.b, p.measure)
        for p in facts.primary
    )


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


def strengths_figure(of: Tried, choice: Mapping[str, Strength], measure: Measure) -> Figure:
    """A panel a noise: the measure by strength, beside dropout and no noise; runs beyond `window` at its edge."""
    noises = [noise for noise in of if noise != NONE]
    ticks = sorted({strength.rates for noise in noises for strength in of[noise]})
    columns = min(5, len(noises)) or 1
    low, high = (end * measure.scale for end in window(of, choice, measure))
    margin = 0.1 * ((high - low) or 1.0)
    with figures.style():
        figure, axes = figures.panels(
            math.ceil(len(noises) / columns) or 1, columns, 2.4, sharex=True, sharey=True
        )
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
                place, dots = ticks.index(strength.rates), {"color": PALETTE[0], "linewidths": 0}
                inside = values[values.between(low, high)]
                axis.scatter([place] * len(inside), inside, s=16, alpha=0.5, **dots)
                for is_beyond, edge, mark in (
                    ((values < low).any(), low - margin, "v"),
                    ((values > high).any(), high + margin, "^"),
                ):
                    if is_beyond:
                        axis.scatter(
                            [place], [edge], s=45, marker=mark, zorder=3, label="off the scale", **dots
                        )
            best = choice[noise]
            at = ([ticks.index(best.rates)], [best.mean(measure) * measure.scale])
            axis.plot(*at, "D", color=PALETTE[3], label="chosen")
            axis.set_title(named(noise), fontsize=10)
            axis.set_xticks(range(len(ticks)), [f"{a:g}\n{b:g}" for a, b in ticks], fontsize=8.5)
            axis.set_xmargin(0.12)
        for axis in list(axes.flat)[len(noises) :]:
            axis.set_visible(False)
        figure.supylabel(measure.label, fontsize=10)
        figures.finish(
            figure, 5, "below each panel: rates of the first (above) and of the second hidden layer"
        )
    return figure


def _line(
    axis: Axes, of: Sequence[Strength], ticks: Sequence[tuple[float, float]], measure: Measure, **look: Any
) -> None:
    values = [strength.mean(measure) * measure.scale for strength in of]
    axis.plot([ticks.index(strength.rates) for strength in of], values, **look)
