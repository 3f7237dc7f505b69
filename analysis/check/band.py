"""The band of our own seeds, and a learner's curve drawn on it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.check.processes import run
from src.runs import store
from src.sweeping.naming import sweep_name

SWEEP = ("sweep=check",)
PATIENCE = 1800
"""Seconds that the band's training may take."""

PANELS = {"train_loss": "training loss (nats, dropout on)", "test_acc": "test accuracy (%)"}

Curve = Sequence[Mapping[str, float]]
"""A row an epoch: epoch, train_loss (nats), train_acc, test_acc."""


class NoBand(Exception):
    """Our seeds could not be trained: one line that says why."""


def curves(output: Path, data: str, rates: Sequence[float]) -> list[Curve]:
    """A curve for each seed of `sweeps/check.yaml`, trained by `src.train`: the first time only, then read.

    Args:
        output: the folder of the results.
        rates: of the two hidden layers.

    Raises:
        NoBand: if a run of it did not finish.
    """
    book = {"dropout1": 0.2, "dropout2": 0.5}
    swept = [f"{key}={rate}" for (key, usual), rate in zip(book.items(), rates, strict=True) if rate != usual]
    asked = [*SWEEP, *swept, *([] if data == "fashion_mnist" else [f"data={data}"])]
    folder = store.sweep_folder(output, sweep_name(asked))
    if not (folder / "runs.csv").exists():
        print("Our own dropout is trained for comparison, once; this takes a minute or two.", flush=True)
    ended = run([sys.executable, "-m", "src.train", *asked, f"output={output}"], PATIENCE, gently=True)
    if ended.code:
        raise NoBand(ended.last_line or f"src.train ended with {ended.code}")
    runs = [store.run_folder(output, row["id"]) for row in _rows(folder / "runs.csv")]
    columns = ("epoch", "train_acc", *PANELS)
    return [[{key: float(row[key]) for key in columns} for row in _rows(run / "metrics.csv")] for run in runs]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def draw(path: Path, learner: Curve, band: Sequence[Curve]) -> None:
    """Draws a learner's curve over the range of our seeds into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in learner]
    for axes, (key, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        scale = 100 if key.endswith("_acc") else 1
        ours = [[scale * row[key] for row in curve] for curve in band]
        lowest, highest = ([end(values) for values in zip(*ours, strict=True)] for end in (min, max))
        label_of_ours = f"ours: lowest to highest of {len(band)} seeds"
        look = {"color": "#56B4E9", "alpha": 0.25, "linewidth": 0}
        axes.fill_between(epochs, lowest, highest, label=label_of_ours, **look)
        for values in ours:
            axes.plot(epochs, values, color="#0072B2", linewidth=0.5, alpha=0.5)
        mine = [scale * row[key] for row in learner]
        axes.plot(epochs, mine, color="#D55E00", linewidth=2.5, marker="o", label="yours")
        axes.set(xlabel="epoch", ylabel=label, xticks=epochs)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_figure(path, figure, dpi=150)


def sentence(learner: Curve, band: Sequence[Curve]) -> str:
    """The end of both in words."""
    last = len(learner) - 1
    ours = [100 * curve[last]["test_acc"] for curve in band]
    mine = 100 * learner[last]["test_acc"]
    where = "within" if min(ours) <= mine <= max(ours) else "below" if mine < min(ours) else "above"
    return (
        f"Test accuracy after {len(learner)} epochs: yours {mine:.1f} %, {where} the range of our {len(band)} "
        f"seeds,\n{min(ours):.1f} to {max(ours):.1f} %. "
        f"One of {(len(band) + 1) / 2:.0f} right ones lies outside, too."
    )
