"""The command line of the measurement."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from src import components


def parse_arguments(purpose: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; `purpose` opens the help. A wrong value ends the process with one line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.throughput",
        description=f"{purpose} Without a section's option it measures one run: against the recipe and the "
        "floor, its start, and its memory; that takes a few minutes. It needs Fashion-MNIST, and fetches it "
        "as a run does. The report goes to stdout, progress to stderr. The exit code is 0 whether or not the "
        "targets are met.",
    )
    sections = {
        "--sweep": "Measures a sweep of eight runs, with one worker and with two, against the book's recipe "
        "under Hydra's joblib launcher and under its basic one.",
        "--cpu-stacks": "Measures runs that train as one fused stack on a core, beside one alone.",
        "--noises": "Measures an epoch with each noise beside one without any.",
        "--overhead": "Measures what a sweep costs each run beside its training, and how long the same "
        "command takes once all its runs are finished.",
        "--collect": "Measures how long the report takes to collect 10,000 finished runs, and its memory.",
        "--search": "Measures a search beside a plain sweep of as many runs of about a second.",
        "--until": "Measures a sweep that is decided at 20 of at most 60 seeds beside a plain one of 20, and the "
        "planning of a look of 1,000 arms.",
        "--engines": "Measures what Ray and Dask cost each pack over loky, and a sweep on two Ray nodes of a "
        "core each beside one; an engine that is not installed is left out.",
        "--gpu": "Measures stacks of runs on a GPU beside its products, runs one after another and a JAX script, "
        "with and without TF32, and a sweep of 1,000 runs; nothing where there is none.",
        "--reproduce": "Estimates how long `make reproduce` takes for each exercise, and `make noises` for each "
        "part, on two cores of this machine, from the time of an epoch of each kind of their runs.",
        "--scale": "Measures what a sweep of 10,000 tiny runs and one of a tenth of them cost, and reckons from "
        "both what sweeps of 1,000, 100,000 and 10,000,000 runs cost: the tables of sweeps/SCALE.md. Not part of "
        "--all, as it takes about ten minutes.",
        "--all": "Takes every measurement.",
    }
    for flag, text in sections.items():
        parser.add_argument(flag, action="store_true", help=text)
    numbers = {
        "--epochs": (1, "Sets the epochs of each arm in a round, but for the sweeps."),
        "--repeats": (3, "Sets the number of rounds, but for the sweeps."),
        "--sweep-epochs": (5, "Sets the epochs of each run in the sweep of eight."),
        "--basic-epochs": (
            1,
            "Sets the epochs of each of the recipe's runs under the basic launcher; seconds per run-epoch are "
            "compared.",
        ),
        "--sweep-repeats": (1, "Sets the number of rounds of the sweeps."),
        "--trials": (40, "Sets the runs of the search, and of the sweep beside it."),
    }
    for flag, (default, text) in numbers.items():
        parser.add_argument(
            flag, type=int, default=default, help=f"{text} The default is {default}.", metavar="N"
        )
    numbers_of_packs = (
        "Sets the number of packs, of a run each, that measure the engines. The default is 100."
    )
    parser.add_argument("--packs", type=int, default=100, help=numbers_of_packs, metavar="N")
    parser.add_argument(
        "--runs",
        type=int,
        help="Sets the number of runs of the sweep that measures overhead (the default is 300, the targets are for "
        "2000), or of the largest that --scale measures (the default is 10000).",
        metavar="N",
    )
    parser.add_argument(
        "--run-epoch",
        type=float,
        help="Tells --scale how many seconds all cores together take for an epoch of a run of the book's. "
        "Without it that is measured, which needs Fashion-MNIST.",
        metavar="SECONDS",
    )
    parser.add_argument(
        "--to",
        type=Path,
        help="With --noises, measures them at settings and in the regime of their race, training alone, and writes "
        "the table that the race at equal time reads: analysis/results/noises/ratios.csv.",
        metavar="FILE",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        choices=components.names("noise"),
        help="With --noises, measures these alone, beside none.",
        metavar="NOISE",
    )
    options = parser.parse_args(arguments)
    for name in ("to", "only"):
        if getattr(options, name) and not options.noises:
            parser.error(f"--{name} is an option of --noises.")
    if options.runs is None:
        options.runs = 10_000 if options.scale else 300
    for name in ("epochs", "repeats", "sweep_epochs", "basic_epochs", "sweep_repeats", "trials"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1.")
    if options.trials % 2:
        parser.error("--trials must be even.")
    if options.packs < 20:
        parser.error("--packs must be at least 20.")
    if options.runs < 10 or options.runs % 2:
        parser.error("--runs must be an even number of at least 10.")
    if options.scale and options.runs % 20:
        parser.error("--runs must be a multiple of 20 with --scale.")
    if options.run_epoch is not None and not options.run_epoch > 0:
        parser.error("--run-epoch must be above 0.")
    if options.scale and options.all:
        parser.error("--scale is a measurement of its own; leave out --all.")
    return options
