"""Finding a data set, noise, schedule, optimizer or model by its name: one file each, `src/<group>/<name>.py`.

Such a module may hold `OPTIONS`, a dict from each key of its YAML to the check of its value
(see `src.checks`), and `check(options)`, which raises InputError for values that do not go together; a noise, an
optimizer or a model also `METRICS`, numbers of its own (see `src.training.custom`).
A package's `OPTIONS` are the keys that all its files share. A file's code is part of a run's ID (`src.provenance`).
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from src.checks import Check, check_keys
from src.errors import REPOSITORY, InputError

T = TypeVar("T")


class Options(SimpleNamespace, Mapping[str, Any]):
    """A group of a run's config: its keys as attributes, each of the type that its check gives.

    What treats all keys alike takes it as a mapping.

    >>> options = Options(name="scratch", hidden1=256, hidden2=256)
    >>> options.hidden1, dict(options)["name"]
    (256, 'scratch')
    """

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"{key} is checked, and cannot be set anew")

    def __getitem__(self, key: str) -> Any:
        return vars(self)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    def changed(self, **changes: Any) -> Options:
        """The same with other values of some keys, which nobody checks."""
        return Options(**{**self, **changes})


PACKAGES = {
    "data": "src.data",
    "noise": "src.noise",
    "schedule": "src.schedules",
    "optimizer": "src.optimizers",
    "model": "src.models",
}


FUNCTIONS = {
    "data": "read(options)",
    "schedule": "rate(progress, configured)",
    "model": "build(features, classes)",
}
"""What a file of these groups must define."""

RAISED = (Exception, SystemExit)
"""What a component's code may raise that is to stop its own runs alone: `exit()` in it ends no command."""

WITH_METRICS = ("noise", "optimizer", "model")
"""Groups whose components may log numbers of their own."""

BASES = {"noise": "Noise", "optimizer": "Optimizer"}
"""Of these groups a file defines one subclass of this class of its package."""


def names(group: str) -> tuple[str, ...]:
    """Names of all the group's files, sorted; those that begin with an underscore are not components."""
    package = importlib.import_module(PACKAGES[group])
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


@cache
def find(group: str, name: str) -> ModuleType:
    """The module of one component.

    Raises:
        InputError: if the group has no such file, or it cannot be imported or lacks what its group must have.
    """
    path = shown_path(group, name)
    if name not in names(group):
        kind = "data set" if group == "data" else group
        has_yaml = name not in ("", "..") and (REPOSITORY / "conf" / group / f"{name}.yaml").is_file()
        lacks = f" (conf/{group}/{name}.yaml is there, and {path} is not)" if has_yaml else ""
        right = f"there is no such {kind}{lacks}; choose one of {', '.join(names(group))}"
        raise InputError(group, name, right)
    package = importlib.import_module(PACKAGES[group])
    try:
        module = importlib.import_module(f"{PACKAGES[group]}.{name}")
    except RAISED as error:
        raise InputError(group, name, f"{located(error, path)}; it cannot be imported") from error
    if group in BASES:
        if len(_classes(module, getattr(package, BASES[group]))) != 1:
            raise InputError(group, name, f"{path} must define one subclass of {BASES[group]}")
    elif not callable(getattr(module, FUNCTIONS[group].partition("(")[0], None)):
        raise InputError(group, name, f"{path} must define {FUNCTIONS[group]}")
    return module


def shown_path(group: str, name: str) -> str:
    """Where the component's code is, from the repository's root: in messages."""
    return f"{PACKAGES[group].replace('.', '/')}/{name}.py"


def find_class(group: str, name: str, base: type[T]) -> type[T]:
    """The one subclass of `base` that a component's file defines."""
    return _classes(find(group, name), base)[0]


def metrics(group: str, name: str) -> Mapping[str, str | None]:
    """Numbers that a component logs at the end of each epoch, by name: where they are better, see `METRICS`."""
    declared: Mapping[str, str | None] = getattr(find(group, name), "METRICS", {})
    if not isinstance(declared, Mapping):
        right = 'must be a dict, such as METRICS = {"gate": "higher"}'
        raise InputError(group, name, f"{shown_path(group, name)}: METRICS {right}")
    return declared


