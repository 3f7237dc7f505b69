"""The command `python -m analysis.report`: the chapter's exercises, answered in one report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from src.errors import DONE, SOME_RUNS_LOST, command, events

LANGUAGES = ("en", "zh")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description=(
            "Answers the chapter's exercises from their finished sweeps. Writes index.html (one self-contained "
            "page), report.md, figures/ and, for each sweep, compressed tables of every run's every epoch, from "
            "which alone the report can be made again."
        ),
        epilog=(
            "The exit code is 0 if all is well, 1 if runs failed, diverged, are unfinished or damaged, or an "
            "exercise could not be answered (the report is written from the others and names them), 2 for bad "
            "input, and 3 where a folder cannot be read or written."
        ),
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--output",
        type=Path,
        default=Path("outputs"),
        metavar="FOLDER",
        help="The folder of the results, with sweeps/ and runs/ in it. The default is %(default)s.",
    )
    source.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FOLDER",
        help="Takes the tables of an earlier report, such as analysis/results, and no run.",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help=(
            "Where the report is written. The default is OUTPUT/report, with --small OUTPUT/report_small, and "
            "with --from that folder."
        ),
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="Takes the sweeps that were trimmed by overrides, not those of full size; of several the last.",
    )
    parser.add_argument(
        "--language",
        choices=LANGUAGES,
        help="The language of the page: index.html is in English, index.zh.html in Chinese. The default is both.",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="Says each exercise's verdict and the pages as one line of JSON on standard output.",
    )
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; the exit code, see `--help`."""
    options = _parser().parse_args(arguments)
    if options.json:
        events.begin()
    return report(options.output, options.source, options.to, options.small, options.language)


def report(
    output: Path,
    source: Path | None = None,
    to: Path | None = None,
    small: bool = False,
    language: str | None = None,
) -> int:
    """Write the report; the exit code, see `--help`."""
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import chapter

    folder = to or source or output / ("report_small" if small else "report")
    found = chapter.kept(source, folder, small) if source else chapter.trained(output, folder, small)
    said = chapter.answered(found, folder)
    pages = [chapter.write(said, each) for each in ([language] if language else LANGUAGES)]
    faults = chapter.faults(said)
    for line in [*found.unused, *faults]:
        print(line, file=sys.stderr)
    for section in said.sections:
        state = section.facts.verdict if section.facts else "no answer" if section.error else "not run yet"
        print(f"{section.module.NUMBER}. {section.name}: {state}")
    print(*(f"Open {page}" for page in pages), sep="\n")
    answers = [
        {
            "number": section.module.NUMBER,
            "name": section.name,
            "verdict": section.facts.verdict if section.facts else None,
            "error": section.error,
        }
        for section in said.sections
    ]
    events.tell("end", exercises=answers, pages=pages, problems=[str(fault) for fault in faults])
    return SOME_RUNS_LOST if faults else DONE


if __name__ == "__main__":
    sys.exit(main())
