"""The chapter's exercises: each a sweep file that poses the question and a file here that answers it.

`sweeps/NAME.yaml` opens with a comment: the question, the design, the command. `analysis/exercises/NAME.py` has

    NUMBER      of the exercise in the book
    TITLE       a few words
    SWEEPS      names of the sweep files it reads; the first one must be there
    answer      tables → Answer; its docstring holds the rule of the verdict
    choose      first sweep's table → arms of the second one, where there is a second one

and is found by its name: nothing else changes for a new one. Every sentence about a result is computed.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis import figures, runs, statistics, wording
from analysis.measures import Measure
from analysis.statistics import Comparison
from analysis.tables import Table

SWEEP_FILES = Path(__file__).resolve().parents[2] / "sweeps"

Arm = Mapping[str, Any]
"""Values of some swept keys, such as {"dropout1": 0.2, "dropout2": 0.5}."""


@dataclass(frozen=True)
class Picture:
    """A figure of the report."""

    name: str
    """Of its file; with the exercise's name in front it is the only one."""
    caption: str
    """What is shown, its units, and what bands and marks are."""
    figure: Figure


@dataclass(frozen=True)
class Grid:
    """A table of the report; every cell is text."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    """Columns from the left that hold words and not numbers."""


@dataclass(frozen=True)
class Answer:
    """What an exercise's experiment says."""

    headline: str
    """One sentence with its number and interval: the answer in the summary."""
    n: str
    """On how many runs and seeds the headline rests."""
    verdict: Sequence[str]
    """Paragraphs: the answer in full, by the rule in `answer`'s docstring."""
    parts: Sequence[Picture | Grid | str] = ()
    """Figures, tables and paragraphs between them, in order."""
    outstanding: Sequence[str] = field(default=())
    """What the design asks for and the tables do not hold."""


@cache
def names() -> tuple[str, ...]:
    """Names of the exercises, in the book's order."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return tuple(sorted(found, key=lambda name: load(name).NUMBER))


def load(name: str) -> ModuleType:
    """The module of one exercise."""
    return importlib.import_module(f"{__name__}.{name}")


@dataclass(frozen=True)
class Posed:
    """What a sweep's file says of itself."""

    question: str
    design: str
    command: str


def posed(sweep: str) -> Posed:
    """The opening comment of sweeps/NAME.yaml: its three paragraphs."""
    lines = (SWEEP_FILES / f"{sweep}.yaml").read_text(encoding="utf-8").splitlines()
    comment: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    question, design, command = " ".join(text or "\n" for text in comment).split("\n")
    return Posed(question.strip(), design.strip().removeprefix("Design: "), command.strip())


