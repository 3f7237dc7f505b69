"""The command `python -m analysis.noises`: the comparison of noises as a page, from the tables of their race.

It writes index.html, report.md and figures/ beside the tables, in English and Chinese, from the parts there are.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import chapter, design, equal_time, figures, measures, page, phrases, races, runs, tables
from analysis.contrasts import Contrast, Result, by_seed, described
from analysis.equal_time import RATIOS
from analysis.exercises import new_noise
from analysis.families import CLONE, DROPOUT, FAMILIES, GUARDS, IMAGES, control, description
from analysis.measures import Measure
from analysis.race import FRESH, RESULTS, STEPS, TIME
from analysis.races import parts
from analysis.report import LANGUAGES
from analysis.winners import Winner, check_time, kind, table_of, winners, wrong
from src import errors
from src.errors import DONE, REPOSITORY, InputError, Parser, command

SHOWN = (measures.VAL_ACC, measures.VAL_LOSS, measures.TEST_ECE)
RETUNED = "tuned at equal time"
"""Where a noise's runs are those of its race for dropout's time."""


def content(folder: Path, to: Path) -> dict[str, Any]:
    """What the template is given: numbers and names, no sentence."""
    table = table_of(folder)
    raced, ratios = winners(table), equal_time.read_ratios(folder / RATIOS)
    reference = next((winner for winner in raced if winner.noise == DROPOUT), None)
    if reference is None:
        raise InputError(f"{folder}: no table has {DROPOUT}, which all others are compared with")
    others = [winner for winner in raced if winner is not reference]
    results = {m: described(_contrast(w, w.rows, reference.rows, m) for w in others) for m in SHOWN}
    accuracy = results[measures.VAL_ACC]
    # over common seeds: one with fewer of them may have had the easier ones
    ahead = {DROPOUT: 0.0} | {r.contrast.a: r.paired.difference for r in accuracy}
    # augmentation stands apart, behind all that are ranked, and a noise without a run that ended behind the others
    places = {winner.noise: (winner.apart, -ahead.get(winner.noise, -math.inf)) for winner in raced}
    raced.sort(key=lambda winner: places[winner.noise])
    for differences in results.values():
        differences.sort(key=lambda r: places[r.contrast.a])
    steps = table[table["budget"] == STEPS]
    epochs = int(steps["epochs"].iloc[0])
    check_time(table[table["budget"] == TIME], epochs, ratios)
    dropout = table[(table["noise"] == DROPOUT) & (table["budget"] != TIME)]
    if not others:
        raise InputError(f"{folder}: no table has a noise beside {DROPOUT}, so nothing is compared")
    slower = {winner.noise: equal_time.slowness(ratios, winner.noise) for winner in raced}
    same_time = [noise for noise, ratio in slower.items() if ratio is not None and equal_time.is_same(ratio)]
    in_race = described(_contrast(w, w.raced, reference.raced, measures.VAL_ACC) for w in others)
    again = described(_contrast(w, w.again, reference.own, measures.VAL_ACC) for w in others)
    at_equal_time = [*again, *(r for r in accuracy if r.contrast.a in same_time)]
    at_equal_time = [r for r in at_equal_time if r.contrast.a not in GUARDS]
    contestants = [r for r in accuracy if r.contrast.a not in GUARDS]
    ranked = [r for r in contestants if r.contrast.a not in FAMILIES[IMAGES]]
    ours = [r for r in accuracy if description(r.contrast.a)["source"] == "ours"]
    theirs = {winner.noise for winner in raced} - {*GUARDS} - {r.contrast.a for r in ours}
    contest = _contest(folder.parent)
    tested = [(None, contest.primary), (contest.images, contest.few)] if contest else []
    tested = [(images, judged) for images, judged in tested if judged]
    of_tuned = table_of(folder, races.TUNED) if (folder / f"{races.TUNED}.csv").exists() else table[:0]
    for row in of_tuned[(of_tuned["budget"] != TIME) & (of_tuned["epochs"] != epochs)].to_dict("records"):
        raise InputError(
            f"{races.TUNED}.csv: {row['arm']} epochs={row['epochs']}: {epochs} are right, as elsewhere"
        )
    tuned = {winner.noise: winner for winner in winners(of_tuned)}
    at_time = sorted(path.stem for path in folder.glob(f"{races.EQUAL_TIME}*.csv"))
    there_are = races.timed(ratios)
    timed = [table_of(folder, name) for name in at_time if name in there_are]
    for of_noise in timed:
        check_time(of_noise, epochs, ratios)
    retuned = _retuned([winner for of_noise in timed for winner in winners(of_noise)], reference)
    whole = pd.concat([table, of_tuned, *timed])
    apart = [winner for winner in raced if winner.apart]
    elsewhere = {winner.noise: _elsewhere(winner, reference) for winner in raced}
    mixed = {winner.noise: [""] for winner in raced if winner.mixed}
    for winner, _ in retuned:
        if winner.devices[0] != reference.devices[0]:
            elsewhere.setdefault(winner.noise, []).append(RETUNED)
        if winner.mixed:
            mixed.setdefault(winner.noise, []).append(RETUNED)
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
        "at_equal_time": at_equal_time,
        "faster": [r for r in at_equal_time if r.paired.difference > 0],
        "control": described(_control(w, dropout) for w in apart),
        "control_of": {w.noise: runs.arm_name(_control_setting(w)) for w in apart},
        "averaged": described(_contrast(w, w.rows, reference.rows, measures.EMA_VAL_ACC) for w in others),
        "averaging": described(_averaging(w) for w in raced if w.noise in ("none", DROPOUT)),
        "fresh": int((reference.rows["budget"] == FRESH).sum()),
        "in_race": in_race,
        "again": again,
        "slower": slower,
        "same_time": same_time,
        "timed_on": equal_time.timed_on(folder / RATIOS),
        "regime": design.read(next(iter(parts()))).fixed,
        "epochs": epochs,
        "rungs": _rungs(steps),
        "missing": [part for part in parts() if part not in set(table["part"])],
        "not_raced": sorted({*races.raced_in()} - {winner.noise for winner in raced}),
        "devices": sorted(whole["device"].unique()),
        "ranked_elsewhere": any({*w.devices[0]} != {*reference.devices[0][:1]} for w in raced),
        "elsewhere": {noise: places for noise, places in elsewhere.items() if places},
        "mixed": mixed,
        "several_devices": bool(mixed) or any(elsewhere.values()),
        "runs": len(whole),
        "parts": whole.groupby(["part", "device"], as_index=False)
        .agg(noises=("noise", "unique"), runs=("seed", "size"), seconds=("seconds", "sum"))
        .to_dict("records"),
        "ours": sorted(ours, key=lambda r: -r.paired.difference),
        "tested": tested,
        "contest": contest,
        "tuned": _beside_tuned(tuned, raced, reference, of_tuned),
        "retuned": retuned,
        "moved": _moved(retuned, again),
        "timed_rungs": _rungs(pd.concat(timed).query("budget == @STEPS")) if timed else [],
        "unused": [name for name in at_time if name not in there_are],
        "not_retuned": sorted(
            {r.contrast.a for r in contestants} - {*same_time} - {winner.noise for winner, _ in retuned}
        ),
        "broken": wrong(whole),
        "beside_ours": [(images, r) for images, of in tested if images for r in of if r.contrast.a in theirs],
        "families": FAMILIES,
        "measures": measures,
        "description": description,
        "root": Path(os.path.relpath(REPOSITORY, to)).as_posix(),
    }


def _elsewhere(winner: Winner, reference: Winner) -> list[str]:
    """Where a noise is compared with dropout on another kind of machine; "" where it is ranked."""
    ranked, raced, _ = reference.devices
    own = reference.own
    timed = tuple(sorted({*map(kind, own["device"][own["seed"].isin(winner.again["seed"])])}))
    places = zip(("", "in the race", "at equal time"), winner.devices, (ranked, raced, timed), strict=True)
    return [place for place, devices, beside in places if devices and beside and devices != beside]


def _rungs(steps: pd.DataFrame) -> list[tuple[int, int]]:
    """Numbers of seeds that settings have, and how many settings of most noises have as many or more."""
    seeds = steps.groupby(["noise", "arm"])["seed"].nunique()
    settings = {n: int((seeds >= n).groupby("noise").sum().mode().iloc[-1]) for n in sorted({*seeds})}
    most = {number: n for n, number in settings.items()}  # a run that was lost makes no rung of its own
    return [(n, number) for number, n in most.items()]


def _contest(kept: Path) -> new_noise.ContestFacts | None:
    """Exercise 7's, which judges noises on the test set; None without its table."""
    read = (new_noise.ALL, new_noise.FEW, new_noise.TIMED, new_noise.AGAIN)
    sweeps = [sweep for sweep in read if (kept / f"{sweep}.json").exists()]
    if new_noise.ALL not in sweeps:
        return None
    return new_noise.analyse({sweep: tables.load(kept, sweep) for sweep in sweeps})


