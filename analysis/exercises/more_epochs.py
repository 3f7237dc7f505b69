"""Exercise 2: with and without dropout as the number of epochs grows, on all images and on small training sets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import exercises, figures, measures
from analysis.contrasts import Arm, Arms, Result, described, family, rows_of
from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Facts, Rule, all_arms, decided, promised
from analysis.figures import DASHES, PALETTE
from analysis.measures import Measure
from analysis.tables import Table, Tables
from src.stats import BETTER, WORSE

NUMBER = 2
SWEEPS = ("more_epochs", "more_epochs_5000", "more_epochs_1000")
DROPOUT, NONE = "dropout", "no dropout"
ARMS = {DROPOUT: {"dropout1": 0.2, "dropout2": 0.5}, NONE: {"dropout1": 0.0, "dropout2": 0.0}}
COLOURS = {DROPOUT: PALETTE[0], NONE: PALETTE[3]}
JUDGED = (measures.TEST_LOSS, measures.TEST_ACC, measures.TEST_ECE)
CONSTANT = "constant"

RULES = (
    NOT_DECIDED,
    Rule("pays", "the interval lies on dropout's side of 0", lambda e: e.word == BETTER),
    Rule("costs", "the interval lies on the other side of 0", lambda e: e.word == WORSE),
    *NOT_SHOWN,
)


class Setting(NamedTuple):
    """How lr moves, and how many epochs."""

    decay: str
    epochs: int

    @property
    def parts(self) -> tuple[str, str]:
        """In words."""
        return f"{self.decay} lr", f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}"

    @property
    def arms(self) -> dict[str, Arm]:
        """With and without dropout."""
        trained = {"optimizer.decay": self.decay, "epochs": self.epochs}
        return {name: {**rates, **trained} for name, rates in ARMS.items()}

    def name(self, arm: str) -> str:
        """Of the arm's runs with it."""
        return ", ".join((arm, *self.parts))


class Peak(NamedTuple):
    """Where an arm's runs are at their best in test cross-entropy, and what they lose from there to the end."""

    decay: str
    arm: str
    epochs: Sequence[int]
    lost: float
    """Median."""


@dataclass(frozen=True)
class SmallSet:
    """Dropout minus none on a small training set, at the last epoch."""

    images: int
    judged: Result
    """By the sweep's own primary block."""
    beside: Sequence[Result]
    """Other measures, described."""


@dataclass(frozen=True, kw_only=True)
class EpochFacts(Facts):
    epochs: pd.DataFrame
    """Every epoch of both arms."""
    settings: Sequence[Setting]
    """Constant lr first, then by length."""
    judged: Setting
    """Where the primary contrast lies."""
    sound: Result | None = None
    """The primary contrast on the seeds where no run went wrong, described; None where none did."""
    small_sets: Sequence[SmallSet] = ()

    @property
    def shortest(self) -> Setting:
        """The shortest training with the judged one's lr."""
        return next(setting for setting in self.settings if setting.decay == self.judged.decay)

    @property
    def longest(self) -> dict[str, int]:
        """Epochs of the longest runs, by how lr moves."""
        return dict(self.settings)

    @property
    def peaks(self) -> list[Peak]:
        """Of the longest runs, where they have several epochs."""
        peaks = []
        for longest, arm in itertools.product(self.longest.items(), ARMS):
            curves = curves_of(self.epochs, arm, Setting(*longest), measures.TEST_LOSS)
            if len(curves) > 1:
                lost = (curves.iloc[-1] - curves.min()).median()
                peaks.append(Peak(longest[0], arm, curves.idxmin().tolist(), float(lost)))
        return peaks

    def steady(self, arm: str, decay: str = CONSTANT) -> tuple[int, int]:
        """Of the arm's longest runs with this lr: how many went wrong, and how many there are."""
        name = Setting(decay, self.longest.get(decay, 0)).name(arm)
        of = [stats for stats in self.arms if stats.name == name]
        return sum(stats.bad for stats in of), sum(stats.planned for stats in of)


def _setting(arm: Arm) -> Setting:
    return Setting(str(arm.get("optimizer.decay", CONSTANT)), int(arm.get("epochs", 0)))


def _name(arm: Arm) -> str:
    return _setting(arm).name(DROPOUT if arm.get("dropout1") or arm.get("dropout2") else NONE)


