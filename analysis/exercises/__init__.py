"""The chapter's exercises: each a sweep file that poses the question, a file here that answers it in numbers, and a
template that says the answer in words.

`sweeps/NAME.yaml` has the question, the design and the primary contrast; `templates/LANGUAGE/designs/NAME.md`
question and design in another language; `templates/LANGUAGE/exercises/NAME.md` every sentence;
`analysis/exercises/NAME.py`

    NUMBER      of the exercise in the book
    SWEEPS      names of the sweep files it reads; the first one must be there
    BESIDE      further ones, whose committed tables it reads and which `make reproduce` leaves out, for their time
    RULES       verdicts in order, the first that holds is given
    analyse     tables -> Facts; numbers only
    draw        facts -> figures by name, the most important one first
    choose      first sweep's table -> arms of the second one, where it chooses them
    CHOICES     committed tables of further sweeps that chose or checked settings, by command, if there are any

and is found by its name: nothing else changes for a new one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from analysis import design, runs
from analysis.arm_stats import ArmStats
from analysis.contrasts import Arm, Arms, Contrast, Result, family
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.sensitivity import Sensitivity, sensitivity
from analysis.tables import Table
from src.stats import ALPHA, EQUIVALENT, UNTESTED, Interval, judge, pooled_half_width
from src.stats.seeds import powered_seeds

RATES = ("dropout1", "dropout2")
"""Keys of the book's net."""
INPUT = "noise.input_rate"
"""Key of a noise's rate on the pixels; a noise without it has an empty cell."""
BOOK = "scratch_concise"
"""The sweep of the chapter's own two implementations, which no exercise reads."""


class Rule(NamedTuple):
    """A verdict and when it holds. The rules of an exercise are data, and the report prints them."""

    name: str
    condition: str
    """In words."""
    holds: Callable[[Any], bool]
    """Of an exercise's facts."""


PAIRING_GAINS = 0.3
"""Correlation of the pairs above which they say more than a pooled spread."""


class Pooled(NamedTuple):
    """A contrast judged by the spread pooled over all arms."""

    half_width: float
    free: int
    """Degrees of freedom."""
    word: str
    """The verdict's."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an exercise's tables show; each exercise adds what only it has."""

    primary: Sequence[Result] = ()
    """What is judged; empty where the tables do not hold it."""
    verdict: str = ""
    """Name of the rule that holds."""
    sensitivity: Sensitivity | None = None
    """Of `lead`."""
    arms: Sequence[ArmStats] = ()
    described: Sequence[Result] = ()
    """What is shown and not judged."""
    validated: bool = False
    """Whether no test set was looked at yet: the numbers are those of the validation images."""

    @property
    def first(self) -> Result:
        return self.primary[0]

    @property
    def leading(self) -> Sequence[Result]:
        """What is judged, the one first whose sensitivity and power are shown."""
        return self.primary

    @property
    def lead(self) -> Result:
        """The first of `leading`, or of what is judged where that is empty."""
        return next(iter(self.leading), self.first)

    @property
    def powered(self) -> int | None:
        """`powered_seeds` for a true difference of the margin, at the SD of the differences; None where they do not
        vary."""
        sd, margin = self.lead.paired.sd, self.lead.margin
        return powered_seeds(sd, margin) if sd and margin else None

    @property
    def word(self) -> str:
        """The verdict's of the first primary contrast."""
        return word(self.first)

    @property
    def tested(self) -> bool:
        return any(word(result) != UNTESTED for result in self.primary)

    @property
    def contrasted(self) -> int:
        """Arms in a primary contrast."""
        return sum(map(len, self.first.contrast.arms))

    @property
    def bad(self) -> Sequence[ArmStats]:
        """Arms with runs that diverged or broke down."""
        return [arm for arm in self.arms if arm.bad]

    @property
    def pooled(self) -> Pooled | None:
        """The first primary contrast by the spread of all arms together; None where pairing gains."""
        result, measure = self.first, self.first.measure
        sound = [arm.summaries[measure] for arm in self.arms if measure in arm.summaries and not arm.bad]
        correlation, margin = result.paired.correlation, result.margin
        if correlation is None or correlation > PAIRING_GAINS or margin is None or len(sound) < 3:
            return None
        if result.contrast.look is not None:  # a plain interval, which does not hold at several looks
            return None
        width = pooled_half_width(sound, self.contrasted, ALPHA / result.family)
        if width is None:
            return None
        half, middle = width[0], result.paired.difference
        verdict = judge(Interval(middle - half, middle + half, "t"), result.p, margin, measure.sign > 0)
        return Pooled(*width, verdict.word)

    def versus(self, a: str, b: str, measure: Measure) -> Result | None:
        """What is described of these two arms."""
        return pick(self.described, a=a, b=b, measure=measure)

    def beside(self, measures: Sequence[Measure]) -> list[Result]:
        """What is described in these measures and not judged."""
        judged = [result.contrast for result in self.primary]
        return [r for r in self.described if r.measure in measures and r.contrast not in judged]


NOT_DECIDED = Rule("not decided", "there are no two common seeds", lambda e: not e.tested)
"""The first rule of most exercises."""
NOT_SHOWN = (
    Rule("equivalent", "the interval is inside the margin", lambda e: e.word == EQUIVALENT),
    Rule("undecided", "otherwise", lambda e: True),
)
"""Their last ones."""

