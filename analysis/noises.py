"""The command `python -m analysis.noises`: the comparison of noises as a page, from the tables of their race.

It writes index.html, report.md and figures/ beside the tables, in English and Chinese, from the parts there are.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import chapter, design, figures, measures, page, phrases, race, runs, tables
from analysis.contrasts import Contrast, Result, by_seed, described
from analysis.exercises import new_noise
from analysis.families import CLONE, FAMILIES, GUARDS, IMAGES, PIXEL_RATES, description
from analysis.measures import Measure
from analysis.race import FRESH, RATIOS, REFERENCE, RESULTS, STEPS, TIME, parts
from analysis.report import LANGUAGES
from src.config import RATES
from src.errors import DONE, REPOSITORY, InputError, Parser, command
from src.runs import store
from src.runs.broken import CLASSES, broke_down
from src.stats import Summary, summarise

SHOWN = (measures.VAL_ACC, measures.VAL_LOSS, measures.TEST_ECE)
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
    """Those at equal time."""
    tried: pd.DataFrame
    """Every run of the noise, the settings in a column `arm`."""
    edges: Mapping[str, str]
    """An arrow for each value that is the highest or lowest that was tried; a rate of 0 has nothing below it."""

    @property
    def arms(self) -> int:
        """Settings that were tried."""
        return int(self.tried["arm"].nunique())

    @property
    def words(self) -> str:
        """The setting, with its edges."""
        return " ".join(f"{k}={runs.shown(v)}{self.edges.get(k, '')}" for k, v in self.setting.items())

    @property
    def apart(self) -> bool:
        """Whether it is augmentation, which is not ranked with the others."""
        return self.noise in FAMILIES[IMAGES]

    @property
    def diverged(self) -> int:
        return int((self.tried["state"] != "finished").sum())

    @property
    def at_chance(self) -> int:
        """Runs that ended near chance; a fall in between is not in the tables."""
        ends = zip(self.tried["train_acc"], self.tried["test_acc"], strict=True)
        return sum(broke_down([train], test, CLASSES["fashion_mnist"]) for train, test in ends)

    @property
    def devices(self) -> tuple[tuple[str, ...], ...]:
        """Of the runs that rank it, and of those of the race with those at equal time."""
        of_race = pd.concat([self.raced, self.again])
        return tuple(tuple(sorted({*of["device"]})) for of in (self.rows, of_race))

    @property
    def mixed(self) -> bool:
        """Whether runs that stand together are of several devices."""
        return any(len(of) > 1 for of in self.devices)

    def summary(self, measure: Measure) -> Summary | None:
        values = by_seed(self.rows, measure)
        return summarise(list(values.values())) if values else None


def table_of(folder: Path) -> pd.DataFrame:
    """The runs of all parts there are: noise, the other keys, seed, what the race records, part, arm and device.

    Raises:
        InputError: if there is none, one is no table of a race, or `_check` finds a row that contradicts another.
    """
    of_parts = []
    for path in sorted(folder.glob("noises_*.csv")):
        part = race.read_table(path)
        # a rate that all settings of a part share is not among its columns
        fixed = design.read(path.stem).fixed if path.stem in parts() else {}
        for key in RATES:
            if key in fixed and key not in part:
                part.insert(1, key, fixed[key])
        of_parts.append(part.assign(part=path.stem))
    if not of_parts:
        raise InputError(f"{folder} has no noises_*.csv; the tables of python -m analysis.race are right")
    others = {key for part in of_parts for key in list(part)[: list(part).index("seed")]} - {"noise"}
    keys = ["noise", *sorted(others)]
    table = pd.concat(of_parts, ignore_index=True)
    if (table["state"] == store.DIVERGED).all():
        raise InputError(f"{folder}: each run has diverged; tables with runs that have finished are right")
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


def _check_time(again: pd.DataFrame, epochs: int, ratios: Mapping[str, float]) -> None:
    """Raises InputError where a run at equal time does not have the epochs that the ratios give."""
    for row in again[["part", "arm", "noise", "epochs"]].drop_duplicates().to_dict("records"):
        slower = race.slowness(ratios, row["noise"])
        right = row["epochs"] if slower is None else race.at_equal_time(epochs, slower)
        if row["epochs"] != right:
            which = f"{row['part']}.csv: {row['arm']} budget={TIME} epochs={row['epochs']}"
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
        setting = {key: first[key] for key in keys[1:] if noise != "none" and pd.notna(first[key])}
        ranked, steps, again = (rows[rows["budget"] == budget] for budget in (ranking, STEPS, TIME))
        raced.append(Winner(noise, setting, ranked, steps, again, tried, _edges(setting, tried)))
    return sorted(raced, key=lambda winner: -winner.raced["val_acc"].mean())


def _edges(setting: Mapping[str, Any], tried: pd.DataFrame) -> dict[str, str]:
    numbers = [key for key in setting if pd.api.types.is_numeric_dtype(tried[key])]
    ends = {key: (tried[key].min(), tried[key].max()) for key in numbers}
    return {
        key: "↑" if setting[key] == high else "↓"
        for key, (low, high) in ends.items()
        if low < high and (setting[key] == high or setting[key] == low != 0)
    }


def content(folder: Path, to: Path) -> dict[str, Any]:
    """What the template is given: numbers and names, no sentence."""
    table = table_of(folder)
    raced, ratios = winners(table), race.read_ratios(folder / RATIOS)
    reference = next((winner for winner in raced if winner.noise == REFERENCE), None)
    if reference is None:
        raise InputError(f"{folder}: no table has {REFERENCE}, which all others are compared with")
    others = [winner for winner in raced if winner is not reference]
    results = {m: described(_contrast(w, w.rows, reference.rows, m) for w in others) for m in SHOWN}
    accuracy = results[measures.VAL_ACC]
    # over common seeds: one with fewer of them may have had the easier ones
    ahead = {REFERENCE: 0.0} | {r.contrast.a: r.paired.difference for r in accuracy}
    # augmentation stands apart, behind all that are ranked, and a noise without a run that ended behind the others
    places = {winner.noise: (winner.apart, -ahead.get(winner.noise, -math.inf)) for winner in raced}
    raced.sort(key=lambda winner: places[winner.noise])
    for differences in results.values():
        differences.sort(key=lambda r: places[r.contrast.a])
    steps = table[table["budget"] == STEPS]
    epochs = int(steps["epochs"].iloc[0])
    _check_time(table[table["budget"] == TIME], epochs, ratios or {})
    dropout = table[(table["noise"] == REFERENCE) & (table["budget"] != TIME)]
    designs = [design.read(part) for part in parts()]
    planned = {{**planned.fixed, **arm}["noise"] for planned in designs for arm in planned.arms}
    slower = {winner.noise: race.slowness(ratios, winner.noise) for winner in raced}
    same_time = [noise for noise, ratio in slower.items() if ratio is not None and race.is_same(ratio)]
    in_race = described(_contrast(w, w.raced, reference.raced, measures.VAL_ACC) for w in others)
    again = described(_contrast(w, w.again, reference.raced, measures.VAL_ACC) for w in others)
    at_equal_time = [*again, *(r for r in in_race if r.contrast.a in same_time)]
    contestants = [r for r in accuracy if r.contrast.a not in GUARDS]
    ranked = [r for r in contestants if r.contrast.a not in FAMILIES[IMAGES]]
    ours = [r for r in accuracy if description(r.contrast.a)["source"] == "ours"]
    theirs = {winner.noise for winner in raced} - {*GUARDS} - {r.contrast.a for r in ours}
    tested = _tested(folder.parent)
    apart = [winner for winner in raced if winner.apart]
    return {
        "raced": raced,
        "dropout": reference,
        "results": results,
        "others": contestants,
        "ranked": ranked,
        "above_clone": [r for r in ranked if r.paired.difference > max(0, ahead[CLONE])]
        if CLONE in ahead
        else None,
        "apart": apart,
        "faster": [r for r in at_equal_time if r.contrast.a not in GUARDS and r.paired.difference > 0],
        "control": described(_control(w, dropout) for w in apart),
        "control_of": {w.noise: runs.arm_name(_control_setting(w)) for w in apart},
        "averaged": described(_contrast(w, w.rows, reference.rows, measures.EMA_VAL_ACC) for w in others),
        "averaging": described(_averaging(w) for w in raced if w.noise in ("none", REFERENCE)),
        "fresh": int((reference.rows["budget"] == FRESH).sum()),
        "in_race": in_race,
        "again": again,
        "slower": slower,
        "same_time": same_time,
        "timed_on": race.timed_on(folder / RATIOS),
        "regime": design.read(next(iter(parts()))).fixed,
        "epochs": epochs,
        "rungs": _rungs(steps),
        "missing": [part for part in parts() if part not in set(table["part"])],
        "not_raced": sorted(planned - {winner.noise for winner in raced}),
        "devices": sorted(table["device"].unique()),
        "several_devices": any(w.mixed or w.devices != reference.devices for w in raced),
        "runs": len(table),
        "parts": table.groupby(["part", "device"], as_index=False)
        .agg(noises=("noise", "unique"), runs=("seed", "size"), seconds=("seconds", "sum"))
        .to_dict("records"),
        "ours": sorted(ours, key=lambda r: -r.paired.difference),
        "tested": tested,
        "beside_ours": [(images, r) for images, of in tested if images for r in of if r.contrast.a in theirs],
        "families": FAMILIES,
        "measures": measures,
        "description": description,
        "root": Path(os.path.relpath(REPOSITORY, to)).as_posix(),
    }


def _rungs(steps: pd.DataFrame) -> tuple[int, int, int]:
    """The fewest and the most seeds of a setting, and how many settings of most noises have the latter."""
    seeds = steps.groupby(["noise", "arm"])["seed"].nunique()
    finalists = (seeds == seeds.max()).groupby("noise").sum()
    return int(seeds.min()), int(seeds.max()), int(finalists.mode().iloc[-1])


def _tested(kept: Path) -> list[tuple[int | None, Sequence[Result]]]:
    """What exercise 7 judges on the test set, on all images (None) and on few; empty without its tables."""
    sweeps = [sweep for sweep in (new_noise.ALL, new_noise.FEW) if (kept / f"{sweep}.json").exists()]
    if new_noise.ALL not in sweeps:
        return []
    facts = new_noise.analyse({sweep: tables.load(kept, sweep) for sweep in sweeps})
    return [
        (images, judged) for images, judged in ((None, facts.primary), (facts.images, facts.few)) if judged
    ]


def _contrast(winner: Winner, rows: pd.DataFrame, other: pd.DataFrame, measure: Measure) -> Contrast:
    return Contrast(
        winner.noise, REFERENCE, ("validation",), measure, (by_seed(rows, measure), by_seed(other, measure))
    )


def _averaging(winner: Winner) -> Contrast:
    """What the average of the weights does to a noise's own runs."""
    sides = (by_seed(winner.rows, measures.EMA_VAL_ACC), by_seed(winner.rows, measures.VAL_ACC))
    return Contrast(winner.noise, "as trained", ("validation",), measures.EMA_VAL_ACC, sides)


