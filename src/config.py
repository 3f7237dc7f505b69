"""A run's config: typed, and every value checked before anything trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src import components, data, models, probes
from src.checks import Check, ConfigError, boolean, check_keys, integer, one_of, real, text

ROOT: dict[str, Check] = {
    "seed": integer(0, 2**63 - 1),
    "epochs": integer(1),
    "batch_size": integer(1),
    "dropout1": real(0, 1),
    "dropout2": real(0, 1),
    "device": one_of("auto", "cpu", "cuda"),
    "output": text,
    "resume": boolean,
    "save_model": boolean,
}
GROUPS = ("model", "noise", "schedule", "optimizer")


@dataclass(frozen=True)
class Run:
    """Everything one run needs, checked. The groups are dicts: `name` and that component's options."""

    seed: int
    epochs: int
    batch_size: int
    dropout1: float
    dropout2: float
    device: str
    output: str
    resume: bool
    save_model: bool
    probe: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]
    noise: dict[str, Any]
    schedule: dict[str, Any]
    optimizer: dict[str, Any]


def parse(config: Mapping[str, Any]) -> Run:
    """The typed config of a resolved, plain one.

    Raises:
        ConfigError: for the first key that is unknown, missing or has a wrong value.
    """
    groups = {}
    for group in ("data", "probe", *GROUPS):
        values = config.get(group)
        if not isinstance(values, Mapping):
            raise ConfigError(group, values, f"must be the name of a file in conf/{group}")
        groups[group] = dict(values)
    typed = check_keys({key: value for key, value in config.items() if key not in groups}, ROOT)
    typed["probe"] = check_keys(groups["probe"], probes.OPTIONS, prefix="probe.")
    typed |= {group: components.check_options(group, groups[group]) for group in ("data", *GROUPS)}
    run = Run(**typed)
    _check_together(run)
    return run


def _check_together(run: Run) -> None:
    rate = getattr(components.find("noise", run.noise["name"]), "RATE", None)
    if rate is not None:
        check_keys({"dropout1": run.dropout1, "dropout2": run.dropout2}, {"dropout1": rate, "dropout2": rate})
    noises = models.stack_class(run.model["name"]).noises
    if noises is not None and run.noise["name"] not in noises:
        right = (
            f"model={run.model['name']} takes noise={' or '.join(noises)}; model=scratch takes every noise"
        )
        raise ConfigError("noise", run.noise["name"], right)


def resolve_device(device: str) -> str:
    """`auto` as what it stands for here.

    Raises:
        ConfigError: if CUDA is asked for and there is none.
    """
    import torch

    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        raise ConfigError(
            "device", device, "this machine or this build of torch has no CUDA; take cpu or auto"
        )
    return ("cuda" if present else "cpu") if device == "auto" else device


def result_config(run: Run) -> dict[str, Any]:
    """What can change the run's result, and nothing else: the content that its ID stands for."""
    return {
        "seed": run.seed,
        "epochs": run.epochs,
        "batch_size": run.batch_size,
        "dropout1": run.dropout1,
        "dropout2": run.dropout2,
        "data": data.identity(run.data),
        **{group: components.identity(group, getattr(run, group)) for group in GROUPS},
        "probe": run.probe,
    }
