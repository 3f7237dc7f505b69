"""The config: conf/ is the book's experiment, wrong values are named, and an ID stands for what changes results."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from configs import BOOK, DIGITS, Compose, make_job, make_run, plain

from src import config, kernels
from src.components import Options
from src.config import parse
from src.engines import parcels
from src.engines.settings import Settings
from src.errors import InputError
from src.runs import record, store


def test_the_defaults_are_the_books(compose: Compose) -> None:
    assert compose() == {**BOOK, "device": "auto"}
    assert compose("data=digits")["data"] == DIGITS
    assert compose("model=concise")["model"] == {"name": "concise", "hidden1": 256, "hidden2": 256}
    assert compose("noise=none")["noise"] == {"name": "none"}


def test_a_config_may_lack_the_further_rates() -> None:
    raw = plain()
    for key in config.FURTHER:
        del raw[key]
    assert parse(raw) == parse(plain())


def test_defaults_parse_to_themselves(compose: Compose) -> None:
    run = parse(compose())
    for key, value in {**BOOK, "device": "auto", "logger": ()}.items():
        typed = getattr(run, key)
        typed = list(typed) if key == "tags" else typed
        assert (dict(typed) if isinstance(typed, Options) else typed) == value


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"dropout1": 1.5}, "dropout1=1.5: must be a finite number from 0 to 1"),
    ({"dropout1": -0.1}, "dropout1=-0.1: must be a finite number from 0 to 1"),
    ({"dropout2": float("nan")}, "dropout2=nan: must be a finite number from 0 to 1"),
    ({"dropout2": "half"}, "dropout2=half: must be a finite number from 0 to 1"),
    ({"dropout2": True}, "dropout2=true: must be a finite number from 0 to 1"),
    ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
    ({"seed": 2**63}, "seed=9223372036854775808: must be a whole number of at least 0 and at most"),
    ({"epochs": 0}, "epochs=0: must be a whole number of at least 1"),
    ({"epochs": 1.5}, "epochs=1.5: must be a whole number of at least 1"),
    ({"epochs": None}, "epochs=null: must be a whole number of at least 1"),
    ({"batch_size": 0}, "batch_size=0: must be a whole number of at least 1"),
    ({"device": "gpu"}, "device=gpu: must be one of auto, cpu, cuda, xpu"),
    (
        {"device": "mps"},
        "device=mps: cannot be: torch has no float64 there, in which rates and metrics are; ",
    ),
    ({"output": ""}, "output=: must be a text that is not empty"),
    ({"resume": "yes"}, "resume=yes: must be true or false"),
    ({"save_model": 1}, "save_model=1: must be true or false"),
    ({"data": {"validation": -1}}, "data.validation=-1: must be a whole number of at least 0"),
    ({"data": {"root": 3}}, "data.root=3: must be a text that is not empty, or null"),
    (
        {"data": {"name": "mnist"}},
        "data=mnist: there is no such data set; choose one of digits, fashion_mnist",
    ),
    ({"data": "digits"}, "data=digits: must be the name of a file in conf/data"),
    ({"model": None}, "model=null: must be the name of a file in conf/model"),
    ({"probe": "epoch"}, "probe=epoch: must be keys with values, such as {every:epoch}"),
    ({"model": {"hidden1": 0}}, "model.hidden1=0: must be a whole number of at least 1"),
    (
        {"model": {"depth": 3}},
        "model.depth=3: there is no such key; known here: model.hidden1, model.hidden2",
    ),
    ({"noise": {"input_rate": 2}}, "noise.input_rate=2: must be a finite number from 0 to 1"),
    ({"noise": {"name": "white"}}, "noise=white: there is no such noise; choose one of "),
    ({"schedule": {"speed": 1}}, "schedule.speed=1: there is no such key; known here: none"),
    ({"optimizer": {"lr": 0}}, "optimizer.lr=0: must be a finite number above 0"),
    ({"optimizer": {"lr": float("inf")}}, "optimizer.lr=inf: must be a finite number above 0"),
    ({"optimizer": {"momentum": 1}}, "optimizer.momentum=1: must be a finite number from 0 to below 1"),
    ({"optimizer": {"weight_decay": -1}}, "optimizer.weight_decay=-1: must be a finite number of at least 0"),
    ({"optimizer": {"decay": "step"}}, "optimizer.decay=step: must be one of constant, linear, cosine"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[said.partition(":")[0] for _, said in WRONG])
def test_a_wrong_value_is_named_with_what_is_right(changes: dict[str, Any], said: str) -> None:
    raw = plain()
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    with pytest.raises(InputError) as caught:
        parse(raw)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [key for key in BOOK if key not in config.LATER])
def test_a_missing_key_is_named(key: str) -> None:
    raw = plain()
    del raw[key]
    with pytest.raises(InputError) as caught:
        parse(raw)
    assert caught.value.key == key


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(InputError, match=r"dropout10=0\.5: there is no such key; known here: batch_size, "):
        parse({**plain(), "dropout10": 0.5})


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert (config.resolve_device("auto"), config.resolve_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(InputError, match=r"device=cuda: .*take cpu or auto"):
        config.resolve_device("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [config.resolve_device(device) for device in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]


def test_intels_gpus_are_taken_where_torch_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(kind: str | None) -> None:
        there = kind and torch.device(kind)
        monkeypatch.setattr("torch.accelerator.current_accelerator", lambda check_available: there)

    for kind in (None, "cuda", "mps"):
        finding(kind)
        with pytest.raises(
            InputError, match=r"device=xpu: torch finds no GPU of Intel's here; take cpu or auto"
        ):
            config.resolve_device("xpu")
    finding("xpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [config.resolve_device(device) for device in ("auto", "xpu")] == ["cpu", "xpu"]
    monkeypatch.setattr("torch.xpu.get_device_name", lambda: "Arc")
    assert record._machine(make_run(device="xpu")) == {"device": "xpu (Arc)"}
    with pytest.raises(InputError, match=r"device=xpu: trains on this machine alone"):
        parcels.gpus(Settings(), [make_job(device="xpu")])
    with pytest.raises(InputError, match=r"precision=tf32"):
        kernels.check_precision("tf32", "xpu")


# IDs

WITHOUT_EFFECT = {
    "device": "auto",
    "output": "elsewhere",
    "resume": False,
    "save_model": True,
    "matmul": "torch",
    "logger": ["mlflow", "tensorboard"],
    "data.root": "other",
    "tags": ["pilot"],
    "note": "a text",
}
OTHER_VALUES: dict[str, Any] = {
    "seed": 1,
    "epochs": 9,
    "batch_size": 128,
    "dropout1": 0.3,
    "dropout2": 0.3,
    **dict.fromkeys(config.FURTHER, 0.3),
    "precision": "tf32",
    "label_smoothing": 0.1,
    "probe.ema": 0.9,
    "probe.every": "epoch",
    "probe.test_time": True,
    "probe.train": True,
    "data.validation": 10,
    "data.split": 1,
    "data.train": 1000,
    "data.name": "digits",
    "model.hidden1": 255,
    "model.hidden2": 255,
    "model.name": "concise",
    "noise.input_rate": 0.1,
    "noise.name": "none",
    "schedule.name": None,
    "optimizer.lr": 0.1,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-4,
    "optimizer.decay": "cosine",
    "optimizer.decay_biases": False,
    "optimizer.warmup": 0.5,
    "optimizer.max_norm": 3.0,
    "optimizer.nesterov": None,
    "optimizer.name": None,
}
"""Another value of each key; None where there is none that fits the book's other values."""


