"""A single run as a person sees it: a progress bar or plain lines, the curves, and where the results are.

Imports wait until they are needed: the command line is checked before torch is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.errors import SOME_RUNS_LOST, through_hydra
from src.sweeping import naming

if TYPE_CHECKING:
    from src.runs.job import Job, Record


@through_hydra
def task(cfg: DictConfig) -> Any:
    """What Hydra calls for each job: trains it, or shows it where it is finished already."""
    config = HydraConfig.get()
    is_one_of_a_sweep = config.mode == RunMode.MULTIRUN
    own: Any = OmegaConf.to_container(HydraConfig.instance().cfg, enum_to_str=True)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    overrides = list(config.overrides.task)
    if not is_one_of_a_sweep:
        naming.check_single(own["hydra"])
    if own["hydra"]["sweeper"].get("plan"):
        _plan(plain, overrides, own["hydra"])
        return None
    record = run(plain, overrides, own["hydra"], quiet=is_one_of_a_sweep)
    if record["state"] != "finished" and not is_one_of_a_sweep:
        raise SystemExit(SOME_RUNS_LOST)
    return record


def _plan(plain: dict[str, Any], overrides: list[str], hydra: dict[str, Any]) -> None:
    from src import config
    from src.runs import job as runs
    from src.sweeping import dry_run

    job = runs.Job(config.parse(plain), plain, overrides, hydra)
    dry_run.show([job], job.folder, None)


def run(plain: dict[str, Any], overrides: list[str], hydra: dict[str, Any], *, quiet: bool = False) -> Record:
    """Train one job, or show the result it already has; `quiet` for a job of a sweep.

    Raises:
        InputError: before anything is written, if the config is wrong.
    """
    from src import config
    from src.runs import job as runs
    from src.runs import store

    number = hydra["job"]["num"] if quiet else None
    job = runs.Job(config.parse(plain), plain, overrides, hydra, number)
    record = runs.ended(job)
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
        except (KeyboardInterrupt, OSError) as error:
            error.add_note("the run is not finished; the same command begins it anew")
            raise
    if record["state"] != store.FINISHED:
        print(f"{record['state']}: {' '.join(str(record['error']).split())}", file=sys.stderr)
    elif trained or not (job.folder / "curves.png").exists():
        from src.runs.curves import draw_curves

        try:
            draw_curves(job.folder)
        except OSError as error:
            error.add_note("the run is finished and kept; the same command draws its curves")
            raise
    print(f"results: {job.folder}")
    return record


def _train(job: Job) -> Record:
    from src.runs import job as runs

    if not sys.stdout.isatty():

        def show(_: Job, row: Mapping[str, Any]) -> None:
            print(runs.epoch_line(row, job.run.epochs), flush=True)

        return runs.train_jobs([job], show)[0]
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from src.sweeping.display import TwoLines

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