def _control_setting(winner: Winner) -> dict[str, Any]:
    """The noise's own rates of dropping, without what it does to the image."""
    rates = {key: winner.setting[key] for key in RATES if key in winner.setting}
    return {
        **rates,
        "noise.input_rate": winner.setting.get(PIXEL_RATES.get(winner.noise, "noise.input_rate"), 0),
    }


def _control(winner: Winner, dropout: pd.DataFrame) -> Contrast:
    """The noise minus dropout at these rates: on fresh seeds where dropout trained on them, else on the race's."""
    rates = _control_setting(winner)
    runs_there = dropout[(dropout[[*rates]] == pd.Series(rates)).all(axis=1)]
    ranked = runs_there[runs_there["budget"] == winner.rows["budget"].iloc[0]]
    rows = winner.rows if len(ranked) else winner.raced
    return _contrast(winner, rows, ranked if len(ranked) else runs_there, measures.VAL_ACC)


def _look(result: Result) -> tuple[Any, str]:
    """Colour and name of a noise's family."""
    places = {noise: place for place, of in enumerate(FAMILIES.values()) for noise in of}
    place = places.get(result.contrast.a)
    return (figures.GREY, "") if place is None else (figures.PALETTE[place], list(FAMILIES)[place])


def write(folder: Path, to: Path) -> list[Path]:
    """Write the figures, the texts and the pages; paths of the pages."""
    shown = content(folder, to)
    differences = [r for measure in SHOWN[:2] for r in shown["results"][measure]]
    drawn = figures.forest(differences, lambda r: phrases.named(r.contrast.a), look=_look)
    chapter.save(drawn, to / "figures", "ranking", LANGUAGES)
    return [page.write("noises.md", shown, to, language) for language in LANGUAGES]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; the exit code, see `--help`."""
    parser = Parser(prog="python -m analysis.noises", description=__doc__)
    text = f"The folder of the race's tables. The default is {RESULTS.relative_to(REPOSITORY)}."
    parser.add_argument("--from", dest="source", type=Path, default=RESULTS, metavar="FOLDER", help=text)
    text = "Where the page is written. The default is the tables' folder."
    parser.add_argument("--to", type=Path, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    print(*(f"Open {path}" for path in write(options.source, options.to or options.source)), sep="\n")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
