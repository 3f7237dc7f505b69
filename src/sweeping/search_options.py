"""The options of a search, `hydra.sweeper`, and what is refused before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from src import config
from src.checks import Check, check_keys, integer, one_of, optional
from src.config import Run
from src.engines.settings import Settings
from src.errors import InputError
from src.errors.messages import key_of
from src.runs.job import Job
from src.sweeping import planning, samplers, study
from src.sweeping.naming import WITHOUT_EFFECT, sets_hydra
from src.sweeping.space import Space, as_override

BETTER: dict[str, study.Direction] = {"val_acc": "maximize", "val_loss": "minimize"}
"""What a search may optimise, and where that is better. The test set is not for searching."""
LARGEST_GRID = 100_000
BATCH = 8
"""Trials asked for at once where they cannot be asked for one by one: a GPU trains them as one stack, and Hydra's
other launchers take batches."""


@dataclass(frozen=True)
class Options:
    """`hydra.sweeper`, checked."""

    metrics: tuple[str, ...]
    directions: tuple[study.Direction, ...]
    n_trials: int
    batch_size: int | None
    """None: trials are asked for as workers become free."""
    sampler: str
    seed: int
    pruner: str | None = None


def parse(options: Mapping[str, Any]) -> Options:
    """The checked options of a search; `options` are the sweeper's, as Hydra has them.

    Raises:
        InputError: for the first one that is wrong.
    """
    raw: Any = OmegaConf.to_container(OmegaConf.create(dict(options)))
    if (arms := raw.pop("arms")) is not None:
        right = "a search takes no arms; give its keys a choice or an interval"
        raise InputError("hydra.sweeper.arms", arms, right)
    if (looks := raw.pop("until", None)) is not None:
        raise InputError("hydra.sweeper.until", looks, "a search takes no looks; sweep what it found")
    checks: dict[str, Check] = {
        "metric": _some_of(*BETTER, why="; the test set is not for searching"),
        "direction": lambda value: None if value is None else _some_of("maximize", "minimize")(value),
        "n_trials": integer(1),
        "batch_size": optional(integer(1)),
        "sampler": one_of(*samplers.CLASSES),
        "seed": integer(0, 2**32 - 1),
        "pruner": optional(one_of("wilcoxon")),
    }
    raw.setdefault("pruner", None)
    typed = check_keys(raw, checks, prefix="hydra.sweeper.")
    metrics = typed["metric"]
    directions = tuple(BETTER[metric] for metric in metrics)
    if typed["direction"] not in (None, directions):
        given, right = raw["direction"], directions[0] if len(directions) == 1 else _typed(directions)
        raise InputError(
            "hydra.sweeper.direction", _typed(given), f"must be {right} for {', '.join(metrics)}, or null"
        )
    return Options(
        metrics, directions, *(typed[key] for key in ("n_trials", "batch_size", "sampler", "seed", "pruner"))
    )


def batched(options: Options, chosen: Settings | None, run: Run) -> Options:
    """The options with a batch size where trials cannot be asked for one by one; `run` is a trial's."""
    is_on_gpu = run.device != "cpu" and (
        config.resolve_device(run.device) != "cpu"
        if chosen is not None and chosen.here
        else run.device != "auto"
    )
    if options.batch_size is None and (chosen is None or chosen.gpus or is_on_gpu):
        return replace(options, batch_size=BATCH)
    return options


def _some_of(*choices: str, why: str = "") -> Check:
    """One of a few words, or a list of different ones, as a tuple."""
    right = f"must be {' or '.join(choices)}, or a list of them{why}"

    def check(value: Any) -> tuple[str, ...]:
        words = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not words or any(word not in choices for word in words):
            raise ValueError(right)
        if len(set(words)) < len(words) and why:
            raise ValueError(right)
        return words

    return check


