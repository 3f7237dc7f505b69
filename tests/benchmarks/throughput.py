"""Measures how fast this project trains, beside the book's recipe and the floor of its matrix products.

Each arm runs in processes of its own. The arms take turns, round after round, and ratios are taken within a
round, so that other work on the machine touches both sides; the table gives medians over the rounds.
"""

from __future__ import annotations

import argparse
import csv
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from loky import cpu_count

if __package__ in (None, ""):
    sys.exit("Run it from the repository's root as `python -m tests.benchmarks.throughput`.")

from tests.benchmarks import arms, collect, commands, gpu, reproduce, scale
from tests.benchmarks.arms import Worker
from tests.benchmarks.commands import our_runs, recipe_runs, run_epochs, span, start_up
from tests.benchmarks.options import parse_arguments
from tests.benchmarks.report import Line, line, machine, markdown, ratios

EPOCH = "s per run-epoch"
STACKS = (1, 2, 4, 8)
SWEEP = ("sweep=rate_order", "seed=0,1,2,3", "device=cpu")
"""Two pairs of rates and four seeds: eight runs."""

RECIPE_SWEEP = ("rates=[0.2,0.5],[0.5,0.2]", "seed=0,1,2,3")
TINY = ("data=digits", "epochs=1", "batch_size=1437", "model.hidden1=8", "model.hidden2=8", "device=cpu")
"""A run that trains in a few milliseconds: one step of a net of 690 parameters."""

PACKED = 256
"""Runs in a stack on a GPU."""

GPU_SWEEP = (
    "1,000 runs of 10 epochs",
    ("device=cuda", "epochs=10", "dropout1=0.2,0.5", "seed=range(500)"),
)

MILLI = "ms per run-epoch"
PAIRS = (60, 50)
"""Seeds and epochs of the runs that tell what a precision does to the accuracy."""

COLLECTED = 10_000
"""Runs of the sweep that is collected."""

SECOND = (
    "data=digits",
    "data.validation=200",
    "epochs=150",
    "model.hidden1=64",
    "model.hidden2=64",
    "device=cpu",
)
"""A run that trains for about a second on one core."""

LOOKS = (2, 20, 60)
"""Seeds at the looks of a sweep that is decided at the second one."""

MANY_ARMS = ("dropout1=range(0,0.79,0.02)", "dropout2=range(0,0.5,0.02)", "seed=range(60)")
"""A sweep of 1,000 arms."""


def say(text: str) -> None:
    """Progress, on stderr: stdout is the report."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def workers(*threads: int | None, pinned: bool = False) -> Iterator[list[Worker]]:
    """A worker process for each number of threads; pinned, all of them to one core."""
    with ExitStack() as stack:
        found = [Worker(count, pinned) for count in threads]
        for worker in found:
            stack.callback(worker.close)
        yield found


def rounds(arms_by_name: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each arm in each round."""
    found: dict[str, list[float]] = {name: [] for name in arms_by_name}
    for number in range(1, repeats + 1):
        for name, arm in arms_by_name.items():
            found[name].append(arm())
        say(f"  round {number} of {repeats}: " + ", ".join(f"{n} {v[-1]:.2f}" for n, v in found.items()))
    return found


def side_by_side(workers: Sequence[Worker], epochs: int, overrides: Sequence[str] = ()) -> float:
    """Seconds per run-epoch of ours, a run on each worker at once."""
    started = time.perf_counter()
    for call in [worker.begin(arms.ours, epochs, 1, overrides) for worker in workers]:
        call.result()
    return (time.perf_counter() - started) / (epochs * len(workers))


def warm_up(worker: Worker, size: int = 1) -> None:
    """Let the process load its data and touch its memory; an epoch of the recipe is long enough without."""
    worker.do(arms.floor, 1)
    worker.do(arms.ours, 1, size)


