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
from src.runs import declared
from src.stats.looks import SPENDING, Looks

UNTIL, PRIMARY = "hydra.sweeper.until", "hydra.sweeper.primary"

SHARES = ("test_acc", "val_acc", "train_acc", "eval_train_acc", "test_ece")
"""Metrics whose margin is in percentage points; that of the others, losses, is in nats."""
LOSSES = ("test_loss", "val_loss", "train_loss", "eval_train_loss")
OTHERS = ("ema_test_acc", "ema_val_acc", "var1", "var2", "noisy_var1", "noisy_var2")
"""Metrics that a report judges by, and no look."""


@dataclass(frozen=True)
class Until:
    """Looks at the pairs of a sweep's arms, checked."""

    looks: tuple[int, ...]
    """Seeds of an arm at each look."""
    alpha: float
    """Of all pairs and looks together."""
    spending: str
    metric: str
    pairs: tuple[tuple[int, int], ...]
    """Numbers of the arms a and b of each difference a - b."""
    margin: float
    """Smallest difference that matters, as shown."""
    better: str | None = None
    """Of a metric that components declare: "higher" or "lower"."""

    @property
    def plan(self) -> Looks:
        """Of each pair; the intervals of all pairs are simultaneous (Bonferroni)."""
        return Looks(self.looks, self.alpha / len(self.pairs), self.spending)

    @property
    def scale(self) -> float:
        """A difference as shown, over the metric's own unit."""
        return 100.0 if self.metric in SHARES else 1.0

    @property
    def unit(self) -> str:
        return "pp" if self.metric in SHARES else "" if self.better else "nats"

    @property
    def higher_is_better(self) -> bool:
        return self.better == "higher" if self.better else self.metric.endswith("_acc")

    def arms_of(self, pairs: Sequence[tuple[int, int]]) -> list[int]:
        return sorted({arm for pair in pairs for arm in pair})

    def text(self) -> str:
        """By which a sweep's folder knows it again."""
        pairs = f"{len(self.pairs)} pairs" if len(self.pairs) > 1 else "a pair"
        plan = f"looks={json.dumps(self.looks)} alpha={self.alpha:g} spending={self.spending}"
        return f"{plan} metric={self.metric} margin={self.margin:g} of {pairs}: {json.dumps(self.pairs)}"


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
    """A sweeper's blocks `until` and `primary`, checked.

    Args:
        looks: as `looks_of` gives them.
        arms: how many there are, seeds aside.

    Raises:
        InputError: for the first thing that is wrong.
    """
    until, primary = _plain(sweeper.until), _plain(sweeper.primary)
    until = check_keys(
        until,
        {"looks": list, "alpha": real(0, 1, above=True, below=True), "spending": one_of(*SPENDING)},
        prefix=f"{UNTIL}.",
    )
    primary = check_keys(primary, _checks(arms), prefix=f"{PRIMARY}.")
    pairs = _pairs(primary, arms)
    idle = sorted(set(range(arms)) - {arm for pair in pairs for arm in pair})
    if idle:
        right = f"arm {idle[0]} is in no pair, so it would never be trained; leave it out, or take reference or all"
        raise InputError(f"{PRIMARY}.contrast", primary["contrast"], right)
    return Until(looks, until["alpha"], until["spending"], primary["metric"], pairs, primary["margin"])


def _checks(arms: int | None) -> dict[str, Check]:
    """Those of the block `primary`, but for its contrast."""
    return {
        "metric": text,
        "contrast": lambda value: value,
        "reference": optional(integer(0, None if arms is None else max(0, arms - 1))),
        "all": boolean,
        "margin": real(0, above=True),
    }


