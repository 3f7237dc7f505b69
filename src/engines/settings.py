"""The packed launcher's options, typed and checked; which engine takes which, and what it calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from src.checks import Check, boolean, check_keys, checks_of, integer, key, one_of, optional, text
from src.errors import InputError

PREFIX = "hydra.launcher."
SLURM_JOBS = 16
"""Slurm jobs queued or running at a time, unless `n_jobs` says otherwise."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Environment of a worker process: a process a core is faster than threads."""


@dataclass(frozen=True)
class Backend:
    """What an engine needs and takes."""

    package: str
    """The package it comes with; the extra that installs it is called as the backend."""
    options: tuple[str, ...]
    """Options beside those that every engine takes."""
    here: bool = False
    """Whether it trains on this machine, and so on this machine's devices."""


BACKENDS = {
    "loky": Backend("loky", (), here=True),
    "dask": Backend("distributed", ("address", "cpus", "gpus", "memory")),
    "ray": Backend("ray", ("address", "cpus", "gpus", "memory")),
    "slurm": Backend("submitit", ("cpus", "gpus", "memory", "partition", "time_limit")),
}


def _pattern(pattern: str, right: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(right)
        return value

    return check


_size = _pattern(r"[1-9]\d*[KMGT]", "must be a whole number with its unit K, M, G or T, such as 4G")


def _bytes(value: Any) -> int:
    """500M, 4G: in powers of 1024, as all three engines take it."""
    text = _size(value)
    return int(text[:-1]) * 1024 ** ("KMGT".index(text[-1]) + 1)


_time = _pattern(
    r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d\d?(:\d\d){0,2}",
    "must be a time as Slurm takes it: minutes, hours:minutes:seconds or days-hours:minutes:seconds",
)


@dataclass(frozen=True)
class Settings:
    """`hydra.launcher`, checked. See `sweeps/README.md` for what each engine calls these."""

    n_jobs: int | None = key(optional(integer(1)), None)
    pack_size: int | None = key(optional(integer(1)), None)
    backend: str = key(one_of(*BACKENDS), "loky")
    address: str | None = key(optional(text), None)
    shared: bool = key(boolean, False)
    cpus: int = key(integer(1), 1)
    gpus: int | None = key(optional(integer(0, 1)), None)
    memory: int | None = key(optional(_bytes), None)
    """Bytes a pack."""
    partition: str | None = key(optional(_pattern(r"[\w.,-]+", "must be the name of a partition")), None)
    time_limit: str | None = key(optional(_time), None)

    @property
    def here(self) -> bool:
        """Whether runs train on this machine's devices."""
        return BACKENDS[self.backend].here


def parse(block: Mapping[str, Any]) -> Settings:
    """The config's block `hydra.launcher`, checked.

    Raises:
        InputError: for the first wrong value, or one that this backend has no use for.
    """
    given = {field.name: block[field.name] for field in fields(Settings)}
    settings = Settings(**check_keys(given, checks_of(Settings), PREFIX))
    for field in fields(Settings):
        taking = [name for name, backend in BACKENDS.items() if field.name in backend.options]
        if taking and settings.backend not in taking and getattr(settings, field.name) != field.default:
            right = f"backend={settings.backend} has no use for it; backend={' or '.join(taking)} has"
            raise InputError(PREFIX + field.name, given[field.name], right)
    return settings
