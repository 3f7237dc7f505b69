"""IDs of runs on record: the same config, with the same code and data, has the same ID for ever."""

from __future__ import annotations

import pytest
from configs import Compose

from src.config import parse, result_config
from src.provenance import Provenance
from src.runs import store

GOLDEN: dict[str, str] = {
    "": "f7e40408c459",
    "device=cpu output=elsewhere resume=false save_model=true": "f7e40408c459",
    "dropout1=0.5 dropout2=0.2 seed=4": "453ffb3ab5f0",
    "dropout1=0.5 dropout2=0.2 seed=7": "da8a0d74adc6",
    "dropout1=0 dropout2=0": "723df72a9ab8",
    "data=digits epochs=3": "f8d03059037c",
    "model=concise": "94e74bde1c8d",
    "data=digits model.hidden1=16 model.hidden2=16 epochs=2": "e1d0268f2253",
    "data.validation=10000 epochs=50 optimizer.decay=cosine probe.train=10000": "f64f5c9f9f83",
    "model=concise batch_size=128 probe.every=epoch": "0490b8554f4e",
    "noise=none dropout1=0 dropout2=0": "4efa6a004605",
    "noise=none": "4efa6a004605",
    "noise=gaussian": "bd28a77f5fc5",
    "noise=gaussian noise.input_rate=0.1": "ac654decb2af",
    "noise=additive": "dacfad455ba2",
    "noise=shakeout noise.input_rate=0.1 noise.strength=0.01": "b906d61f8535",
    "noise=dropconnect": "509a3d958ea4",
    "noise=blend batch_size=64": "58d694701bd1",
    "noise=shakeout noise.strength=0.001 schedule=curriculum": "ccd0291854fa",
    "noise=jumpout noise.power=1 schedule=early schedule.linear=true": "f2278f78d59d",
    "noise=dropconnect optimizer=adamw optimizer.weight_decay=0.1": "36a16b1ade1c",
    "optimizer=rmsprop optimizer.momentum=0.9 optimizer.warmup=0.5 probe.test_time=true": "24264c7f8802",
    "optimizer.momentum=0.9 optimizer.nesterov=true optimizer.max_norm=3 probe.every=47": "866b9cc86a8e",
    "optimizer.momentum=0.9 optimizer.max_norm=3": "55b42ce44398",
    "probe.every=epoch probe.test_time=true": "5dee775280ae",
    "schedule=late schedule.cutoff=0.5": "f4987946fe26",
    "schedule=piecewise schedule.points=[[0,1],[0.5,0.25]]": "6d5e55f5d96f",
}
"""By the overrides, in the order of conf/: each group, and each kind of value."""


@pytest.mark.parametrize(("overrides", "expected"), GOLDEN.items(), ids=GOLDEN)
def test_a_config_keeps_its_id(compose: Compose, overrides: str, expected: str) -> None:
    planned = Provenance({"src/noise/dropout.py": "0123"}, "4567", {})
    assert store.run_id(result_config(parse(compose(*overrides.split())), planned)) == expected
