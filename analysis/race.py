"""The command `python -m analysis.race`: settings of noises race over seeds, so that poor ones cost few runs.

The best train once more, on fresh seeds and for as much time as dropout takes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis import equal_time, exercises, parsing, records, runs
from analysis.equal_time import RATIOS, is_same
from analysis.families import GUARDS, clones, controls
from analysis.races import (
    EQUAL_TIME,
    FRESH_SEEDS,
    FURTHER,
    SPLIT,
    TUNED,
    Source,
    all_races,
    check,
    parts,
    raced_in,
    sources,
)
from analysis.reproduce import OUTPUT, run
from analysis.tables import NOISES as RESULTS
from src import components, errors
from src.checks import integer, one_of, real
from src.config import RATES
from src.errors import DONE, REPOSITORY, SOME_RUNS_LOST, InputError, Parser, command
from src.errors.messages import key_of
from src.runs import store, sweep_folder
from src.runs.store import write_whole
from src.sweeping.naming import setting, sweep_name
from src.sweeping.planning import split_arm

STEPS, FRESH, TIME = "steps", "fresh", "time"
"""Budgets: as many epochs for each noise, in the race and on `FRESH_SEEDS`; or on these as much time."""

HALF, ONE_IN = 2, 6
"""Of a noise's settings one in so many goes on after the first seed, so that poor ones cost one run, and one in so
many after the file's other seeds; at least two."""

RECORDED = ("epochs", "state", "seconds", "budget", "device")
"""Columns of each race's table behind the seed, beside the metrics."""

SHARES = ("train_acc", "val_acc", "test_acc", "test_ece")
METRICS = (*SHARES, "val_loss")
"""Those that are shown; a table of nothing but diverged runs has none."""