def single_runs(epochs: int, repeats: int) -> list[Line]:
    """The book's recipe, ours, the floor by each kernel, and a JAX script."""
    say("One run: the book's recipe, ours, the floor by each kernel")
    with workers(None, 1, 1, 1) as (default, one, first, second):
        for worker in (first, second):
            warm_up(worker)
        there, taken, processor = first.do(arms.kernels)
        floors = {f"floor, {kernel}": partial(first.do, arms.floor, epochs, kernel) for kernel in there}
        for floor in floors.values():
            floor()
        close = rounds({**floors, "ours": lambda: first.do(arms.ours, epochs)}, 2 * repeats)
        wide = rounds(
            {
                "ours": lambda: first.do(arms.ours, epochs),
                "two workers": lambda: side_by_side((first, second), epochs),
                "recipe": lambda: default.do(arms.recipe, epochs),
                "recipe, 1 thread": lambda: one.do(arms.recipe, epochs),
            },
            repeats,
        )
        name = f"book's recipe, torch's default of {default.do(arms.threads)} threads"
        flops = first.do(arms.epoch_flops)
    fastest = min(floors, key=lambda floor: statistics.median(close[floor]))
    intel = "Intel" in processor["maker"]
    best = min((wide["recipe"], wide["recipe, 1 thread"]), key=statistics.median)
    return [
        line(name, wide["recipe"], EPOCH),
        line("book's recipe, 1 thread", wide["recipe, 1 thread"], EPOCH),
        *(line(f"{floor}: the products alone, 1 thread", close[floor], EPOCH) for floor in floors),
        *(line(f"{floor}: its rate", [flops / s / 1e9 for s in close[floor]], "GFLOP/s") for floor in floors),
        line(f"ours, 1 thread, kernel {taken}", close["ours"], EPOCH),
        line("ours, 2 workers of 1 thread", wide["two workers"], EPOCH),
        line(
            f"ours over the fastest floor ({fastest.partition(', ')[2]})",
            ratios(close["ours"], close[fastest]),
            "×",
            at_most=1.25 if intel else 1.2,
        ),
        line("ours faster than the recipe's better setting", ratios(best, wide["ours"]), "×", at_least=3.5),
        line("two workers faster than one", ratios(wide["ours"], wide["two workers"]), "×"),
        *against_jax(epochs, repeats),
    ]


def against_jax(epochs: int, repeats: int) -> list[Line]:
    """Ours beside a short JAX script, both pinned to one core; nothing where JAX is not installed."""
    if find_spec("jax") is None:
        say("JAX is not installed (pip install -e '.[bench]'): its lines are left out")
        return []
    say("One run on one pinned core: JAX, ours")
    with workers(1, 1, pinned=True) as (theirs, own):
        warm_up(own)
        theirs.do(arms.jax, 1)
        found = rounds(
            {"jax": lambda: theirs.do(arms.jax, epochs), "ours": lambda: own.do(arms.ours, epochs)}, repeats
        )
    return [
        line("JAX, one pinned core", found["jax"], EPOCH),
        line("ours, one pinned core", found["ours"], EPOCH),
        line("ours faster than JAX", ratios(found["jax"], found["ours"]), "×", at_least=1.2),
    ]


def command_line(repeats: int) -> list[Line]:
    """A run as a user starts it: how soon it shows something, and what it takes."""
    say("One run by the command line: its start and its memory")
    first, peak = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [f"output={folder}/outputs", "epochs=3", "device=cpu"]
            command = commands.run("src.train", arguments, Path(folder))
        first.append(command.first("epoch "))
        peak.append(command.peak / 1e6)
    return [
        line("`python -m src.train` to its first epoch's line", first, "s", at_most=4),
        line("memory of one run at its peak", peak, "MB", at_most=700),
    ]


