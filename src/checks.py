"""Checks of a configured value: each says what would be right, and returns the value in its proper type."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from src.errors import InputError

Check = Callable[[Any], Any]
"""Takes a raw value, returns it typed; raises ValueError with what would be right ("a number from 0 to 1")."""


def real(
    low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Check:
    """A finite number in [low, high]; `above` leaves out `low` itself, `below` leaves out `high`."""
    lower = f" {'above' if above else 'from'} {low:g}" if low > -math.inf else ""
    upper = f" {'to below' if below else 'to'} {high:g}" if high < math.inf else ""
    if lower and not upper and not above:
        lower = f" of at least {low:g}"
    right = f"must be a finite number{lower}{upper}"

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(right + _quoted(value))
        number = float(value)
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError(right)
        if (above and number == low) or (below and number == high):
            raise ValueError(right)
        return number + 0.0  # -0.0 becomes 0.0: one value, one ID

    return check


def _quoted(value: Any) -> str:
    """What is wrong with a text that would be a number, or true or false, without its quotes."""
    is_text = isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?|true|false", value, re.I)
    return ", and without quotes, which make it a text" if is_text else ""


def integer(low: int, high: int | None = None) -> Check:
    """A whole number in [low, high]."""
    right = f"must be a whole number of at least {low}" + (f" and at most {high}" if high is not None else "")

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(right + _quoted(value))
        if value < low or (high is not None and value > high):
            raise ValueError(right)
        return value

    return check


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false" + _quoted(value))
    return value


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def words(value: Any) -> tuple[str, ...]:
    """A list of words, or one word."""
    listed = value if isinstance(value, list | tuple) else [value]
    # a number, true and null are words as well, where one typed them so
    if any(isinstance(word, list | dict) or word is None or len(str(word).split()) != 1 for word in listed):
        raise ValueError("must be a list of words, such as [pilot,final]")
    return tuple(dict.fromkeys(map(str, listed)))


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value)

    return check


def optional(inner: Check) -> Check:
    """null, or what `inner` takes."""

    def check(value: Any) -> Any:
        if value is None:
            return None
        try:
            return inner(value)
        except ValueError as error:
            raise ValueError(f"{error}, or null") from None

    return check


def key(check: Check, default: Any = dataclasses.MISSING) -> Any:
    """A field of a dataclass whose value comes from a config; it may be missing there if it has a default."""
    return dataclasses.field(default=default, metadata={"check": check})


def checks_of(kind: Any) -> dict[str, Check]:
    """The checks of a dataclass's fields, of those that have one."""
    checked = [field for field in dataclasses.fields(kind) if "check" in field.metadata]
    return {field.name: field.metadata["check"] for field in checked}


def check_keys(
    values: Mapping[str, Any], checks: Mapping[str, Check], prefix: str = "", place: str = ""
) -> dict[str, Any]:
    """`values` with each key checked and typed.

    Args:
        prefix: of a key, in messages.
        place: the file where a key that is missing belongs.

    Raises:
        InputError: for the first key that is unknown, missing or has a wrong value.
    """
    for key in values:
        if key not in checks:
            known = ", ".join(sorted(prefix + name for name in checks)) or "none"
            raise InputError(prefix + key, values[key], f"there is no such key; known here: {known}")
    typed = {}
    for key, check in checks.items():
        if key not in values:
            raise InputError(prefix + key, None, f"must be given{place and f'; its place is {place}'}")
        try:
            typed[key] = check(values[key])
        except ValueError as error:
            raise InputError(prefix + key, values[key], str(error)) from None
    return typed
