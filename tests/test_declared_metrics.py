"""Metrics of one's own: a noise, an optimizer and a model log numbers, which come as columns at the end."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from configs import DIGITS, make_run, plain

from src import config
from src.config import Run
from src.errors import InputError
from src.runs import declared, store
from src.runs.job import Job, ready
from src.runs.pack import train_jobs
from src.sweeping import until
from src.training.images import Images
from src.training.trainer import train

Component = Callable[[str, str, str], None]

NOISE = """
from src.noise import Noise

METRICS = {"seen": "higher", "places": None, "absent": None, "infinite": "lower"}

class Counting(Noise):
    def factor(self, h, rate, site):
        if site.learning:
            site.state["steps"] = site.state.get("steps", 0) + (h.mean((-2, -1)) * 0 + 1)
        return site.keep(h.shape, rate) / (1 - rate)

    def metrics(self, sites):
        steps = [site.state["steps"] for site in sites.values() if "steps" in site.state]
        return {"seen": sum(steps), "places": float(len(steps)), "infinite": float("inf")}
"""
OPTIMIZER = """
from src.optimizers import COMMON, Optimizer, add_scaled

OPTIONS = COMMON
METRICS = {"length": "lower"}

class Walking(Optimizer):
    def update(self, gradients, lr):
        add_scaled(self.parameters, gradients, -lr)

    def metrics(self):
        return {"length": self.parameters.norm(dim=-1)}
"""
MODEL = """
from torch import nn
from src.stacks.mlp import MLP

STACK = MLP
METRICS = {"widest": None}

class Net(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.lin1, self.lin2, self.lin3 = nn.Linear(features, 8), nn.Linear(8, 8), nn.Linear(8, classes)

    def metrics(self):
        return {"widest": self.lin1.weight.abs().max()}

def build(features, classes):
    return Net(features, classes)
"""
OPTIMIZER_OPTIONS = {
    "name": "walking", "lr": 0.1, "weight_decay": 0.0, "decay_biases": True, "decay": "constant", "warmup": 0.0,
    "max_norm": None,
}  # fmt: skip
NAMES = ["seen", "places", "absent", "infinite", "length", "widest"]


@pytest.fixture
def mine(component: Component, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A config with a noise, an optimizer and a model that log numbers."""
    component("noise", "counting", NOISE)
    component("optimizer", "walking", OPTIMIZER)
    component("model", "measured", MODEL)
    small = {"data": DIGITS, "epochs": 2, "model": {"name": "measured"}, "noise": {"name": "counting"}}
    return {**small, "optimizer": OPTIMIZER_OPTIONS}


def job(output: Path, mine: dict[str, Any], **changes: Any) -> Job:
    values = plain(output=str(output), **{**mine, **changes})
    return Job(config.parse(values), values, [], {}, 0)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_they_are_the_last_columns_and_a_missing_number_is_an_empty_cell(
    tmp_path: Path, mine: dict[str, Any]
) -> None:
    only = job(tmp_path, mine)
    (record,) = train_jobs([only])
    assert record["state"] == store.FINISHED, record["error"]
    first, second = rows_of(only.folder)
    assert list(first) == [*store.METRICS, *NAMES]
    steps = math.ceil(1437 / 256)
    assert (first["seen"], second["seen"], first["places"]) == (str(2.0 * steps), str(4.0 * steps), "2.0")
    assert (first["absent"], first["infinite"]) == ("", "")
    assert 0 < float(first["length"]) != float(second["length"]) > 0 and 0 < float(first["widest"]) < 1
    assert record["metrics"] == {
        "seen": "higher", "places": None, "absent": None, "infinite": "lower", "length": "lower", "widest": None,
    }  # fmt: skip
    assert store.read_record(only.folder) == record, (
        "the run is whole though numbers are missing in its last row"
    )


def test_the_weights_are_those_of_now(tmp_path: Path, mine: dict[str, Any]) -> None:
    import torch

    kept = job(tmp_path, mine, save_model=True)
    train_jobs([kept])
    weights = torch.load(kept.folder / "model.pt")
    last = rows_of(kept.folder)[-1]
    assert float(last["widest"]) == weights["lin1.weight"].abs().max().item()
    assert float(last["length"]) == pytest.approx(
        torch.cat([w.flatten() for w in weights.values()]).norm().item()
    )


def test_a_pack_has_the_same_bytes_and_a_stack_a_number_a_run(
    tmp_path: Path, mine: dict[str, Any], digit_images: Images
) -> None:
    alone = [job(tmp_path / "alone", mine, seed=seed) for seed in (0, 1)]
    packed = [job(tmp_path / "packed", mine, seed=seed) for seed in (0, 1)]
    for one in alone:
        train_jobs([one])
    train_jobs(packed)
    for one, other in zip(alone, packed, strict=True):
        without = [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(one.folder)]
        assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(other.folder)]
    reported: list[Any] = []
    train([job.run for job in packed], digit_images, 10, reported.append)
    for run, one in enumerate(alone):
        for row, by_itself in zip(reported, rows_of(one.folder), strict=True):
            for name in ("seen", "places", "length", "widest"):
                assert row[run][name] == pytest.approx(float(by_itself[name]), rel=1e-3)