def one_sweep(module: str, overrides: Sequence[str], ours: bool) -> tuple[float, float, float]:
    """Seconds per run-epoch of training, of start-up, and per run-epoch from the command to the last file."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "outputs")
        place = f"output={output}" if ours else f"hydra.sweep.dir={output}"
        command = commands.run(module, ["-m", *overrides, place], Path(folder))
        runs = our_runs(output) if ours else recipe_runs(output)
        if len(runs) != 8:
            raise commands.CommandError(f"{module} left {len(runs)} runs, not 8")
        count = run_epochs(runs)
        return span(runs) / count, start_up(command, runs), command.seconds / count


def sweep(epochs: int, basic_epochs: int, repeats: int) -> list[Line]:
    """Eight runs of ours, and of the book's recipe under Hydra's stock launchers."""
    say(f"A sweep of 8 runs of {epochs} epochs ({basic_epochs} under the basic launcher)")
    cores = os.cpu_count() or 1
    with workers(1) as (worker,):
        root = worker.do(arms.data_root)
    floors = _floors()
    recipe = [*RECIPE_SWEEP, f"root={root}"]
    a = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={cores}", "threads=1", "workers=0"]
    sweeps: dict[str, tuple[str, list[str], bool]] = {
        f"ours, {count} worker{'s' * (count > 1)}": (
            "src.train",
            [*SWEEP, f"epochs={epochs}", f"hydra.launcher.n_jobs={count}"],
            True,
        )
        for count in (1, 2)
    }
    sweeps["(a) recipe, joblib launcher, a process a core"] = (
        "tests.benchmarks.recipe_app",
        [*recipe, *a, f"epochs={epochs}"],
        False,
    )
    basic_launcher = "(b) recipe as written, basic launcher"
    sweeps[basic_launcher] = ("tests.benchmarks.recipe_app", [*recipe, f"epochs={basic_epochs}"], False)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sweeps}
    for _ in range(repeats):
        for name, arguments in sweeps.items():
            found[name].append(one_sweep(*arguments))
            training, start, whole = found[name][-1]
            say(f"  {name}: {training:.2f} {EPOCH} after {start:.1f} s; command to last file {whole:.2f}")
    lines = []
    for name, measured in found.items():
        length = basic_epochs if name == basic_launcher else epochs
        each = f"{name} ({length} epoch{'s' * (length > 1)} a run)"
        lines += [
            line(f"{each}: training", [m[0] for m in measured], EPOCH),
            line(f"{name}: start-up", [m[1] for m in measured], "s"),
            line(f"{each}: command to last file", [m[2] for m in measured], EPOCH),
        ]
    floors += _floors()  # before and after, for the machine may have been busier at one time
    one, two, joblib, basic = ([m[0] for m in measured] for measured in found.values())
    whole = {name: [m[2] for m in measured] for name, measured in found.items()}
    _, ours_whole, joblib_whole, _ = whole.values()
    floor_on_two = [statistics.median(floors) / 2] * repeats
    return [
        *lines,
        line("sweep: ours faster than (a), training", ratios(joblib, two), "×"),
        line("sweep: ours faster than (a), whole command", ratios(joblib_whole, ours_whole), "×", at_least=5),
        line("sweep: ours faster than (b)", ratios(basic, two), "×", at_least=12),
        line("sweep: two workers faster than one", ratios(one, two), "×", at_least=1.9),
        line("sweep: two workers over the floor on two cores", ratios(two, floor_on_two), "×", at_most=1.45),
    ]


def _floors() -> list[float]:
    """Seconds of the products of an epoch on one core, three times."""
    with workers(1) as (worker,):
        worker.do(arms.floor, 1)
        return [worker.do(arms.floor, 1) for _ in range(3)]


def cpu_stacks(epochs: int, repeats: int) -> list[Line]:
    """Runs trained as one fused stack on a core, against runs that train one after the other."""
    say("Fused stacks on the CPU")
    with workers(1) as (worker,):
        arms_by_size = {f"stack of {size}": _stack_arm(worker, epochs, size) for size in STACKS}
        for size in STACKS:
            warm_up(worker, size)
        found = rounds(arms_by_size, repeats)
    alone = found["stack of 1"]
    lines = [line(f"CPU, {name}, 1 thread", values, EPOCH) for name, values in found.items()]
    return lines + [
        line(f"CPU, {name} over a stack of 1", ratios(values, alone), "×")
        for name, values in found.items()
        if values is not alone
    ]


def noises(epochs: int, repeats: int, to: Path | None = None, only: Sequence[str] = ()) -> list[Line]:
    """An epoch with each noise, at the book's rates, over one without any.

    Args:
        to: where the table for a race at equal time is written, with the processor and the day; of one that is
            there the rows of noises that are not measured stay. The noises are then measured as they race, and
            training alone: evaluation takes as long with every noise, and more than training on few images.
        only: noises that are measured beside none; all of them if empty.
    """
    say("Noises")
    with workers(1) as (worker,):
        settings = worker.do(arms.raced if to else arms.noises)
        arms_by_name = {
            name: _noise_arm(worker, epochs, settings[name], 1 if to else None)
            for name in ("none", *(only or settings))
        }
        for arm in arms_by_name.values():
            arm()
        found = rounds(arms_by_name, repeats)
        processor = " ".join(worker.do(arms.kernels)[2].values())
    over = {name: ratios(values, found["none"]) for name, values in found.items()}
    if to:
        measured = [processor, datetime.now(UTC).date().isoformat()]
        rows = {name: [name, f"{statistics.median(of):.4f}", *measured] for name, of in over.items()}
        if only and to.exists():  # the others stand as they were measured
            with to.open(newline="", encoding="utf-8") as file:
                others = {
                    row[0]: [*row, "", ""][:4] for row in list(csv.reader(file))[1:] if row[0] not in only
                }
            rows = {**rows, **others}
        with to.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["noise", "ratio", "machine", "date"])
            table.writerows(rows.values())
    most = {"dropconnect": 1.35, "dropconnect_gaussian": 2.2}
    most |= dict.fromkeys(("dropout", "gaussian", "uniform", "additive", "jumpout", "blend"), 1.25)
    return [line("noise=none", found["none"], EPOCH)] + [
        line(f"noise={name} over none", values, "×", at_most=None if to else most.get(name))
        for name, values in over.items()
        if name != "none"
    ]


def _noise_arm(
    worker: Worker, epochs: int, overrides: Sequence[str], evaluated: int | None
) -> Callable[[], float]:
    return lambda: float(worker.do(arms.ours, epochs, 1, overrides, evaluated))


def _stack_arm(worker: Worker, epochs: int, size: int) -> Callable[[], float]:
    return lambda: float(worker.do(arms.ours, epochs, size))


def overhead(runs: int) -> list[Line]:
    """What a sweep costs a run beside its training, and what it costs to start a finished sweep again."""
    say(f"Overhead of a sweep: planning of {runs} runs, a sweep of {runs} runs of a few milliseconds")
    swept = [*TINY, "dropout1=0.2,0.5", f"seed=range({runs // 2})"]
    with workers(1) as (worker,):
        planned, planning = worker.do(arms.planning, swept)
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-m", *swept, f"output={folder}/outputs"]
        command = commands.run("src.train", arguments, Path(folder))
        trained = our_runs(Path(folder, "outputs"))
        again = commands.run("src.train", arguments, Path(folder))
    count, processes = len(trained), os.cpu_count() or 1
    training = sum(run.training for run in trained) / processes
    start = start_up(command, trained)
    # planning is part of the start-up: measured apart, for imports take most of it and vary
    beside = planning / planned + (command.seconds - start - training) / count
    return [
        line(f"sweep of {count} tiny runs, command to last file", [command.seconds], "s"),
        line("its start-up, planning included", [start], "s"),
        line("planning", [1e3 * planning / planned], "ms per run"),
        line("training, shared among the workers", [1e3 * training / count], "ms per run"),
        line("overhead: all but training and imports", [1e3 * beside], "ms per run", at_most=8),
        line(f"the same command on the {count} finished runs", [again.seconds], "s", at_most=10),
        line("memory of the main process at its peak", [command.peak / 1e6], "MB", at_most=500),
    ]


def collecting(runs: int) -> list[Line]:
    """What the report does with a large sweep before it answers anything, in a fresh process."""
    say(f"Collecting {runs:,} finished runs, and half as many")
    seconds: dict[int, dict[str, float]] = {}
    for count in (runs // 2, runs):
        with tempfile.TemporaryDirectory() as folder:
            made = collect.write(Path(folder, "outputs"), count)
            command = commands.run("tests.benchmarks.collect", [str(made)], Path(folder))
        seconds[count] = {part: float(took) for part, took in (text.split() for _, text in command.lines)}
    half, whole = (sum(parts.values()) for parts in seconds.values())
    what = f"{runs:,} finished runs of {collect.EPOCHS} epochs"
    return [
        line(f"collecting {what}, imports included", [seconds[runs]["collect"]], "s", at_most=10),
        line("keeping their table and reading it back", [seconds[runs]["keep"]], "s"),
        line("both over the same for half the runs", [whole / half], "×", at_most=2.3),
        line("memory at its peak", [command.peak / 1e6], "MB", at_most=1000),
    ]


def scaling(runs: int, run_epoch: float | None) -> str:
    """The tables of `sweeps/SCALE.md`: two sizes measured, three reckoned (see `scale`)."""
    small, large = (one_size(count) for count in (runs // 10, runs))
    with workers(1) as (worker,):
        flops = worker.do(arms.epoch_flops)
    if run_epoch is None:
        say("The book's net: an epoch of a run on each core at once")
        with workers(*[1] * cpu_count()) as each:
            for worker in each:
                warm_up(worker)
            run_epoch = statistics.median(side_by_side(each, 1) for _ in range(3))
    return (
        f"Measured:\n\n{scale.measured_table(small, large)}\n\n"
        "Arithmetic, a straight line through both measured sizes; nothing here was run:\n\n"
        f"{scale.reckoned_table(small, large, run_epoch, flops)}"
    )


def reproducing() -> list[Line]:
    """How long each exercise takes on two cores, and each part of the comparison of noises."""
    say("Run-epochs, at what an epoch of each kind takes on two workers at once")
    lines = []
    with workers(1, 1) as both:
        for title, kinds in reproduce.by_command():
            seconds = 0.0
            for kind, count in kinds:
                side_by_side(both, 1, kind)  # loads the images
                run_epoch = statistics.median(side_by_side(both, 1, kind) for _ in range(3))
                say(f"  {run_epoch:.3f} {EPOCH}: {' '.join(kind)}")
                seconds += count * run_epoch
            total = sum(count for _, count in kinds)
            lines.append(line(f"{title}: {total:,} run-epochs", [seconds / 3600], "h", at_most=2))
    return lines


def one_size(runs: int) -> scale.Measured:
    """A sweep of so many tiny runs in two arms, from its planning to its report, each in a fresh process."""
    say(f"A sweep of {runs:,} tiny runs")
    swept = [*TINY, "dropout1=0.2,0.5", f"seed=range({runs // 2})"]
    with workers(1) as (worker,):
        _, planning = worker.do(arms.planning, swept)
    say(f"  planned in {planning:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "outputs")
        arguments = ["-m", *swept, f"output={output}"]
        command = commands.run("src.train", arguments, Path(folder))
        trained = our_runs(output)
        if len(trained) != runs:
            raise commands.CommandError(f"the sweep left {len(trained)} runs, not {runs}")
        say(f"  trained in {command.seconds:.1f} s")
        entries, size, allocated = scale.contents(output)
        again = commands.run("src.train", arguments, Path(folder))
        (made,) = output.glob("sweeps/*")
        collected = commands.run("tests.benchmarks.collect", [str(made)], Path(folder))
        say(f"  started again in {again.seconds:.1f} s, collected in {collected.seconds:.1f} s")
        report = commands.run("analysis.compare", [str(made)], Path(folder))
        say(f"  reported in {report.seconds:.1f} s")
        apart = Path(folder, "apart")
        apart.mkdir()
        with workers(1) as (worker,):
            writing = worker.do(arms.writing, arguments[1:], apart)
        if (apart / "runs.csv").read_bytes() != (made / "runs.csv").read_bytes():
            raise commands.CommandError("the table that was measured is not the sweep's own")
        say(f"  runs.csv written in {writing:.3f} s")
    return scale.Measured(
        runs=runs,
        planning=planning,
        wall=command.seconds,
        training=sum(run.training for run in trained) / cpu_count(),
        writing=writing,
        memory=command.peak,
        entries=entries,
        size=size,
        allocated=allocated,
        again=again.seconds,
        again_memory=again.peak,
        collecting=collected.seconds,
        collecting_memory=collected.peak,
        report=report.seconds,
        report_memory=report.peak,
    )


def search(trials: int, repeats: int) -> list[Line]:
    """A search without batches beside a plain sweep of as many runs, both with all cores."""
    say(f"A search of {trials} trials, and a sweep of {trials} runs")
    arms = {
        "sweep": ["dropout1=0.2,0.5", f"seed=range({trials // 2})"],
        "search": [
            "hydra/sweeper=optuna",
            f"hydra.sweeper.n_trials={trials}",
            "dropout1=interval(0,0.8)",
            "dropout2=interval(0,0.8)",
            "optimizer.lr=tag(log,interval(0.01,1))",
        ],
    }
    found = compared(arms, trials, repeats)
    lines = []
    for name, measured in found.items():
        lines += [
            line(f"{name} of {trials} runs: throughput", [m[0] for m in measured], "runs/s"),
            line(f"{name}: share of the workers' time that is in runs", [m[1] for m in measured], "of 1"),
            line(f"{name}: command to last file", [m[2] for m in measured], "s"),
        ]
    rates, shares = (
        ratios([m[i] for m in found["search"]], [m[i] for m in found["sweep"]]) for i in range(2)
    )
    return [
        *lines,
        line("throughput of the search over the sweep's", rates, "×"),
        line(
            "the same by the workers' time, which other work touches less",
            shares,
            "×",
            at_least=0.97,
        ),
    ]


def compared(
    arms: dict[str, list[str]], count: int, repeats: int
) -> dict[str, list[tuple[float, float, float]]]:
    """Of each command, in turns: runs a second, share of the workers' time that is in runs, and seconds in all.

    Raises:
        CommandError: if one does not train so many runs.
    """
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, swept in arms.items():
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder, "outputs")
                command = commands.run("src.train", ["-m", *SECOND, *swept, f"output={output}"], Path(folder))
                runs = our_runs(output)
            if len(runs) != count:
                raise commands.CommandError(f"the {name} left {len(runs)} runs, not {count}")
            rate, cores = count / span(runs), os.cpu_count() or 1
            busy = sum(run.end - run.start for run in runs) / (span(runs) * cores)
            found[name].append((rate, busy, command.seconds))
            say(f"  {name}: {rate:.2f} runs/s, workers busy {busy:.0%}, {command.seconds:.1f} s in all")
    return found


def until(repeats: int) -> list[Line]:
    """A sweep that is decided at 20 of at most 60 seeds beside a plain one of these 20, and how it is planned."""
    say("A sweep that needs 20 of at most 60 seeds, and a plain sweep of 20")
    # so far apart that 20 seeds decide, at an lr where no run breaks down; two have next to no alpha to spend
    far = ["dropout1=0,0.95", "optimizer.lr=0.1"]
    decided = [*far, "hydra.sweeper.primary.reference=0", "hydra.sweeper.until.spending=obrien-fleming"]
    decided.append(f"hydra.sweeper.until.looks=[{','.join(map(str, LOOKS))}]")
    arms_by_name = {"plain sweep": [*far, "seed=range(20)"], "sweep until decided": decided}
    found = compared(arms_by_name, 2 * LOOKS[1], repeats)
    lines = [
        line(f"{name} of 20 seeds: command to last file", [m[2] for m in of], "s")
        for name, of in found.items()
    ]
    plain, looking = found.values()
    with workers(1) as (worker,):
        planned = [worker.do(arms.first_look, MANY_ARMS, (10, 20, 30, 45, 60)) for _ in range(repeats)]
    return [
        *lines,
        line(
            "the one that is decided at 20 of at most 60 seeds over the plain one",
            ratios([m[2] for m in looking], [m[2] for m in plain]),
            "×",
            at_most=1.1,
        ),
        line(
            "the same by the workers' time, which other work touches less",
            ratios([m[1] for m in plain], [m[1] for m in looking]),
            "×",
            at_most=1.1,
        ),
        line(f"planning a look of {planned[0][0]:,} arms, CPU", [cpu for _, cpu in planned], "s", at_most=2),
    ]


def engines(packs: int, epochs: int, repeats: int) -> list[Line]:
    """What an engine costs each pack over loky once it is started, on one worker; and Ray's second worker."""
    there = [name for name in ("dask", "ray") if find_spec({"dask": "distributed"}.get(name, name))]
    say(f"Engines ({', '.join(there) or 'none installed'}): {packs} packs of one tiny run on one worker")
    found = rounds({name: _engine_arm(name, packs) for name in ("loky", *there)}, repeats)
    lines = [line(f"{name}, a pack of one tiny run", [1e3 * s for s in found[name]], "ms") for name in found]
    for name in there:
        over = [1e3 * (own - loky) for own, loky in zip(found[name], found["loky"], strict=True)]
        lines.append(line(f"{name}: overhead of a pack over loky", over, "ms", at_most=50))
    if "ray" in there:
        say("A sweep of 8 runs on Ray nodes of one core each")
        speed = rounds(
            {"one": partial(_ray_nodes, 1, epochs), "two": partial(_ray_nodes, 2, epochs)}, repeats
        )
        faster = ratios(speed["one"], speed["two"])
        lines.append(line("ray: two nodes of one core faster than one", faster, "×", at_least=1.8))
    return lines


