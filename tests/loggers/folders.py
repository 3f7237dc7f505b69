"""Run folders as the project's own writers leave them, for trackers to be told of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from configs import make_job

from src.runs import store
from src.runs.job import Job, Record

SEEDS = (0, 1)


def write_run(output: Path, seed: int, state: str = store.FINISHED, epochs: int = 3) -> tuple[Job, Record]:
    """A run that has ended; of one that diverged the last loss is not a number."""
    job = make_job(seed, [f"seed={seed}", f"output={output}"], seed=seed, epochs=epochs, output=str(output))
    rows: list[dict[str, Any]] = [
        dict.fromkeys(store.METRICS)
        | {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "test_acc": 0.8 + 0.01 * epoch + 0.001 * seed,
            "seconds": 2.0,
        }
        for epoch in range(1, epochs + 1)
    ]
    if state == store.DIVERGED:
        rows[-1]["train_loss"] = math.nan
    record: Record = {
        "id": job.id,
        "state": state,
        "config": job.config,
        "overrides": job.overrides,
        "final": {name: None if value != value else value for name, value in rows[-1].items()},
        "seconds": 2.0 * epochs,
        "error": None if state == store.FINISHED else "no reason",
    }
    job.folder.mkdir(parents=True, exist_ok=True)
    store.write_metrics(job.folder, rows)
    store.write_record(job.folder, record)
    return job, record
