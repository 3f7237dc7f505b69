"""Each noise's best setting, from the tables of a race: what the page of the comparison of noises shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis import design, equal_time, race, runs
from analysis.contrasts import by_seed
from analysis.equal_time import RATIOS
from analysis.families import FAMILIES, IMAGES
from analysis.measures import Measure
from analysis.race import FRESH, STEPS, TIME
from analysis.races import parts
from src.config import RATES
from src.errors import InputError
from src.runs import store
from src.runs.broken import CLASSES, broke_down
from src.stats import Summary, summarise

RUN = ["arm", "seed", "budget"]
"""What tells a run of the race from all others."""


@dataclass(frozen=True)
class Winner:
    """A noise's best setting, as the race at equal steps chose it, and its runs."""

    noise: str
    setting: Mapping[str, Any]
    rows: pd.DataFrame
    """The runs that rank it, a row a seed: on fresh seeds where every noise has them, else those of the race."""
    raced: pd.DataFrame
    """Those of the race, at equal steps."""
    again: pd.DataFrame
    """Those at equal time, on fresh seeds."""
    tried: pd.DataFrame
    """Every run of the noise, the settings in a column `arm`."""
    edges: Mapping[str, str]
    """An arrow for each value that is the highest or lowest that was tried; a rate of 0 has nothing below it."""

    @property
    def own(self) -> pd.DataFrame:
        """The setting's runs at equal steps, of the race and on fresh seeds."""
        own = self.tried[self.tried["arm"] == self.raced["arm"].iloc[0]]
        return own[own["budget"] != TIME]

    @property
    def arms(self) -> int:
        """Settings that raced; a control trains on fresh seeds alone."""
        return int(self.tried["arm"][self.tried["budget"] == STEPS].nunique())

    @property
    def words(self) -> str:
        """The setting, with its edges."""
        return " ".join(f"{k}={runs.shown(v)}{self.edges.get(k, '')}" for k, v in self.setting.items())

    @property
    def apart(self) -> bool:
        """Whether it is augmentation, which is not ranked with the others."""
        return self.noise in FAMILIES[IMAGES]

    @property
    def devices(self) -> tuple[tuple[str, ...], ...]:
        """Kinds of them, of the runs that rank it, of those of the race, and of those at equal time."""
        return tuple(tuple(sorted({*map(kind, of["device"])})) for of in (self.rows, self.raced, self.again))

    @property
    def mixed(self) -> bool:
        """Whether runs that stand together are of several devices."""
        return any(len(of) > 1 for of in self.devices)

    def summary(self, measure: Measure) -> Summary | None:
        values = by_seed(self.rows, measure)
        return summarise(list(values.values())) if values else None


class Wrong(NamedTuple):
    """How many runs of a noise went wrong."""

    noise: str
    diverged: int
    at_chance: int
    """Ended near chance; a fall in between is not in the tables."""
    runs: int
    """All of the noise's."""


def wrong(table: pd.DataFrame) -> list[Wrong]:
    """The noises of which some runs went wrong."""
    found = []
    for noise, of_noise in table.groupby("noise", sort=False):
        ends = zip(of_noise["train_acc"], of_noise["test_acc"], strict=True)
        at_chance = sum(broke_down([train], test, CLASSES["fashion_mnist"]) for train, test in ends)
        diverged = int((of_noise["state"] != store.FINISHED).sum())
        found.append(Wrong(str(noise), diverged, at_chance, len(of_noise)))
    return [of for of in found if of.diverged or of.at_chance]


def kind(device: str) -> str:
    """A device without a CPU's model: with one maker, instructions and kernel a seed is the same run. (Four runs of
    the race, trained on a second model of Intel's Xeon, gave the same metrics to the byte.)"""
    return re.sub(r"^(cpu \([^,]+, ).*, (?=[^,]+; products by )", r"\1", device)