def analyse(tables: Tables) -> EpochFacts:
    """Dropout minus none at each length; judged where the sweep says so, all else described.

    A run that diverged has no last epoch and is counted; runs that broke down count in every number, and beside it.
    """
    table = tables[SWEEPS[0]]
    design, primary = promised(SWEEPS[0])
    decay = table.final.get("optimizer.decay", table.given.get("optimizer.decay", CONSTANT))
    trained = table.final.assign(decay=decay)[["decay", "epoch"]].drop_duplicates()
    settings = [Setting(*pair) for pair in trained.itertuples(index=False)]
    settings.sort(key=lambda setting: (setting.decay != CONSTANT, setting))
    wanted = _setting(design.arms[primary.contrast[0]])
    at = wanted if wanted in settings else settings[-1]
    compared = {setting: Arms(table, setting.arms) for setting in settings}
    contrast = compared[at].contrast(DROPOUT, NONE, primary.measure, *at.parts)
    sound = replace(table, epochs=table.epochs[~table.epochs["id"].isin(compared[at].broken)])
    of_sound = described([Arms(sound, at.arms).contrast(DROPOUT, NONE, primary.measure, *at.parts)])
    facts = EpochFacts(
        primary=family([contrast], primary.margin, compared[at].diverged),
        arms=all_arms(table, _name).stats((*JUDGED[:2], measures.QUIET_GAP)),
        described=described(
            arms.contrast(DROPOUT, NONE, measure, *setting.parts)
            for measure in (*JUDGED, measures.QUIET_GAP)
            for setting, arms in compared.items()
        ),
        epochs=table.epochs,
        settings=settings,
        judged=at,
        sound=of_sound[0] if of_sound and any(stats.bad for stats in compared[at].stats(())) else None,
        small_sets=[s for sweep in SWEEPS[1:] if sweep in tables and (s := _small_set(tables[sweep]))],
    )
    return decided(RULES, facts, compared[at])


def _small_set(table: Table) -> SmallSet | None:
    """None where the arms have no common seed."""
    design, primary = promised(table.sweep)
    names = [DROPOUT if arm["dropout1"] else NONE for arm in design.arms]
    arms, judged = exercises.judged(table, {name: ARMS[name] for name in names})
    others = (measure for measure in JUDGED if measure is not primary.measure)
    beside = described(arms.contrast(DROPOUT, NONE, measure) for measure in others)
    return SmallSet(int(design.fixed["data.train"]), judged[0], beside) if judged else None


def curves_of(epochs: pd.DataFrame, arm: str, setting: Setting, measure: Measure) -> pd.DataFrame:
    """The arm's runs by epoch: a row an epoch, a column a seed."""
    rows = rows_of(epochs, setting.arms[arm])
    return rows.pivot_table(index="epoch", columns="seed", values=measure.column)


def draw(facts: EpochFacts) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    longest = facts.longest
    for decay in longest:
        lengths = [length for d, length in facts.settings if d == decay]
        shown = lengths[-1:] if decay == CONSTANT else lengths
        drawn[f"curves_{decay}"] = draw_curves(facts.epochs, decay, shown)
    drawn["last_epoch"] = figures.forest([*facts.beside(JUDGED[:2]), *facts.primary])
    if CONSTANT in longest:
        drawn["differences"] = draw_differences(facts.epochs, longest[CONSTANT])
    return drawn


@figures.styled
def draw_curves(epochs: pd.DataFrame, decay: str, lengths: Sequence[int]) -> Figure:
    """Test accuracy and cross-entropy by epoch: median, and each run of the longest as a thin line."""
    figure, axes = figures.panels(1, 2, 3.4)
    for axis, measure in zip(axes[0], (measures.TEST_ACC, measures.TEST_LOSS), strict=True):
        drawn = []
        for length, dash in zip(reversed(lengths), DASHES, strict=False):
            for arm, colour in COLOURS.items():
                curves = curves_of(epochs, arm, Setting(decay, length), measure)
                drawn.append(curves)
                label = arm if len(lengths) == 1 else f"{arm}, {length} epochs"
                thin = length == lengths[-1]
                shown = curves if thin else curves.median(axis=1).to_frame()
                figures.curves(axis, shown, measure, median=True, color=colour, linestyle=dash, label=label)
        figures.limits(axis, drawn, measure)
        axis.set_ylabel(measure.label)
        figures.epoch_axis(axis, max(lengths))
    return figures.finish(figure, 4 if len(lengths) > 1 else 2)


@figures.styled
def draw_differences(epochs: pd.DataFrame, length: int) -> Figure:
    """Dropout minus no dropout by epoch, constant lr: median, and each seed as a thin line."""
    figure, axes = figures.panels(1, 2, 3.2)
    for axis, measure in zip(axes[0], (measures.TEST_ACC, measures.TEST_LOSS), strict=True):
        of = {arm: curves_of(epochs, arm, Setting(CONSTANT, length), measure) for arm in ARMS}
        found = (of[DROPOUT] - of[NONE]).dropna(axis=1)
        figures.curves(axis, found, measure, median=True, color=PALETTE[0])
        figures.limits(axis, [found, found * 0], measure)
        low, high = axis.get_ylim()
        side = (0, high) if measure.higher_is_better else (low, 0)
        axis.axhspan(*np.clip(side, low, high), color=PALETTE[0], alpha=0.07, linewidth=0)
        axis.axhline(0, color="0.3", linewidth=1)
        axis.set_ylim(low, high)
        axis.set_ylabel(f"dropout − none:\n{measure.name} ({measure.difference_unit})")
        figures.epoch_axis(axis, length)
    return figure
