"""What a sweep's file promises, read from it: question, design, command, arms, seeds, the primary contrast.

`sweeps/NAME.yaml` opens with a comment of three paragraphs: the question, the design, the command. Nothing of it
is typed again anywhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from analysis import measures
from analysis.contrasts import Arm, Arms, Contrast, matches
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.tables import Table
from src.errors.messages import key_of
from src.plugins.hydra_plugins.dropout_sweeps import ArmsConf, PrimaryConf
from src.stats import OPEN
from src.sweeping.naming import sweep_file, value_at
from src.sweeping.planning import expand, split_arm

SWEEP_FILES = Path(__file__).resolve().parents[1] / "sweeps"


@dataclass(frozen=True)
class Primary:
    """The one contrast that is judged, declared in `hydra.sweeper.primary`."""

    measure: Measure
    contrast: tuple[int, ...]
    """Numbers of the arms: two for a - b; one for every other arm minus this one; four for (a - b) - (c - d); none
    for every pair."""
    margin: float
    """Smallest difference that matters, as shown: percentage points, nats."""

    def arms(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Names of the arms of each contrast, two or four; none where arms are missing."""
        if not self.contrast:
            return list(itertools.combinations(names, 2))
        if max(self.contrast) >= len(names):
            return []
        if len(self.contrast) > 1:
            return [tuple(names[number] for number in self.contrast)]
        reference = names[self.contrast[0]]
        return [(name, reference) for name in names if name != reference]

    def contrasts(self, arms: Arms, names: Sequence[str], *setting: str) -> list[Contrast]:
        return [arms.contrast_of(of, self.measure, *setting) for of in self.arms(names)]


@dataclass(frozen=True)
class Missing:
    """What the file asks for and a table does not hold, not even as a run without a result."""

    planned: int
    lost: tuple[tuple[Arm, int], ...] = ()
    """Arm and seed of each run."""
    epochs: tuple[int, int] | None = None
    """Asked for and trained, where runs are shorter."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.epochs)


@dataclass(frozen=True)
class Design:
    """A sweep's file."""

    sweep: str
    question: str
    text: str
    """Its design in words."""
    command: str
    arms: Sequence[dict[str, Any]] = ()
    """The keys that distinguish them; empty where the file leaves them to an earlier sweep's choice."""
    runs: Sequence[tuple[dict[str, Any], int]] = ()
    """Arm and seed of each run."""
    epochs: int | None = None
    """Where all runs have as many and the file says so."""
    primary: Primary | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What is the same in all runs."""
    arm_keys: Sequence[str] = ()
    """All keys that the arms set, also those that are the same in all of them."""
    language: str = "en"
    """Of question and text."""

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Of each arm all keys that the file sets."""
        return [{**self.fixed, **arm} for arm in self.arms]

    def missing(self, table: Table) -> Missing:
        """What of it the table lacks."""
        rows = table.final[[*table.keys, "seed"]].to_dict("records")
        held = [*((row, row["seed"]) for row in rows), *((p.arm, p.seed) for p in table.problems)]
        if table.looks and all(look.verdict != OPEN for look in table.looks):
            held += self.runs  # it ended, as it was to, once it was decided
        by_seed: dict[Any, list[Any]] = {}
        for arm, seed in held:
            by_seed.setdefault(seed, []).append(arm)
        lost = [
            (arm, seed)
            for arm, seed in self.runs
            if not any(matches(its, arm) for its in by_seed.get(seed, ()))
        ]
        shortest = int(table.runs["epochs"].min())
        short = (self.epochs, shortest) if self.epochs is not None and shortest < self.epochs else None
        return Missing(len(self.runs), tuple(lost), short)


@cache
def _file(path: Path, modified: int) -> tuple[str, Any]:
    """A sweep's file as text and config; `modified` is the time of its last change, after which it is read anew."""
    config = sweep_file(path)
    return path.read_text(encoding="utf-8"), config


def read(sweep: str, chosen: Sequence[str] = ()) -> Design:
    """The design in sweeps/NAME.yaml.

    Args:
        chosen: overrides of the arms, where the file leaves them open.

    Raises:
        InputError: if there is no such file, or its arms, its params, a seed or its primary block is wrong.
    """
    path = SWEEP_FILES / f"{sweep}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in SWEEP_FILES.glob("*.yaml")))
        raise InputError(f"{sweep} is no named sweep; one of sweeps/ is right: {names}")
    text, config = _file(path, path.stat().st_mtime_ns)
    question, design, command = _paragraphs(text)
    sweeper = value_at(OmegaConf.to_container(config), "hydra.sweeper")
    of_file = _swept(sweeper, f"sweeps/{sweep}.yaml")
    jobs = _jobs(of_file, chosen)
    for job in jobs:
        if not isinstance(job.get("seed", 0), int):
            raise InputError(f"sweeps/{sweep}.yaml: seed", job["seed"], "must be a whole number")
    given = dict.fromkeys(key for job in jobs for key in job)
    differing = [key for key in given if len({str(job.get(key)) for job in jobs}) > 1]
    swept = [key for key in differing if key != "seed"]
    runs = [({key: job[key] for key in swept if key in job}, int(job.get("seed", 0))) for job in jobs]
    arms = list({str(arm): arm for arm, _ in runs}.values())
    fixed = {key: value for key, value in (jobs[0] if jobs else {}).items() if key not in differing}
    return Design(
        sweep,
        question,
        design.removeprefix("Design: "),
        command,
        arms,
        runs,
        fixed.get("epochs"),
        primary(value_at(sweeper, "primary"), f"sweeps/{sweep}.yaml", len(arms)),
        fixed,
        arm_keys=list(
            dict.fromkeys(key_of(k) for k in given if key_of(k) not in map(key_of, of_file["params"]))
        ),
    )


