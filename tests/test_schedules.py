"""What all schedules and the learning rate's decay have in common: a value a step, from progress in [0, 1)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src import components, optimizers, schedules

STEPS = st.integers(1, 400)
RATES = st.floats(0, 1)


@given(RATES, STEPS)
def test_every_schedule_stays_in_the_unit_interval(p: float, steps: int) -> None:
    for name in components.names("schedule"):
        if not getattr(components.find("schedule", name), "OPTIONS", {}):
            used = schedules.rates({"name": name}, p, steps)
            assert used.shape == (steps,)
            assert ((used >= 0) & (used <= 1)).all()


def test_a_schedule_is_handed_progress_rate_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(progress: np.ndarray, configured: float, power: int) -> np.ndarray:
        return configured * progress**power

    monkeypatch.setattr(schedules, "find", lambda group, name: SimpleNamespace(rate=rate))
    used = schedules.rates({"name": "mine", "power": 2}, 0.8, 4)
    assert used.tolist() == pytest.approx([0, 0.05, 0.2, 0.45])


def test_a_single_number_stands_for_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        schedules, "find", lambda group, name: SimpleNamespace(rate=lambda progress, p: p / 2)
    )
    assert schedules.rates({"name": "mine"}, 0.5, 3).tolist() == [0.25] * 3


# The learning rate


@given(st.floats(1e-6, 10), STEPS)
def test_learning_rate_formulas(lr: float, steps: int) -> None:
    def at(decay: str) -> np.ndarray:
        return optimizers.learning_rates({"lr": lr, "decay": decay, "warmup": 0.0}, steps, steps_per_epoch=1)

    u = np.array([step / steps for step in range(steps)])
    np.testing.assert_array_equal(at("constant"), np.full(steps, lr))
    np.testing.assert_allclose(at("linear"), lr * (1 - u), rtol=1e-12)
    np.testing.assert_allclose(at("cosine"), lr * np.cos(np.pi * u / 2) ** 2, rtol=1e-9, atol=1e-15)
    for decay in ("linear", "cosine"):
        assert at(decay)[0] == lr
        assert (np.diff(at(decay)) < 0).all()
        assert (at(decay) > 0).all()


@given(st.floats(0, 6), st.integers(1, 5), st.integers(1, 20))
def test_learning_rate_rises_to_its_full_height_and_then_falls(
    warmup: float, epochs: int, per_epoch: int
) -> None:
    options = {"lr": 0.5, "decay": "linear", "warmup": warmup}
    lr = optimizers.learning_rates(options, epochs * per_epoch, per_epoch)
    rising = round(warmup * per_epoch)  # in steps, perhaps more than there are
    warm = min(rising, len(lr))
    np.testing.assert_allclose(lr[:warm], [0.5 * (step + 1) / rising for step in range(warm)])
    rest = len(lr) - warm
    np.testing.assert_allclose(lr[warm:], [0.5 * (1 - step / rest) for step in range(rest)])
