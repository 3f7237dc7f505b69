"""Arms of a sweep that looks: settings whose seeds are taken one after the other, as many as a look needs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from src.errors import InputError
from src.errors.messages import key_of
from src.runs.job import Job
from src.sweeping import planning
from src.sweeping.display import arm_name
from src.sweeping.until import UNTIL


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
    """The arms of a sweep; what is wrong with a setting or a seed is found before any of it trains.

    Raises:
        InputError: if a value is wrong, or seeds are missing.
    """
    groups, last = list(groups_of(job_overrides).values()), looks[-1]
    first = [planner.job(group[0][1], 0) for group in groups]
    kept = {job.id: job for job in planning.distinct(first, swept)}
    arms: list[Arm] = []
    for group, job in zip(groups, first, strict=True):
        if kept.pop(job.id, None) is not None:  # 0 and 0.0 are one arm
            name = arm_name(job, swept)
            _check_seeds(
                [seed for seed, _ in group[:last]], [seed for seed, _ in groups[0][:last]], last, name
            )
            arms.append(Arm(name, partial(_job, planner, group, len(arms) * last)))
    arms[0].jobs(last)  # all arms have its seeds
    return arms


def _job(planner: planning.Planner, group: Sequence[tuple[str, Sequence[str]]], number: int, i: int) -> Job:
    return planner.job(group[i][1], number + i)


def _check_seeds(seeds: Sequence[str], of_first: Sequence[str], last: int, arm: str) -> None:
    """Raises InputError where the seeds of an arm, as given, are too few for the last look, or not those of the
    first arm."""
    shown = f"{','.join(seeds[:9])}{',…' if len(seeds) > 9 else ''}" or None
    if len(set(seeds)) < last:
        right = f"must be {last} different seeds, for the last of {UNTIL}.looks; range({last}) is the default"
        raise InputError("seed", shown, f"{right} ({arm})")
    if list(seeds) != list(of_first):
        raise InputError("seed", shown, f"must be the same seeds in the same order for every arm ({arm})")


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
