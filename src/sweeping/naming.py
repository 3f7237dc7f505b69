"""Names of sweeps: the same command comes back to the same folder; and the files of `sweeps/`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf, read_write

from src.errors import REPOSITORY, InputError, messages
from src.errors.messages import key_of

WITHOUT_EFFECT = {
    *("output", "device", "resume", "save_model", "matmul", "data.root", "sweep", "tags", "note", "logger")
}
"""Keys that change no result (or, `sweep`, that stand in front of the name)."""

SWEEPER = "hydra.sweeper"
ARMS = f"{SWEEPER}.arms"
UNNAMED = "${output}/sweeps/unnamed"
"""`hydra.sweep.dir` as `conf/defaults.yaml` has it."""

LONGEST = 100
NO_VALUE = "holds no value, so that there would be nothing to run"
MOST_RUNS = 10_000_000
"""Of a sweep; what so many cost stands in sweeps/SCALE.md."""


def given(config: DictConfig) -> tuple[list[str], list[str]]:
    """A sweep's overrides as typed, of the task and of Hydra's part: `${…}` in them is each job's own."""
    typed: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    return typed["task"], typed["hydra"]


def sets_hydra(override: str) -> bool:
    """Whether an override sets something of Hydra's, and no key of a run."""
    return key_of(override).startswith(("hydra.", "hydra/"))


def value_at(config: Any, key: str) -> Any:
    """What plain config has at a dotted key; None where that is nothing."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def setting(config: Any, key: str) -> Any:
    """A swept key's value in a run's plain config; of a group its choice, by name."""
    value = value_at(config, key)
    return value.get("name") if isinstance(value, Mapping) else value


def check_swept(key: str, values: str) -> None:
    """Raises InputError for a key that changes no result: of two values one run would stand for both."""
    if key in WITHOUT_EFFECT:
        is_several = key in ("tags", "logger") and not values.startswith(("[", "choice("))
        more = f"; several are a list, {key}=[{values}]" if is_several else ""
        raise InputError(key, values, f"takes one value in a sweep, as it changes no result{more}")


def value_text(override: Override) -> str:
    """What is right of an override's `=`, as one typed it."""
    return str(override.input_line).partition("=")[2]


def check_range(override: Override, is_hydras: bool = False) -> None:
    """Raises InputError for a range that has no value, no end, or one beyond all sweeps; of decimals also where
    Hydra's own sweeper is to take its values."""
    value: Any = override.value()
    if isinstance(value, RangeSweep):
        numbers, right = (value.start, value.stop, value.step), ""
        start, stop, step = (float(number or 0) for number in numbers)
        count = (stop - start) / step if step else math.inf
        if not count <= MOST_RUNS:
            right = f"must end after at most {MOST_RUNS:,} values, by finite numbers and a step other than 0"
        elif count <= 0:
            right = NO_VALUE
        elif is_hydras and not all(isinstance(number, int) for number in numbers):
            right = "hydra/sweeper=basic would make 0.15000000000000002 of 0.1 + 0.05; list the values"
        if right:
            raise InputError(override.get_key_element(), value_text(override), right)


def check_glob(override: Override) -> None:
    """Raises InputError for a glob() that no choice of the config's group matches."""
    key = override.get_key_element()
    # Hydra's own groups, and those of its plugins, have no folder here
    if isinstance(override.value(), Glob) and not key.startswith("hydra/") and not matches(override):
        raise InputError(key, value_text(override), NO_VALUE)


def matches(override: Override) -> list[str]:
    """Choices of the config's group that a glob() matches, sorted."""
    pattern: Any = override.value()
    names = (path.stem for path in (messages.CONF / override.get_key_element()).glob("[!.]*.yaml"))
    return pattern.filter(sorted(names))


def sweep_name(overrides: Sequence[str]) -> str:
    """Name of a sweep's folder: the named sweep's name, then the overrides that change results.

    >>> sweep_name(["sweep=swap_rates", "epochs=2", "hydra.launcher.n_jobs=1"])
    'swap_rates__epochs=2'
    >>> sweep_name(["dropout1=0.2,0.5", "output=elsewhere"])
    'dropout1=0.2,0.5'

    Of Hydra's own part, what is swept:

    >>> sweep_name(["sweep=swap_rates", "hydra.sweeper.params.seed=range(3)"])
    'swap_rates__params.seed=range-3'

    A search has a name of its own, for it is another sweep than the product of the same values:

    >>> sweep_name(["hydra/sweeper=optuna", "dropout1=0.2,0.5"])
    'optuna__dropout1=0.2,0.5'

    So has one that ends once it is decided:

    >>> sweep_name(["sweep=rate_order", "hydra.sweeper.until.looks=[10,20,30]"])
    'rate_order__until'
    """
    named, others = _parts(overrides)
    exact = "__".join([*named, *others])
    readable = re.sub(r"\((-?[\d.,]+)\)(?=__|$)", r"-\1", exact)  # seed=range(5) as seed=range-5
    slug = re.sub(r"[^\w=.,+-]+", "-", readable, flags=re.ASCII)
    slug = re.sub(r"-*\.\.+-*", "-", slug).strip("-.")[:LONGEST]
    if not exact:
        return "book"
    # two sweeps may read alike, once it is shortened or a character is replaced: then the name says which it is
    ambiguous = any("__" in override or re.search(r"[A-Za-z]{2}-", override) for override in others)
    if slug != readable or ambiguous:
        return f"{slug}-{hashlib.sha256(exact.encode(errors='surrogatepass')).hexdigest()[:6]}".lstrip("-")
    return slug


