"""What the exercises that tune each noise share: rates chosen on validation, the chosen compared on the test set.

A noise is tried at several strengths, pairs of rates of the two hidden layers. The rates with the highest mean
validation accuracy at the last epoch are chosen, and a second sweep trains them anew with fresh seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from analysis import measures, runs, statistics, wording
from analysis.exercises import SWEEP_FILES, by_seed, rows_of, with_gaps
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.statistics import Comparison
from analysis.tables import Table, Tables
from src.planning import expand

NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
KEYS = ("noise", "dropout1", "dropout2")
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


def paces(table: Table, rows: Rows) -> dict[str, float]:
    """Seconds per epoch of each noise: the median over its runs of their mean over the epochs."""
    means = table.epochs.groupby("id")["seconds"].mean()
    found = {noise: float(means[frame["id"]].median()) for noise, frame in rows.items()}
    return {noise: seconds for noise, seconds in found.items() if seconds > 0}


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


def rates_shown(strength: Strength) -> str:
    return ", ".join(runs.shown(rate) for rate in strength.rates)
