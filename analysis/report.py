"""The command `python -m analysis.report`: the chapter's exercises, answered from their finished sweeps.

It writes index.html (one self-contained page), report.md, figures/ and, for each sweep, compressed tables of every
run's every epoch, from which alone the report can be made again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from src.errors import DONE, SOME_RUNS_LOST, Parser, command, events, folder

LANGUAGES = ("en", "zh")
OUTPUT = Path("outputs")


def _parser() -> Parser:
    parser = Parser(prog="python -m analysis.report", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    which = {"type": folder, "metavar": "FOLDER"}
    text = "The folder of the results, with sweeps/ and runs/ in it. The default is %(default)s."
    source.add_argument("--output", default=OUTPUT, help=text, **which)  # type: ignore[arg-type]
    text = "Takes the tables of an earlier report, such as analysis/results, and no run."
    source.add_argument("--from", dest="source", help=text, **which)  # type: ignore[arg-type]
    text = (
        "Where the report is written. The default is OUTPUT/report (--small: OUTPUT/report_small), or --from."
    )
    parser.add_argument("--to", help=text, **which)  # type: ignore[arg-type]
    text = "Takes the sweeps that were trimmed by overrides, not those of full size; of several the last."
    parser.add_argument("--small", action="store_true", help=text)
    text = (
        "The language of the page: index.html is in English, index.zh.html in Chinese. The default is both."
    )
    parser.add_argument("--language", choices=LANGUAGES, help=text)
    text = "Says each exercise's verdict and the pages as one line of JSON on standard output."
    parser.add_argument("--json", action="store_true", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; the exit code, see `--help`."""
    events.begin_if_asked(arguments)
    options = _parser().parse_args(arguments)
    return report(options.output, options.source, options.to, options.small, options.language)


def report(
    output: Path = OUTPUT,
    source: Path | None = None,
    to: Path | None = None,
    small: bool = False,
    language: str | None = None,
) -> int:
    """Write the report; the exit code, see `--help`."""
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import chapter

    folder = to or source or output / ("report_small" if small else "report")
    tables = chapter.tables_of(source or output / "sweeps", folder, small, kept=source is not None)
    languages = [language] if language else LANGUAGES
    answered = chapter.answered(tables, folder, languages)
    pages = [chapter.write(answered, language) for language in languages]
    faults = chapter.faults(answered)
    for line in [*tables.unused, *faults]:
        print(line, file=sys.stderr)
    for section in answered.sections:
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
        for section in answered.sections
    ]
    events.tell("end", exercises=answers, pages=pages, problems=faults)
    return SOME_RUNS_LOST if faults else DONE


if __name__ == "__main__":
    sys.exit(main())
