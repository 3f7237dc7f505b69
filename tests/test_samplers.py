"""Optuna's samplers as a search asks them: reproducible, also after a restart, with numbers of few digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("optuna", reason="a search needs optuna: pip install -e '.[optuna]'")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from src.errors import InputError
from src.sweeping import samplers, study

DENSE = {
    "dropout1": FloatDistribution(0, 0.8),
    "lr": FloatDistribution(1e-2, 1, log=True),
    "width": IntDistribution(1, 512),
}
NUMBERS: dict[str, Any] = {"dropout1": DENSE["dropout1"], "lr": DENSE["lr"]}
MIXED: dict[str, Any] = {**DENSE, "noise": CategoricalDistribution(("dropout", "gaussian"))}
BATCH = 4


def formula(params: dict[str, Any]) -> float:
    return float(1 - (params["dropout1"] - 0.3) ** 2 - (params["lr"] - 0.1) ** 2)


def asked(folder: Path, name: str, until: int, seed: int = 0, last_told: bool = True) -> list[dict[str, Any]]:
    """Parameters of the trials of a search in batches, taken up where the folder has one."""
    folder.mkdir(exist_ok=True)
    space = NUMBERS if name == "cmaes" else MIXED
    sampler = samplers.sampler_by_name(name, seed, BATCH)
    memory = study.Study(folder, ["maximize"], space, sampler, {})
    while len(memory.trials) < until or not all(t.state.is_finished() for t in memory.trials):
        if all(trial.state.is_finished() for trial in memory.trials):
            for _ in range(BATCH):
                memory.ask()
            memory.write()
        if len(memory.trials) >= until and not last_told:
            break
        for trial in memory.trials:
            if not trial.state.is_finished():
                memory.tell(trial.number, TrialState.COMPLETE, [formula(trial.params)])
    return [trial.params for trial in memory.trials]


@pytest.mark.parametrize(
    "name",
    [*sorted(set(samplers.CLASSES) - {"grid", "gp"}), pytest.param("gp", marks=pytest.mark.slow)],
)
def test_the_same_seed_asks_for_the_same_trials_even_after_a_kill(tmp_path: Path, name: str) -> None:
    until = 16 if name == "gp" else 12
    first = asked(tmp_path / "first", name, until)
    killed = asked(tmp_path / "killed", name, until - BATCH, last_told=False)
    assert killed == first[:-BATCH]
    assert asked(tmp_path / "killed", name, until) == first
    different = len({str(params) for params in first})
    assert different == until or (name.startswith("nsga") and different > BATCH), "these may ask twice"
    sampler = samplers.sampler_by_name(name, 1, BATCH)
    other = study.Study(tmp_path, ["maximize"], NUMBERS, sampler, {}).ask()
    assert {key: first[0][key] for key in NUMBERS} != other.params
    for params in first:
        for key, value in params.items():
            assert MIXED[key]._contains(MIXED[key].to_internal_repr(value))
            assert not isinstance(value, float) or value == float(f"{value:.4g}")


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6), st.floats(0, 1))
def test_a_number_of_few_digits_is_in_its_interval_and_near(low: float, width: float, share: float) -> None:
    high = low + width
    value = min(max(low + share * width, low), high)
    short = samplers.rounded(value, FloatDistribution(low, high))
    assert low <= short <= high
    assert abs(short - value) <= max(5.01e-4 * abs(value), 0) or abs(short - value) <= (high - low) / 100
    assert samplers.rounded(short, FloatDistribution(low, high)) == short or short in (low, high)


@pytest.mark.parametrize(
    ("low", "high", "value", "short"),
    [
        (0, 0.8, 0.123456, 0.1235),
        (1e-4, 1e-1, 1.23456e-4, 1.235e-4),
        (0, 0.8, 0.0, 0.0),
        (0, 0.12345, 0.123449, 0.1234),
        (0.12345, 1, 0.1234501, 0.1235),
        (0.9, 0.99999, 0.99999, 0.99999),
        (5, 5, 5, 5),
        (100, 101, 100.12345, 100.12),
        (-1e308, 1e308, 1.23456e300, 1.235e300),
        (0, 5e-324, 5e-324, 5e-324),
    ],
)
def test_digits(low: float, high: float, value: float, short: float) -> None:
    assert samplers.rounded(value, FloatDistribution(low, high)) == short
    assert math.isfinite(short)


def test_a_sampler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[[str], Any] = lambda name: None  # noqa: E731
    monkeypatch.setattr(samplers, "find_spec", find)
    with pytest.raises(InputError, match="sampler=cmaes: the package cmaes is not installed"):
        samplers.sampler_by_name("cmaes", 0, None)
    samplers.sampler_by_name("tpe", 0, None)