def _typed(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def seeds(overrides: Sequence[Override]) -> tuple[list[str], list[Override]]:
    """The seeds of every trial, as overrides, where several are given as in a sweep; and the other overrides."""
    of_seed = [override for override in overrides if key_of(override.get_key_element()) == "seed"]
    if not (of_seed and of_seed[-1].is_sweep_override()):
        return [], list(overrides)
    values = [job[0] for job in planning.expand([of_seed[-1]], [])]
    return list(dict.fromkeys(values)), [override for override in overrides if override not in of_seed]


def check_pruner(options: Options, seeds: Sequence[str]) -> None:
    """Raises InputError where there is nothing that the pruner could spare."""
    if options.pruner is None:
        return
    right = ""
    if len(seeds) < 5:
        right = "can spare none of fewer than five seeds; more of them, such as seed=range(10), are right"
    elif len(options.metrics) > 1:
        right = "takes one metric"
    if right:
        raise InputError("hydra.sweeper.pruner", options.pruner, right)


def check_space(space: Space, options: Options) -> None:
    """What the sampler and common sense ask of a search space."""
    if not space.axes:
        raise InputError("a search needs a key to search over, such as dropout1=interval(0,0.8)")
    for axis in space.axes:
        if options.sampler == "cmaes" and not axis.is_number:
            raise InputError(axis.setting, axis.typed, "the sampler cmaes needs a range or an interval")
        if options.sampler == "grid" and axis.points() is None:
            raise InputError(axis.setting, axis.typed, "the sampler grid needs a choice or a range")
    samplers.sampler_by_name(options.sampler, options.seed, options.batch_size)  # whether it is there
    right = ""
    if options.sampler == "cmaes":
        if len(options.metrics) > 1:
            right = "takes one metric; for several take nsgaii or tpe"
        elif len(space.axes) < 2:
            right = "needs two keys to search over; for one take tpe"
    elif options.sampler == "grid" and (space.size() or 0) > LARGEST_GRID:
        right = (
            f"the grid has {space.size():,} points; at most {LARGEST_GRID:,}, or another sampler, is right"
        )
    if right:
        raise InputError("hydra.sweeper.sampler", options.sampler, right)


def check_validation(jobs: Sequence[Job]) -> None:
    """Refuses runs without a validation split: a search would look at the test set."""
    for job in jobs:
        if job.run.data.validation == 0:
            right = "must be above 0, such as 10000, in a search: the test set is not for searching"
            raise InputError("data.validation", 0, right)


def corners(planner: planning.Planner, space: Space, seeds: Sequence[str]) -> list[Job]:
    """Jobs that show what is wrong with any value of the space, and any seed."""
    jobs = [planner.job([*overrides, *seeds[:1]], 0) for overrides in space.corners()]
    jobs += [planner.job([*next(space.corners()), seed], 0) for seed in seeds[1:]]
    check_validation(jobs)
    return jobs


def total(space: Space, options: Options) -> int:
    """Trials in the end."""
    return min(options.n_trials, space.size() or 0) if options.sampler == "grid" else options.n_trials


def ended_before(folder: Path) -> int:
    """Trials of the folder's study that have ended."""
    before = study.begun(folder)
    return sum(trial.state.is_finished() for trial in before.trials) if before else 0


def grid(space: Space, options: Options) -> dict[str, list[Any]] | None:
    """The values of each key, for the sampler grid."""
    return {axis.key: axis.points() or [] for axis in space.axes} if options.sampler == "grid" else None


def about(space: Space, options: Options, seeds: Sequence[str] = ()) -> dict[str, Any]:
    """What makes it the same search when it is started again; JSON that is equal after a round trip."""
    fixed = [
        override
        for override in space.fixed
        if key_of(override) not in WITHOUT_EFFECT and not sets_hydra(override)
    ]
    return {
        "metric": list(options.metrics),
        "sampler": options.sampler,
        "seed": options.seed,
        "pruner": options.pruner,
        "space": [as_override(key, space.distributions[key]) for key in sorted(space.distributions)],
        "fixed": sorted([*fixed, *seeds]),
    }


def check_same(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuses to go on with another search's study: trials of two searches tell a sampler nothing."""
    before = study.begun(folder)
    for key, was in (before.user_attrs.get(study.ABOUT) or {}).items() if before else ():
        if about.get(key) != was:
            raise InputError(
                f"hydra.sweeper.{key}"
                if key in ("metric", "sampler", "seed", "pruner")
                else f"the search's {key}",
                _typed(about.get(key)),
                f"{folder} holds a search with {_typed(was)}; take that, or another hydra.sweep.dir",
            )
