"""The chapter's exercises: each a sweep file that poses the question, a file here that answers it in numbers, and a
template that says the answer in words.

`sweeps/NAME.yaml` has the question, the design and the primary contrast; `templates/LANGUAGE/exercises/NAME.md`
every sentence; `analysis/exercises/NAME.py`

    NUMBER      of the exercise in the book
    SWEEPS      names of the sweep files it reads; the first one must be there
    RULES       verdicts in order, the first that holds is given
    analyse     tables -> Facts; numbers only
    draw        facts -> figures by name, the most important one first
    choose      first sweep's table -> arms of the second one, where there is a second one

and is found by its name: nothing else changes for a new one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import pandas as pd

from analysis import design, runs
from analysis.contrasts import Arm, Arms, ArmStats, Result, Sensitivity
from analysis.tables import Table
from analysis.verdicts import Rule, first_that_holds
from src.stats import UNTESTED


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an exercise's tables show; each exercise adds what only it has."""

    primary: Sequence[Result] = ()
    """What is judged; empty where the tables do not hold it."""
    verdict: str = ""
    """Name of the rule that holds."""
    sensitivity: Sensitivity | None = None
    """Of the first primary result."""
    arms: Sequence[ArmStats] = ()
    described: Sequence[Result] = ()
    """What is shown and not judged."""
    validated: bool = False
    """Whether no test set was looked at yet: the numbers are those of the validation images."""
    seen: Mapping[str, Any] = field(default_factory=dict)
    """Further numbers for the template, by name."""

    @property
    def first(self) -> Result:
        return self.primary[0]

    @property
    def tested(self) -> bool:
        return bool(self.primary) and any(word(each) != UNTESTED for each in self.primary)

    @property
    def bad(self) -> Sequence[ArmStats]:
        """Arms with runs that diverged or broke down."""
        return [arm for arm in self.arms if arm.bad]


F = TypeVar("F", bound=Facts)


def decided(rules: Sequence[Rule], facts: F) -> F:
    """The facts with the verdict that the rules give."""
    return replace(facts, verdict=first_that_holds(rules, facts))


def word(result: Result) -> str:
    """A judged result's verdict."""
    return result.verdict.word if result.verdict else ""


def pick(results: Sequence[Result], **wanted: Any) -> Result | None:
    """The result whose contrast has these attributes; None where there is none."""
    for result in results:
        if all(getattr(result.contrast, key) == value for key, value in wanted.items()):
            return result
    return None


@cache
def names() -> tuple[str, ...]:
    """Names of the exercises, in the book's order."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return tuple(sorted(found, key=lambda name: load(name).NUMBER))


def load(name: str) -> ModuleType:
    """The module of one exercise."""
    return importlib.import_module(f"{__name__}.{name}")


def rates_name(arm: Arm) -> str:
    """ "(0.2, 0.5)"."""
    return f"({runs.shown(arm['dropout1'])}, {runs.shown(arm['dropout2'])})"


def promised(sweep: str, chosen: Sequence[str] = ()) -> tuple[design.Design, design.Primary]:
    """A sweep's design and its primary contrast.

    Raises:
        ValueError: if the sweep declares none.
    """
    found = design.read(sweep, chosen)
    if found.primary is None:
        raise ValueError(f"sweeps/{sweep}.yaml declares no primary contrast")
    return found, found.primary


def by_rates(table: Table, probe: str) -> pd.DataFrame:
    """A probe's rows with the columns dropout1, dropout2 and arm, "(0.2, 0.5)", whichever rates were swept.

    Raises:
        InputError: if the table has no such probe.
    """
    rates = ["dropout1", "dropout2"]
    rows, trained = table.extra(probe), table.final[["id", *rates]]
    named = trained.assign(arm=[rates_name(row) for row in trained[rates].to_dict("records")])
    return rows.drop(columns=[rate for rate in rates if rate in rows]).merge(named, on="id")


def all_arms(table: Table, name: Callable[[Arm], str]) -> Arms:
    """Every arm of a table, trained or without any result."""
    rows = table.final[list(table.keys)].drop_duplicates().to_dict("records")
    arms = [{str(key): value for key, value in row.items()} for row in rows]
    arms += [dict(problem.arm) for problem in table.problems]
    return Arms(table, {name(arm): arm for arm in arms})
