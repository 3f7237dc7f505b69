"""Arms of a sweep that looks: settings whose seeds are taken one after the other, as many as a look needs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial

from src.errors.messages import key_of
from src.runs.job import Job
from src.sweeping import planning
from src.sweeping.display import arm_name
from src.sweeping.until import check_seeds


class Arm:
    """A setting of several seeds.

    Args:
        job: makes the checked job of the seed at this place.
    """

    def __init__(self, name: str, job: Callable[[int], Job]) -> None:
        self.name = name
        self._job, self._jobs = job, list[Job]()

    def jobs(self, seeds: int) -> list[Job]:
        """Those of the first seeds; each is made once, when it is asked for."""
        self._jobs += map(self._job, range(len(self._jobs), seeds))
        return self._jobs[:seeds]


def arms_of(
    looks: Sequence[int],
    planner: planning.Planner,
    job_overrides: Sequence[Sequence[str]],
    swept: Sequence[str],
) -> list[Arm]:
    """The arms of a sweep, with checked jobs for every look.

    Of each arm the first job is planned, of one of each form the last one, too. Where these differ in nothing but
    the seed, the others are copies: planning takes longer than everything else here.

    Raises:
        InputError: if a value is wrong, or seeds are missing.
    """
    groups, last = list(groups_of(job_overrides).values()), looks[-1]
    first = [planner.job(of_arm[0][1], 0) for of_arm in groups]
    kept = {job.id: job for job in planning.distinct(first, swept)}
    seeds_of_first = [seed for seed, _ in groups[0][:last]]
    arms: list[Arm] = []
    alike: dict[Hashable, bool] = {}
    for of_arm, job in zip(groups, first, strict=True):
        if kept.pop(job.id, None) is not None:  # 0 and 0.0 are one arm
            seeds = [seed for seed, _ in of_arm[:last]]
            check_seeds(seeds, seeds_of_first, last, arm_name(job, swept))
            form = planner.form(of_arm[0][1])
            if form not in alike:
                end = planner.job(of_arm[last - 1][1], last - 1)
                alike[form] = {**job.config, "seed": end.run.seed} == end.config
            make = partial(_job, planner, of_arm[:last], job if alike[form] else None, len(arms) * last)
            arms.append(Arm(arm_name(job, swept), make))
    return arms


def _job(
    planner: planning.Planner,
    seeds: Sequence[tuple[str, Sequence[str]]],
    like: Job | None,
    number: int,
    i: int,
) -> Job:
    """The job of an arm's seed at place i, by the arm's first job where it is `like` that but for the seed."""
    seed, overrides = seeds[i]
    if like is None or not re.fullmatch("0|[1-9][0-9]*", seed):  # in another form it may be no number
        return planner.job(overrides, number + i)
    return replace(
        like,
        run=replace(like.run, seed=int(seed)),
        config={**like.config, "seed": int(seed)},
        overrides=[f"seed={seed}" if key_of(override) == "seed" else override for override in like.overrides],
        number=number + i,
    )


def groups_of(
    job_overrides: Sequence[Sequence[str]],
) -> dict[tuple[str, ...], list[tuple[str, Sequence[str]]]]:
    """Of each arm the seed, as given, and the overrides of its jobs, by those of them that are no seed."""
    seeds = {
        override: override.partition("=")[2]
        for override in set(itertools.chain.from_iterable(job_overrides))
        if key_of(override) == "seed"
    }
    groups: dict[tuple[str, ...], list[tuple[str, Sequence[str]]]] = {}
    for overrides in job_overrides:
        arm = tuple(itertools.filterfalse(seeds.__contains__, overrides))
        seed = next(filter(seeds.__contains__, overrides), None)
        groups.setdefault(arm, []).append((seeds[seed] if seed else "", overrides))
    return groups
