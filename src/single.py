"""A single run as a person sees it: a progress bar or plain lines, the curves, and where the results are."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from src import config, store
from src import run as runs
from src.checks import ConfigError
from src.run import Job, Record


def run(plain: dict[str, Any], overrides: list[str], hydra: dict[str, Any], *, quiet: bool = False) -> Record:
    """Train one job, or show the result it already has; `quiet` for a job of a sweep.

    Raises:
        ConfigError: before anything is written, if the config is wrong.
    """
    number = hydra["job"]["num"] if quiet else None
    job = Job(config.parse(plain), plain, overrides, hydra, number)
    try:
        record = runs.ended(job)
    except OSError as error:
        right = f"must be a folder that can be read and written ({error.strerror})"
        raise ConfigError("output", job.run.output, right) from None
    if quiet:
        if record is None:
            runs.ready([job.run])
            record = runs.train_jobs([job])[0]
        return record
    trained = record is None
    if record is not None:
        print(f"already {record['state']}, not trained again (resume=false trains it anyway)")
        if record["state"] == store.FINISHED:
            print(runs.epoch_line(record["final"], job.run.epochs))
    else:
        runs.ready([job.run])
        try:
            record = _train(job)
        except KeyboardInterrupt:
            print("interrupted: the run is not finished; the same command begins it anew", file=sys.stderr)
            raise
    if record["state"] != store.FINISHED:
        print(f"{record['state']}: {record['error']}", file=sys.stderr)
    elif trained or not (job.folder / "curves.png").exists():
        from src.curves import draw_curves

        draw_curves(job.folder)
    print(f"results: {job.folder}")
    return record


def _train(job: Job) -> Record:
    if not sys.stdout.isatty():
        return runs.train_jobs([job], lambda _, row: print(runs.epoch_line(row, job.run.epochs), flush=True))[
            0
        ]
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from src.display import TwoLines

    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with TwoLines(*columns, expand=True) as bar:
        task = bar.add_task("", total=job.run.epochs)

        def advance(_: Job, row: Mapping[str, Any]) -> None:
            val = "" if row.get("val_acc") is None else f"  val acc {row['val_acc']:.4f}"
            bar.second = (
                f"train loss {row['train_loss']:.4f}  train acc {row['train_acc']:.4f}{val}"
                f"  test acc {row['test_acc']:.4f}"
            )
            bar.advance(task)

        return runs.train_jobs([job], advance)[0]