def table_of(folder: Path, which: str = "noises_*") -> pd.DataFrame:
    """The runs of all parts there are: noise, the other keys, seed, what the race records, part, arm and device.

    Raises:
        InputError: if there is none, one is no table of a race, or `_check` finds a row that contradicts another.
    """
    of_parts = []
    for path in sorted(folder.glob(f"{which}.csv")):
        part = race.read_table(path)
        # a rate that all settings of a part share is not among its columns
        fixed = design.read(path.stem).fixed if path.stem in parts() else {}
        for key in RATES:
            if key in fixed and key not in part:
                part.insert(1, key, fixed[key])
        of_parts.append(part.assign(part=path.stem))
    if not of_parts:
        raise InputError(f"{folder} has no {which}.csv; the tables of python -m analysis.race are right")
    others = {key for part in of_parts for key in list(part)[: list(part).index("seed")]} - {"noise"}
    keys = ["noise", *sorted(others)]
    table = pd.concat(of_parts, ignore_index=True)
    if (table["state"] == store.DIVERGED).all():
        raise InputError(
            f"{folder / f'{which}.csv'}: each run has diverged; tables with runs that have finished are right"
        )
    table = table[[*keys, *table.columns.difference(keys, sort=False)]]
    table = table.assign(arm=race.arm_names(table, keys))
    _check(table)
    return table.drop_duplicates(RUN)


def _check(table: pd.DataFrame) -> None:
    """Raises InputError for an unknown budget, a run at equal steps with fewer or more epochs than most, and two
    runs of one setting, seed and budget with different numbers: no row is dropped in silence."""

    def refuse(rows: pd.DataFrame, why: str) -> None:
        if len(rows):
            row = rows.iloc[0]
            which = " ".join(f"{key}={row[key]}" for key in ("seed", "budget", "epochs"))
            raise InputError(f"{row['part']}.csv: {row['arm']} {which}: {why}")

    refuse(
        table[~table["budget"].isin([STEPS, FRESH, TIME])], f"{STEPS}, {FRESH} or {TIME} is right for budget"
    )
    steps = table[table["budget"] != TIME]
    if len(steps):
        epochs = steps["epochs"].mode()[0]
        why = f"{epochs:.0f} epochs are right, as of most runs at equal steps, or budget={TIME}"
        refuse(steps[steps["epochs"] != epochs], why)
    numbers = ["epochs", "state", *filter(race.is_metric, table)]
    distinct = table.drop_duplicates([*RUN, *numbers])
    why = "it is there twice, with other numbers; one run of a setting, seed and budget is right"
    refuse(distinct[distinct.duplicated(RUN)], why)


def check_time(again: pd.DataFrame, epochs: int, ratios: Mapping[str, float] | None) -> None:
    """Raises InputError where a run at equal time does not have the epochs that the ratios give."""
    for row in again[["part", "arm", "noise", "epochs", "budget"]].drop_duplicates().to_dict("records"):
        slower = equal_time.slowness(ratios, row["noise"])
        right = row["epochs"] if slower is None else equal_time.at_equal_time(epochs, slower)
        if row["epochs"] != right:
            which = f"{row['part']}.csv: {row['arm']} budget={row['budget']} epochs={row['epochs']}"
            raise InputError(f"{which}: {right} epochs are right by {RATIOS}")


def winners(table: pd.DataFrame) -> list[Winner]:
    """Every noise's best setting, the highest mean validation accuracy first."""
    keys, raced = list(table)[: list(table).index("seed")], []
    arms = race.best(table, keys, len(table), least=1)
    of_fresh = table[table["budget"] == FRESH]
    ranking = FRESH if set(arms) <= set(of_fresh["arm"]) else STEPS
    for arm in arms:
        rows = table[table["arm"] == arm]
        noise, first = rows["noise"].iloc[0], rows.iloc[0]
        tried = table[table["noise"] == noise]
        idle = [key for key in keys if noise == "none" and (key in RATES or key.startswith("noise."))]
        setting = {key: first[key] for key in keys[1:] if key not in idle and pd.notna(first[key])}
        ranked, steps, again = (rows[rows["budget"] == budget] for budget in (ranking, STEPS, TIME))
        raced.append(
            Winner(
                noise, setting, ranked, steps, again, tried, _edges(setting, tried[tried["budget"] == STEPS])
            )
        )
    return sorted(raced, key=lambda winner: -winner.raced["val_acc"].mean())


def _edges(setting: Mapping[str, Any], tried: pd.DataFrame) -> dict[str, str]:
    numbers = [key for key in setting if pd.api.types.is_numeric_dtype(tried[key])]
    ends = {key: (tried[key].min(), tried[key].max()) for key in numbers}
    return {
        key: "↑" if setting[key] == high else "↓"
        for key, (low, high) in ends.items()
        if low < high and (setting[key] == high or setting[key] == low != 0)
    }
