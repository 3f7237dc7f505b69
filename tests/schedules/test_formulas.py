"""Each schedule against its formula, written here a second time, in plain Python and one step at a time."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from configs import DIGITS, REPOSITORY, documented, make_run, plain
from hypothesis import given
from hypothesis import strategies as st
from lockstep import Lockstep

from src import components, schedules
from src.config import parse
from src.errors import InputError, shown
from src.runs.job import Job
from src.runs.pack import train_jobs
from src.training.trainer import Images, train

NAMES = sorted(documented("schedule"))
SHARES = st.floats(0.01, 1)


def early(u: float, p: float, cutoff: float, linear: bool) -> float:
    if u >= cutoff:
        return 0.0
    return p * (cutoff - u) / cutoff if linear else p


def curriculum(u: float, p: float, gamma: float) -> float:
    theta = 1 - p
    keep = (1 - theta) * math.exp(-gamma * u) + theta
    return 1 - keep


def piecewise(u: float, p: float, points: list[list[float]]) -> float:
    before = [point for point in points if point[0] <= u]
    after = [point for point in points if point[0] > u]
    if not before or not after:
        return p * (before[-1] if before else after[0])[1]
    (u0, f0), (u1, f1) = before[-1], after[0]
    return p * (f0 * (u1 - u) + f1 * (u - u0)) / (u1 - u0)


POINTS = st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda points: [[at / 20, factor] for at, factor in sorted(points, key=lambda point: point[0])]
)
FORMULAS: dict[str, tuple[Callable[..., float], dict[str, st.SearchStrategy[Any]]]] = {
    "constant": (lambda u, p: p, {}),
    "linear": (lambda u, p: p - p * u, {}),
    "cosine": (lambda u, p: p * math.cos(math.pi * u / 2) ** 2, {}),
    "early": (early, {"cutoff": SHARES, "linear": st.booleans()}),
    "late": (lambda u, p, cutoff: 0.0 if u < cutoff else p, {"cutoff": st.floats(0, 1)}),
    "curriculum": (curriculum, {"gamma": st.floats(0, 50)}),
    "annealed": (lambda u, p, until: p * (1 - u / until) if u < until else 0.0, {"until": SHARES}),
    "piecewise": (piecewise, {"points": POINTS}),
}
"""Rate at u of each schedule, and its options."""

ENDS: dict[str, tuple[float, float]] = {
    "constant": (1, 1),
    "linear": (1, 0),
    "cosine": (1, 0),
    "early": (1, 0),
    "late": (0, 1),
    "curriculum": (0, 1 - math.exp(-10)),
    "annealed": (1, 0),
    "piecewise": (0, 0),
}
"""Factor of p at u = 0 and at u = 1 with the options of conf/."""


def defaults(name: str, **changes: Any) -> dict[str, Any]:
    """The schedule's YAML with some options changed."""
    text = (REPOSITORY / "conf" / "schedule" / f"{name}.yaml").read_text(encoding="utf-8")
    return components.check_options("schedule", {**yaml.safe_load(text), **changes})


def test_every_schedule_is_held_against_a_formula() -> None:
    assert documented("schedule") == set(FORMULAS) == set(ENDS)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), p=st.floats(0, 1), steps=st.integers(1, 300))
def test_every_step_follows_the_formula(name: str, data: st.DataObject, p: float, steps: int) -> None:
    formula, options = FORMULAS[name]
    arguments = data.draw(st.fixed_dictionaries(options))
    used = schedules.rates(components.check_options("schedule", {"name": name, **arguments}), p, steps)
    assert used.shape == (steps,)
    assert used.dtype == np.float64
    assert ((used >= 0) & (used <= p)).all()
    assert used.tolist() == pytest.approx(
        [formula(t / steps, p, **arguments) for t in range(steps)], abs=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_first_and_last_step(name: str, p: float) -> None:
    used = schedules.rates(defaults(name), p, 100_000)
    first, last = ENDS[name]
    assert used[0] == pytest.approx(p * first, abs=1e-12)
    assert used[-1] == pytest.approx(p * last, abs=1e-4)


@pytest.mark.parametrize(("name", "at"), [("early", 0.3), ("late", 0.3)])
def test_the_cutoff_is_met_to_the_step(name: str, at: float) -> None:
    for steps in (10, 100, 4700):
        used = schedules.rates(defaults(name, cutoff=at), 0.5, steps)
        assert np.flatnonzero(np.diff(used)).tolist() == [round(at * steps) - 1]


def test_early_and_late_with_one_cutoff_are_each_others_complement() -> None:
    both = [schedules.rates(defaults(name, cutoff=0.37), 0.4, 235) for name in ("early", "late")]
    assert (both[0] + both[1]).tolist() == [0.4] * 235


@given(st.integers(1, 300), st.floats(0, 1))
def test_schedules_that_are_cases_of_others(steps: int, p: float) -> None:
    def at(name: str, **options: Any) -> list[float]:
        return schedules.rates(defaults(name, **options), p, steps).tolist()

    assert at("annealed", until=1) == at("linear")
    assert at("annealed", until=0.4) == at("early", cutoff=0.4, linear=True)
    assert at("early", cutoff=1) == at("late", cutoff=0) == at("constant")
    assert at("piecewise", points=[[0.3, 1]]) == at("constant")
    assert at("piecewise", points=[[0.6, 1], [0.6, 0]]) == at("early", cutoff=0.6)
    assert at("piecewise", points=[[0, 1], [1, 0]]) == pytest.approx(at("linear"), abs=1e-15)
    assert at("curriculum", gamma=0) == [0.0] * steps


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("early", {"cutoff": 0}, "schedule.cutoff=0: must be a finite number above 0 to 1"),
    ("early", {"linear": 1}, "schedule.linear=1: must be true or false"),
    ("late", {"cutoff": 1.1}, "schedule.cutoff=1.1: must be a finite number from 0 to 1"),
    ("late", {"linear": True}, "schedule.linear=true: there is no such key; known here: schedule.cutoff"),
    ("curriculum", {"gamma": -1}, "schedule.gamma=-1: must be a finite number of at least 0"),
    ("annealed", {"until": 0}, "schedule.until=0: must be a finite number above 0 to 1"),
    *(
        (
            "piecewise",
            {"points": points},
            f"schedule.points={shown(points)}: must be a list of points [progress, fac",
        )
        for points in (
            [],
            0.5,
            "[[0,1]]",
            [0, 1],
            [[0, 1, 2]],
            [[0]],
            [[0, 1.5]],
            [[0, -0.1]],
            [[-0.1, 0]],
            [[0, 1], [1.1, 0]],
            [[0, True]],
            [[0, float("nan")]],
            [["0", 1]],
            [[0.5, 1], [0.4, 0]],
        )
    ),
]


