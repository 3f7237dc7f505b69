"""IDs of a dozen configs with the same code and data: a new key at its default changes none of them."""

from __future__ import annotations

from typing import Any

import pytest
from configs import DIGITS, make_run, plain

from src import config
from src.provenance import Provenance
from src.runs import store
from src.runs.job import Job
from src.sweeping import planning

CONCISE = {"name": "concise", "hidden1": 256, "hidden2": 256}
NONE = {"name": "none"}

GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({}, "f7e40408c459"),
    ({"seed": 7, "dropout1": 0.5, "dropout2": 0.2}, "da8a0d74adc6"),
    ({"data": DIGITS, "epochs": 3}, "f8d03059037c"),
    ({"dropout1": 0, "dropout2": 0}, "723df72a9ab8"),
    ({"model": CONCISE}, "94e74bde1c8d"),
    ({"noise": NONE, "dropout1": 0.0, "dropout2": 0.0}, "4efa6a004605"),
    ({"noise": NONE}, "4efa6a004605"),
    ({"noise": {"name": "gaussian", "input_rate": 0.0}}, "bd28a77f5fc5"),
    ({"noise": {"name": "additive", "input_rate": 0.0, "momentum": 0.1}}, "dacfad455ba2"),
    ({"noise": {"name": "shakeout", "input_rate": 0.1, "strength": 0.01}}, "b906d61f8535"),
    ({"noise": {"name": "dropconnect"}}, "509a3d958ea4"),
    ({"noise": {"name": "blend", "input_rate": 0.0}, "batch_size": 64}, "58d694701bd1"),
    ({"schedule": {"name": "late", "cutoff": 0.5}}, "f4987946fe26"),
    ({"optimizer": {"momentum": 0.9, "max_norm": 3.0}}, "55b42ce44398"),
    ({"probe": {"every": "epoch", "test_time": True}}, "5dee775280ae"),
]


@pytest.mark.parametrize(("changes", "expected"), GOLDEN, ids=[expected for _, expected in GOLDEN])
def test_the_id_is_the_one_on_record(changes: dict[str, Any], expected: str) -> None:
    planned = Provenance({"src/noise/dropout.py": "0123"}, "4567", {})
    assert store.run_id(config.result_config(make_run(**changes), planned)) == expected


def test_without_noise_runs_of_any_rates_are_one_and_their_rows_say_0() -> None:
    jobs = [Job(make_run(noise=NONE, dropout1=p), plain(noise=NONE, dropout1=p), [], {}) for p in (0.1, 0.4)]
    assert len({job.id for job in jobs}) == 1
    assert [planning.configured(job, "dropout1") for job in jobs] == [0, 0]
