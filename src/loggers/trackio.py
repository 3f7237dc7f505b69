"""Trackio: a local SQLite file in OUTPUT/trackio or TRACKIO_DIR; `trackio.sync` sends it to a Space.

Written through its storage and not through `trackio.init`, which prints, starts threads, and tells of no error.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src.loggers import PROJECT, LoggedRun, Logger

PACKAGE = "trackio"


class Tracker(Logger):
    """A run of Trackio a run, whose id is ours, in the project `dropout-sweeps`, its sweep being its group."""

    def __init__(self, output: Path) -> None:
        self._folder = Path(os.environ.get("TRACKIO_DIR") or output / "trackio").resolve()
        from trackio import sqlite_storage

        # which it reads once, when it is imported; another sweep of this process may have another output folder
        sqlite_storage.TRACKIO_DIR = self._folder
        self._storage: Any = sqlite_storage.SQLiteStorage

    @property
    def place(self) -> str:
        return f"{self._folder} (TRACKIO_DIR={self._folder} trackio show --project {PROJECT})"

    def known(self) -> set[str]:
        if not self._storage.get_project_db_path(PROJECT).exists():
            return set()
        return {record["id"] for record in self._storage.get_run_records(PROJECT)}

    def log(self, run: LoggedRun) -> None:
        times = [datetime.fromtimestamp(time, UTC).isoformat() for time in run.times()]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._storage.bulk_log(  # one transaction
            project=PROJECT,
            run=run.name,
            run_id=run.id,
            metrics_list=[{k: v for k, v in row.items() if k != "epoch"} for row in run.rows],
            steps=[int(row["epoch"]) for row in run.rows],
            timestamps=times,
            config={
                **run.params,
                "state": run.state,
                "_Group": run.sweep,
                "_Created": times[0] if times else None,
            },
        )
