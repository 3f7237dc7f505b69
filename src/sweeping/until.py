"""`hydra.sweeper.until` and `primary`: after how many seeds a sweep looks, and at what."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from src.checks import Check, boolean, check_keys, integer, one_of, optional, real, text
from src.config import Run
from src.errors import InputError
from src.runs import declared, measures
from src.runs.measures import Measure
from src.stats.looks import SPENDING, Looks

UNTIL, PRIMARY = "hydra.sweeper.until", "hydra.sweeper.primary"

Contrast = tuple[int, ...]
"""Numbers of arms: (a, b) for a - b; (a, b, c, d) for (a - b) - (c - d); (a, a) for the noise on minus the noise
off, in the nets of a."""
SIGNS = (1, -1, -1, 1)
"""With which the arms of a contrast count."""


def combined(values: Sequence[float]) -> float:
    """A contrast of its arms' values, to 12 decimals: values that tie must not differ in their last digit.

    >>> combined([0.9, 0.8, 0.7, 0.65])
    0.05
    """
    up, down = (sum(v for v, of in zip(values, SIGNS, strict=False) if of == sign) for sign in (1, -1))
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
    idle: tuple[int, ...] = ()
    """Arms in no contrast: they have the seeds of the first look."""

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
        columns = [self.measure.column] * len(contrast)
        if (noisy := measures.noisy(self.measure)) and _is_of_one_arm(contrast):
            columns[0] = noisy.column
        return columns

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
    """The looks of a sweeper's block `until`, checked; it has some.

    Raises:
        InputError: if they are wrong.
    """
    raw = _plain(sweeper.until)["looks"]
    key, right = f"{UNTIL}.looks", "must be whole numbers of at least 2 that ascend, such as [10,20,30]"
    if not raw or any(isinstance(n, bool) or not isinstance(n, int) or n < 2 for n in raw):
        raise InputError(key, raw, right)
    if any(later <= earlier for earlier, later in itertools.pairwise(raw)):
        raise InputError(key, raw, right)
    return tuple(raw)


def parse(sweeper: Any, looks: tuple[int, ...], arms: int) -> Until:
    """A sweeper's blocks `until` and `primary`, checked, but for what `with_metric` checks.

    Args:
        looks: as `looks_of` gives them.
        arms: how many there are, seeds aside.

    Raises:
        InputError: for the first thing that is wrong.
    """
    until = check_keys(
        _plain(sweeper.until),
        {"looks": list, "alpha": real(0, 1, above=True, below=True), "spending": one_of(*SPENDING)},
        prefix=f"{UNTIL}.",
    )
    primary = _primary(sweeper.primary, arms)
    contrasts = _contrasts(primary, arms)
    return Until(
        looks,
        until["alpha"],
        until["spending"],
        measures.of_column(primary["metric"]),
        contrasts,
        primary["margin"],
        tuple(sorted({*range(arms)} - {*itertools.chain(*contrasts)})),
    )


def _primary(block: Any, arms: int | None) -> dict[str, Any]:
    """The block `primary`, checked but for its metric.

    Args:
        arms: how many it may speak of, seeds aside; None if nobody knows.
    """
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
        known = all(
            not isinstance(arm, bool) and isinstance(arm, int) and 0 <= arm <= last for arm in contrast
        )
        if len(contrast) not in (1, 2, 4) or not known:
            span = f"from 0 {'on' if arms is None else f'to {last}'}"
            right = f"must be one, two or four numbers of arms, {span}"
            raise InputError(f"{PRIMARY}.contrast", contrast, right)
        if len(contrast) == 4 and len(set(contrast)) < 4:
            right = "must be four different arms, (a - b) - (c - d), or two: what is left of these"
            raise InputError(f"{PRIMARY}.contrast", contrast, right)
    return primary


def check_primary(block: Any, arms: int | None, runs: Sequence[Run]) -> None:
    """What a sweep without looks declares: its report would pass over what is wrong.

    Args:
        arms: how many it may speak of, seeds aside; None if nobody knows.
        runs: of the sweep.

    Raises:
        InputError: naming the key, its value and what would be right.
    """
    primary = _primary(block, arms)
    if len(_given(primary)) > 1:
        raise InputError(f"{PRIMARY}: one of contrast, reference and all is right, and not several")
    measure = _measure(primary["metric"], runs, every=False)
    if primary["contrast"] is not None:
        _check_one_arm(primary["contrast"], measure, runs, every=False)


def _given(primary: Mapping[str, Any]) -> list[str]:
    """How it says what is to be decided."""
    ways = {
        "contrast": primary["contrast"] is not None,
        "reference": primary["reference"] is not None,
        "all": primary["all"],
    }
    return [f"{PRIMARY}.{name}" for name, is_given in ways.items() if is_given]


def _contrasts(primary: Mapping[str, Any], arms: int) -> tuple[Contrast, ...]:
    given = _given(primary)
    if len(given) != 1:
        right = "what is to be decided must be one of contrast=[a,b], reference=b and all=true"
        raise InputError(f"{' and '.join(given) or PRIMARY}: with {UNTIL}.looks {right}")
    contrast, reference = primary["contrast"] or (), primary["reference"]
    if len(contrast) > 1:
        return (tuple(contrast),)
    if arms < 2:
        raise InputError(f"{UNTIL}.looks: a sweep of one arm has nothing to decide; two arms are right")
    if primary["all"]:
        return tuple(itertools.combinations(range(arms), 2))
    reference = contrast[0] if contrast else reference
    return tuple((arm, reference) for arm in range(arms) if arm != reference)


def _measure(metric: str, runs: Sequence[Run], every: bool) -> Measure:
    """The measure of this name.

    Args:
        every: whether every run must have it, or one is enough.

    Raises:
        InputError: where there is none, or the runs would have no value of it.
    """
    key, declare = f"{PRIMARY}.metric", [declared.metrics(run) for run in runs]
    own = {name: better for of_run in declare for name, better in of_run.items()}
    if every:
        own = {name: better for name, better in own.items() if all(name in of_run for of_run in declare)}
    if metric not in own and metric not in measures.OURS:
        raise InputError(key, metric, f"must be one of {', '.join((*measures.OURS, *own))}")
    if metric not in own and (needs := _lacking(metric, runs, every)):
        raise InputError(key, metric, f"needs {needs}")
    return measures.of_column(metric, own)


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


def _check_one_arm(contrast: Sequence[int], measure: Measure, runs: Sequence[Run], every: bool) -> None:
    """Raises InputError for an arm against itself where its runs have no value with the noise on."""
    if not _is_of_one_arm(contrast):
        return
    what = "an arm against itself is the noise on minus the noise off, which"
    noisy = measures.noisy(measure)
    if noisy is None:
        known = [name for name, ours in measures.OURS.items() if measures.noisy(ours)]
        right = f"{what} there is of {', '.join(known)}, and not of {measure.column}"
        raise InputError(f"{PRIMARY}.contrast", list(contrast), right)
    if needs := _lacking(noisy.column, runs, every):
        raise InputError(f"{PRIMARY}.contrast", list(contrast), f"{what} needs {needs}")


def with_metric(until: Until, runs: Sequence[Run]) -> Until:
    """The plan with the measure as the runs' components declare it.

    Args:
        runs: one of each arm.

    Raises:
        InputError: where a run of a contrast would have no value of the metric.
    """
    in_contrasts = [run for number, run in enumerate(runs) if number not in until.idle]
    measure = _measure(until.measure.column, in_contrasts, every=True)
    _check_one_arm(until.contrasts[0], measure, in_contrasts, every=True)
    return replace(until, measure=measure)


def check_seeds(seeds: Sequence[str], of_first: Sequence[str], last: int, arm: str) -> None:
    """Raises InputError where the seeds of an arm, as given, are too few for the last look, or not those of the
    first arm."""
    shown = f"{','.join(seeds[:9])}{',…' if len(seeds) > 9 else ''}" or None
    if len(set(seeds)) < last:
        right = f"must be {last} different seeds, for the last of {UNTIL}.looks; range({last}) is the default"
        raise InputError("seed", shown, f"{right} ({arm})")
    if list(seeds) != list(of_first):
        raise InputError("seed", shown, f"must be the same seeds in the same order for every arm ({arm})")


def _plain(block: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(block, resolve=True) if OmegaConf.is_config(block) else block
    return dict(plain or {})