def check_primary(block: Any, arms: int | None, runs: Sequence[Run]) -> None:
    """What a sweep without looks declares: its report would pass over what is wrong.

    Args:
        arms: how many it may speak of, seeds aside; None if nobody knows.
        runs: of the sweep.

    Raises:
        InputError: naming the key, its value and what would be right.
    """
    primary = check_keys(_plain(block), _checks(arms), prefix=f"{PRIMARY}.")
    contrast, metric = primary["contrast"], primary["metric"]
    ways = [contrast is not None, primary["reference"] is not None, primary["all"]]
    if sum(ways) > 1:
        raise InputError(f"{PRIMARY}: one of contrast, reference and all is right, and not several")
    last = math.inf if arms is None else arms - 1
    if contrast is not None and not (
        len(contrast) in (1, 2, 4) and all(0 <= arm <= last for arm in contrast)
    ):
        right = f"must be one, two or four numbers of arms, from 0 {'on' if arms is None else f'to {last}'}"
        raise InputError(f"{PRIMARY}.contrast", contrast, right)
    own = dict.fromkeys(name for run in runs for name in declared.metrics(run))
    known = (*SHARES, *LOSSES, *OTHERS, *own)
    if metric not in known:
        raise InputError(f"{PRIMARY}.metric", metric, f"must be one of {', '.join(known)}")
    if metric not in own and (needs := [_needs(metric, run) for run in runs]) and all(needs):
        raise InputError(f"{PRIMARY}.metric", metric, f"needs {needs[0]}")


def _needs(metric: str, run: Run) -> str | None:
    """What a run must have set so that it has a value of one of our metrics; None where it has."""
    if metric.startswith("val_") and not run.data.validation:
        return "data.validation above 0"
    if metric.startswith("eval_") and not run.probe.train:
        return "probe.train"
    return "probe.ema" if metric.startswith("ema_") and run.probe.ema is None else None


def _pairs(primary: Mapping[str, Any], arms: int) -> tuple[tuple[int, int], ...]:
    contrast, reference = primary["contrast"], primary["reference"]
    ways = {"contrast": contrast is not None, "reference": reference is not None, "all": primary["all"]}
    given = [f"{PRIMARY}.{name}" for name, is_given in ways.items() if is_given]
    if len(given) != 1:
        right = "what is to be decided must be one of contrast=[a,b], reference=b and all=true"
        raise InputError(f"{' and '.join(given) or PRIMARY}: with {UNTIL}.looks {right}")
    if arms < 2:
        raise InputError(f"{UNTIL}.looks: a sweep of one arm has nothing to decide; two arms are right")
    if primary["all"]:
        return tuple(itertools.combinations(range(arms), 2))
    if contrast is not None:
        right = f"must be two different arms from 0 to {arms - 1}, or one for every other arm minus this one"
        known = all(
            not isinstance(arm, bool) and isinstance(arm, int) and 0 <= arm < arms for arm in contrast
        )
        if len(contrast) not in (1, 2) or not known or len(set(contrast)) < len(contrast):
            raise InputError(f"{PRIMARY}.contrast", contrast, right)
        if len(contrast) == 2:
            return ((contrast[0], contrast[1]),)
        reference = contrast[0]
    return tuple((arm, reference) for arm in range(arms) if arm != reference)


def with_metric(until: Until, runs: Sequence[Run]) -> Until:
    """The plan with the direction of a metric that the runs' components declare.

    Raises:
        InputError: where a run would have no value of the metric, or neither side of it is better.
    """
    key = f"{PRIMARY}.metric"
    if until.metric in (*SHARES, *LOSSES):
        if needs := next(filter(None, (_needs(until.metric, run) for run in runs)), None):
            raise InputError(key, until.metric, f"needs {needs}")
        return until
    own = [declared.metrics(run) for run in runs]
    common = [name for name in own[0] if all(name in of_run for of_run in own)]
    if until.metric not in common:
        right = f"must be one of {', '.join((*SHARES, *LOSSES, *common))}"
        raise InputError(key, until.metric, right)
    if (better := own[0][until.metric]) is None:
        raise InputError(key, until.metric, "is better on neither side, by the METRICS of its file")
    return replace(until, better=better)


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