@pytest.mark.parametrize(("name", "changes", "said"), WRONG)
def test_a_wrong_option_is_named_with_what_is_right(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        defaults(name, **changes)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_metrics_record_what_the_last_step_of_each_epoch_used(tmp_path: Path) -> None:
    """The files of a pack with every schedule; 1,437 images of digits are 6 steps an epoch."""
    hydra: dict[str, Any] = {"overrides": {}, "runtime": {}, "job": {}}
    jobs = []
    for name in NAMES:
        settings = plain(data=DIGITS, epochs=3, dropout1=0.3, dropout2=0.8, output=str(tmp_path))
        settings["schedule"] = dict(defaults(name))
        jobs.append(Job(parse(settings), settings, [], hydra))
    train_jobs(jobs)
    recorded = set()
    for name, job in zip(NAMES, jobs, strict=True):
        arguments = {key: value for key, value in defaults(name).items() if key != "name"}
        with (job.folder / "metrics.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for layer, p in (("dropout1", 0.3), ("dropout2", 0.8)):
            expected = [FORMULAS[name][0]((6 * epoch - 1) / 18, p, **arguments) for epoch in (1, 2, 3)]
            assert [float(row[layer]) for row in rows] == pytest.approx(expected, abs=1e-12)
        recorded.add(tuple(row["dropout1"] for row in rows))
    assert len(recorded) == len(NAMES), "in these epochs each schedule has rates of its own"


@pytest.mark.parametrize(("name", "dropped"), [("early", [1, 1, 0, 0]), ("late", [0, 0, 1, 1])])
def test_the_rates_recorded_are_the_rates_used(name: str, dropped: list[int], digit_images: Images) -> None:
    """With all units dropped the first layer does not learn, so its clean variance stays; without it changes."""
    shape = {"name": "scratch", "hidden1": 16, "hidden2": 16}
    settings = make_run(data=DIGITS, epochs=4, dropout1=1.0, dropout2=1.0, model=shape)
    rows: list[Any] = []
    train([dataclasses.replace(settings, schedule=defaults(name))], digit_images, 10, rows.extend)
    assert [row["dropout1"] for row in rows] == dropped
    assert [row["noisy_var1"] == 0 for row in rows] == [rate == 1 for rate in dropped]
    stays = [later["var1"] == earlier["var1"] for earlier, later in pairwise(rows)]
    assert stays == [rate == 1 for rate in dropped[1:]]


def test_a_stack_of_all_schedules_equals_its_runs_alone(digit_images: Images) -> None:
    shape = {"name": "scratch", "hidden1": 16, "hidden2": 16}
    base = make_run(data=DIGITS, epochs=3, dropout1=0.3, dropout2=0.8, model=shape, optimizer={"lr": 0.1})
    runs = [dataclasses.replace(base, schedule=defaults(name)) for name in NAMES]
    together: list[Any] = []
    lockstep = Lockstep()
    with lockstep.leads():
        train(runs, digit_images, 10, together.append)
    for i, run in enumerate(runs):
        alone: list[Any] = []
        with lockstep.leading(i):
            train([run], digit_images, 10, alone.append)
        for epoch, (row,) in enumerate(alone):
            for key in ("dropout1", "dropout2"):
                assert together[epoch][i][key] == row[key]
            for key in ("train_loss", "test_loss", "noisy_var2"):
                assert together[epoch][i][key] == pytest.approx(row[key], rel=1e-3, abs=1e-6)
    assert len({row["train_loss"] for row in together[-1]}) == len(NAMES)
