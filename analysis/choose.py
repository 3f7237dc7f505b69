"""The command `python -m analysis.choose weight_decay`: the arms of a sweep that an earlier one chooses.

It prints them as one line that is the value of hydra.sweeper.arms: python -m src.train sweep=weight_decay_test
"hydra.sweeper.arms=$(python -m analysis.choose weight_decay)". Runs without a result are named on stderr, and the
choice is made from the others. It is refused if nothing is known of an arm because none of its runs is finished; an
arm whose runs all diverged has lost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src.errors import InputError, Parser, command, events

if TYPE_CHECKING:
    from analysis.tables import Table


def _parser() -> Parser:
    code = "The exit code is 0 if the choice could be made, and 2 if it could not or for bad input."
    parser = Parser(prog="python -m analysis.choose", description=__doc__, epilog=code)
    text = "The exercise that chooses, by the name of its first sweep: weight_decay."
    parser.add_argument("name", metavar="NAME", help=text)
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
    """Print the arms; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    if options.json:
        events.begin()
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import exercises, tables

    choosers = [name for name in exercises.names() if hasattr(exercises.load(name), "choose")]
    if options.name not in choosers:
        known = "chooses no arms" if options.name in exercises.names() else "is no exercise"
        raise InputError(f"{options.name} {known}; one of these is right: {', '.join(choosers)}")
    first = exercises.load(options.name).SWEEPS[0]
    folder = options.sweep or first
    if options.kept:
        table = tables.load(options.kept, folder)
    else:
        table = tables.collect(Path(options.output) / "sweeps" / folder)
    if table.sweep != first:
        raise InputError(f"{table.name} is no {first}; a sweep of that name is right")
    found = arms(options.name, table)
    for problem in table.problems:
        print(problem, file=sys.stderr)
    # Hydra reads it as a list of texts: each in quotes, for it holds spaces
    print(json.dumps(found, separators=(",", ":")))
    if options.json:
        from analysis import programs

        events.tell("end", sweep=table.name, arms=found, problems=programs.problems(table.problems))


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
    found: list[str] = exercises.load(name).choose(table)
    return found


if __name__ == "__main__":
    sys.exit(main())