def test_any_module_has_them(tmp_path: Path, mine: dict[str, Any]) -> None:
    model = {"name": "concise", "hidden1": 8, "hidden2": 8}
    only = job(tmp_path, {**mine, "model": model})
    (record,) = train_jobs([only])
    assert record["state"] == store.FINISHED and rows_of(only.folder)[-1]["places"] == "2.0"


def test_a_component_that_is_made_anew_has_its_new_metrics(
    mine: dict[str, Any], component: Component
) -> None:
    run = make_run(**mine)
    assert "length" in declared.metrics(run)
    component("optimizer", "walking", OPTIMIZER.replace("length", "stride"))
    assert "stride" in declared.metrics(run) and "length" not in declared.metrics(run)


WRONG = [
    ('METRICS = {"test_acc": None}', "METRICS may not have test_acc, which every run has"),
    ('METRICS = {"dropout7": None}', "METRICS may not have dropout7, which every run has"),
    ('METRICS = {"lr_used": None}', "METRICS may not have lr_used, which every run has"),
    ('METRICS = {"length": None}', "METRICS may not have length, which noise=wrong has"),
    ('METRICS = {"a b": None}', "METRICS has 'a b'; a name of letters, digits and _ is right"),
    (
        'METRICS = {"good": "up"}',
        'METRICS has good: \'up\'; where it is better must be "higher", "lower" or None',
    ),
    ("METRICS = {}", "has a method metrics and no METRICS"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_declaration_is_refused_in_one_line(
    line: str, message: str, mine: dict[str, Any], component: Component
) -> None:
    text = NOISE.replace(
        'METRICS = {"seen": "higher", "places": None, "absent": None, "infinite": "lower"}', line
    )
    component("noise", "wrong", text)
    with pytest.raises(InputError) as caught:
        declared.metrics(make_run(**{**mine, "noise": {"name": "wrong"}}))
    assert message in str(caught.value) and str(caught.value).startswith(
        ("noise=wrong: ", "optimizer=walking: ")
    )


def test_metrics_that_nothing_gives_are_refused(mine: dict[str, Any], component: Component) -> None:
    component("noise", "silent", NOISE.partition("    def metrics")[0])
    with pytest.raises(
        InputError, match=r"^noise=silent: .*has METRICS and no method metrics that gives them$"
    ):
        declared.metrics(make_run(**{**mine, "noise": {"name": "silent"}}))


BODY = """    def metrics(self{}):
        return {}
"""
GIVEN = [
    ("noise", '{"unknown": 1.0}', "metrics gave unknown, which is not in its METRICS"),
    ("noise", '{"seen": [1.0, 2.0]}', "metrics gave seen of shape (2,), which must be one number a run"),
    ("noise", '{"seen": "many"}', "metrics gave 'many' as seen, which must be a number"),
    ("noise", "None", "metrics gave NoneType; it must give a dict of numbers by their names"),
    ("noise", "{}[0]", "wrong.py, line 13: KeyError: 0"),
    ("optimizer", "None", "metrics gave NoneType; it must give a dict of numbers by their names"),
    ("optimizer", "{name: 1.0 for name in undefined}", "NameError: name 'undefined' is not defined"),
    (
        "model",
        "self.lin1.weight.abs().max()",
        "metrics gave Tensor; it must give a dict of numbers by their names",
    ),
    ("model", "{'widest': None, 'narrowest': 0}", "metrics gave narrowest, which is not in its METRICS"),
]


@pytest.mark.parametrize(("group", "given", "message"), GIVEN, ids=[f"{g}: {given}" for g, given, _ in GIVEN])
def test_what_its_runs_would_fail_by_is_refused_before_anything_trains(
    group: str, given: str, message: str, tmp_path: Path, mine: dict[str, Any], component: Component
) -> None:
    text = {"noise": NOISE, "optimizer": OPTIMIZER, "model": MODEL}[group]
    before, _, behind = text.partition("    def metrics")
    behind = behind.partition("\n\n")[2] if group == "model" else ""
    body = BODY.format(", sites" if group == "noise" else "", given)
    component(group, "wrong", f"{before}{body}\n{behind}")
    wrong = {**mine, group: {**mine[group], "name": "wrong"}}
    with pytest.raises(InputError) as caught:
        ready([make_run(**{**wrong, "output": str(tmp_path / "out")})])
    assert str(caught.value).startswith(f"{group}=wrong: ") and message in str(caught.value)
    assert not (tmp_path / "out").exists()
    (record,) = train_jobs([job(tmp_path, wrong)])  # which has not asked before
    assert record["state"] == store.FAILED and message in record["error"]


def test_a_model_that_declares_numbers_and_has_no_method_is_refused(
    tmp_path: Path, mine: dict[str, Any], component: Component
) -> None:
    component("model", "wrong", MODEL.replace("def metrics", "def figures"))
    run = make_run(**{**mine, "model": {"name": "wrong"}, "output": str(tmp_path / "out")})
    with pytest.raises(
        InputError, match=r"^model=wrong: .*has METRICS, and its net no method metrics that gives them$"
    ):
        ready([run])


def test_right_ones_and_those_of_another_fault_are_let_through(
    tmp_path: Path, mine: dict[str, Any], component: Component
) -> None:
    component(
        "noise",
        "later",
        NOISE.replace("self, h, rate, site):", "self, h, rate, site):\n        1 / (rate - 0.3)"),
    )
    right = {"output": str(tmp_path), "probe": {"every": 1, "test_time": True, "train": True, "ema": 0.9}}
    ready(
        [
            make_run(**mine, **right),
            make_run(**{**mine, "noise": {"name": "later"}, "dropout1": 0.3}, **right),
        ]
    )


def test_a_sweep_may_go_on_until_it_is_decided_by_one(mine: dict[str, Any]) -> None:
    def plan(metric: str, runs: Sequence[Run]) -> until.Until:
        primary = {"metric": metric, "contrast": None, "reference": 0, "all": False, "margin": 0.1}
        looks = {"looks": [2, 4], "alpha": 0.05, "spending": "pocock"}
        return until.parse(SimpleNamespace(until=looks, primary=primary), runs)

    runs = [make_run(**mine), make_run(**{**mine, "dropout1": 0.5})]
    for metric, higher in (("seen", True), ("length", False), ("places", None)):
        measure = plan(metric, runs).measure
        assert (measure.higher_is_better, measure.scale, measure.difference_unit) == (higher, 1, "")
        assert measure.word("better") == ("larger" if higher is None else "better")
        # of an interaction no side is better: the words say on which side of 0 it lies
        sides = ("smaller", "larger") if higher is False else ("larger", "smaller")
        assert tuple(measure.word(word, is_interaction=True) for word in ("better", "worse")) == sides
        assert measure.word("equivalent", is_interaction=True) == "equivalent"
    with pytest.raises(
        InputError, match=r"metric=seen: must be one of test_acc, .*eval_train_loss, .*length, widest"
    ):
        plan("seen", [*runs, make_run(**{**mine, "noise": {"name": "none"}})])
