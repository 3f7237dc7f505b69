"""What was measured, as a table: one line a figure, with its target beside it."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Line:
    """A figure: its name, its value with the unit, its target if it has one, and whether it is met."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, str, str, str]:
        return self.name, self.value, self.target, "" if self.met is None else "yes" if self.met else "no"


def line(
    name: str, values: Sequence[float], unit: str, at_most: float | None = None, at_least: float | None = None
) -> Line:
    """Median of the repeats, with their range where there are several, against a bound."""
    median = statistics.median(values)
    spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
    value = f"{median:.3g} {unit}{spread}" if unit != "×" else f"{median:.3g}×{spread}"
    space = "" if unit == "×" else " "
    if at_most is not None:
        return Line(name, value, f"at most {at_most:g}{space}{unit}", median <= at_most)
    if at_least is not None:
        return Line(name, value, f"at least {at_least:g}{space}{unit}", median >= at_least)
    return Line(name, value)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratio of each repeat to the one measured beside it, so that a busy moment touches both."""
    return [a / b for a, b in zip(above, below, strict=True)]


def markdown(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table."""
    rows = [("figure", "measured", "target", "met"), *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    text.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(text)


def machine(threads: int, processor: str) -> str:
    """The machine and the software, in one paragraph; `threads` are torch's default."""
    load = os.getloadavg()[0]
    return (
        f"{processor}, {os.cpu_count()} cores, load average {load:.1f} at the start; {platform.system()}, "
        f"Python {platform.python_version()}, torch {version('torch')} with {threads} threads by default, "
        f"torchvision {version('torchvision')}, hydra-core {version('hydra-core')}."
    )
