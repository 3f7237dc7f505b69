"""The second stage of any sweep or search: what its validation images chose, on fresh seeds and with none held out.

The best setting and the runner-up, by the mean over the seeds, are judged against a reference by the test set,
which had no part in the choice, with as many seeds as a verdict takes (`hydra.sweeper.until`).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from analysis import design, measures, runs, search, tables
from analysis.measures import Measure
from analysis.runs import Problem
from analysis.tables import Table
from src import config, errors
from src.errors import REPOSITORY, InputError
from src.errors.messages import key_of
from src.runs import store
from src.sweeping import naming, planning
from src.sweeping.naming import WITHOUT_EFFECT, sets_hydra, setting, value_at

LOOKS = (10, 20, 30, 45, 60)
LONGEST = 40
"""Characters of a sweep's name that its second stage's may begin with."""
JUDGED = {"val_acc": (measures.TEST_ACC, 0.2), "val_loss": (measures.TEST_LOSS, 0.01)}
"""By the metric of the choice: that of the second stage, and the smallest difference that matters, as shown."""


@dataclass(frozen=True)
class SecondStage:
    """A file of sweeps/ to be, and what it follows from."""

    name: str
    """Of the file, and so of the sweep."""
    first: str
    """Name of the sweep that chose."""
    arms: Sequence[tuple[str, str]]
    """What each is, and its overrides; the reference first."""
    params: Mapping[str, str]
    metric: Measure
    margin: float
    choice: str
    """What was chosen by, in words."""
    elsewhere: Sequence[str]
    """Overrides of the first sweep's command that change no result."""
    problems: Sequence[Problem] = ()
    """Runs of the first sweep without a result."""

    @property
    def images(self) -> str:
        train = self.params.get("data.train", "null")
        return "all" if train == "null" else train

    @property
    def command(self) -> str:
        return " ".join([f"python -m src.train sweep={self.name}", *self.elsewhere])

    @property
    def text(self) -> str:
        """Content of the file."""
        arms = "".join(f"      - {_quoted(arm)} # {what}\n" for what, arm in self.arms)
        params = "".join(f"      {key}: {_plain(value)}\n" for key, value in self.params.items())
        return (
            f"# Is what {self.first} chose better than the reference?\n#\n"
            f"# Design: the reference, the best setting and the runner-up by {self.choice}; on fresh\n"
            f"# seeds, as many as a verdict takes, and {self.images} training images.\n#\n"
            f"# {self.command}\n"
            "hydra:\n  sweeper:\n    arms:\n"
            f"{arms}    params:\n{params}"
            f"    primary: {{metric: {self.metric.column}, reference: 0, margin: {self.margin:g}}}\n"
            f"    until: {{looks: {list(LOOKS)}}}\n"
        )


def of(folder: Path, name: str | None = None, reference: str | None = None) -> SecondStage:
    """The second stage of the sweep in this folder.

    Args:
        name: of its file; by default the sweep's, and `_test`.
        reference: overrides of the arm that the others are judged against; by default what the first sweep declares
            (`hydra.sweeper.primary`), else what its keys are by default.

    Raises:
        InputError: if nothing can be chosen.
    """
    table = tables.collect(folder)
    given = _Given(folder)
    column = search.metric(folder) or _declared(given)
    measure = measures.METRICS[column]
    for key in ("data.validation", "data.split"):
        if key in table.keys:
            raise InputError(f"{table.name} sweeps {key}; arms that share their validation images are right")
    ranked = _ranked(table, measure)
    arms = [("the best setting", ranked[0]), ("the runner-up", ranked[1])]
    fixed = {key: value for key, value in given.fixed.items() if key not in table.keys}
    params = fixed | {"data.validation": "0", "seed": _fresh(table)}
    if params.get("data.train", "null") == "null":
        params.pop("data.split", None)  # nothing is left to be split
    against = _reference(folder, table, given, fixed) if reference is None else _checked(reference, fixed)
    metric, margin = JUDGED[column]
    if given.primary and given.primary.measure in (measure, metric):
        margin = given.primary.margin
    seeds = table.final["seed"].nunique()
    return SecondStage(
        name=name or f"{_short(table)}_test",
        first=table.name,
        arms=[("the reference", against), *(arm for arm in arms if arm[1] != against)],
        params=params,
        metric=metric,
        margin=margin,
        choice=f"{measure.name} over {'a seed' if seeds == 1 else f'{seeds} seeds'}",
        elsewhere=given.elsewhere,
        problems=table.problems,
    )


def write(stage: SecondStage) -> Path:
    """Writes the file into sweeps/; one that says the same may be there.

    Raises:
        InputError: if another one is there.
    """
    if not naming.is_sweep_name(stage.name):
        raise InputError("--name", stage.name, naming.SWEEP_NAME)
    path = design.SWEEP_FILES / f"{stage.name}.yaml"
    if path.exists() and path.read_text(encoding="utf-8") != stage.text:
        raise InputError(f"{path} is there and says something else; --name NAME gives another one")
    store.write_whole(path, stage.text)
    return path


