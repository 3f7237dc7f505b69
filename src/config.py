"""A run's config: typed, and every value checked before anything trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from src import components, data, loggers, provenance
from src.checks import boolean, check_keys, checks_of, integer, key, one_of, optional, real, text, words
from src.components import Options
from src.errors import InputError
from src.noise import _hooks
from src.provenance import GROUPS, Provenance

RATES = tuple(f"dropout{place}" for place in range(1, 10))
"""Keys of the rates, one a place in the net."""

FURTHER = RATES[2:]
"""Keys of rates at places that few nets have; they may be missing, and at 0 they are no part of a run's ID."""


def _device(value: Any) -> str:
    if value == "mps":
        raise ValueError(
            "cannot be: torch has no float64 there, in which rates and metrics are; take cpu or auto"
        )
    return str(one_of("auto", "cpu", "cuda", "xpu")(value))


def _probe_every(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is None or value == "epoch" or whole:
        return value
    raise ValueError("must be null, epoch, or a number of steps of at least 1")


def _probe_train(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, int) and value >= 1):
        return value
    raise ValueError("must be true, false, or a number of images of at least 1")


PROBE = {
    "every": _probe_every,
    "test_time": boolean,
    "train": _probe_train,
    "ema": optional(real(0, 1, above=True, below=True)),
}
"""Keys of the config's `probe`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything one run needs, checked. A key with a default is one that an older `run.json` may lack."""

    seed: int = key(integer(0, 2**63 - 1))
    epochs: int = key(integer(1))
    batch_size: int = key(integer(1))
    label_smoothing: float = key(real(0, 1, below=True), 0.0)
    dropout1: float = key(real(0, 1))
    dropout2: float = key(real(0, 1))
    dropout3: float = key(real(0, 1), 0.0)
    dropout4: float = key(real(0, 1), 0.0)
    dropout5: float = key(real(0, 1), 0.0)
    dropout6: float = key(real(0, 1), 0.0)
    dropout7: float = key(real(0, 1), 0.0)
    dropout8: float = key(real(0, 1), 0.0)
    dropout9: float = key(real(0, 1), 0.0)
    device: str = key(_device)
    output: str = key(text)
    resume: bool = key(boolean)
    save_model: bool = key(boolean)
    matmul: str = key(one_of("auto", "torch", "onednn", "openblas"))
    precision: str = key(one_of("float32", "tf32"), "float32")
    tags: tuple[str, ...] = key(words, ())
    note: str | None = key(optional(text), None)
    logger: tuple[str, ...] = key(loggers.option, ())
    probe: Options
    data: Options
    model: Options
    noise: Options
    schedule: Options
    optimizer: Options

    @property
    def rates(self) -> dict[str, float]:
        """The rate at each place, by its key, in order."""
        return {key: getattr(self, key) for key in RATES}


ROOT = checks_of(Run)
LATER = {field.name: field.default for field in fields(Run) if field.default is not MISSING}
"""Keys that an older `run.json` has not, and what they stand for there."""

ALWAYS = ("seed", "epochs", "batch_size", *RATES[:2])
"""Keys that are a part of a run's ID, beside its groups."""

AT_DEFAULT = (*FURTHER, "precision", "label_smoothing")
"""Keys that are no part of a run's ID at their defaults; of `probe` it is `ema` at null."""


def parse(config: Mapping[str, Any]) -> Run:
    """The typed config of a resolved, plain one.

    Raises:
        InputError: for the first key that is unknown, missing or has a wrong value.
    """
    groups = {}
    for group in ("data", "probe", *GROUPS):
        values = config.get(group)
        if not isinstance(values, Mapping):
            is_file = group != "probe"
            right = (
                f"the name of a file in conf/{group}"
                if is_file
                else "keys with values, such as {every:epoch}"
            )
            raise InputError(group, values, f"must be {right}")
        groups[group] = dict(values)
    plain = {key: value for key, value in config.items() if key not in groups}
    typed = check_keys({**LATER, **plain}, ROOT)
    typed["probe"] = Options(**check_keys({"ema": None, **groups["probe"]}, PROBE, prefix="probe."))
    typed |= {group: components.check_options(group, groups[group]) for group in ("data", *GROUPS)}
    if typed["noise"].name == "none":
        typed |= dict.fromkeys(RATES, 0.0)  # whatever they are, nothing is injected
    run = Run(**typed)
    rates = {key: rate for key, rate in run.rates.items() if key not in FURTHER or rate}
    check_keys(rates, dict.fromkeys(rates, _hooks.check_of_rates(run.noise.name)))
    return run


def resolve_device(device: str) -> str:
    """`auto` as what it stands for here: CUDA where it is, else the CPU.

    Raises:
        InputError: if a GPU is asked for and there is none of its kind.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    if device == "xpu":
        there = torch.accelerator.current_accelerator(check_available=True)
        if there is None or there.type != "xpu":
            raise InputError("device", device, "torch finds no GPU of Intel's here; take cpu or auto")
    if device == "cuda" and not has_cuda:
        right = "this machine or this build of torch has no CUDA; take cpu or auto"
        raise InputError("device", device, right)
    return device


def result_config(run: Run, planned: Provenance | None = None) -> dict[str, Any]:
    """What can change the run's result, and nothing else: the content that its ID stands for.

    Args:
        planned: code and data that it was planned with; None for what is here now.
    """
    planned = planned or provenance.of(run)
    return {
        **{key: getattr(run, key) for key in ALWAYS},
        **{key: value for key in AT_DEFAULT if (value := getattr(run, key)) != LATER[key]},
        "data": {**data.identity(vars(run.data)), "arrays": planned.data},
        **{group: {**vars(getattr(run, group))} for group in GROUPS},
        "probe": {key: value for key, value in vars(run.probe).items() if key != "ema" or value is not None},
        "code": planned.code,
    }