def _ray_nodes(nodes: int, epochs: int) -> float:
    """Seconds per run-epoch of a sweep on so many Ray nodes, from its first epoch to its last."""
    from tests.engines.clusters import Ray

    # Ray listens on every interface: what is started here must not be open
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with Ray(nodes) as cluster:
        return one_sweep("src.train", [*SWEEP, f"epochs={epochs}", *cluster.how], True)[0]


def _engine_arm(name: str, packs: int) -> Callable[[], float]:
    """Seconds from one run's end to the next one's, when the engine is under way."""
    how = [f"hydra.launcher.backend={name}", "hydra.launcher.n_jobs=1", "hydra.launcher.pack_size=1"]

    def arm() -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["-m", *TINY, f"seed=range({packs})", f"output={folder}/outputs", *how]
            commands.run("src.train", arguments, Path(folder))
            ends = sorted(run.end for run in our_runs(Path(folder, "outputs")))[10:]
        return (ends[-1] - ends[0]) / (len(ends) - 1)

    return arm


def gpus(epochs: int, repeats: int) -> list[Line]:
    """Runs packed into stacks on a GPU, beside its products, runs one after another, and a JAX script."""
    with workers(1, 1) as (our, their):
        card = our.do(gpu.card)
        if card is None:
            say("This machine has no GPU: its lines are left out")
            return []
        say(f"Stacks of {PACKED} runs on {card}")
        measured = {name: _stacked(our, their, name, epochs, repeats) for name in gpu.PRECISIONS}
        alone = [our.do(gpu.ours, 1, 1) for _ in range(repeats)]
        flops = our.do(arms.epoch_flops)
        pairs = [
            our.do(gpu.accuracies, PAIRS[0], PAIRS[1], "optimizer.decay=cosine", f"precision={name}")
            for name in gpu.PRECISIONS
        ]
    lines = [Line("card", card)]
    for name, figures in measured.items():
        exact = name == "float32"
        shares = [
            1e-12 * flops / s / rate for s, rate in zip(figures["ours"], figures["product"], strict=True)
        ]
        lines += [
            line(f"{name}: a large product", figures["product"], "TFLOP/s"),
            line(f"{name}: ours, {PACKED} in a stack", [1e3 * s for s in figures["ours"]], MILLI),
            line(
                f"{name}: ours, of the large product's rate", shares, "of 1", at_least=0.4 if exact else None
            ),
        ]
        if "jax" in figures:
            faster = ratios(figures["jax"], figures["ours"])
            lines += [
                line(f"{name}: JAX, vmap of {PACKED}", [1e3 * s for s in figures["jax"]], MILLI),
                line(f"{name}: ours faster than JAX", faster, "×", at_least=1 if exact else None),
            ]
    exact, rounded = (figures["ours"] for figures in measured.values())
    say(f"A sweep of {GPU_SWEEP[0]}")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-m", *GPU_SWEEP[1], f"output={folder}/outputs"]
        whole = commands.run("src.train", arguments, Path(folder)).seconds
    low, high = gpu.paired_interval(*pairs)
    return [
        *lines,
        line("float32: one run after another", [1e3 * s for s in alone], MILLI),
        line(f"float32: {PACKED} in a stack faster than one after another", ratios(alone, exact), "×"),
        line("tf32 faster than float32", ratios(exact, rounded), "×", at_least=1.25),
        Line(
            f"tf32 less float32, test accuracy after {PAIRS[1]} epochs (cosine), {PAIRS[0]} seeds: 95 % interval",
            f"{low:+.3f} to {high:+.3f} points",
            "within ±0.2 points",
            low > -0.2 and high < 0.2,
        ),
        line(f"a sweep of {GPU_SWEEP[0]}, whole command", [whole], "s", at_most=60),
    ]


