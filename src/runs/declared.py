"""Which metrics a run has beside ours: those that its noise, optimizer and model declare (`METRICS`)."""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType
from typing import Any

from src import components
from src.config import Run
from src.errors import InputError
from src.noise import Noise
from src.optimizers import Optimizer
from src.runs import store

BASES = {"noise": Noise, "optimizer": Optimizer}
TAKEN = re.compile(
    "|".join(
        (
            *store.METRICS,
            "id|state|seed|trial|arm|gap|quiet_gap|method",
            r"(dropout|(noisy_|masked_|unit_)*var)\d+|ema_.*|noisy_test_.*|.*_used",
        )
    )
)
"""Names of our own columns, now or in some run."""


def metrics(run: Run) -> dict[str, str | None]:
    """By its name, where a metric is better: "higher", "lower", or None for neither.

    Raises:
        InputError: for a name that is ours, or another component's, or that is no name.
    """
    names = [getattr(run, group).name for group in components.WITH_METRICS]
    return dict(_metrics(*map(components.find, components.WITH_METRICS, names)))


def _check_method(group: str, name: str, file: str) -> None:
    """Refuses METRICS that nothing gives, and a method `metrics` of which nobody would hear."""
    if group not in BASES:
        return
    base: Any = BASES[group]
    gives = components.find_class(group, name, base).metrics is not base.metrics
    declares = bool(components.metrics(group, name))
    if gives != declares:
        has, lacks = (
            ("METRICS", "method metrics that gives them") if declares else ("a method metrics", "METRICS")
        )
        raise InputError(group, name, f"{file} has {has} and no {lacks}")


@cache
def _metrics(*modules: ModuleType) -> dict[str, str | None]:
    declared: dict[str, str | None] = {}
    owners: dict[str, str] = {}
    for group, module in zip(components.WITH_METRICS, modules, strict=True):
        name = module.__name__.rpartition(".")[2]
        file = components.shown_path(group, name)
        _check_method(group, name, file)
        for metric, better in components.metrics(group, name).items():
            if not isinstance(metric, str) or not re.fullmatch(r"[A-Za-z_]\w*", metric):
                raise InputError(
                    group, name, f"{file}: METRICS has {metric!r}; a name of letters, digits and _ is right"
                )
            if TAKEN.fullmatch(metric) or metric in owners:
                owner = owners.get(metric, "every run")
                raise InputError(group, name, f"{file}: METRICS may not have {metric}, which {owner} has")
            if better not in ("higher", "lower", None):
                right = 'where it is better must be "higher", "lower" or None'
                raise InputError(group, name, f"{file}: METRICS has {metric}: {better!r}; {right}")
            declared[metric], owners[metric] = better, f"{group}={name}"
    return declared