def question(overrides: Sequence[str]) -> str:
    """What the named sweep among these overrides asks; empty where there is none, or its file says nothing."""
    for override in overrides:
        path = SWEEP_FILES / f"{override.partition('=')[2]}.yaml"
        if override.startswith("sweep=") and path.is_file():
            return _paragraphs(_file(path, path.stat().st_mtime_ns)[0])[0]
    return ""


def _paragraphs(text: str) -> tuple[str, str, str]:
    comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    lines = " ".join(line.removeprefix("#").strip() or "\n" for line in comment).split("\n")
    question, design, command = [line.strip() for line in [*lines, "", ""]][:3]
    return question, design, command


def _swept(sweeper: Any, where: str) -> Mapping[str, Any]:
    """The arms and params of a file, of the types that Hydra takes.

    Raises:
        InputError: naming `where` and what would be right.
    """
    try:
        given = {key: of for key, of in dict(sweeper or {}).items() if key in ("arms", "params")}
        typed: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(ArmsConf), given))
        for of in (*(typed["arms"] or ()), *typed["params"].values()):
            if not isinstance(of, str):  # of a list OmegaConf lets lists pass
                raise ValueError(f"{of} is no text")
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        right = "arms, a list of overrides, and params, keys with their values, are right"
        raise InputError(f"{where}: hydra.sweeper: {str(error).splitlines()[0]}; {right}") from None
    return typed


def _jobs(sweeper: Mapping[str, Any], chosen: Sequence[str]) -> list[dict[str, Any]]:
    """Of each run the keys that the file sets."""
    arms = sweeper["arms"] or chosen
    if not arms and sweeper["arms"] is None:
        return []
    parser = OverridesParser.create()
    params = parser.parse_overrides([f"{key}={value}" for key, value in sweeper["params"].items()])
    return [
        {key: _value(value) for key, _, value in (o.partition("=") for o in job)}
        for job in expand(params, [parser.parse_overrides(split_arm(arm)) for arm in arms])
    ]


@cache
def _value(text: str) -> Any:
    """As YAML has it; the runs of a sweep share a few."""
    return OmegaConf.create(f"x: {text}").x


def primary(
    block: Any, where: str, arms: int = 0, declared: Mapping[str, str | None] | None = None
) -> Primary | None:
    """A primary block, checked; None where there is none, or its contrast is null.

    Args:
        arms: how many there are; 0 if not known yet.
        declared: metrics that components declare, where they are known.

    Raises:
        InputError: naming `where`, the key and what would be right.
    """
    if block is None:
        return None
    try:
        config: Any = OmegaConf.merge(OmegaConf.structured(PrimaryConf), block)
    except (OmegaConfBaseException, ValueError) as error:
        right = "metric, contrast and margin, such as {metric: test_acc, contrast: [1, 0], margin: 0.2}, are right"
        raise InputError(f"{where}: hydra.sweeper.primary: {str(error).splitlines()[0]}; {right}") from None
    columns = [*measures.METRICS, *(measure.column for measure in measures.VARIANCES), *(declared or {})]
    known = {column: measures.of_column(column, declared or {}) for column in columns}
    if config.metric not in known:
        raise InputError(
            f"{where}: hydra.sweeper.primary.metric={config.metric}: one of these is right: {', '.join(known)}"
        )
    if not config.margin > 0:
        raise InputError(f"{where}: hydra.sweeper.primary.margin={config.margin}: a number above 0 is right")
    if config.all:
        return Primary(known[config.metric], (), float(config.margin))
    if config.contrast is None and config.reference is None:
        return None
    numbers = (config.reference,) if config.contrast is None else tuple(config.contrast)
    if len(numbers) not in (1, 2, 4) or min(numbers) < 0 or (arms and max(numbers) >= arms):
        span = f"from 0 to {arms - 1}" if arms else "from 0 on"
        raise InputError(
            f"{where}: hydra.sweeper.primary.contrast={list(numbers)}: one, two or four numbers of arms, {span}, "
            "are right"
        )
    return Primary(known[config.metric], numbers, float(config.margin))