class _Given:
    """What a sweep's `multirun.yaml` says of it."""

    def __init__(self, folder: Path) -> None:
        hydra = tables.recorded(folder, "hydra")
        arms, params, task = (
            value_at(hydra, key) for key in ("sweeper.arms", "sweeper.params", "overrides.task")
        )
        if not isinstance(task, list):
            right = "which says what is the same in all of its runs; the same sweep started again writes it"
            raise InputError(f"{folder / 'multirun.yaml'} cannot be read, {right}")
        first = planning.split_arm(str(arms[0])) if arms else []
        same = [f"{key}={value}" for key, value in (params or {}).items()]
        parsed = OverridesParser.create().parse_overrides([*first, *same, *map(str, task)])
        self.primary = design.primary(value_at(hydra, "sweeper.primary"), str(folder))
        self.fixed: dict[str, str] = {}
        """Settings that are the same in all runs, by their key."""
        outside: dict[str, str] = {}
        for override in parsed:
            key = key_of(override.get_key_element())
            of_first = key in ("sweep", "seed", "resume", "tags", "note")
            if override.is_sweep_override() or of_first or sets_hydra(key):
                continue
            into = outside if key in WITHOUT_EFFECT else self.fixed
            into[override.get_key_element()] = override.get_value_element_as_str()
        self.elsewhere = [shlex.quote(f"{key}={value}") for key, value in outside.items()]


def _declared(given: _Given) -> str:
    """The validation metric that a sweep is judged by."""
    column = given.primary.measure.column if given.primary else "val_acc"
    return "val_loss" if column.endswith("_loss") else "val_acc"


def _ranked(table: Table, measure: Measure) -> list[str]:
    """Overrides of the arms, the best first.

    An arm counts if it has a result of as many seeds as any, and of all its own: one whose runs diverged has lost,
    and one that was pruned as well.
    """
    final = table.final
    if measure.column not in final or not np.isfinite(final[measure.column].astype(float)).any():
        right = "a sweep with data.validation above 0 is right: the test set is not for choosing"
        raise InputError(f"{table.name} has no {measure.name}; {right}")
    names = runs.arm_names(final, table.keys)
    lost = {runs.arm_name(problem.arm) for problem in table.problems}
    means: dict[str, float] = {}
    most = names.value_counts().max()
    for name, rows in final.groupby(names, sort=False):
        values = rows[measure.column].astype(float)
        if name not in lost and len(rows) == most and np.isfinite(values).all():
            arm = {key: rows.iloc[0][key] for key in table.keys}
            means.setdefault(_overrides(arm), float(values.mean()))
    if len(means) < 2:
        right = "two arms with a result of every seed are right"
        raise InputError(f"{table.name} has {len(means) or 'no'} arm{'s' * (not means)} to choose; {right}")
    return sorted(means, key=lambda arm: -measure.sign * means[arm])


def _overrides(arm: Mapping[str, Any]) -> str:
    """An arm as a sweep's file has it, without keys that have no effect."""
    values = {key: runs.shown(value).replace(", ", ",") for key, value in arm.items()}
    return runs.arm_name(values) if values else ""


def _reference(folder: Path, table: Table, given: _Given, fixed: Mapping[str, str]) -> str:
    contrast = given.primary.contrast if given.primary else ()
    if len(contrast) in (1, 2):
        listed, keys = runs.read_list(folder)  # with the arms that have no result: they are numbered, too
        arms = listed[list(keys)].drop_duplicates().to_dict("records")
        if contrast[-1] < len(arms):
            return _overrides(arms[contrast[-1]])
    try:
        usual = _composed([f"{key}={value}" for key, value in fixed.items()])
    except HydraException as error:
        right = "--reference OVERRIDES gives the setting to compare with"
        raise InputError(
            f"{table.name} has no usual setting ({str(error).splitlines()[0]}); {right}"
        ) from None
    arm = {key: setting(usual, key) for key in table.keys}
    return _overrides({key: value for key, value in arm.items() if value is not None})


def _composed(overrides: Sequence[str]) -> Any:
    """The config with these overrides, as plain values."""
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)


def _checked(reference: str, fixed: Mapping[str, str]) -> str:
    """A setting that one gives, which must be right beside what is the same in all runs."""
    overrides = planning.split_arm(reference)
    own = {key_of(override): override for override in overrides}
    rest = [f"{key}={value}" for key, value in fixed.items() if key not in own]
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.is_sweep_override() or {*own} & {"seed", "data.validation", "data.split"}:
                raise InputError("must be one setting, such as 'dropout1=0 dropout2=0'")
        config.parse(_composed([*rest, *overrides]))
    except (HydraException, InputError) as error:
        raise InputError("--reference", reference, errors.one_line(error)) from None
    return " ".join(overrides)


def _fresh(table: Table) -> str:
    """Seeds that no run of the first stage had."""
    used = {int(seed) for seed in [*table.final["seed"], *(problem.seed for problem in table.problems)]}
    first = max(used) + 1
    return f"range({first},{first + LOOKS[-1]})"


def _short(table: Table) -> str:
    """Of a sweep's name what can name a file of sweeps/ and be typed."""
    name, sweep = (re.sub(r"[^A-Za-z0-9_.-]+", "-", of).strip("-.") for of in (table.name, table.sweep))
    digest = hashlib.sha256(table.name.encode()).hexdigest()[:6]
    return name if len(name) <= LONGEST else f"{sweep[:LONGEST]}-{digest}"


def _plain(value: str) -> str:
    """As YAML has it, a number without quotes."""
    is_number = re.fullmatch(r"-?\d+(\.\d+)?", value)
    return value if is_number else str(yaml.safe_dump(value, width=10**6)).split("\n")[0]


def _quoted(text: str) -> str:
    return str(yaml.safe_dump(text, width=10**6, default_style="'")).strip()
