"""The command `python -m analysis.race`: settings of noises race over seeds, so that poor ones cost one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis import design, runs
from analysis.raced import RESULTS, STEPS, TIME, best
from analysis.reproduce import OUTPUT, run
from src.errors import DONE, SOME_RUNS_LOST, InputError, Parser, command
from src.errors.messages import key_of
from src.runs import store, sweep_folder
from src.runs.store import write_whole
from src.sweeping.naming import setting, sweep_name

RATIOS = "ratios.csv"
"""What an epoch with each noise takes over one without any, columns noise and ratio: of a quiet core."""

RUNGS = (("0", 1), ("range(1,4)", 3))
"""Seeds of a rung, and which share of the first settings reaches it: one in so many, at least two of a noise."""

REFERENCE = "dropout"
"""Its time is what each noise gets."""


def _parser() -> Parser:
    parser = Parser(
        prog="python -m analysis.race",
        description=(
            "Races the settings of each noise in named sweeps: all of them on one seed, the best third by mean "
            "validation accuracy on three more. Then the best once more at equal time, "
            f"where {RATIOS} says what an epoch with their noise takes. Writes one table a sweep. Started "
            "again it trains only what is missing."
        ),
    )
    parser.add_argument("sweeps", nargs="+", metavar="NAME", help="Sweeps, such as noises_basic.")
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="FOLDER",
        help="The folder of the runs. The default is %(default)s.",
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="Where tables go. The default is %(default)s.",
    )
    parser.add_argument(
        "--trim",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="Overrides of every run, for a small version.",
    )
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Race; the exit code of the worst sweep."""
    options = _parser().parse_args(arguments)
    ratios = read_ratios(options.to / RATIOS)
    if ratios is None:
        print(f"no table at equal time, as there is no {options.to / RATIOS}", file=sys.stderr)
    code = DONE
    for sweep in options.sweeps:
        found = race(sweep, options.output, options.to, options.trim, ratios)
        if found > SOME_RUNS_LOST:
            return found
        code = max(code, found)
    return code


def read_ratios(path: Path) -> dict[str, float] | None:
    """What an epoch takes by noise; None without such a table.

    Raises:
        InputError: if it says nothing of dropout, or a ratio that is none.
    """
    if not path.exists():
        return None
    table = pd.read_csv(path)
    ratios = dict(zip(table["noise"], table["ratio"], strict=True))
    if REFERENCE not in ratios or not all(ratio > 0 for ratio in ratios.values()):
        raise InputError(f"{path}: a ratio above 0 for each noise, {REFERENCE} among them, is right")
    return ratios


def race(sweep: str, output: Path, to: Path, trim: Sequence[str], ratios: Mapping[str, float] | None) -> int:
    """One sweep's rungs, and its table after each; the exit code of the worst."""
    arms = design.read(sweep).arms if (design.SWEEP_FILES / f"{sweep}.yaml").is_file() else ()
    if not all("noise" in arm for arm in arms) or "noise" in map(key_of, trim):
        raise InputError("NAME", sweep, "its arms must set noise, and no --trim: settings of each noise race")
    table, keys, code = pd.DataFrame(), tuple[str, ...](), DONE

    def train(budget: str, *overrides: str) -> int:
        nonlocal table, keys, code
        named = [f"sweep={sweep}", *trim, *overrides]
        found = run(["src.train", *named, *([] if output == OUTPUT else [f"output={output}"])])
        code = max(code, found)
        if found <= SOME_RUNS_LOST:
            folder = output / "sweeps" / sweep_name(named)
            keys = keys or runs.read_list(folder)[1]
            table = pd.concat([table, rows(folder, keys).assign(budget=budget)], ignore_index=True)
            to.mkdir(parents=True, exist_ok=True)
            write_whole(to / f"{sweep}.csv", table.to_csv(index=False))
        return found

    finalists: list[str] = []
    for seeds, one_in in RUNGS:
        finalists = best(table, keys, one_in) if len(table) else []
        chosen = [f"hydra.sweeper.arms={json.dumps(finalists)}"] if finalists else []
        if train(STEPS, f"seed={seeds}", *chosen) > SOME_RUNS_LOST:
            return code
    for arm in best(table, keys, len(table), least=1) if ratios else []:
        ratio = (ratios or {}).get(dict(part.split("=") for part in arm.split())["noise"])
        epochs = int(table["epochs"].iloc[0])
        if (
            ratio is not None
            and (scaled := max(1, round(epochs * (ratios or {})[REFERENCE] / ratio))) != epochs
        ):
            again = ("seed=range(4)", f"epochs={scaled}", f"hydra.sweeper.arms={json.dumps([arm])}")
            if train(TIME, *again) > SOME_RUNS_LOST:
                return code
    return code


def rows(folder: Path, keys: Sequence[str]) -> pd.DataFrame:
    """A sweep's finished and diverged runs, a row each: its settings, seed, epochs, seconds and last metrics."""
    listed, _ = runs.read_list(folder)
    told = []
    for run_id in listed["id"]:
        record = store.read_record(sweep_folder.runs_of(folder) / run_id)
        if record is None or record["state"] == store.FAILED:
            continue
        config = record["config"]
        final = record["final"] if record["state"] == store.FINISHED else {}
        measured = {
            key: value for key, value in final.items() if key.rpartition("_")[2] in ("acc", "loss", "ece")
        }
        told.append(
            {
                **{key: setting(config, key) for key in keys},
                **{key: config[key] for key in ("seed", "epochs")},
                **{key: record[key] for key in ("id", "state", "seconds")},
                **measured,
            }
        )
    return pd.DataFrame(told)


if __name__ == "__main__":
    sys.exit(main())
