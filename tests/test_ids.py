"""IDs of a dozen configs, as results on record have them: a new key at its default changes none of them."""

from __future__ import annotations

from typing import Any

import pytest
from configs import DIGITS, make_run, plain

from src import config, planning, store
from src.run import Job

CONCISE = {"name": "concise", "hidden1": 256, "hidden2": 256}
NONE = {"name": "none"}

GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({}, "bd8889ef268a"),
    ({"seed": 7, "dropout1": 0.5, "dropout2": 0.2}, "0302d3709ff6"),
    ({"data": DIGITS, "epochs": 3}, "a35d177420c4"),
    ({"dropout1": 0, "dropout2": 0}, "856c55493183"),
    ({"model": CONCISE}, "0516c43a39f6"),
    ({"noise": NONE, "dropout1": 0.0, "dropout2": 0.0}, "a6557829786a"),
    ({"noise": NONE}, "a6557829786a"),
    ({"noise": {"name": "gaussian", "input_rate": 0.0}}, "f10e1717c3aa"),
    ({"noise": {"name": "additive", "input_rate": 0.0, "momentum": 0.1}}, "209c0a69c83e"),
    ({"noise": {"name": "shakeout", "input_rate": 0.1, "strength": 0.01}}, "41bff6860002"),
    ({"noise": {"name": "dropconnect"}}, "54873c3b3fba"),
    ({"noise": {"name": "blend", "input_rate": 0.0}, "batch_size": 64}, "69aa1c351482"),
    ({"schedule": {"name": "late", "cutoff": 0.5}}, "f6dc8240a54c"),
    ({"optimizer": {"momentum": 0.9, "max_norm": 3.0}}, "89316dbb33e4"),
    ({"probe": {"every": "epoch", "test_time": True}}, "6c5cf2fe94ff"),
]


@pytest.mark.parametrize(("changes", "expected"), GOLDEN, ids=[expected for _, expected in GOLDEN])
def test_the_id_is_the_one_on_record(changes: dict[str, Any], expected: str) -> None:
    assert store.run_id(config.result_config(make_run(**changes))) == expected


def test_without_noise_runs_of_any_rates_are_one_and_their_rows_say_0() -> None:
    jobs = [Job(make_run(noise=NONE, dropout1=p), plain(noise=NONE, dropout1=p), [], {}) for p in (0.1, 0.4)]
    assert len({job.id for job in jobs}) == 1
    assert [planning.configured(job, "dropout1") for job in jobs] == [0, 0]
