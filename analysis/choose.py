"""The command `python -m analysis.choose weight_decay`: the arms of a sweep that an earlier one chooses."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src.errors import command

if TYPE_CHECKING:
    from analysis.tables import Table

DONE, BAD_INPUT = 0, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.choose",
        description=(
            "Prints the arms that an exercise's first sweep chooses for its second one, as one line that is the "
            "value of hydra.sweeper.arms: python -m src.train sweep=weight_decay_test "
            '"hydra.sweeper.arms=$(python -m analysis.choose weight_decay)".'
        ),
        epilog=(
            "The exit code is 0 if the choice could be made, and 2 if it could not or for bad input. Runs without "
            "a result are named on stderr, and the choice is made from the others. It is refused if nothing is "
            "known of an arm because none of its runs is finished; an arm whose runs all diverged has lost."
        ),
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="The exercise that chooses, by the name of its first sweep: weight_decay.",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--output",
        default="outputs",
        metavar="FOLDER",
        help="The output folder with the sweep's runs. The default is %(default)s.",
    )
    place.add_argument(
        "--from",
        dest="kept",
        metavar="FOLDER",
        help="Reads the tables that a report has kept, such as analysis/results, and needs no runs.",
    )
    parser.add_argument(
        "--sweep",
        metavar="FOLDERNAME",
        help="The name of a trimmed sweep's folder, such as weight_decay__epochs=3. Without it, it is NAME.",
    )
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the arms; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import exercises, tables
    from analysis.runs import InputError

    choosers = [name for name in exercises.names() if hasattr(exercises.load(name), "choose")]
    try:
        if options.name not in choosers:
            known = "chooses no arms" if options.name in exercises.names() else "is no exercise"
            raise InputError(f"{options.name} {known}; one of these is right: {', '.join(choosers)}")
        exercise = exercises.load(options.name)
        folder = options.sweep or exercise.SWEEPS[0]
        if options.kept:
            table = tables.load(options.kept, folder)
        else:
            table = tables.collect(Path(options.output) / "sweeps" / folder)
        if table.sweep != exercise.SWEEPS[0]:
            raise InputError(f"{table.name} is no {exercise.SWEEPS[0]}; a sweep of that name is right")
        check(table)
        arms = exercise.choose(table)
    except InputError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    for problem in table.problems:
        print(problem, file=sys.stderr)
    # Hydra reads it as a list of texts: each in quotes, for it holds spaces
    print(json.dumps(arms, separators=(",", ":")))
    return DONE


def check(table: Table) -> None:
    """Refuse a sweep that has an arm of which nothing is known.

    Raises:
        InputError: if an arm has no usable run, and not because all of them diverged.
    """
    from analysis.runs import InputError, arm_name, arm_names
    from src.runs.store import DIVERGED

    usable = set(arm_names(table.final, table.keys))
    unknown = [
        problem
        for problem in table.problems
        if problem.kind != DIVERGED and arm_name(problem.arm) not in usable
    ]
    if unknown:
        raise InputError(
            f"{table.name} has an arm without any usable run, first: {unknown[0]}; the same command again, which "
            "trains what is missing, is right"
        )


if __name__ == "__main__":
    sys.exit(main())