def rows_of(frame: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows whose keys have these values; a key that was not swept matches every row."""
    chosen = np.ones(len(frame), bool)
    for key, value in arm.items():
        if key in frame:
            column = frame[key]
            is_number = pd.api.types.is_numeric_dtype(column) and not isinstance(value, str)
            chosen &= np.isclose(column, value) if is_number else (column.astype(str) == str(value))
    return frame[chosen]


def with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns of `measures.GAP` and `measures.QUIET_GAP`."""
    quiet = frame.get("eval_train_acc", np.nan)
    return frame.assign(gap=frame["train_acc"] - frame["test_acc"], quiet_gap=quiet - frame["test_acc"])


def by_seed(frame: pd.DataFrame, column: str) -> dict[int, float]:
    """A column's finite values by seed, of rows that are one a seed."""
    values = dict(zip(frame["seed"], frame[column], strict=True))
    return {int(seed): float(value) for seed, value in values.items() if np.isfinite(value)}


def extra_by_rates(table: Table, name: str) -> pd.DataFrame:
    """A probe's rows with the columns dropout1, dropout2 and arm, "(0.2, 0.5)", whichever rates were swept.

    Raises:
        InputError: if the table has no such probe.
    """
    rates = ["dropout1", "dropout2"]
    found, trained = table.extra(name), table.final[["id", *rates]]
    named = trained.assign(arm=runs.arm_names(trained, rates))
    return found.drop(columns=[rate for rate in rates if rate in found]).merge(named, on="id")


def contrast(table: Table, a: Arm, b: Arm, measure: Measure) -> Comparison:
    """Paired comparison of two arms at the last epoch, a family of its own."""
    values = {
        name: by_seed(rows_of(with_gaps(table.final), arm), measure.column)
        for name, arm in (("a", a), ("b", b))
    }
    return statistics.compare_arms(values, [("a", "b")], measure.higher_is_better is not False)[0]


def arm_grid(
    caption: str, values: Mapping[str, pd.DataFrame], measures: Sequence[Measure], first: str = "arm"
) -> Grid:
    """Mean ± SD and 95% CI of each measure, an arm a row.

    Args:
        values: an arm's rows, one a run.
    """
    headers = [first, "n"]
    for measure in measures:
        headers += [f"{measure.label}: mean ± SD", "95% CI"]
    rows = []
    for arm, frame in values.items():
        row = [arm, str(len(frame))]
        for measure in measures:
            found = frame[measure.column].dropna()
            if found.empty:
                row += ["–", "–"]
                continue
            summary = statistics.summarise(found)
            spread = f" ± {measure.shown(summary.sd)}" if summary.sd is not None else ""
            row += [measure.shown(summary.mean) + spread, wording.interval(summary.interval, measure)]
        rows.append(row)
    return Grid(caption, headers, rows)


def pair_grid(caption: str, pairs: Sequence[Comparison], measure: Measure) -> Grid:
    """Paired differences of named arms, a pair a row, with Holm's correction over the rows."""
    from analysis.comparison import pair_table

    table = pair_table(pairs, measure, None)
    return Grid(caption, table["headers"], table["rows"], texts=2)


@dataclass(frozen=True)
class Case:
    """A paired comparison in a family whose members differ in their setting or their measure."""

    setting: str
    measure: Measure
    comparison: Comparison
    samples: tuple[NDArray, NDArray]
    """Of a and of b, each of shape (n,): a value a common seed."""

    @property
    def differences(self) -> NDArray:
        """a - b, shape (n,)."""
        return self.samples[0] - self.samples[1]

    @property
    def said(self) -> str:
        """ "A is shown better in test accuracy (87.12% against 86.50%, difference +0.62 pp, 95% interval …)"."""
        found, of = self.comparison, self.measure
        better = {1: found.a, -1: found.b}.get(found.verdict)
        shown = f"{better} is shown better in {of.name}" if better else f"no difference is shown in {of.name}"
        means = " against ".join(wording.value(statistics.summarise(each).mean, of) for each in self.samples)
        return f"{shown} ({means}, difference {wording.evidence(found.paired, of, found.adjusted_p)})"


def family(
    a: str, b: str, members: Sequence[tuple[str, Measure, Mapping[int, float], Mapping[int, float]]]
) -> list[Case]:
    """Paired comparisons of an arm a with an arm b, one family for Holm's correction over all members.

    Args:
        members: setting, measure, and the values of a and of b by seed; without a common seed one is left out.
    """
    met = [member for member in members if member[2].keys() & member[3].keys()]
    values = [statistics.common_seeds(of_a, of_b) for *_, of_a, of_b in met]
    found = [statistics.paired(*both) for both in values]
    adjusted = statistics.holm([pair.p for pair in found])
    cases = []
    for (setting, measure, *_), (of_a, of_b), pair, p in zip(met, values, found, adjusted, strict=True):
        verdict = statistics.verdict(pair, p, measure.higher_is_better is not False)
        cases.append(Case(setting, measure, Comparison(a, b, pair, p, verdict), (of_a, of_b)))
    return cases


def case_grid(caption: str, cases: Sequence[Case]) -> Grid:
    """A family's paired differences a - b, a case a row."""
    from analysis.comparison import pair_table

    tables = [pair_table([case.comparison], case.measure, None) for case in cases]
    headers = ["setting", "measure", "seeds", "A − B", *tables[0]["headers"][4:]] if tables else []
    rows = [
        [case.setting, f"{case.measure.name} ({case.measure.difference_unit})", *table["rows"][0][2:]]
        for case, table in zip(cases, tables, strict=True)
    ]
    return Grid(caption, headers, rows, texts=2)


def forest(cases: Sequence[Case]) -> Figure:
    """A family's paired differences, a panel a measure and a row a setting."""
    panels: dict[Measure, dict[str, tuple[Comparison, NDArray]]] = {}
    for case in cases:
        panels.setdefault(case.measure, {})[case.setting] = case.comparison, case.differences
    return figures.forests(panels)


def reach(table: Table) -> str:
    """How far an answer goes."""
    parameters, epochs = wording.ends(table.runs["parameters"].dropna()), wording.ends(table.runs["epochs"])
    return (
        f"How far this goes: one kind of net ({parameters or 'an unknown number of'} parameters) on "
        f"{wording.distinct(table.runs['data'])}, with these settings (epochs: {epochs}). The intervals speak of "
        "new seeds, that is of other initial weights, another order of the images and other noise; not of other "
        "nets or data, and not of other test images."
    )
