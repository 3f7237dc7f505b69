"""How long exercises take: devices have times of their own, and two cores' time follows from the runs of a CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from tables import made

from analysis import lengths
from analysis.tables import Table


def table(name: str, **columns: Any) -> Table:
    """Of two runs of two epochs, 3 s each."""
    of = made(name, [{"dropout1": 0.2}], range(2), lambda *of: {})
    return replace(of, runs=of.runs.assign(**columns))


def test_a_run_that_sweeps_share_counts_once_and_one_trained_again_twice() -> None:
    first, again = table("first"), table("again", seconds=[3.0, 4.0])
    runs = lengths.trained({"first": first, "again": again}, {"first": None, "again": None})
    found = lengths.length(runs, lengths.core_rates(runs))
    assert (found.runs, found.run_epochs, found.times) == (3, 6, {"cpu": (3, 10.0)})


def test_devices_have_no_common_sum() -> None:
    runs = lengths.trained({"a": table("a", device=["cpu (AMD)", "cuda (NVIDIA H200)"])}, {"a": None})
    found = lengths.length(runs, lengths.core_rates(runs))
    assert found.times == {"cpu": (1, 3.0), "cuda": (1, 3.0)}
    assert found.on_cores == 4 * 1.5 / 2  # what a CPU took for two of the four epochs


def test_a_cores_rate_is_that_of_as_many_images() -> None:
    names = {"few": 5000, "many": None, "gpu": 5000, "other": 1000}
    seconds = {"few": 3.0, "many": 30.0, "gpu": 0.1, "other": 0.1}
    read = {
        name: table(name, seconds=seconds[name], device="cuda" if name in ("gpu", "other") else "cpu")
        for name in names
    }
    trained = {
        name: lengths.trained({name: of}, names).assign(id=[f"{name}0", f"{name}1"])
        for name, of in read.items()
    }
    rates = lengths.core_rates(pd.concat(trained.values()))
    assert rates == {"5000": 1.5, "None": 15.0}
    assert lengths.length(trained["gpu"], rates).on_cores == pytest.approx(4 * 1.5 / 2)
    assert lengths.length(trained["other"], rates).on_cores is None
