"""Optuna's samplers by name, seeded for each trial, with numbers of few digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler

from src.errors import InputError

CLASSES = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "random": "RandomSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
}
"""In `optuna.samplers`."""
POPULATION = 8
"""Of a generation of the genetic samplers where no batch says how large it is."""
DIGITS = 4
"""Significant, of a number that is drawn."""
FEWEST_VALUES = 100
"""Between the ends of an interval, for which more digits are kept where it is narrow."""


def rounded(value: float, distribution: FloatDistribution) -> float:
    """The value to four significant digits, inside the interval.

    >>> rounded(0.123456, FloatDistribution(0, 0.8)), rounded(0.99871, FloatDistribution(0.99, 0.9987))
    (0.1235, 0.9987)

    Where the interval is so narrow that few numbers would be left, more digits are kept:

    >>> rounded(1.0000123456, FloatDistribution(1, 1.0002))
    1.000012
    """
    low, high = distribution.low, distribution.high
    if value == 0 or low == high:
        return value
    decimals = DIGITS - 1 - math.floor(math.log10(abs(value)))
    width = min(high - low, 1e300)  # finite
    decimals = max(decimals, math.ceil(math.log10(FEWEST_VALUES) - math.log10(width)))
    return min(max(round(value, decimals), low), high)


class _FewDigits:
    """In front of a sampler's class: its numbers have few digits, so that what is trained is what the trial's name
    says, and Optuna is told of that."""

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]) -> Any:
        drawn = super().sample_relative(study, trial, search_space)  # type: ignore[misc]
        return {key: _short(value, search_space[key]) for key, value in drawn.items()}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: BaseDistribution) -> Any:
        drawn = super().sample_independent(study, trial, name, distribution)  # type: ignore[misc]
        return _short(drawn, distribution)


def _short(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        return rounded(float(value), distribution)
    return value


class _Grid(optuna.samplers.GridSampler):
    def after_trial(self, *_: Any) -> None:
        """Optuna's own would stop `Study.optimize`, which is not what runs here."""


class _Sobol(_FewDigits, optuna.samplers.QMCSampler):
    """The point of this number of one scrambled sequence."""

    def __init__(self, seed: int, number: int) -> None:
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self._number = number

    def _find_sample_id(self, *_: Any) -> int:
        """Optuna's own counts in the study, and so from 0 again in a search that goes on."""
        return self._number


def sampler_by_name(
    name: str, seed: int, batch_size: int | None, grid: Mapping[str, Sequence[Any]] | None = None
) -> Callable[[int], BaseSampler]:
    """Makes the sampler of each trial, by its number.

    Args:
        name: of `CLASSES`.
        seed: with the trial's number it seeds the sampler. (One sampler seeded once would, after a restart,
            draw its first trials again.)
        batch_size: the size of a generation of cmaes, nsgaii and nsgaiii, which are told of a batch at once.
        grid: for grid, the values of each parameter.

    Raises:
        InputError: if a package that it needs is missing.
    """
    if name == "cmaes" and find_spec("cmaes") is None:
        right = "the package cmaes is not installed; pip install -e '.[optuna]' brings it"
        raise InputError("hydra.sweeper.sampler", name, right)
    kind = getattr(optuna.samplers, CLASSES[name])
    if name == "grid":
        sampler = _Grid(dict(grid or {}), seed=seed)
        return lambda number: sampler
    if name == "qmc":
        return lambda number: _Sobol(seed, number)
    short = type(kind.__name__, (_FewDigits, kind), {})  # Optuna makes keys of the name

    def make(number: int) -> BaseSampler:
        options: dict[str, Any] = {"seed": int(np.random.SeedSequence([seed, number]).generate_state(1)[0])}
        if name == "tpe":
            options["constant_liar"] = True
        elif name == "cmaes" and batch_size and batch_size >= 4:
            # below 4 there is nothing to recombine; then Optuna's own size follows from the space
            options["popsize"] = batch_size
        elif name.startswith("nsga"):
            options["population_size"] = max(2, batch_size or POPULATION)
        return short(**options)

    return make