def _retuned(raced_again: Sequence[Winner], reference: Winner) -> list[tuple[Winner, Result]]:
    """Noises whose settings raced at dropout's time, each with its best one minus dropout's best, both on the fresh
    seeds, the highest first."""
    told = []
    for winner in raced_again:
        if {*winner.rows["budget"], *reference.rows["budget"]} == {FRESH}:
            contrast = _contrast(winner, winner.rows, reference.rows, measures.VAL_ACC)
            told += [(winner, result) for result in described([contrast])]
    return sorted(told, key=lambda pair: -pair[1].paired.difference)


def _moved(retuned: Sequence[tuple[Winner, Result]], again: Sequence[Result]) -> list[float]:
    """By how much the settings that raced at dropout's time are above those of equal steps in that time, both minus
    dropout's best over the same seeds; 0 where they are the same."""
    before = {r.contrast.a: r.paired.difference for r in again}
    moved = (r.paired.difference - before[w.noise] for w, r in retuned if w.noise in before)
    return [0.0 if math.isclose(by, 0, abs_tol=1e-9) else by for by in moved]


def _beside_tuned(
    tuned: Mapping[str, Winner], raced: Sequence[Winner], reference: Winner, of_tuned: pd.DataFrame
) -> dict[str, Any] | None:
    """Dropout and no noise with lr, decay, schedule and cap tuned, too, and what the noises are to that.

    None where not all of them have trained on the fresh seeds, which had no part in any choice, and ended on two.
    """
    if DROPOUT not in tuned or any({*w.rows["budget"]} != {FRESH} for w in (reference, *tuned.values())):
        return None
    dropout = tuned[DROPOUT]
    gain = described([_contrast(dropout, dropout.rows, reference.rows, measures.VAL_ACC)])
    if not gain or gain[0].paired.n < 2:
        return None
    minus = functools.partial(_contrast, other=dropout.rows, measure=measures.VAL_ACC)
    clone = of_tuned[of_tuned["noise"] == CLONE]
    sides = (by_seed(clone, measures.VAL_ACC), by_seed(dropout.rows, measures.VAL_ACC))
    to_tuned = described(minus(w, w.rows) for w in raced)
    on = {*map(kind, pd.concat([clone, *(w.rows for w in tuned.values())])["device"])}
    return {
        **tuned,
        "gain": gain,
        "clone": described([Contrast(CLONE, DROPOUT, ("validation",), measures.VAL_ACC, sides)]),
        "to_tuned": to_tuned,
        "to_clone": described(_contrast(w, w.rows, clone, measures.VAL_ACC) for w in raced),
        "to_none": described(minus(w, w.rows) for w in tuned.values() if w.noise == "none"),
        "to_others": [r for r in to_tuned if r.contrast.a not in GUARDS],
        "elsewhere": on != {*reference.devices[0]},
    }