def keys_of(values: dict[str, Any], prefix: str = "") -> list[str]:
    return [
        key
        for name, value in values.items()
        for key in (keys_of(value, f"{name}.") if isinstance(value, dict) else [prefix + name])
    ]


def run_id(raw: dict[str, Any]) -> str:
    return store.run_id(config.result_config(parse(raw)))


def changed(key: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(BOOK)
    if key == "noise.name":
        return {**raw, "noise": {"name": value}}
    group, _, option = key.rpartition(".")
    (raw[group] if group else raw)[option] = value
    return raw


def test_every_key_is_known_to_change_results_or_not() -> None:
    assert sorted(keys_of(BOOK)) == sorted([*WITHOUT_EFFECT, *OTHER_VALUES])


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_what_changes_no_result_changes_no_id(key: str) -> None:
    assert run_id(changed(key, WITHOUT_EFFECT[key])) == run_id(BOOK)


def test_all_else_changes_the_id() -> None:
    others = {key: value for key, value in OTHER_VALUES.items() if value is not None}
    ids = {run_id(changed(key, value)) for key, value in others.items()}
    assert len(ids | {run_id(BOOK)}) == len(others) + 1


def test_result_config_holds_each_of_those_keys() -> None:
    # at their defaults these keys keep the IDs that were before them
    further = dict.fromkeys(config.FURTHER, 0.1)
    later = {"precision": "tf32", "label_smoothing": 0.1, "probe": {"ema": 0.9}}
    content = config.result_config(make_run(**further, **later, data={"split": 1, "train": 1000}))
    assert sorted(keys_of(content)) == sorted([*OTHER_VALUES, "code", "data.arrays"])


def test_without_noise_all_rates_count_as_zero() -> None:
    none = {"name": "none"}
    run = make_run(noise=none, dropout1=0.3, dropout4=0.9)
    assert set(run.rates.values()) == {0.0}
    assert run == make_run(noise=none, dropout1=0.0, dropout2=1.0)
    with pytest.raises(InputError, match="dropout1=2: "):
        make_run(noise=none, dropout1=2)


@pytest.mark.parametrize("key", ["dropout1", "dropout2", "optimizer.momentum", "optimizer.weight_decay"])
def test_zero_is_zero_however_it_is_written(key: str) -> None:
    assert len({run_id(changed(key, value)) for value in (0, 0.0, -0.0)}) == 1


def test_ids_are_the_same_for_ever() -> None:
    """Results on record go by them: nothing but a new `store.SCHEMA` may change this one."""
    assert (
        store.run_id({"seed": 0, "dropout1": 0.2})
        == store.run_id({"dropout1": 0.2, "seed": 0})
        == "e002f19207b1"
    )
