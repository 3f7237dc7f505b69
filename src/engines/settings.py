"""The packed launcher's options, typed and checked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from src.checks import Check, check_keys, integer, one_of, optional

PREFIX = "hydra.launcher."


@dataclass(frozen=True)
class Backend:
    """What an engine needs."""

    package: str
    """The package it comes with; the extra that installs it is called as the backend."""
    here: bool = False
    """Whether it trains on this machine, and so on this machine's devices."""


BACKENDS = {"loky": Backend("loky", here=True)}


@dataclass(frozen=True)
class Settings:
    """`hydra.launcher`, checked."""

    n_jobs: int | None = None
    pack_size: int | None = None
    backend: str = "loky"


CHECKS: dict[str, Check] = {
    "n_jobs": optional(integer(1)),
    "pack_size": optional(integer(1)),
    "backend": one_of(*BACKENDS),
}


def check(launcher: Any) -> Settings:
    """The settings of a launcher plugin.

    Raises:
        ConfigError: for the first wrong value.
    """
    names = [field.name for field in fields(Settings)]
    return Settings(**check_keys({name: getattr(launcher, name) for name in names}, CHECKS, PREFIX))
