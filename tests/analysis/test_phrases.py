"""Numbers as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import measures
from analysis.exercises.activation_variance import VAR
from analysis.phrases import ENGLISH
from src.stats import Interval


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (-0.0023, 0.0017, "−0.23 to +0.17"),
        (-0.00227, -0.00003, "−0.227 to −0.003"),
        (0.00001, 0.00251, "+0.001 to +0.251"),
        (-0.000002, 0.002453, "−0.0002 to +0.2453"),
        (0.0, 0.0017, "0.00 to +0.17"),
        # no digit or two show a side: it is as it was, and does not keep the other end from its own
        (-0.0000001, 0.0017, "0.00 to +0.17"),
        (-0.000000001, 0.00003, "0.000 to +0.003"),
    ],
)
def test_an_end_of_a_difference_shows_on_which_side_of_0_it_is(lower: float, upper: float, said: str) -> None:
    interval = Interval(lower, upper, "t")
    assert ENGLISH.span(interval, measures.TEST_ACC, signed=True) == said


def test_a_ratio_near_1_and_a_value_without_a_sign() -> None:
    assert ENGLISH.span(Interval(-0.002, 0.128, "t"), VAR, signed=True) == "0.998 to 1.137"
    assert ENGLISH.span(Interval(0.00001, 0.0787, "t"), measures.TEST_ACC) == "0.00 to 7.87"


@given(ends=st.tuples(*[st.floats(-1, 1).filter(lambda end: abs(end) > 1e-6)] * 2))
def test_what_is_shown_has_the_sign_and_is_no_further_off_than_its_last_digit(
    ends: tuple[float, float],
) -> None:
    lower, upper = sorted(ends)
    shown = ENGLISH.span(Interval(lower, upper, "t"), measures.TEST_ACC, signed=True).split(" to ")
    for text, end in zip(shown, (lower, upper), strict=True):
        digits = len(text.partition(".")[2])
        assert text[0] == ("+" if end > 0 else "−") and digits <= 4
        assert abs(float(text.replace("−", "-")) - 100 * end) <= 0.5 * 10**-digits + 1e-12
