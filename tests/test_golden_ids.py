"""IDs of runs on record: the same config has the same ID for ever, whatever becomes of the code."""

from __future__ import annotations

import pytest
from configs import Compose

from src import store
from src.config import parse, result_config

GOLDEN: dict[str, str] = {
    "": "bd8889ef268a",
    "device=cpu output=elsewhere resume=false save_model=true": "bd8889ef268a",
    "dropout1=0.5 dropout2=0.2 seed=4": "ccbb3a9c8d17",
    "data=digits model.hidden1=16 model.hidden2=16 epochs=2": "c1d49e43dccb",
    "data.validation=10000 epochs=50 optimizer.decay=cosine probe.train=10000": "c158df56b9f1",
    "model=concise batch_size=128 probe.every=epoch": "df8d5c38c605",
    "noise=none dropout1=0 dropout2=0": "a6557829786a",
    "noise=gaussian noise.input_rate=0.1": "a8dbe5f798db",
    "noise=shakeout noise.strength=0.001 schedule=curriculum": "c32f180aef2a",
    "noise=jumpout noise.power=1 schedule=early schedule.linear=true": "0986d33fa309",
    "noise=dropconnect optimizer=adamw optimizer.weight_decay=0.1": "31111151c509",
    "optimizer=rmsprop optimizer.momentum=0.9 optimizer.warmup=0.5 probe.test_time=true": "9cb33d9eb89c",
    "optimizer.momentum=0.9 optimizer.nesterov=true optimizer.max_norm=3 probe.every=47": "2a22739cea5e",
    "schedule=piecewise schedule.points=[[0,1],[0.5,0.25]]": "2fb6990ccbbb",
}
"""By the overrides, in the order of conf/: one of each group, and of each kind of value."""


@pytest.mark.parametrize(("overrides", "expected"), GOLDEN.items(), ids=GOLDEN)
def test_a_config_keeps_its_id(compose: Compose, overrides: str, expected: str) -> None:
    assert store.run_id(result_config(parse(compose(*overrides.split())))) == expected
