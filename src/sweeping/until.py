"""`hydra.sweeper.until` and `primary`: after how many seeds a sweep looks, and at what."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from omegaconf import OmegaConf

from src.checks import Check, boolean, check_keys, integer, one_of, optional, real, text
from src.config import Run
from src.errors import InputError
from src.runs import declared, measures
from src.runs.measures import Measure
from src.stats.looks import SPENDING, Looks

T = TypeVar("T", int, float)

UNTIL, PRIMARY = "hydra.sweeper.until", "hydra.sweeper.primary"

Contrast = tuple[int, ...]
"""Numbers of arms: (a, b) for a - b; (a, b, c, d) for (a - b) - (c - d); (a, a) for the noise on minus the noise
off, in the nets of a."""


def sides(values: Sequence[T]) -> tuple[T, T]:
    """Of the values of a contrast's arms the sum of those that raise it, and of those that lower it."""
    return sum(values[::3]), sum(values[1:3])


def combined(values: Sequence[float]) -> float:
    """A contrast of its arms' values, to 12 decimals: values that tie must not differ in their last digit.

    >>> combined([0.9, 0.8, 0.7, 0.65])
    0.05
    """
    up, down = sides(values)
    return round(up - down, 12)


@dataclass(frozen=True)
class Until:
    """Looks at contrasts of a sweep's arms, checked."""

    looks: tuple[int, ...]
    """Seeds of an arm at each look."""
    alpha: float
    """Of all contrasts and looks together."""
    spending: str
    measure: Measure
    contrasts: tuple[Contrast, ...]
    margin: float
    """Smallest difference that matters, as shown."""

    @property
    def plan(self) -> Looks:
        """Of each contrast; the intervals of all of them are simultaneous (Bonferroni)."""
        return Looks(self.looks, self.alpha / len(self.contrasts), self.spending)

    @property
    def kind(self) -> str:
        return "interaction" if len(self.contrasts[0]) == 4 else "pair"

    def arms_of(self, contrasts: Sequence[Contrast]) -> list[int]:
        """Those that are trained while these are open."""
        return sorted({*itertools.chain(*contrasts)})

    def columns(self, contrast: Contrast) -> list[str]:
        """Of `metrics.csv`, which one of each arm counts."""
        noisy = measures.noisy(self.measure) if _is_of_one_arm(contrast) else None
        return [(noisy or self.measure).column, *[self.measure.column] * (len(contrast) - 1)]

    def text(self) -> str:
        """By which a sweep's folder knows it again."""
        count = len(self.contrasts)
        what = f"{count} {self.kind}s" if count > 1 else "an interaction" if self.kind != "pair" else "a pair"
        plan = f"looks={json.dumps(self.looks)} alpha={self.alpha:g} spending={self.spending}"
        metric = f"metric={self.measure.column} margin={self.margin:g}"
        return f"{plan} {metric} of {what}: {json.dumps(self.contrasts)}"


def _is_of_one_arm(contrast: Sequence[int]) -> bool:
    return len(contrast) == 2 and contrast[0] == contrast[1]


def looks_of(sweeper: Any) -> tuple[int, ...]:
    """The looks of a sweeper's block `until`, checked; none where it has none.

    Raises:
        InputError: if they are wrong.
    """
    looks = _plain(sweeper.until).get("looks")
    if looks is None:
        return ()
    if not looks or any(type(n) is not int or n < 2 for n in looks) or looks != sorted({*looks}):
        right = "must be whole numbers of at least 2 that ascend, such as [10,20,30]"
        raise InputError(f"{UNTIL}.looks", looks, right)
    return tuple(looks)


def parse(sweeper: Any, runs: Sequence[Run]) -> Until:
    """A sweeper's blocks `until`, which has looks, and `primary`, checked.

    Args:
        runs: one of each arm.

    Raises:
        InputError: for the first thing that is wrong.
    """
    until = check_keys(
        _plain(sweeper.until),
        {"looks": list, "alpha": real(0, 1, above=True, below=True), "spending": one_of(*SPENDING)},
        prefix=f"{UNTIL}.",
    )
    primary = _primary(sweeper.primary, len(runs))
    contrasts = _contrasts(primary, len(runs))
    in_contrasts = [run for arm, run in enumerate(runs) if any(arm in contrast for contrast in contrasts)]
    measure = _measure(primary["metric"], contrasts[0], in_contrasts, every=True)
    return Until(looks_of(sweeper), until["alpha"], until["spending"], measure, contrasts, primary["margin"])


def check_primary(block: Any, arms: int | None, runs: Sequence[Run]) -> None:
    """What a sweep without looks declares: its report would pass over what is wrong.

    Args:
        arms: how many it may speak of, seeds aside; None if nobody knows.
        runs: of the sweep.

    Raises:
        InputError: naming the key, its value and what would be right.
    """
    primary = _primary(block, arms)
    if len(_ways(primary)) > 1:
        raise InputError(f"{PRIMARY}: one of contrast, reference and all is right, and not several")
    _measure(primary["metric"], primary["contrast"] or (), runs, every=False)


