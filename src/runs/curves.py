"""`curves.png` of a single run: train loss, train accuracy and test accuracy by epoch, as the book draws them."""

from __future__ import annotations

import csv
from pathlib import Path

from src.runs import store

MOST_MARKERS = 30
"""Epochs of a run that are marked each; of more, the markers would hide the lines."""


def draw_curves(folder: Path) -> None:
    """Draws the run's `metrics.csv` into `curves.png` beside it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    accuracy = figure.subplots()
    loss = accuracy.twinx()
    curves = (
        (accuracy, "train_acc", "train accuracy (noise on)", "#0072B2", "--"),
        (accuracy, "test_acc", "test accuracy", "#009E73", "-"),
        (loss, "train_loss", "train loss (noise on)", "#D55E00", ":"),
    )
    lines = [
        axes.plot(
            epochs,
            [float(row[key]) for row in rows],
            style,
            color=color,
            label=label,
            marker="o" if len(rows) <= MOST_MARKERS else None,
            markersize=3.5 if len(rows) > 1 else 6,
        )[0]
        for axes, key, label, color, style in curves
    ]
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    if len(rows) == 1:
        accuracy.set_xticks(epochs)  # there are no whole numbers around it for a locator to choose from
    else:
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))
    loss.set_ylabel("mean cross-entropy (nats)", color="#D55E00")
    accuracy.grid(alpha=0.3)
    accuracy.legend(
        handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9
    )
    store.sweep_up(folder)  # of a process that was killed while it drew them
    store.write_figure(folder / "curves.png", figure, dpi=150)
