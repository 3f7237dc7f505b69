"""What a rewrite of `analysis.watch` costs: a made-up folder of so many runs, CPU seconds, bytes of the page.

    python -m tests.benchmarks.watch [--runs 10000] [--to FOLDER]

Each run is an arm of its own, as in a search, or ten are an arm; one run in a hundred failed, one in
fifty diverged, the last ones are not finished.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from analysis.live import Live
from analysis.watch import PAGE, rewrite
from src.runs import store
from src.sweeping import progress

EPOCHS = 10
NOISES = ("dropout", "gaussian", "uniform", "additive")
REASONS = (
    "RuntimeError: out of memory",
    "src/noise/mine.py, line 7: ValueError: a rate of 1.2",
    "the worker died",
)


def make(output: Path, runs: int, seeds: int, *, unfinished: int = 50) -> Path:
    """Writes a sweep's folder, and its runs' as far as a page reads them; the folder.

    Args:
        seeds: runs of an arm. The first two of the unfinished runs are being trained.
    """
    draw = np.random.default_rng(0)
    folder = store.sweep_folder(output, "made_up")
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    keys = ("dropout1", "dropout2", "optimizer.lr", "noise")
    for number in range(runs):
        arm, seed = divmod(number, seeds)
        if seed == 0:
            lr, rates = 10 ** draw.uniform(-2, 0), draw.uniform(0, 0.8, 2)
            values = (*rates.round(6).tolist(), float(f"{lr:.6g}"), NOISES[arm % len(NOISES)])
            level = 0.88 - 0.05 * (rates**2).sum() - 0.02 * np.log10(lr / 0.1) ** 2
        state = store.UNFINISHED if number >= runs - unfinished else store.FINISHED
        if state == store.FINISHED and number % 100 == 7:
            state = store.FAILED
        elif state == store.FINISHED and number % 50 == 3:
            state = store.DIVERGED
        run = f"{number:012x}"
        row = {"id": run, "state": state, **dict(zip(keys, values, strict=True)), "seed": seed}
        config: dict[str, Any] = dict(zip(keys, values, strict=True)) | {"seed": seed}
        config |= {"optimizer": {"lr": config.pop("optimizer.lr")}, "noise": {"name": config.pop("noise")}}
        at = store.run_folder(output, run)
        if state == store.FINISHED or runs - unfinished <= number < runs - unfinished + 2:
            at.mkdir(parents=True)
            epochs = EPOCHS if state == store.FINISHED else 4
            table = [
                dict.fromkeys(store.METRICS, 0.5)
                | {"epoch": epoch, "test_acc": level - 0.2 / epoch + draw.normal(0, 0.004)}
                for epoch in range(1, epochs + 1)
            ]
            store.write_metrics(at, table)
            (at / "train.log").write_text("run\n")
            row |= {f"{key}_used" if key in keys else key: value for key, value in table[-1].items()}
        if state == store.FINISHED:
            store.write_record(at, {"id": run, "state": state, "config": config, "final": table[-1]})
        else:
            row = {key: row[key] for key in ("id", "state", *keys, "seed")}
        if state in (store.FAILED, store.DIVERGED):
            at.mkdir(parents=True)
            error = (
                REASONS[number // 100 % 3]
                if state == store.FAILED
                else "the loss ceased to be finite in epoch 2"
            )
            store.write_record(at, {"id": run, "state": state, "config": config, "error": error})
        rows.append(row)
    metrics = [f"{name}_used" if name in keys else name for name in store.METRICS]
    store.write_whole(folder / "runs.csv", store.csv_text(["id", "state", *keys, "seed", *metrics], rows))
    kept = {"sweep": "made_up", "runs": str((output / "runs").resolve())}
    store.write_whole(folder / "sweep.json", json.dumps(kept))
    return folder


def measure(folder: Path) -> dict[str, float]:
    """CPU seconds of the first rewrite and of a later one, and bytes of the page."""
    progress.write(folder, 0.0, 10**4, 60.0)
    live, seconds = Live(folder), []
    for _ in range(3):
        started = time.process_time()
        rewrite(live)
        seconds.append(time.process_time() - started)
    progress.end(folder)
    return {"first": seconds[0], "later": min(seconds[1:]), "bytes": (folder / PAGE).stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--to", type=Path, help="Keep the folders there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for seeds in (1, 10):
            output = (options.to or Path(temporary)) / f"{seeds}_seeds"
            found = measure(make(output, options.runs, seeds))
            print(
                f"{options.runs:,} runs, {seeds} an arm: first rewrite {found['first']:.2f} s of CPU, a later one "
                f"{found['later']:.2f} s; page {store.size_text(found['bytes'])}"
            )


if __name__ == "__main__":
    main()