def sweep_text(overrides: Sequence[str]) -> str:
    """What the name is made of, whole; empty for the book's experiment. Two sweeps have the same, if and only if
    they sweep the same."""
    named, others = _parts(overrides)
    return " ".join([*named, *others])


def _parts(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The named sweep and its kind, and the overrides that change what is swept, in order.

    Of two settings of one key the last counts.
    """
    last = {override.partition("=")[0]: override for override in overrides}.values()
    named = [override.partition("=")[2] for override in last if key_of(override) == "sweep"]
    named += ["optuna"] if "hydra/sweeper=optuna" in last else []
    named += ["until"] if any(key_of(override) == f"{SWEEPER}.until.looks" for override in last) else []
    others = [override for override in last if _counts(key_of(override))]
    return named, sorted(re.sub(rf"^(\+*){re.escape(SWEEPER)}\.", r"\1", override) for override in others)


def _counts(key: str) -> bool:
    """Whether it says what is swept."""
    if sets_hydra(key):
        return key == ARMS or f"{key}.".startswith(f"{SWEEPER}.params.")
    return key not in WITHOUT_EFFECT


def sweep_file(path: Path) -> DictConfig:
    """The content of a file of `sweeps/`.

    Raises:
        InputError: if it is no YAML, or holds anything but `defaults` and `hydra`, which would go unheard.
    """
    try:
        content: Any = OmegaConf.load(path)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(messages.unreadable(path, error)) from None
    if not (isinstance(content, DictConfig) and content and OmegaConf.is_dict(content.get("hydra", content))):
        right = "a file with hydra.sweeper.arms or hydra.sweeper.params is right"
        raise InputError(f"{path} is no sweep; {right}")
    for key in content:
        if key not in ("defaults", "hydra"):
            right = "which no run would see; put it under hydra.sweeper.params"
            raise InputError(f"{path} sets {key!s}, {right}")
    plain: Any = OmegaConf.to_container(content, resolve=False)
    arms, params = (value_at(plain, f"{SWEEPER}.{key}") for key in ("arms", "params"))
    if arms is not None and not isinstance(arms, list):
        raise InputError(f"{path}: {SWEEPER}.arms must be a list of texts, such as - noise=none")
    if params is not None and not isinstance(params, dict):
        raise InputError(f"{path}: {SWEEPER}.params must be keys with their values, such as seed: range(5)")
    for key, value in (params or {}).items():
        if value is None:
            raise InputError(f"{path}: {SWEEPER}.params.{key} has no value; null itself is 'null', in quotes")
    return content


SWEEP_NAME = "must be the name of a file of sweeps/ without .yaml, of letters from a to z, digits, _, . and -"


def is_sweep_name(name: str) -> bool:
    return bool(re.fullmatch(r"(?!.*\.yaml$)[\w.-]{1,200}", name, re.ASCII))


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuses several named sweeps in one command, and what some sweepers would follow for ever, or to nothing.

    Raises:
        InputError: if `sweep` is given more than once, or as anything but a name; for a range without an end or a
            value, or a glob() without a match.
    """
    for override in overrides:
        if re.search(r"(range|glob)\(", override) and key_of(override) != "sweep":
            (parsed,) = OverridesParser.create().parse_overrides([override])
            check_range(parsed, "hydra/sweeper=basic" in overrides)
            check_glob(parsed)
    names = [override.partition("=")[2] for override in overrides if key_of(override) == "sweep"]
    if len(names) > 1 or any(re.search(r"[,([]", name) for name in names):
        right = "name one sweep at a time; Hydra would silently drop the parameters of several files"
        raise InputError("sweep", ",".join(names), right)
    for name in names:
        if name and not is_sweep_name(name):
            raise InputError("sweep", name, SWEEP_NAME)


def check_single(hydra: Mapping[str, Any]) -> None:
    """Refuses what a single run would ignore: the parameters of a sweep.

    Raises:
        InputError: if Hydra's config has some, but not the mode of a sweep.
    """
    sweeper, choices = hydra["sweeper"], hydra["runtime"]["choices"]
    right = "a single run would ignore it; add -m"
    for key in ("arms", "params", "until.looks"):
        if value := value_at(sweeper, key):
            name = choices.get("sweep")
            raise InputError("sweep" if name else f"{SWEEPER}.{key}", name or value, right)
    if choices.get("hydra/sweeper") == "optuna":
        raise InputError("hydra/sweeper", "optuna", right)


def name_folder(config: DictConfig) -> None:
    """Sets `hydra.sweep.dir` of a sweep's config to the sweep's own folder, unless somebody gives one.

    As an override, so that it is the jobs' too.
    """
    task, hydra = given(config)
    if not any(key_of(override) == "hydra.sweep.dir" for override in hydra):
        overrides = [*task, *hydra]
        if _asks_for_arms(overrides):  # it is the sweep of whatever arms it is given
            overrides = [override for override in overrides if key_of(override) != ARMS]
        folder = OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"]  # type: ignore[index,call-overload]
        if folder == UNNAMED:
            folder = f"${{output}}/sweeps/{sweep_name(overrides)}"
        with read_write(config.hydra):  # Hydra 1.4 hands it over read-only
            config.hydra.sweep.dir = folder
            config.hydra.overrides.hydra.append(f'hydra.sweep.dir="{folder}"')


def _asks_for_arms(overrides: Sequence[str]) -> bool:
    """Whether the named sweep has `arms: null`, and so no arms but those of the command line."""
    names = [override.partition("=")[2] for override in overrides if key_of(override) == "sweep"]
    path = REPOSITORY / "sweeps" / f"{names[-1] if names else ''}.yaml"
    return path.is_file() and OmegaConf.select(sweep_file(path), ARMS, default=()) is None
