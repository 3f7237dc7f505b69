"""Checks of values: what is right passes in its type, all else is refused with what would be right."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.checks import Check, boolean, check_keys, integer, one_of, optional, real, text
from src.errors import InputError


@given(st.floats(0, 1) | st.integers(0, 1))
def test_real_takes_the_closed_interval_as_floats(value: float) -> None:
    checked = real(0, 1)(value)
    assert type(checked) is float
    assert checked == value


@given(st.floats().filter(lambda x: not 0 <= x <= 1))
def test_real_refuses_all_outside(value: float) -> None:
    with pytest.raises(ValueError, match="must be a finite number from 0 to 1"):
        real(0, 1)(value)


def test_open_ends_are_left_out() -> None:
    check = real(0, 1, above=True, below=True)
    assert check(math.nextafter(0, 1)) > 0
    assert check(math.nextafter(1, 0)) < 1
    for value in (0, 1, 0.0, 1.0):
        with pytest.raises(ValueError, match="above 0 to below 1"):
            check(value)


WRONG: list[tuple[Check, Any, str]] = [
    (real(), True, "must be a finite number"),
    (real(), "0.5", "must be a finite number, and without quotes, which make it a text"),
    (integer(0), "3", "must be a whole number of at least 0, and without quotes, which make it a text"),
    (boolean, "true", "must be true or false, and without quotes, which make it a text"),
    (real(), "half", "must be a finite number"),
    (real(), None, "must be a finite number"),
    (real(), math.inf, "must be a finite number"),
    (real(), math.nan, "must be a finite number"),
    (real(3), 2.9, "must be a finite number of at least 3"),
    (real(0, above=True), 0, "must be a finite number above 0"),
    (integer(1), 0, "must be a whole number of at least 1"),
    (integer(1), 1.0, "must be a whole number of at least 1"),
    (integer(1), True, "must be a whole number of at least 1"),
    (integer(1, 5), 6, "must be a whole number of at least 1 and at most 5"),
    (boolean, 1, "must be true or false"),
    (text, "", "must be a text that is not empty"),
    (text, 3, "must be a text that is not empty"),
    (one_of("a", "b"), "c", "must be one of a, b"),
    (one_of("a", "b"), None, "must be one of a, b"),
    (optional(integer(1)), 0, "must be a whole number of at least 1, or null"),
]


@pytest.mark.parametrize(("check", "value", "right"), WRONG)
def test_wrong_value_is_refused_with_what_is_right(check: Check, value: Any, right: str) -> None:
    with pytest.raises(ValueError) as caught:
        check(value)
    assert str(caught.value) == right


def test_right_values_pass() -> None:
    assert [optional(integer(1))(value) for value in (None, 1)] == [None, 1]
    assert (boolean(False), text("a"), one_of("a", "b")("b"), integer(1, 5)(5)) == (False, "a", "b", 5)


def test_keys_are_checked_and_named_in_full() -> None:
    checks = {"a": integer(0), "b": real()}
    typed = check_keys({"b": 1, "a": 2}, checks)
    assert typed == {"a": 2, "b": 1.0}
    assert type(typed["b"]) is float
    for values, said in [
        ({"a": 1}, "group.b=null: must be given"),
        ({"a": 1, "b": 2, "c": 3}, "group.c=3: there is no such key; known here: group.a, group.b"),
        ({"a": -1, "b": 2}, "group.a=-1: must be a whole number of at least 0"),
    ]:
        with pytest.raises(InputError) as caught:
            check_keys(values, checks, prefix="group.")
        assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "null"), (True, "true"), (False, "false"), (0.5, "0.5"), ("x", "x")]
)
def test_values_are_shown_as_they_are_typed(value: object, shown: str) -> None:
    assert str(InputError("key", value, "no")) == f"key={shown}: no"


def test_error_survives_the_way_between_processes() -> None:
    error = InputError("dropout1", 1.5, "must be a number")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is InputError
    assert (str(again), again.key, again.value, again.right) == (
        str(error),
        "dropout1",
        1.5,
        "must be a number",
    )
