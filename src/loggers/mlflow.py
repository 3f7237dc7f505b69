"""MLflow: at MLFLOW_TRACKING_URI, or without one in OUTPUT/mlflow.db, which needs no server."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.loggers import PROJECT, LoggedRun, Logger

PACKAGE = "mlflow"
RUN, SWEEP = "dropout_sweeps.run", "dropout_sweeps.sweep"
"""Tags: the run's ID, by which it is known again, and its sweep."""
MOST_METRICS, MOST_PARAMS = 1000, 100
"""Of one request, by MLflow's own limits."""
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""MLflow's own variables, where they are not set: by its defaults a server that is down takes minutes."""


class Tracker(Logger):
    """A run of MLflow a run, in the experiment MLFLOW_EXPERIMENT_NAME or `dropout-sweeps`."""

    def __init__(self, output: Path) -> None:
        for key, value in PATIENCE.items():
            os.environ.setdefault(key, value)
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        local = os.environ.get("MLFLOW_TRACKING_URI") is None
        self._uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(output / 'mlflow.db').resolve()}")
        self._client: Any = MlflowClient(tracking_uri=self._uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        artifacts = (output / "mlartifacts").resolve().as_uri() if local else None
        self._experiment = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(name, artifact_location=artifacts)
        )
        self._half: dict[str, str] = {}
        """By our ID that of MLflow, of runs that a killed process had begun to write."""

    @property
    def place(self) -> str:
        return f"{self._uri} (mlflow ui --backend-store-uri {self._uri})" if "://" in self._uri else self._uri

    def known(self) -> set[str]:
        whole = set()
        for run in self._runs():
            ours = run.data.tags[RUN]
            if run.info.status in ("FINISHED", "FAILED"):
                whole.add(ours)
            else:
                self._half[ours] = run.info.run_id
        return whole

    def _runs(self) -> Iterator[Any]:
        token = None
        while token != "":
            page = self._client.search_runs(
                [self._experiment], f"tags.`{RUN}` LIKE '%'", max_results=1000, page_token=token
            )
            yield from page
            token = page.token or ""

    def log(self, run: LoggedRun) -> None:
        from mlflow.entities import Metric, Param, RunTag

        if run.id in self._half:
            self._client.delete_run(self._half.pop(run.id))
        times = [round(1000 * time) for time in run.times()]
        begun = times[0] - round(1000 * run.rows[0].get("seconds", 0)) if times else round(1000 * run.ended)
        tags = {RUN: run.id, SWEEP: run.sweep}
        made = self._client.create_run(
            self._experiment, start_time=begun, run_name=run.name, tags=tags
        ).info.run_id
        metrics = [
            Metric(name, value, time, int(row["epoch"]))
            for row, time in zip(run.rows, times, strict=True)
            for name, value in row.items()
            if name != "epoch" and not math.isinf(value)
        ]
        params = [Param(key, "null" if value is None else str(value)) for key, value in run.params.items()]
        for n in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(made, metrics=metrics[n : n + MOST_METRICS])
        for n in range(0, len(params), MOST_PARAMS):
            part, state = params[n : n + MOST_PARAMS], RunTag("state", run.state)
            self._client.log_batch(made, params=part, tags=[state])
        # last: until then it is half a run
        ended = round(1000 * run.ended)
        self._client.set_terminated(made, "FAILED" if run.diverged else "FINISHED", end_time=ended)