def _classes(module: ModuleType, base: type[T]) -> list[type[T]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def in_words(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def located(error: BaseException, path: str) -> str:
    """The same, and the line where a file of `path`'s name raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == Path(path).name]
    return f"{path}{f', line {lines[-1]}' if lines else ''}: {in_words(error)}"


def in_hook(error: BaseException, names: Mapping[str, str]) -> str:
    """The same with file, line and method of the component that raised it, if it was one.

    Args:
        names: by group the components that may have.
    """
    paths = {str(find(group, name).__file__): shown_path(group, name) for group, name in names.items()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
    where = f"{paths[(last := frames[-1]).filename]}, line {last.lineno}, in {last.name}: " if frames else ""
    return f"{where}{in_words(error)}"


def _is_set(key: str, path: Path, value: str = "") -> bool:
    """Whether a YAML sets this key, to this value if one is given."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    to = rf"\s*['\"]?{re.escape(value)}['\"]?\s*(#|$)" if value else ""
    return re.search(rf"^{re.escape(key)}:{to}", text, re.M) is not None


def check_choices(choices: Mapping[str, Any], run: Any) -> None:
    """Refuses a YAML copied from another component's that still has its name: that one would be trained.

    Args:
        choices: by group the YAML that was chosen.
        run: the `config.Run` that they gave.

    Raises:
        InputError: naming the YAML and its key.
    """
    for group in PACKAGES:
        choice, name = choices.get(group), getattr(run, group).name
        place = f"conf/{group}/{choice}.yaml"
        if choice != name and choice in names(group) and _is_set("name", REPOSITORY / place, name):
            right = f"must be {choice} in {place}, or {shown_path(group, choice)} would not be used"
            raise InputError(f"{group}.name", name, right)


def check_options(group: str, values: dict[str, Any]) -> Options:
    """A group's part of the config, typed.

    Raises:
        InputError: for an unknown name, or an unknown, missing or wrong option, or options that do not
            go together.
    """
    options = dict(values)
    if (name := options.pop("name", None)) is None:
        right = f"must be given in the YAML: the name of a file in {PACKAGES[group]}"
        raise InputError(f"{group}.name", None, right)
    module = find(group, str(name))
    shared: dict[str, Check] = getattr(importlib.import_module(PACKAGES[group]), "OPTIONS", {})
    checks: dict[str, Check] = getattr(module, "OPTIONS", {})
    if not isinstance(checks, Mapping) or not all(map(callable, checks.values())):
        right = 'must be a dict from each key to its check, such as OPTIONS = {"slope": real(0)}'
        raise InputError(group, str(name), f"{shown_path(group, str(name))}: OPTIONS {right}")
    if clash := sorted(shared.keys() & checks.keys()):
        right = f"its OPTIONS may not have {', '.join(clash)}, which every file of {PACKAGES[group]} has"
        raise InputError(group, str(name), right)
    place = f"conf/{group}/{name}.yaml"
    for key in options:
        if key not in (*shared, *checks) and _is_set(key, REPOSITORY / place):
            path = shown_path(group, str(name))
            right = (
                f"{place} sets it, so OPTIONS in {path} must have it, such as OPTIONS = {{{key!r}: real(0)}}"
            )
            raise InputError(f"{group}.{key}", options[key], right)
    try:
        typed = {"name": name, **check_keys(options, {**shared, **checks}, f"{group}.", place)}
        if hasattr(module, "check"):
            module.check(typed)
    except InputError:
        raise
    except RAISED as error:
        raise InputError(group, str(name), in_hook(error, {group: str(name)})) from error
    for key, value in typed.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            given = "a function" if callable(value) else type(value).__name__
            right = (
                f"its check in {shown_path(group, str(name))} gives {given}; one such as real(0, 1) is right"
            )
            raise InputError(f"{group}.{key}", options[key], right) from None
    return Options(**typed)
