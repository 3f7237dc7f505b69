"""The command `python -m analysis.choose`: the second stage of a sweep or search, which retrains what it chose.

Of any sweep or search with a validation split, by its folder: it writes the file of a second sweep into sweeps/, in
which the best setting and the runner-up are judged against a reference by the test set, on fresh seeds, with no
image held out, until that is decided; one command, which is printed, runs it.

Of an exercise, by its name, it prints the arms that the first sweep chooses for the second one, as one line that is
the value of hydra.sweeper.arms: python -m src.train sweep=weight_decay_test
"hydra.sweeper.arms=$(python -m analysis.choose weight_decay)". It is refused if nothing is known of an arm because
none of its runs is finished; an arm whose runs all diverged has lost.

Either way, runs without a result are named on stderr, and the choice is made from the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from src.errors import InputError, Parser, command, events

if TYPE_CHECKING:
    from analysis.runs import Problem
    from analysis.tables import Table


def _parser() -> Parser:
    code = "The exit code is 0 if the choice could be made, and 2 if it could not or for bad input."
    parser = Parser(prog="python -m analysis.choose", description=__doc__, epilog=code)
    text = "A sweep's folder, such as outputs/sweeps/NAME; or the exercise that chooses, by its first sweep's name."
    parser.add_argument("name", metavar="FOLDER|NAME", help=text)
    text = (
        "The name of the second sweep's file, with a folder. The default is the first one's name and _test."
    )
    parser.add_argument("--name", dest="second", metavar="NAME", help=text)
    text = (
        "The setting that the others are judged against, with a folder, such as 'dropout1=0 dropout2=0'. The "
        "default is the one that the sweep declares (hydra.sweeper.primary), else what its keys are by default."
    )
    parser.add_argument("--reference", metavar="OVERRIDES", help=text)
    place = parser.add_mutually_exclusive_group()
    text = "The output folder with the sweep's runs. The default is %(default)s."
    place.add_argument("--output", default="outputs", metavar="FOLDER", help=text)
    text = "Reads the tables that a report has kept, such as analysis/results, and needs no runs."
    place.add_argument("--from", dest="kept", metavar="FOLDER", help=text)
    text = "The name of a trimmed sweep's folder, such as weight_decay__epochs=3. Without it, it is NAME."
    parser.add_argument("--sweep", metavar="FOLDERNAME", help=text)
    text = "Says the arms, and the runs without a result, as one line of JSON on standard output."
    parser.add_argument("--json", action="store_true", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the arms."""
    events.begin_if_asked(arguments)
    options = _parser().parse_args(arguments)
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import exercises, tables

    if Path(options.name).is_dir() and options.name not in exercises.names():
        if options.kept or options.sweep:
            raise InputError("--from and --sweep go with an exercise's name; a folder alone is right")
        _write(Path(options.name), options.second, options.reference)
        return
    if options.second or options.reference:
        raise InputError(f"{options.name} is no sweep's folder, with which --name and --reference go")
    choosers = [name for name in exercises.names() if hasattr(exercises.load(name), "choose")]
    if options.name not in choosers:
        known = "chooses no arms" if options.name in exercises.names() else "is no exercise, and no folder"
        right = f"a sweep's folder, or one of these: {', '.join(choosers)}"
        raise InputError(f"{options.name} {known}; right is {right}")
    first = exercises.load(options.name).SWEEPS[0]
    name = options.sweep or first
    sweeps = Path(options.output) / "sweeps"
    table = tables.load(options.kept, name) if options.kept else tables.collect(sweeps / name)
    if table.sweep != first:
        raise InputError(f"{table.name} is no {first}; a sweep of that name is right")
    chosen = arms(options.name, table)
    _name(table.problems)
    # Hydra reads it as a list of texts: each in quotes, for it holds spaces
    print(json.dumps(chosen, separators=(",", ":")))
    events.tell("end", sweep=table.name, arms=chosen, problems=[*map(asdict, table.problems)])


def _write(folder: Path, name: str | None, reference: str | None) -> None:
    from analysis import second_stage

    stage = second_stage.of(folder, name, reference)
    _name(stage.problems)
    for what, arm in stage.arms:
        print(f"{what}: {arm}")
    print(f"{second_stage.write(stage)}: {len(stage.arms)} arms, on fresh seeds until they are decided")
    print(f"run it: {stage.command}")
    arms, problems = [arm for _, arm in stage.arms], [*map(asdict, stage.problems)]
    events.tell("end", sweep=stage.first, arms=arms, command=stage.command, problems=problems)


def _name(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def arms(name: str, table: Table) -> list[str]:
    """Arms of an exercise's second sweep, by the first one's table.

    Raises:
        InputError: if the table does not allow a choice: nothing is known of an arm whose runs have no result, and
            not because all of them diverged.
    """
    from analysis import exercises, runs
    from src.runs.store import DIVERGED

    usable = set(runs.arm_names(table.final, table.keys))
    lost = (problem for problem in table.problems if problem.kind != DIVERGED)
    unknown = next((problem for problem in lost if runs.arm_name(problem.arm) not in usable), None)
    if unknown:
        raise InputError(
            f"{table.name} has an arm without any usable run, first: {unknown}; the same command again, which "
            "trains what is missing, is right"
        )
    chosen: list[str] = exercises.load(name).choose(table)
    return chosen


if __name__ == "__main__":
    sys.exit(main())