def _stacked(our: Worker, their: Worker, precision: str, epochs: int, repeats: int) -> dict[str, list[float]]:
    stack_arms = {
        "ours": lambda: our.do(gpu.ours, PACKED, epochs, f"precision={precision}"),
        "product": lambda: our.do(gpu.product_rate, precision),
    }
    if find_spec("jax"):
        stack_arms["jax"] = lambda: their.do(gpu.jax, PACKED, epochs, gpu.PRECISIONS[precision])
    for arm in stack_arms.values():
        arm()
    return rounds(stack_arms, repeats)


def measure(options: argparse.Namespace) -> list[Line]:
    """All lines that the options ask for; each section is printed as soon as it is there."""
    only_one = not (
        options.sweep
        or options.cpu_stacks
        or options.noises
        or options.overhead
        or options.collect
        or options.search
        or options.until
        or options.engines
        or options.gpu
        or options.reproduce
    )
    sections: list[tuple[bool, Callable[[], list[Line]]]] = [
        (only_one or options.all, lambda: single_runs(options.epochs, options.repeats)),
        (only_one or options.all, lambda: command_line(options.repeats)),
        (
            options.sweep or options.all,
            lambda: sweep(options.sweep_epochs, options.basic_epochs, options.sweep_repeats),
        ),
        (options.cpu_stacks or options.all, lambda: cpu_stacks(options.epochs, options.repeats)),
        (
            options.noises or options.all,
            lambda: noises(options.epochs, options.repeats, options.to, options.only),
        ),
        (options.overhead or options.all, lambda: overhead(options.runs)),
        (options.collect or options.all, lambda: collecting(COLLECTED)),
        (options.search or options.all, lambda: search(options.trials, options.repeats)),
        (options.until or options.all, lambda: until(options.repeats)),
        (
            options.engines or options.all,
            lambda: engines(options.packs, options.sweep_epochs, options.sweep_repeats),
        ),
        (options.gpu or options.all, lambda: gpus(options.epochs, options.repeats)),
        (options.reproduce or options.all, reproducing),
    ]
    lines: list[Line] = []
    for wanted, section in sections:
        if wanted:
            found = section()
            say("\n".join("  " + "  ".join(cell for cell in one.cells() if cell) for one in found) + "\n")
            lines += found
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(__doc__ or "", arguments)
    with workers(None) as (worker,):
        header = machine(worker.do(arms.threads), " ".join(worker.do(arms.kernels)[2].values()))
    print(header, flush=True)
    if options.scale:
        print(f"\n{scaling(options.runs, options.run_epoch)}")
        return 0
    lines = measure(options)
    print(f"\nMedian (range) of rounds.\n\n{markdown(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