def _primary(block: Any, arms: int | None) -> dict[str, Any]:
    """The block `primary`, checked but for its metric."""
    checks: dict[str, Check] = {
        "metric": text,
        "contrast": lambda value: value,
        "reference": optional(integer(0, None if arms is None else max(0, arms - 1))),
        "all": boolean,
        "margin": real(0, above=True),
    }
    primary = check_keys(_plain(block), checks, prefix=f"{PRIMARY}.")
    contrast, last = primary["contrast"], math.inf if arms is None else arms - 1
    if contrast is not None:
        are_arms, right = all(type(n) is int and 0 <= n <= last for n in contrast), ""
        if len(contrast) not in (1, 2, 4) or not are_arms:
            span = f"from 0 {'on' if arms is None else f'to {last}'}"
            right = f"must be one, two or four numbers of arms, {span}"
        elif len(contrast) == 4 and len(set(contrast)) < 4:
            right = "must be four different arms, (a - b) - (c - d), or two: what is left of these"
        if right:
            raise InputError(f"{PRIMARY}.contrast", contrast, right)
    return primary


def _ways(primary: Mapping[str, Any]) -> list[str]:
    """The keys by which it says what is to be decided."""
    given = {**primary, "all": primary["all"] or None}
    return [f"{PRIMARY}.{key}" for key in ("contrast", "reference", "all") if given[key] is not None]


def _contrasts(primary: Mapping[str, Any], arms: int) -> tuple[Contrast, ...]:
    ways = _ways(primary)
    if len(ways) != 1:
        right = "what is to be decided must be one of contrast=[a,b], reference=b and all=true"
        raise InputError(f"{' and '.join(ways) or PRIMARY}: with {UNTIL}.looks {right}")
    contrast, reference = primary["contrast"] or (), primary["reference"]
    if len(contrast) > 1:
        return (tuple(contrast),)
    if arms < 2:
        raise InputError(f"{UNTIL}.looks: a sweep of one arm has nothing to decide; two arms are right")
    if primary["all"]:
        return tuple(itertools.combinations(range(arms), 2))
    reference = contrast[0] if contrast else reference
    return tuple((arm, reference) for arm in range(arms) if arm != reference)


def _measure(metric: str, contrast: Sequence[int], runs: Sequence[Run], every: bool) -> Measure:
    """The measure of this name.

    Args:
        contrast: of an arm against itself the measure is needed with the noise on, too.
        every: whether every run must have it, or one is enough.

    Raises:
        InputError: where there is none, or the runs would have no value of it.
    """
    key, declarations = f"{PRIMARY}.metric", [declared.metrics(run) for run in runs]
    of_components = {name: better for d in declarations for name, better in d.items()}
    if every:
        common = [name for name in of_components if all(name in d for d in declarations)]
        of_components = {name: of_components[name] for name in common}
    if metric not in of_components and metric not in measures.OURS:
        raise InputError(key, metric, f"must be one of {', '.join((*measures.OURS, *of_components))}")
    if metric not in of_components and (needs := _lacking(metric, runs, every)):
        raise InputError(key, metric, f"needs {needs}")
    measure = measures.of_column(metric, of_components)
    if _is_of_one_arm(contrast):
        what = "an arm against itself is the noise on minus the noise off, which"
        right, noisy = "", measures.noisy(measure)
        if noisy is None:
            known = [name for name, ours in measures.OURS.items() if measures.noisy(ours)]
            right = f"{what} there is of {', '.join(known)}, and not of {metric}"
        elif needs := _lacking(noisy.column, runs, every):
            right = f"{what} needs {needs}"
        if right:
            raise InputError(f"{PRIMARY}.contrast", list(contrast), right)
    return measure


def _lacking(metric: str, runs: Sequence[Run], every: bool) -> str | None:
    """What the runs must have set so that every one, or one of them, has a value of one of our metrics; None where
    it is set."""
    needs = [_needs(metric, run) for run in runs]
    return next(filter(None, needs), None) if every or all(needs) else None


def _needs(metric: str, run: Run) -> str | None:
    if metric.startswith("val_") and not run.data.validation:
        return "data.validation above 0"
    if metric.startswith("eval_") and not run.probe.train:
        return "probe.train"
    if metric.startswith("noisy_test_") and not run.probe.test_time:
        return "probe.test_time=true"
    return "probe.ema" if metric.startswith("ema_") and run.probe.ema is None else None


def _plain(block: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(block, resolve=True) if OmegaConf.is_config(block) else block
    return dict(plain or {})