def _contrast(winner: Winner, rows: pd.DataFrame, other: pd.DataFrame, measure: Measure) -> Contrast:
    return Contrast(
        winner.noise, DROPOUT, ("validation",), measure, (by_seed(rows, measure), by_seed(other, measure))
    )


def _averaging(winner: Winner) -> Contrast:
    """What the average of the weights does to a noise's own runs."""
    sides = (by_seed(winner.rows, measures.EMA_VAL_ACC), by_seed(winner.rows, measures.VAL_ACC))
    return Contrast(winner.noise, "as trained", ("validation",), measures.EMA_VAL_ACC, sides)


def _control_setting(winner: Winner) -> dict[str, Any]:
    """The rates of the noise's control."""
    return control(winner.noise, winner.setting)


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
    for name in shown["unused"]:
        why = f"by sweeps/noises_*.yaml and {folder / RATIOS} there is no such race"
        print(f"{folder / name}.csv is not used: {why}", file=sys.stderr)
    differences = [r for measure in SHOWN[:2] for r in shown["results"][measure]]
    drawn = figures.forest(differences, lambda r: phrases.named(r.contrast.a), look=_look)
    chapter.save(drawn, to / "figures", "ranking", LANGUAGES)
    return [page.write("noises.md", shown, to, language) for language in LANGUAGES]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = Parser(prog="python -m analysis.noises", description=__doc__)
    text = f"The folder of the race's tables. The default is {RESULTS.relative_to(REPOSITORY)}."
    parser.add_argument("--from", dest="source", type=Path, default=RESULTS, metavar="FOLDER", help=text)
    text = "Where the page is written. The default is the tables' folder."
    parser.add_argument("--to", type=errors.folder, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    print(*(f"Open {path}" for path in write(options.source, options.to or options.source)), sep="\n")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
