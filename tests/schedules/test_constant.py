"""The constant schedule against its formula: p(u) = p."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from src import schedules
from src.schedules.constant import rate


@given(st.floats(0, 1), st.integers(1, 500))
def test_the_configured_rate_in_every_step(p: float, steps: int) -> None:
    assert rate(np.arange(steps) / steps, p).tolist() == [p] * steps
    used = schedules.rates({"name": "constant"}, p, steps)
    assert used.dtype == np.float64
    assert used.tolist() == [p] * steps