def _parser() -> Parser:
    text = (
        "Races the settings of each noise in named sweeps: all of them on one seed, the better half on the file's "
        "other seeds, the best sixth by mean validation accuracy on four more. Then the best one of each noise "
        "trains on eight fresh seeds, each with a split into training and validation images of its own, unless the "
        f"race's seeds have that already; and in the parts once more at equal time, where {RATIOS} says that an "
        "epoch takes longer or shorter. Writes one table a sweep. Started again it trains only what is missing."
    )
    parser = Parser(prog="python -m analysis.race", description=text)
    text = (
        f"Sweeps, such as noises_basic; or {EQUAL_TIME}NOISE, the noise's settings with as many epochs as take as "
        f"long as dropout's. The default is all of noises_*, {TUNED} and, without --trim epochs, {EQUAL_TIME}NOISE "
        f"of each noise that takes another time by {RATIOS}."
    )
    parser.add_argument("sweeps", nargs="*", metavar="NAME", help=text)
    text = "The folder of the runs. The default is %(default)s."
    parser.add_argument("--output", type=errors.folder, default=OUTPUT, metavar="FOLDER", help=text)
    text = f"Where tables go. The default is {RESULTS.relative_to(REPOSITORY)}."
    parser.add_argument("--to", type=errors.folder, metavar="FOLDER", help=text)
    text = "Overrides of every run, for a small or another version, whose tables go to a --to of its own."
    parser.add_argument("--trim", nargs="*", default=[], metavar="KEY=VALUE", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Race; the exit code of the worst sweep."""
    options = _parser().parse_args(arguments)
    if options.trim and not options.to:
        right = (
            f"must have --to FOLDER beside it; tables in {RESULTS.relative_to(REPOSITORY)} are of whole races"
        )
        raise InputError(f"--trim {' '.join(options.trim)}: {right}")
    to = options.to or RESULTS
    ratios = equal_time.read_ratios(to / RATIOS)
    untimed = [of for of in options.trim if key_of(of) == "epochs"]  # then no time is equal
    code, names = DONE, options.sweeps or all_races(None if untimed else ratios)
    several = {noise: of for noise, of in raced_in().items() if len(of) > 1 and noise not in GUARDS}
    for noise, files in several.items() if ratios and not options.sweeps else ():
        print(
            f"no race at equal time of {noise}, as {' and '.join(files)} have its settings", file=sys.stderr
        )
    known = {f"{EQUAL_TIME}{noise}" for noise in raced_in()} if untimed else set()
    for name in names:
        if name in known:
            right = f"leave it out, as {name} has as many epochs as take dropout's time"
            raise InputError(f"--trim {untimed[0]}: {right}")
    races = sources(names, ratios)
    for of in races:
        check(of, options.trim)
    if ratios is None:
        print(f"no table at equal time, as there is no {to / RATIOS}", file=sys.stderr)
    for of in races:
        code = max(code, race(of, options.output, to, options.trim, ratios))
        if code > SOME_RUNS_LOST:
            break
    return code


def read_table(path: Path) -> pd.DataFrame:
    """A table that a race has written: noise, the other keys, seed, `RECORDED`, metrics; an empty cell is missing.

    Raises:
        InputError: if it cannot be read, lacks a column, or has a cell that cannot be right.
    """
    right = "a table of python -m analysis.race is right"
    table = parsing.read(path, right, ["noise", "seed", *RECORDED])
    if table.empty:
        raise InputError(f"{path}: no run is listed; {right}")
    for column in METRICS if store.FINISHED in set(table["state"]) else ():
        if column not in table:
            raise InputError(f"{path}: the column {column} is missing; {right}")
    keys = list(table)[: list(table).index("seed")]
    for column in keys:
        if column in RECORDED or is_metric(column):
            raise InputError(f"{path}: {column} is no setting, and must stand behind seed; {right}")
    needed = {
        "noise": one_of(*components.names("noise")),
        "seed": integer(0),
        "epochs": integer(1),
        "state": one_of(store.FINISHED, store.DIVERGED),
        "seconds": real(0),
    }

    def takes_numbers(key: str) -> bool:
        return key in RATES or any(not isinstance(parsing.value(text), str) for text in table[key])

    numbers = list(filter(takes_numbers, keys))
    numbers += [column for column in table if is_metric(column)]
    checks = {column: real(0, 1) if column in (*RATES, *SHARES) else real() for column in numbers}
    typed = {column: parsing.checked(table[column], path, of) for column, of in needed.items()}
    typed |= {column: parsing.checked(table[column], path, of, True) for column, of in checks.items()}
    words = {key: table[key].where(table[key] != "") for key in keys if key not in typed}
    return table.assign(**words, **typed)


def is_metric(column: str) -> bool:
    """Whether a table of a race has it of a run's last metrics."""
    return column.rpartition("_")[2] in ("acc", "loss", "ece")


def race(of: Source, output: Path, to: Path, trim: Sequence[str], ratios: Mapping[str, float] | None) -> int:
    """One race's rungs, and its table after each; the exit code of the worst."""
    table, code = pd.DataFrame(), DONE
    name, keys, seeds = of.name, of.keys, of.seeds

    def rungs() -> Iterator[tuple[str, list[str]]]:
        """Budget and overrides of each rung, by the table that those before it have left."""
        yield STEPS, ["seed=range(1)", *([f"hydra.sweeper.arms={json.dumps(of.arms)}"] if of.arms else [])]
        for begin, end, one_in in ((1, seeds, HALF), (seeds, seeds + FURTHER, ONE_IN)):
            if begin < end and (arms := best(table, keys, one_in)):
                yield STEPS, [f"seed=range({begin},{end})", f"hydra.sweeper.arms={json.dumps(arms)}"]
        if not (winners := best(table, keys, len(table), least=1)):
            return
        ranking = [f"seed=range({seeds})"]
        if not of.splits:
            ranking = [f"seed=range({FRESH_SEEDS.start},{FRESH_SEEDS.stop})", f"{SPLIT}=${{seed}}"]
            guards = clones(winners) if name == TUNED else controls(winners) if name in parts() else ()
            yield FRESH, [*ranking, f"hydra.sweeper.arms={json.dumps([*winners, *guards])}"]
        for arm in winners if ratios and name in parts() else []:  # ratios are of their regime
            slower = equal_time.slowness(ratios, dict(part.split("=", 1) for part in split_arm(arm))["noise"])
            if slower is not None and not is_same(slower):
                epochs = equal_time.at_equal_time(int(table["epochs"].iloc[0]), slower)
                yield TIME, [*ranking, f"epochs={epochs}", f"hydra.sweeper.arms={json.dumps([arm])}"]

    for budget, overrides in rungs():
        named = [f"sweep={of.planned.sweep}", *trim, *of.overrides, *overrides]
        code = max(code, run(["src.train", *named, *([] if output == OUTPUT else [f"output={output}"])]))
        if code > SOME_RUNS_LOST:
            break
        folder = output / "sweeps" / sweep_name(named)
        listed, _ = runs.read_list(folder)
        ended = rows(folder, keys, budget)
        if len(ended) < len(listed):
            code = max(code, SOME_RUNS_LOST)
        table = pd.concat([table, ended], ignore_index=True)
        if not best(table, keys, len(table), least=1):
            print(f"{name}: no setting finished all its runs; its race ends here", file=sys.stderr)
        to.mkdir(parents=True, exist_ok=True)
        write_whole(to / f"{name}.csv", table.to_csv(index=False))
    return code


def best(table: pd.DataFrame, keys: Sequence[str], one_in: int, least: int = 2) -> list[str]:
    """Of each noise the best settings, see `exercises.ranked`, as arms.

    Settings that have fewer seeds than others of their noise are out of the race, and so is one with a run that
    diverged. One in `one_in` of all its settings goes on, or the `least`.
    """
    chosen: list[str] = []
    if "val_acc" not in table:  # each run has diverged
        return chosen
    steps = table[table["budget"] == STEPS]
    steps = steps.assign(arm=arm_names(steps, keys))
    diverged = steps["arm"][steps["val_acc"].isna()]
    for _, of_noise in steps.groupby("noise", sort=False):
        settings = exercises.ranked(of_noise, ["arm"])
        whole = settings["seeds"] == settings["seeds"].max()
        running = settings["arm"][whole & ~settings["arm"].isin(diverged)]
        chosen.extend(running[: max(least, round(len(settings) / one_in))])
    return chosen


def arm_names(table: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Of each row its noise and setting, as an arm."""
    return table[list(keys)].map(runs.shown).apply(lambda row: runs.arm_name(row.to_dict()), axis=1)


def rows(folder: Path, keys: Sequence[str], budget: str) -> pd.DataFrame:
    """A sweep's finished and diverged runs, a row each: its settings, seed, epochs, seconds and last metrics.

    A run that is damaged or gone is left out, which one line says. Without noise all rates are 0, as they have no
    effect: an arm of the second rung does not name them.
    """
    listed, _ = runs.read_list(folder)
    ended = []
    for run_id in listed["id"]:
        path = sweep_folder.runs_of(folder) / run_id
        try:
            record = store.read_record(path)
        except store.Damaged as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if record is None:
            print(f"left out: {path / 'run.json'} is missing", file=sys.stderr)
            continue
        if record["state"] == store.FAILED:
            continue
        config = record["config"]
        if config["noise"]["name"] == "none":
            config = {**config, **dict.fromkeys(RATES, 0.0)}
        final = record["final"] if record["state"] == store.FINISHED else {}
        ended.append(
            {key: setting(config, key) for key in keys}
            | {key: config[key] for key in ("seed", "epochs")}
            | {key: record[key] for key in ("id", "state", "seconds")}
            | {key: of for key, of in final.items() if is_metric(key)}
            | {"budget": budget, "device": records.device(record)}
        )
    return pd.DataFrame(ended)


if __name__ == "__main__":
    sys.exit(main())
