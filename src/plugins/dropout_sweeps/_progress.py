"""How far a sweep is, in a notebook's cell: one line with a bar, drawn anew as events come in."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta
from html import escape
from typing import Any

EVERY = 0.2
"""Seconds between two drawings, at least."""


def in_notebook() -> bool:
    """Whether the output is a notebook's cell."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


class Progress:
    """A line of HTML that is replaced in place."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._html_now = _bar(None, "starting …", "")
        self._drawn = 0.0
        self._handle = display(HTML(self._html_now), display_id=True)

    def show(self, event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            done = event["finished"] + event["failed"] + event["skipped"]
            self._html_now = _bar(done / max(1, event["runs"]), _counts(event), event["best"])
        elif event["event"] == "epoch":
            row, epochs = event["row"], event["epochs"]
            text = f"epoch {row['epoch']} of {epochs}"
            loss = math.nan if row["train_loss"] is None else row["train_loss"]  # of a run that diverges
            metrics = f"train loss {loss:.4f}, test accuracy {row['test_acc']:.4f}"
            self._html_now = _bar(row["epoch"] / epochs, text, metrics)
        elif event["event"] == "end":
            self._html_now = _bar(1.0, _end(event), "")
        if time.monotonic() > self._drawn + EVERY:
            self._draw()

    def close(self, message: str = "") -> None:
        """Draws what came last; a message takes the place of the second part."""
        if message:
            self._html_now = _bar(None, message, "")
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._handle.update(self._html(self._html_now))


def _counts(event: dict[str, Any]) -> str:
    text = f"{event['finished']} of {event['runs']} runs trained"
    text += f", {event['skipped']} done before" if event["skipped"] else ""
    text += f", {event['failed']} failed or diverged" if event["failed"] else ""
    left = event["seconds_left"]
    return text + (f", {timedelta(seconds=round(left))} left" if left else "")


def _end(event: dict[str, Any]) -> str:
    if "runs" not in event:
        return f"{event['state']}{'' if event['trained'] else ', and not trained again'}"
    text = f"{event['finished']} of {event['runs']} runs finished"
    return text + (f", {event['failed']} failed or diverged" if event["failed"] else "")


def _bar(share: float | None, text: str, more: str) -> str:
    """A bar, or without a share none, and two texts; it wraps where the page is narrow."""
    bar = "" if share is None else f'<progress value="{share:.4f}" max="1" style="width: 12em"></progress> '
    second = f' <span style="opacity: 0.7">{escape(more)}</span>' if more else ""
    return f"<div>{bar}{escape(text)}{second}</div>"
