"""The options of a search, `hydra.sweeper`, and what is refused before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src import config
from src.checks import Check, check_keys, checks_of, integer, key, one_of, optional
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


def _some_of(*choices: str, why: str = "") -> Check:
    """One of a few words, or a list of different ones, as a tuple."""

    def check(value: Any) -> tuple[str, ...]:
        words = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not words or any(word not in choices for word in words) or (why and len({*words}) < len(words)):
            raise ValueError(f"must be {' or '.join(choices)}, or a list of them{why}")
        return words

    return check


@dataclass(frozen=True)
class Options:
    """`hydra.sweeper`, checked."""

    metric: tuple[str, ...] = key(_some_of(*BETTER, why="; the test set is not for searching"))
    direction: tuple[str, ...] | None = key(
        lambda value: None if value is None else _some_of("maximize", "minimize")(value)
    )
    n_trials: int = key(integer(1))
    batch_size: int | None = key(optional(integer(1)))
    """None: trials are asked for as workers become free."""
    sampler: str = key(one_of(*samplers.CLASSES))
    seed: int = key(integer(0, 2**32 - 1))
    pruner: str | None = key(optional(one_of("wilcoxon")), None)

    @property
    def directions(self) -> tuple[study.Direction, ...]:
        """Of each metric."""
        return tuple(BETTER[metric] for metric in self.metric)


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
    checked = Options(**check_keys({"pruner": None, **raw}, checks_of(Options), prefix="hydra.sweeper."))
    if checked.direction not in (None, checked.directions):
        directions = checked.directions[0] if len(checked.directions) == 1 else _typed(checked.directions)
        right = f"must be {directions} for {', '.join(checked.metric)}, or null"
        raise InputError("hydra.sweeper.direction", _typed(raw["direction"]), right)
    return checked


def batched(options: Options, chosen: Settings | None, run: Run) -> Options:
    """The options with a batch size where trials cannot be asked for one by one; `run` is a trial's."""
    is_here = chosen is not None and chosen.here
    device = config.resolve_device(run.device) if is_here else run.device
    is_one_by_one = chosen is not None and not chosen.gpus and device in ("cpu", "auto")
    return options if options.batch_size or is_one_by_one else replace(options, batch_size=BATCH)


def check_runs(folder: Path, before: Any, planner: planning.Planner, space: Space) -> None:
    """Refuses to go on where the trials would train other runs now: what Optuna was told is of the earlier ones.

    Raises:
        InputError: naming the first such trial.
    """
    seeds = [[seed] for seed in space.seeds] or [[]]
    for trial in before.trials if before else ():
        recorded = trial.user_attrs.get("runs") or trial.user_attrs.get("run")
        if not recorded or not trial.state.is_finished():  # settings that do not go together have no run
            continue
        jobs = [planner.job([*space.overrides(trial.params), *seed], 0) for seed in seeds]
        if [job.id for job in jobs] not in (recorded, [recorded]):
            right = "another hydra.sweep.dir is right, or, to begin anew, none of its study.db"
            raise InputError(
                f"{folder}: trial {trial.number + 1} was trained with other code or data than now; {right}"
            )


def _typed(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def check(options: Options, space: Space) -> None:
    """What the sampler, the pruner and common sense ask of a search.

    Raises:
        InputError: naming what does not go together with it.
    """
    if not space.axes:
        raise InputError("a search needs a key to search over, such as dropout1=interval(0,0.8)")
    for axis in space.axes:
        if options.sampler == "cmaes" and not axis.is_number:
            raise InputError(axis.setting, axis.typed, "the sampler cmaes needs a range or an interval")
        if options.sampler == "grid" and axis.points() is None:
            raise InputError(axis.setting, axis.typed, "the sampler grid needs a choice or a range")
    samplers.sampler_by_name(options.sampler, options.seed, options.batch_size)  # whether it is there
    is_cmaes, size = options.sampler == "cmaes", (space.size() or 0) if options.sampler == "grid" else 0
    too_large = f"the grid has {size:,} points; at most {LARGEST_GRID:,}, or another sampler, is right"
    few = "can spare none of fewer than five seeds; more of them, such as seed=range(10), are right"
    several = len(options.metric) > 1
    for option, is_wrong, right in (
        ("sampler", is_cmaes and several, "takes one metric; for several take nsgaii or tpe"),
        ("sampler", is_cmaes and len(space.axes) < 2, "needs two keys to search over; for one take tpe"),
        ("sampler", size > LARGEST_GRID, too_large),
        ("pruner", options.pruner and len(space.seeds) < 5, few),
        ("pruner", options.pruner and several, "takes one metric"),
    ):
        if is_wrong:
            raise InputError(f"hydra.sweeper.{option}", getattr(options, option), right)


def corners(planner: planning.Planner, space: Space) -> list[Job]:
    """Jobs that show what is wrong with any value of the space, and any seed.

    Raises:
        InputError: for that, for runs without a validation split, as a search would look at the test set, and for
            trials with different ones.
    """
    jobs = [planner.job([*overrides, *space.seeds[:1]], 0) for overrides in space.corners()]
    for option in ("validation", "split"):
        values = list(dict.fromkeys(getattr(job.run.data, option) for job in jobs))
        if len(values) > 1:
            right = "must be one in a search: trials are told apart by the same validation images"
            raise InputError(f"data.{option}", ",".join(map(str, values)), right)
    jobs += [planner.job([*next(space.corners()), seed], 0) for seed in space.seeds[1:]]
    if not all(job.run.data.validation for job in jobs):
        right = "must be above 0, such as 10000, in a search: the test set is not for searching"
        raise InputError("data.validation", 0, right)
    return jobs


def total(space: Space, options: Options) -> int:
    """Trials in the end."""
    return min(options.n_trials, space.size() or 0) if options.sampler == "grid" else options.n_trials


def about(space: Space, options: Options) -> dict[str, Any]:
    """What makes it the same search when it is started again; JSON that is equal after a round trip."""
    fixed = [o for o in space.fixed if key_of(o) not in WITHOUT_EFFECT and not sets_hydra(o)]
    return {
        "metric": list(options.metric),
        "sampler": options.sampler,
        "seed": options.seed,
        "pruner": options.pruner,
        "space": [as_override(*item) for item in space.distributions.items()],
        "fixed": sorted([*fixed, *space.seeds]),
    }


def check_same(folder: Path, before: Any, about: Mapping[str, Any]) -> None:
    """Refuses to go on with another search's study: trials of two searches tell a sampler nothing."""
    recorded = before.user_attrs.get(study.ABOUT) if before else None
    for part, was in (recorded or {}).items():
        if about.get(part) != was:
            is_option = part in ("metric", "sampler", "seed", "pruner")
            right = f"{folder} holds a search with {_typed(was)}; take that, or another hydra.sweep.dir"
            what = f"hydra.sweeper.{part}" if is_option else f"the search's {part}"
            raise InputError(what, _typed(about.get(part)), right)
