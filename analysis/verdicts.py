"""An exercise's verdict: the first of its rules that holds. The rules are data, and the report prints them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A verdict and when it holds."""

    name: str
    condition: str
    """In words."""
    holds: Callable[[Any], bool]
    """Of an exercise's facts."""


def first_that_holds(rules: Sequence[Rule], facts: Any) -> str:
    """Name of the first rule that holds; the last one of a list should always hold.

    Raises:
        LookupError: if none does.
    """
    for rule in rules:
        if rule.holds(facts):
            return rule.name
    raise LookupError(f"none of the rules {', '.join(rule.name for rule in rules)} holds")
