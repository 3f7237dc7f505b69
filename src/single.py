"""A single run as a person sees it: a progress bar or plain lines, the curves, and where the results are."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from src import config, store
from src import run as runs
from src.run import Job, Record


def run(plain: dict[str, Any], overrides: list[str], hydra: dict[str, Any], *, quiet: bool = False) -> Record:
    """Train one job, or show the result it already has; `quiet` for a job of a sweep.

    Raises:
        ConfigError: before anything is written, if the config is wrong.
    """
    number = hydra["job"]["num"] if quiet else None
    job = Job(config.parse(plain), plain, overrides, hydra, number)
    record = runs.ended(job)
    if quiet:
        if record is None:
            runs.ready([job.run])
            record = runs.train_jobs([job])[0]
        return record
    if record is not None:
        print(f"already {record['state']}, not trained again (resume=false trains it anyway)")
        if record["final"]:
            print(runs.epoch_line(record["final"], job.run.epochs))
    else:
        runs.ready([job.run])
        record = _train(job)
    if record["state"] != store.FINISHED:
        print(f"{record['state']}: {record['error']}", file=sys.stderr)
    elif not (job.folder / "curves.png").exists():
        from src.curves import draw_curves

        draw_curves(job.folder)
    print(f"results: {job.folder}")
    return record


def _train(job: Job) -> Record:
    if not sys.stdout.isatty():
        return runs.train_jobs([job], lambda _, row: print(runs.epoch_line(row, job.run.epochs), flush=True))[
            0
        ]
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("first epoch", total=job.run.epochs)

        def advance(_: Job, row: Mapping[str, Any]) -> None:
            text = f"loss {row['train_loss']:.3f}  train {row['train_acc']:.1%}  test {row['test_acc']:.1%}"
            bar.update(task, advance=1, description=text)

        return runs.train_jobs([job], advance)[0]
