"""How long it takes to collect a sweep of many runs as the report does, and to keep its table.

    python -m tests.benchmarks.collect FOLDER

`write` makes up such a sweep, with the project's own writers; the command prints the seconds of each part.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from src.runs import store

EPOCHS = 10
PROBED = ("epoch", "step", "layer", "var", "masked_var", "noisy_var", "zeros", "dead")


def write(output: Path, runs: int) -> Path:
    """A sweep of so many finished runs of ten epochs, ten arms, probed once an epoch; its folder."""
    rows = []
    for number in range(runs):
        arm = {"dropout1": number % 10 / 20, "dropout2": 0.5}
        config = {"data": {"name": "fashion_mnist"}, "seed": number // 10, "epochs": EPOCHS, **arm}
        run = store.run_id(config)
        folder = store.run_folder(output, run)
        folder.mkdir(parents=True)
        metrics: list[dict[str, Any]] = [
            {name: 1 / (3 + place + number % 97 + epoch) for place, name in enumerate(store.METRICS)}
            | {"epoch": epoch}
            for epoch in range(1, EPOCHS + 1)
        ]
        probed = [
            {name: 1 / (3 + place + number % 89) for place, name in enumerate(PROBED)} | {"layer": layer}
            for _ in metrics
            for layer in (1, 2)
        ]
        store.write_metrics(folder, metrics)
        store.write_whole(folder / "probe.csv", store.csv_text(PROBED, probed))
        record = {
            "id": run,
            "state": store.FINISHED,
            "config": config,
            "final": metrics[-1],
            "seconds": 1.5,
            "parameters": 269_322,
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
            "device": "cpu",
            "error": None,
        }
        store.write_record(folder, record)
        final = {f"{key}_used" if key in arm else key: value for key, value in metrics[-1].items()}
        rows.append({"id": run, "state": store.FINISHED, **arm, "seed": number // 10, **final})
    folder = store.sweep_folder(output, "many")
    folder.mkdir(parents=True)
    store.write_whole(folder / "runs.csv", store.csv_text(list(rows[0]), rows))
    return folder


def main() -> None:
    started = time.perf_counter()
    from analysis import tables

    table = tables.collect(sys.argv[1])
    collected = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tables.save(table, Path(folder))
        tables.load(folder, table.name)
    print(f"collect {collected - started}")
    print(f"keep {time.perf_counter() - collected}")


if __name__ == "__main__":
    main()
