"""A single run as a person sees it: a progress bar or plain lines, the curves, and where the results are.

Imports wait until they are needed: the command line is checked before torch is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src import importing
from src.errors import SOME_RUNS_LOST, through_hydra
from src.sweeping import naming

if TYPE_CHECKING:
    from src.runs.job import Job, Record


@through_hydra()
def task(cfg: DictConfig) -> Any:
    """What Hydra calls for each job: trains it, or shows it where it is finished already.

    Raises:
        InputError: before anything is written, if the config is wrong.
        SystemExit: with code 1, if a single run failed or diverged.
    """
    with_hydra: Any = OmegaConf.to_container(HydraConfig.instance().cfg, enum_to_str=True)
    hydra = with_hydra["hydra"]
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if not in_sweep:
        naming.check_single(hydra)
    with importing():
        from src import components, config, loggers
        from src.runs.job import Job, final_record, ready

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    overrides = list(hydra["overrides"]["task"])
    number = hydra["job"]["num"] if in_sweep else None
    run = config.parse(plain)
    components.check_choices(hydra["runtime"]["choices"], run)
    job = Job(run, plain, overrides, hydra, number)
    if hydra["sweeper"].get("plan"):
        from src.sweeping import dry_run

        dry_run.show([job], job.folder, None)
        return None
    record = final_record(job)
    if record is None:
        ready([job.run])
    else:
        loggers.check(job.run.logger)
    if not in_sweep:
        return _run(job, record)
    if record is None:
        from src.runs.pack import train_jobs

        (record,) = train_jobs([job])
    return record


def _run(job: Job, record: Record | None) -> Record:
    """Trains a single run, or shows the record that it has."""
    from src.errors import events
    from src.runs import store, tags
    from src.runs.record import epoch_line
    from src.sweeping.tracking import Tracking

    trained = False
    if record is None:
        try:
            record, trained = _train(job)
        except (KeyboardInterrupt, OSError) as error:
            error.add_note("the run is not finished; the same command begins it anew")
            raise
    if not trained:
        print(f"already {record['state']}, not trained again (resume=false trains it anyway)")
        if record["state"] == store.FINISHED:
            print(epoch_line(record["final"], job.run.epochs))
    if record["state"] != store.FINISHED:
        print(f"{record['state']}: {' '.join(str(record['error']).split())}", file=sys.stderr)
    elif trained or not (job.folder / "curves.png").exists():
        from src.runs.curves import draw_curves

        try:
            draw_curves(job.folder)
        except OSError as error:
            error.add_note("the run is finished and kept; the same command draws its curves")
            raise
    tags.add(job.folder, job.run.tags, job.run.note)
    with Tracking(job.run.logger, job.run.output, job.folder) as tracking:
        tracking.add(job.folder, record)
    print(f"results: {job.folder}")
    result = {key: record.get(key) for key in ("id", "state", "final", "error", "seconds")}
    events.tell("end", folder=job.folder, trained=trained, **result)
    if record["state"] != store.FINISHED:
        raise SystemExit(SOME_RUNS_LOST)
    return record


def _train(job: Job) -> tuple[Record, bool]:
    """The run's record, and whether it was trained here: another process may have been at it, and finished it."""
    from src.errors import events
    from src.runs import store
    from src.runs.pack import train_jobs

    epochs = 0

    with _progress(job.run.epochs) as show:

        def report(_: Job, row: Mapping[str, Any]) -> None:
            nonlocal epochs
            epochs += 1
            show(row)
            events.tell("epoch", epochs=job.run.epochs, row=row)

        (record,) = train_jobs([job], report)
    return record, epochs > 0 or record["state"] == store.FAILED


@contextmanager
def _progress(epochs: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Shows an epoch's metrics: in a line of its own, on a terminal below a bar."""
    from src.runs.record import epoch_line

    if not sys.stdout.isatty():
        yield lambda row: print(epoch_line(row, epochs), flush=True)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from src.sweeping.display import TwoLines

    remaining = TimeRemainingColumn(compact=True, elapsed_when_finished=True)
    columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("epochs"), remaining)
    with TwoLines(*columns, expand=True) as bar:
        task = bar.add_task("", total=epochs)

        def advance(row: Mapping[str, Any]) -> None:
            parts = ("train loss", "train acc", "val acc", "test acc")
            values = ((part, row.get(part.replace(" ", "_"))) for part in parts)
            bar.second = "  ".join(f"{part} {value:.4f}" for part, value in values if value is not None)
            bar.advance(task)

        yield advance