F = TypeVar("F", bound=Facts)


def decided(rules: Sequence[Rule], facts: F, arms: Arms | None = None, splits: Contrast | None = None) -> F:
    """The facts with the verdict of the first rule that holds (the last one should), and its `sensitivity`."""
    verdict = next(rule.name for rule in rules if rule.holds(facts))
    return replace(facts, verdict=verdict, sensitivity=sensitivity(facts.leading, arms, splits))


def word(result: Result) -> str:
    """A judged result's verdict."""
    return result.verdict.word if result.verdict else ""


def pick(results: Sequence[Result], **wanted: Any) -> Result | None:
    """The result whose contrast has these attributes; None where there is none."""
    fit = (r for r in results if all(getattr(r.contrast, key) == value for key, value in wanted.items()))
    return next(fit, None)


@cache
def names() -> tuple[str, ...]:
    """Names of the exercises, in the book's order."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(modules, key=lambda name: load(name).NUMBER))


def load(name: str) -> ModuleType:
    """The module of one exercise."""
    return importlib.import_module(f"{__name__}.{name}")


def sweeps_of(module: ModuleType) -> tuple[str, ...]:
    """Every sweep that an exercise reads."""
    return (*module.SWEEPS, *getattr(module, "BESIDE", ()))


def rates_name(arm: Arm) -> str:
    """ "(0.2, 0.5)", and "(0.1, 0.2, 0.5)" of an arm that has a rate of the input."""
    keys = [key for key in (INPUT, *RATES) if arm.get(key, "") != ""]
    return f"({', '.join(runs.shown(arm[key]) for key in keys)})"


def promised(sweep: str) -> tuple[design.Design, design.Primary]:
    """A sweep's design and its primary contrast.

    Raises:
        ValueError: if the sweep declares none.
    """
    file = design.read(sweep)
    if file.primary is None:
        raise ValueError(f"sweeps/{sweep}.yaml declares no primary contrast")
    return file, file.primary


def judged(table: Table, named: Mapping[str, Arm], *setting: str) -> tuple[Arms, list[Result]]:
    """A sweep's arms, named in the order of its file, and its primary contrasts by the file's own block."""
    arms, (_, primary) = Arms(table, named), promised(table.sweep)
    contrasts = primary.contrasts(arms, list(named), *setting)
    return arms, family(contrasts, primary.margin, arms.diverged)


def by_rates(table: Table, probe: str) -> pd.DataFrame:
    """A probe's rows with the columns dropout1, dropout2 and arm, "(0.2, 0.5)", whichever rates were swept.

    Raises:
        InputError: if the table has no such probe.
    """
    rows, trained = table.extra(probe), table.final[["id", *RATES]]
    named = trained.assign(arm=[rates_name(row) for row in trained.to_dict("records")])
    return rows.drop(columns=list(RATES), errors="ignore").merge(named, on="id")


def all_arms(table: Table, name: Callable[[Arm], str]) -> Arms:
    """Every arm of a table, trained or without any result."""
    trained: list[Any] = table.final[list(table.keys)].drop_duplicates().to_dict("records")
    return Arms(table, {name(arm): arm for arm in [*trained, *(problem.arm for problem in table.problems)]})


def validated(table: Table, keys: Sequence[str]) -> pd.DataFrame:
    """Last epochs with a finite validation accuracy and cross-entropy.

    Raises:
        InputError: if there is none, or the table does not sweep one of the keys.
    """
    for key in keys:
        if key not in table.keys:
            raise InputError(f"{table.name} does not sweep {key}; sweep={table.sweep} does")
    rows = table.final[np.isfinite(table.final[["val_acc", "val_loss"]].astype(float)).all(axis=1)]
    if rows.empty:
        raise InputError("no run has a validation accuracy; a sweep with data.validation above 0 is right")
    return rows


def ranked(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The settings that were tried, the best first: the keys, number of seeds, means of val_acc and val_loss, and
    the variance of val_acc over the seeds.

    The best has the highest accuracy; of equal ones the lowest cross-entropy, then the smallest values of the keys.

    Args:
        runs: `validated`.
    """
    means = runs.groupby(list(keys), as_index=False, sort=False).agg(
        seeds=("seed", "nunique"),
        val_acc=("val_acc", "mean"),
        val_loss=("val_loss", "mean"),
        variance=("val_acc", "var"),
    )
    # sums of the same numbers in another order differ in their last digit: no reason to prefer one
    order = means.assign(val_acc=-means["val_acc"].round(8), val_loss=means["val_loss"].round(8))
    return means.loc[order.sort_values(["val_acc", "val_loss", *keys]).index].reset_index(drop=True)


def mean_error(settings: pd.DataFrame) -> float:
    """Standard error of a setting's mean validation accuracy, as stored; the seeds' variance pooled over all of
    them, as two or three seeds say little of each one's own. NaN for a seed a setting.

    Args:
        settings: `ranked`.
    """
    free = settings["seeds"] - 1
    variance = (settings["variance"] * free).sum() / free.sum() if free.sum() else np.nan
    return float(np.sqrt(variance / settings["seeds"].median()))


def overrides(arm: Arm) -> str:
    """An arm as `hydra.sweeper.arms` has it, without empty cells: "dropout1=0.2 dropout2=0.5"."""
    return " ".join(f"{key}={runs.shown(value)}" for key, value in arm.items() if value != "")
