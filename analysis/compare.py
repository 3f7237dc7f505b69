"""The command `python -m analysis.compare outputs/sweeps/NAME`: a comparison report of any sweep.

It compares the arms, that is the settings but for the seed, at the last epoch of each run; several sweeps are
compared as one. It writes index.html (one self-contained page), report.md and figures/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from src.errors import DONE, SOME_RUNS_LOST, Parser, command, events, folder

if TYPE_CHECKING:
    from analysis.comparison import Compared

CONSOLE_ARMS = 30


def _parser() -> Parser:
    parser = Parser(prog="python -m analysis.compare", description=__doc__)
    text = (
        "The folder of a sweep, such as outputs/sweeps/swap_rates; of several, the runs make one comparison."
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help=text)
    text = (
        "By which the arms are compared and the conclusion is drawn: a column of metrics.csv, also one that a "
        "noise, optimizer or model of one's own logs. The default is what the sweep declares "
        "(hydra.sweeper.primary) or test_acc, and where a search is among them the validation metric that it "
        "optimised: its best trial is not to be chosen by the test set."
    )
    parser.add_argument("--metric", metavar="COLUMN", help=text)
    text = (
        "Compares each arm with this one, named as in the sweep's own table, such as 'noise=none', or by what it "
        "alone has. Without it the contrast that the sweep declares is judged, or else all pairs, from 7 arms on "
        "each with the first."
    )
    parser.add_argument("--baseline", metavar="ARM", help=text)
    text = (
        "Where the report is written. The default is the sweep's own folder; of several, OUTPUT/comparisons/."
    )
    parser.add_argument("--to", type=folder, metavar="FOLDER", help=text)
    text = (
        "Compares those runs alone: KEY=VALUE or KEY!=VALUE of any key of their config, 'tags has WORD' or "
        "'tags lacks WORD' of the tags of the sweep and of the run. May be given several times. The report goes to "
        "FOLDER/where/CONDITION, and what the sweep declares, which is of all its arms, is not judged."
    )
    parser.add_argument("--where", action="append", default=[], metavar="CONDITION", help=text)
    text = "Says what the report says as one line of JSON on standard output, and all else on standard error."
    parser.add_argument("--json", action="store_true", help=text)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; the exit code, see `--help`."""
    events.begin_if_asked(arguments)
    options = _parser().parse_args(arguments)
    # Imported here, so that --help and a mistyped option need not wait for pandas and seaborn.
    from analysis import programs
    from analysis.comparison import compare, write

    compared = compare(options.folders, options.metric, options.baseline, options.where)
    page = write(compared, options.to)
    for problem in compared.sweep.problems:
        print(problem, file=sys.stderr)
    _show(compared)
    print(f"Open {page}")
    if options.json:
        events.tell("end", **programs.facts(compared, page))
    return SOME_RUNS_LOST if compared.sweep.problems else DONE


def _show(compared: Compared) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from analysis.comparison import conclusion
    from analysis.phrases import ENGLISH, mean
    from src.errors.terminal import spelled

    measure = compared.measure
    shown = Table(title=escape(compared.sweep.name), title_justify="left")
    for position, header in enumerate(("arm", "runs", f"{measure.label}: mean ± SD", "95% interval")):
        shown.add_column(
            escape(spelled(header)), justify="right" if position > 1 else "left", overflow="fold"
        )
    for arm in compared.arms[:CONSOLE_ARMS]:
        summary = arm.summaries[measure]
        span = ENGLISH.span(summary.interval, measure)
        cells = (arm.name, ENGLISH.counts(arm), mean(summary, measure), span)
        shown.add_row(*(escape(spelled(cell)) for cell in cells))
    console = Console(highlight=False)
    console.print(shown)
    if len(compared.arms) > CONSOLE_ARMS:
        console.print(f"The first {CONSOLE_ARMS} of {len(compared.arms)} arms; the report has them all.")
    console.print(escape(conclusion(compared)))


if __name__ == "__main__":
    sys.exit(main())
