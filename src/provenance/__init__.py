"""What a run's numbers come from beside its config: its components' code, its data's arrays, the commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType
from typing import Any

from src import components, data
from src.errors import REPOSITORY, InputError
from src.provenance import source

GROUPS = ("model", "noise", "schedule", "optimizer")
"""Groups of the config whose files' code is part of a run's identity. A data set counts by its arrays."""


SHIPPED = {
    "fashion_mnist": ("f77b3cb18d66d1a9", "e87f8654d05a252882328a83009c835230b54eb86c17fab7e260b24e2506e7d5"),
    "digits": ("057e6a7758ffbaac", "8a8b5be2a18e208ec152903e6c31ecac76c7a1e00f691e0cdbe58ff6e22197e5"),
}
"""Checksums of these data sets' code and of the arrays that this code reads: a plan need not read them to know."""


@dataclass(frozen=True)
class Provenance:
    """As the main process found it when it planned the run; workers are held to it."""

    files: Mapping[str, str]
    """Checksums of the components' files and of all that they import, by path from the repository's root."""
    data: str
    """Checksum of the data set's arrays."""
    commit: Mapping[str, Any]
    """`commit` and `dirty` of a git checkout; else empty."""

    @cached_property
    def code(self) -> str:
        """One checksum of all the files."""
        return source.total(self.files)

    def record(self) -> dict[str, Any]:
        """Its part of `run.json`."""
        return {
            "code": {"checksum": self.code, "files": dict(self.files), **self.commit},
            "arrays": self.data,
        }


def of(run: Any) -> Provenance:
    """The provenance of a `config.Run` that this process would train now.

    Raises:
        InputError: if the data set cannot be read.
    """
    return _shared(_modules(run), arrays_checksum(run.data))


def check(run: Any, planned: Provenance) -> None:
    """Refuses to train with other code or data than the run was planned with.

    Its components are imported before their files are looked at, so that an edit in between is noticed, too.

    Raises:
        InputError: naming what changed.
    """
    if changed := changes(planned.files, _files(_modules(run))):
        raise InputError(f"{changed[0]} changed while the sweep ran")
    if arrays_checksum(run.data) != planned.data:
        raise InputError(f"the arrays of data={run.data.name} changed while the sweep ran")


def arrays_checksum(options: Mapping[str, Any]) -> str:
    """The checksum of all arrays of a data set; they are read where it is not known.

    Raises:
        InputError: if the data set cannot be read.
    """
    code, arrays = SHIPPED.get(options["name"], (None, ""))
    is_shipped = code == source.total(source.files(components.find("data", options["name"])))
    return arrays if is_shipped else data.arrays_checksum(options)


def changes(planned: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Paths of files that differ, or that one side lacks."""
    paths = sorted(planned.keys() | present.keys())
    return [path for path in paths if planned.get(path) != present.get(path)]


def _modules(run: Any) -> tuple[ModuleType, ...]:
    return tuple(components.find(group, getattr(run, group).name) for group in GROUPS)


@cache
def _files(modules: tuple[ModuleType, ...]) -> Mapping[str, str]:
    return {path: checksum for module in modules for path, checksum in source.files(module).items()}


@cache  # the runs of a sweep share one: they are held in memory together
def _shared(modules: tuple[ModuleType, ...], arrays: str) -> Provenance:
    return Provenance(_files(modules), arrays, checkout())


@cache
def checkout() -> Mapping[str, Any]:
    """The commit that is checked out, and whether files differ from it; empty where there is no git checkout.

    Of files that git does not know, those in `src` and `conf` alone count.
    """
    if not (REPOSITORY / ".git").exists():
        return {}
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]
    # a hook of git's sets variables that lead elsewhere
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        status = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    head, *lines = status.stdout.splitlines()
    commit = head.removeprefix("# branch.oid ")
    differing = [line for line in lines if line[0] not in "#?" or line.startswith(("? src/", "? conf/"))]
    return {} if commit == "(initial)" else {"commit": commit, "dirty": bool(differing)}
