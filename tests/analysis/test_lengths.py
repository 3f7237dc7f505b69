"""How long exercises took: each training counts once, and devices have times of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tables import made

from analysis import lengths
from analysis.tables import Table


def table(name: str, **columns: Any) -> Table:
    """Of two runs of two epochs, 3 s each."""
    of = made(name, [{"dropout1": 0.2}], range(2), lambda *of: {})
    return replace(of, runs=of.runs.assign(**columns))


def test_a_run_that_sweeps_share_counts_once_and_one_trained_again_twice() -> None:
    first, again = table("first"), table("again", seconds=[3.0, 4.0])
    length = lengths.length([first.runs, again.runs])
    assert (length.runs, length.run_epochs, length.times) == (3, 6, {"cpu": (3, 10.0)})


def test_devices_have_no_common_sum() -> None:
    length = lengths.length([table("a", device=["cpu (AMD)", "cuda (NVIDIA H200)"]).runs])
    assert length.times == {"cpu": (1, 3.0), "cuda": (1, 3.0)}
