"""What a sweep of any size costs: a straight line through two measured sizes, and arithmetic on it. Pure functions.

Whatever is taken from elsewhere stands here with where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SIZES = (1_000, 100_000, 10_000_000)
"""Runs of the sweeps that are reckoned."""

EPOCHS = 10
"""Of a run of the book's."""

ENGINE_SECONDS = 0.021
"""What Dask takes for a pack over loky, as `--engines` found it on two cores of an Intel Xeon; Ray takes 0.005."""

CARD, CARD_FLOPS = "NVIDIA H200", 67e12
"""A card, and its peak of fp32 floating-point operations a second by its maker's data sheet. Not measured."""


@dataclass(frozen=True)
class Measured:
    """A sweep of tiny runs; seconds, bytes and numbers of the whole sweep."""

    runs: int
    planning: float
    """Seconds to compose, check and identify every job, in a process of its own."""
    wall: float
    """Seconds from the command to its end."""
    training: float
    """Seconds of the epochs alone, shared among the workers."""
    writing: float
    """Seconds to write `runs.csv` once, all its rows, in a process of its own."""
    memory: int
    """Peak resident size of the main process, as are the other memories."""
    entries: int
    """Files and folders, an inode each."""
    size: int
    """Bytes in files."""
    allocated: int
    """Bytes that files and folders take of the disk, in whole blocks."""
    again: float
    """Seconds of the same command on the finished runs."""
    again_memory: int
    collecting: float
    """Seconds to read every run into one table, imports included."""
    collecting_memory: int
    report: float
    """Seconds of `python -m analysis.compare` on the sweep."""
    report_memory: int

    @property
    def overhead(self) -> float:
        """Seconds of the command beside its training: start, planning, handing out, files, the end."""
        return self.wall - self.training


@dataclass(frozen=True)
class Straight:
    """fixed + slope·runs."""

    fixed: float
    slope: float

    def at(self, runs: int) -> float:
        return self.fixed + self.slope * runs


def through(first: tuple[int, float], second: tuple[int, float]) -> Straight:
    """The straight line through two points, (runs, value) each, of different runs."""
    slope = (second[1] - first[1]) / (second[0] - first[0])
    return Straight(first[1] - slope * first[0], slope)


def contents(folder: Path) -> tuple[int, int, int]:
    """Number of files and folders below a folder, bytes in files, and bytes that all of them take of the disk."""
    entries = size = allocated = 0
    for path in folder.rglob("*"):
        status = path.lstat()
        entries += 1
        size += 0 if path.is_dir() else status.st_size
        allocated += 512 * status.st_blocks
    return entries, size, allocated


def duration(seconds: float) -> str:
    """Three digits in the unit that fits.

    >>> duration(0.0042), duration(75), duration(7200), duration(172800)
    ('4.2 ms', '75 s', '2 h', '2 days')
    """
    for unit, length, upto in (("ms", 1e-3, 1), ("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if abs(seconds) < upto:
            return f"{_digits(seconds / length)} {unit}"
    return f"{_digits(seconds / 86_400)} days"


def volume(count: float) -> str:
    """Bytes, three digits in the unit that fits.

    >>> volume(512), volume(32768), volume(3.2e11)
    ('512 B', '32.8 kB', '320 GB')
    """
    for power, unit in enumerate(("B", "kB", "MB", "GB")):
        if abs(count) < 999.5 * 1000**power:
            return f"{_digits(count / 1000**power)} {unit}"
    return f"{_digits(count / 1e12)} TB"


def number(count: float) -> str:
    """A whole number with its thousands apart."""
    return f"{count:,.0f}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


Shown = Callable[[float], str]

COSTS: tuple[tuple[str, str, Shown], ...] = (
    ("planning", "planning: compose, check, identify", duration),
    ("overhead", "command beside its training", duration),
    ("writing", "writing `runs.csv` once", duration),
    ("memory", "memory of the main process", volume),
    ("entries", "files and folders", number),
    ("size", "bytes in files", volume),
    ("allocated", "disk, in whole blocks", volume),
    ("again", "the same command on the finished runs", duration),
    ("again_memory", "memory of that command", volume),
    ("collecting", "collecting every run into one table", duration),
    ("collecting_memory", "memory of collecting", volume),
    ("report", "`python -m analysis.compare`, two arms", duration),
    ("report_memory", "memory of `analysis.compare`", volume),
)
"""What is measured and reckoned: its name in `Measured`, in the tables, and how it is shown."""

NO_LINE = {"report", "report_memory"}
"""Measured alone: arms of more than 2,000 seeds get other intervals, so that no line joins the two sizes."""


def measured_table(small: Measured, large: Measured) -> str:
    """The measurements, as they came."""
    rows = [["measured", f"{small.runs:,} runs", f"{large.runs:,} runs", "per further run"]]
    for name, what, shown in COSTS:
        line = through((small.runs, getattr(small, name)), (large.runs, getattr(large, name)))
        slope = "no line" if name in NO_LINE else shown(line.slope)
        rows.append([what, shown(getattr(small, name)), shown(getattr(large, name)), slope])
    return table(rows)


def reckoned_table(small: Measured, large: Measured, run_epoch: float, flops: int) -> str:
    """The arithmetic: every cost at every size.

    Args:
        small, large: two sizes that were measured.
        run_epoch: seconds of this machine, all its cores at work, per run-epoch of the book's net.
        flops: floating-point operations of such an epoch's matrix products.
    """
    rows = [["arithmetic", "rule", *(f"{runs:,} runs" for runs in SIZES)]]
    for name, what, shown in COSTS:
        if name in NO_LINE:
            continue
        line = through((small.runs, getattr(small, name)), (large.runs, getattr(large, name)))
        rule = f"{shown(line.fixed)} + {shown(line.slope)} × runs".replace("+ -", "- ")
        # a cost that falls with the runs is the scatter of its measurements, and nothing follows from it
        values = [shown(line.at(runs)) if line.slope >= 0 else "unknown" for runs in SIZES]
        rows.append([what, rule, *values])
    rule = f"{duration(ENGINE_SECONDS)} × packs, of a run each"
    rows.append(
        [
            "Dask over loky, as `--engines` found it",
            rule,
            *(duration(ENGINE_SECONDS * n) for n in SIZES),
        ]
    )
    rule = f"{duration(run_epoch)} × {EPOCHS} epochs × runs"
    rows.append(
        ["training on this machine's cores", rule, *(duration(run_epoch * EPOCHS * runs) for runs in SIZES)]
    )
    least = flops / CARD_FLOPS
    rule = f"{flops:.2g} FLOP / {CARD_FLOPS:.2g} FLOP/s × {EPOCHS} epochs × runs"
    rows.append(
        [
            f"GPU hours, lower bound: {CARD} at its peak, not measured",
            rule,
            *(f"{_digits(gpu_hours(runs, EPOCHS, least))} h" for runs in SIZES),
        ]
    )
    return table(rows)


def gpu_hours(runs: int, epochs: int, seconds: float) -> float:
    """Hours of one card that takes so many seconds per run-epoch in its packs."""
    return runs * epochs * seconds / 3600


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown, the first row as header, all columns but the first to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    text.insert(
        1, "| " + " | ".join("-" * (w - (c > 0)) + ":" * (c > 0) for c, w in enumerate(widths)) + " |"
    )
    return "\n".join(text)
