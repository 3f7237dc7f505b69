"""What a search may vary: overrides in the published Optuna sweeper's syntax as Optuna's distributions.

key=choice(a,b), key=a,b         one of the values, without an order
key=range(1,10), range(0,1,0.1)  whole numbers, or decimal ones by a step; the end is one of them
key=interval(0,0.8)              any number between; int(interval(1,512)) whole ones
key=tag(log,interval(1e-4,1))    the same, evenly over its orders of magnitude
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString, RangeSweep, Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from src.errors import InputError, shown
from src.errors.messages import key_of
from src.sweeping.naming import check_swept, value_text
from src.sweeping.planning import as_typed, expand, swept_values

MOST_CHECKED = 200
"""Combinations of choices that are checked before a search begins; the rest is checked when it is asked for."""


@dataclass(frozen=True)
class Axis:
    """A key that is searched over."""

    setting: str
    """The key as an override sets it: `+key` where it is new to the config."""
    typed: str
    """What is right of its `=`."""
    distribution: Any
    """One of Optuna's."""
    texts: dict[Any, str]
    """Of a choice: each value as it is typed."""

    @property
    def key(self) -> str:
        return key_of(self.setting)

    def override(self, value: Any) -> str:
        match self.distribution:
            case FloatDistribution(low=low, step=float(step)):
                value = _step(self.distribution, round((value - low) / step))
        return f"{self.setting}={self.texts[value] if self.texts else repr(value)}"

    @property
    def is_number(self) -> bool:
        return not self.texts

    def points(self) -> list[Any] | None:
        """Every value; None where they lie dense."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return list(choices)
            case IntDistribution(low=low, high=high, step=step):
                return list(range(low, high + 1, step))
            case FloatDistribution(low=low, high=high, step=float(step)):
                return [_step(self.distribution, number) for number in range(round((high - low) / step) + 1)]
        return None

    def ends(self) -> list[Any]:
        """Values that are right only if all are: both ends of a range, each choice."""
        return list(self.texts) or [self.distribution.low, self.distribution.high]


@dataclass(frozen=True)
class Space:
    """A search's overrides: the axes, and what is fixed, in the order given."""

    settings: tuple[str | Axis, ...]
    seeds: tuple[str, ...] = ()
    """Overrides of the runs of a trial, where it has several; its objective is their mean."""

    @property
    def axes(self) -> list[Axis]:
        return [setting for setting in self.settings if isinstance(setting, Axis)]

    @property
    def fixed(self) -> list[str]:
        return [setting for setting in self.settings if isinstance(setting, str)]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        # in the keys' order: what a sampler draws depends on it, and must not on how the command was typed
        return {axis.key: axis.distribution for axis in sorted(self.axes, key=lambda axis: axis.key)}

    def overrides(self, params: dict[str, Any]) -> list[str]:
        """Overrides of the job with these values of the axes."""
        return [s if isinstance(s, str) else s.override(params[s.key]) for s in self.settings]

    def corners(self) -> Iterator[list[str]]:
        """Overrides of jobs that show what is wrong with any value: all choices together, each range's ends."""
        first = {axis.key: axis.ends()[0] for axis in self.axes}
        choices = [axis for axis in self.axes if not axis.is_number]
        products = itertools.product(*(axis.ends() for axis in choices))
        for values in itertools.islice(products, MOST_CHECKED):
            yield self.overrides({**first, **{a.key: v for a, v in zip(choices, values, strict=True)}})
        for axis in self.axes:
            for value in axis.ends()[1:]:
                yield self.overrides({**first, axis.key: value})

    def points(self) -> dict[str, list[Any]]:
        """The values of each key; none of one where they lie dense."""
        return {axis.key: axis.points() or [] for axis in self.axes}

    def size(self) -> int | None:
        """Number of its points; None where they lie dense."""
        return math.prod(map(len, self.points().values())) or None


def parse(overrides: Sequence[Override]) -> Space:
    """The space of these overrides; of two settings of one key the last wins.

    Raises:
        InputError: for a sweep that is none of the forms above, or whose numbers are wrong.
    """
    settings: dict[str, str | Axis] = {}
    seeds: tuple[str, ...] = ()
    for override in overrides:
        setting, is_sweep = override.get_key_element(), override.is_sweep_override()
        key = key_of(setting)
        if key == "seed":
            seeds = tuple(dict.fromkeys(seed for (seed,) in expand([override], []))) if is_sweep else ()
        if key != "seed" or not is_sweep:
            settings[key] = axis(setting, override) if is_sweep else as_typed(override)
    return Space(tuple(value for key, value in settings.items() if not (seeds and key == "seed")), seeds)


def axis(setting: str, override: Override) -> Axis:
    """The axis of one override that sweeps."""
    text = value_text(override)
    check_swept(key_of(setting), text)
    tags = set(getattr(override.value(), "tags", ()))
    if tags - {"log"}:
        raise InputError(setting, text, "a search knows no tag but log")
    try:
        return Axis(setting, text, *_values(override, log="log" in tags))
    except ValueError as error:
        right = "must be choice(a,b), range(low,high,step), interval(low,high) or tag(log,interval(low,high))"
        raise InputError(setting, text, f"{right}; {' '.join(str(error).split()).rstrip('.')}") from None


def _values(override: Override, log: bool) -> tuple[BaseDistribution, dict[Any, str]]:
    """Distribution of an override's values, and of a choice each value's text."""
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log), {}
        return FloatDistribution(_finite(low), _finite(high), log=log), {}
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _range(value, log), {}
    if hasattr(value, "shuffle"):
        value.shuffle = False  # an order means nothing to a search, and another one each time would harm it
    texts: dict[Any, str] = {}
    for choice in swept_values(override):
        text = Transformer.str(choice)
        plain: Any = choice.text if isinstance(choice, QuotedString) else choice
        key = plain if isinstance(plain, str | int | float | None) else text
        if any(key == other and type(key) is not type(other) for other in texts):
            key = text  # 1 and true are equal in Python
        texts.setdefault(key, text)
    return CategoricalDistribution(tuple(texts)), texts


def as_override(key: str, distribution: Any) -> str:
    """A distribution as one would type it; two that are equal are typed alike."""
    if isinstance(distribution, CategoricalDistribution):
        return f"{key}=choice({','.join(map(shown, distribution.choices))})"
    ends, step = f"{distribution.low},{distribution.high}", distribution.step
    text = f"interval({ends})" if step is None or distribution.log else f"range({ends},{step})"
    return f"{key}=tag(log,{text})" if distribution.log else f"{key}={text}"


def _range(value: RangeSweep, log: bool) -> BaseDistribution:
    low, high = sorted((_finite(value.start), _finite(value.stop)))
    step = abs(_finite(value.step))
    if step == 0:
        raise ValueError("its step is 0")
    # the last value that a step reaches; where it is another one Optuna would warn
    first, reach = _exact(low), _exact(high) - _exact(low)
    high = float(first + reach // _exact(step) * _exact(step))
    if all(isinstance(number, int) for number in (value.start, value.stop, value.step)):
        return IntDistribution(int(low), int(high), step=int(step), log=log)
    return FloatDistribution(low, high, step=step, log=log)


def _step(distribution: Any, number: int) -> float:
    """The value after so many steps, as one would type it: 0.3, not 0.30000000000000004."""
    return float(_exact(distribution.low) + number * _exact(distribution.step))


def _exact(number: float) -> Decimal:
    return Decimal(str(number))


def _finite(number: float | None) -> float:
    if number is None or not math.isfinite(number):
        raise ValueError("its numbers must be finite")
    return number
