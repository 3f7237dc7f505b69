"""From a sweep's overrides to checked jobs, in about a millisecond each.

Composing a config through Hydra costs some 50 ms and more with every config file. Plain values need none of
that: they are set in a copy of the config that Hydra composed for the same choices of groups.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep, Transformer
from omegaconf import DictConfig, OmegaConf

from src.errors import InputError, shown
from src.errors.messages import key_of
from src.sweeping.naming import (
    MOST_RUNS,
    NO_VALUE,
    WITHOUT_EFFECT,
    check_range,
    check_swept,
    matches,
    sets_hydra,
    value_at,
    value_text,
)

if TYPE_CHECKING:
    from src.runs.job import Job


SEED = re.compile(r"^seed=(0|[1-9][0-9]{0,17})\Z")
"""A seed in the form in which it is a number for certain."""
TOKENS = r"""\s+|[([{]|[)\]}]|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[^\s()\[\]{}"']+"""
"""Of an arm: blanks, brackets, texts in quotes, and the rest."""


def expand(overrides: Sequence[Override], arms: Sequence[Sequence[Override]]) -> list[list[str]]:
    """Overrides of each job: the product of the arms and of every swept key's values, arms slowest.

    An arm may sweep keys itself: it stands for the product of their values. A key that is swept or set outside
    the arms wins over theirs; of two settings of one key the last wins; equal jobs are one.
    """
    outside = _axes(overrides)
    inside = [_axes([o for o in arm if o.get_key_element() not in outside]) for arm in arms]
    sets = [settings for axes in inside for settings in itertools.product(*axes.values())]
    count = math.prod(map(len, outside.values())) * max(1, len(sets))
    if count > MOST_RUNS:
        raise InputError(f"a sweep of {count:,} runs is too large; at most {MOST_RUNS:,} are right")
    jobs = [
        [*settings, *values]
        for settings in dict.fromkeys(sets or [()])
        for values in itertools.product(*outside.values())
    ]
    check_keys(jobs)
    return jobs


def split_arm(arm: str) -> list[str]:
    """The overrides of an arm, which spaces separate but for those in quotes and brackets.

    >>> split_arm("note='a b'  schedule.points=[[0, 1], [1, 0]]")
    ["note='a b'", 'schedule.points=[[0, 1], [1, 0]]']
    """
    parts, depth = [""], 0
    for token in re.findall(TOKENS, arm):
        depth = max(0, depth + (token in "([{") - (token in ")]}"))
        if token.isspace() and not depth:
            parts.append("")
        else:
            parts[-1] += token
    return list(filter(None, parts))


def check_keys(jobs: Sequence[Sequence[str]]) -> None:
    """Raises InputError for a key that differs between jobs and changes no result."""
    for key in swept_keys(jobs):
        if key in WITHOUT_EFFECT:
            settings = dict.fromkeys(o.partition("=")[2] for job in jobs for o in job if key_of(o) == key)
            words = {"True": "true", "False": "false"}  # as Hydra gives them, and nobody types them
            check_swept(key, ",".join(words.get(setting, setting) for setting in settings))


def distinct(jobs: Sequence[Job], swept: Sequence[str]) -> list[Job]:
    """The jobs, each once: 0 and 0.0 are one value, and so are all rates without a noise.

    Raises:
        InputError: for a swept key that changes no result here: one run would stand for two settings.
    """
    kept: dict[str, tuple[Job, list[Any]]] = {}
    for job in jobs:
        values = [configured(job, key) for key in swept]
        _, before = kept.setdefault(job.id, (job, values))
        for key, value, was in zip(swept, values, before, strict=True):
            if value != was:
                right = f"changes no result beside {key}={shown(was)}: both are one run"
                raise InputError(key, shown(value), right)
    if len(kept) == len(jobs):
        return list(jobs)
    return [replace(job, number=number) for number, (job, _) in enumerate(kept.values())]


def configured(job: Job, key: str) -> Any:
    """A swept key's value in a job, of a rate the one that counts; of a group its choice."""
    from src import config

    if key in config.RATES and job.run.noise.name == "none":
        return 0
    value = value_at(job.config, key)
    if isinstance(value, Mapping):
        return job.hydra["runtime"]["choices"].get(key, value.get("name"))
    return value


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """The settings of each key, as overrides: one, or as many as are swept."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise InputError(key, value_text(override), "must be a list of values, or range()")
            axes[key] = [f"{key}={value}" for value in _values(key, override)]
        else:
            axes[key] = [as_typed(override)]
    return axes


def _values(key: str, override: Override) -> list[str]:
    """Each value of a key that is swept, as text."""
    if sets_hydra(key):
        raise InputError(key, value_text(override), "takes one value in a sweep, as it changes no result")
    check_range(override)
    values = swept_values(override)
    if not values:
        raise InputError(key, value_text(override), NO_VALUE)
    return [Transformer.str(value) for value in values]


def swept_values(override: Override) -> list[Any]:
    """The values of an override that sweeps. A range of decimals gives them as one would type them: Hydra adds up
    binary fractions, which makes 0.15000000000000002 of 0.1 + 0.05, and may pass over its end."""
    value: Any = override.value()
    if isinstance(value, Glob) and override.config_loader is None:  # parsed where Hydra has not been started
        return matches(override)
    numbers = (value.start, value.stop, value.step) if isinstance(value, RangeSweep) else ()
    if all(isinstance(number, int) for number in numbers):
        return list(override.sweep_iterator())
    # sort() has added the step to both ends already
    digits = ".15g" if "sort(" in str(override.input_line) else ""
    start, stop, step = (Decimal(format(number, digits)) for number in numbers)
    values = [float(start + number * step) for number in range(math.ceil((stop - start) / step))]
    if value.shuffle:
        random.shuffle(values)
    return values


def as_typed(override: Override) -> str:
    """An override that sweeps nothing, as text."""
    key = override.get_key_element()
    return key if override.is_delete() else f"{key}={override.get_value_element_as_str()}"


def swept_keys(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Keys that differ between jobs, or that only some of them set, in the order they appear."""
    settings: dict[str, Counter[str]] = {}
    for override, count in Counter(itertools.chain.from_iterable(job_overrides)).items():
        settings.setdefault(key_of(override), Counter())[override.partition("=")[2]] += count
    return [
        key
        for key, counts in settings.items()
        if (len(counts) > 1 or counts.total() < len(job_overrides)) and not sets_hydra(key)
    ]


class Planner:
    """Makes jobs of one sweep.

    Args:
        loader: Hydra's config loader.
        master: the sweep's own config, as Hydra composed it.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed, self._base = cache(self._parse), cache(self._compose)
        # not the loader's own method of that name, which copies all that is stored at each call
        self._choices = cache(loader.repository.get_group_options)
        self._alike: dict[tuple[str, ...], Job] = {}
        """A job of each setting, of which those of other seeds are copies: that takes a tenth of the time."""
        self._output: str | None = None

    def job(self, overrides: Sequence[str], number: int) -> Job:
        """The checked job of these overrides.

        Raises:
            InputError: if a value is wrong; HydraException: if it cannot be composed.
        """
        from src import components, config
        from src.runs.job import Job

        form = tuple(SEED.sub("seed", override) for override in overrides)
        has_seed = form.count("seed") == 1
        if has_seed and (like := self._alike.get(form)):
            return _with_seed(like, overrides[form.index("seed")], number)
        parsed = [self._parsed(override) for override in overrides]
        composed = tuple(str(override.input_line) for override, is_plain in parsed if not is_plain)
        base, hydra = self._base(composed)
        values: dict[str, Any] | None = base
        for override, is_plain in parsed:
            if is_plain:
                values = values and _with(values, override.key_or_group, override.value())
        if values is None:
            values, hydra = self._base(tuple(overrides))  # Hydra says what is wrong with the key
        task = [override for override in overrides if not sets_hydra(override)]
        whole = resolved(values)
        run = config.parse(whole)
        components.check_choices(hydra["runtime"]["choices"], run)
        self._output = self._output or run.output
        if run.output != self._output:  # it may follow from a key that is swept
            right = f"takes one value in a sweep, in which a run before has {self._output}"
            raise InputError("output", run.output, right)
        job = Job(run, whole, task, hydra, number)
        if has_seed and whole is values:  # nothing follows from another key, such as the seed
            self._alike[form] = job
        return job

    def _parse(self, text: str) -> tuple[Override, bool]:
        """The override, and whether it only gives a key of the composed config a number, a word or null."""
        override = self._parser.parse_override(text)
        key, changes_keys = override.key_or_group, override.is_add() or override.is_force_add()
        if changes_keys or override.is_delete() or override.package or key.startswith("hydra."):
            return override, False
        return override, not self._choices(key) and isinstance(override.value(), int | float | str | None)

    def _compose(self, overrides: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        composed = self._loader.load_sweep_config(self._master, list(overrides))
        plain: Any = OmegaConf.to_container(composed, enum_to_str=True)
        return plain, plain.pop("hydra")


def _with_seed(job: Job, override: str, number: int) -> Job:
    seed = int(override.partition("=")[2])
    run, config = replace(job.run, seed=seed), {**job.config, "seed": seed}
    overrides = [SEED.sub(override, other) for other in job.overrides]
    return replace(job, run=run, config=config, overrides=overrides, number=number)


def _with(values: dict[str, Any], key: str, value: Any) -> dict[str, Any] | None:
    """The config with a dotted key that exists set anew; None if it does not exist.

    What does not change is shared: the jobs of a sweep are held in memory together.
    """
    first, dot, rest = key.partition(".")
    if first not in values or isinstance(values[first], dict) != bool(dot):
        return None
    inner = _with(values[first], rest, value) if dot else value
    return None if dot and inner is None else {**values, first: inner}


def resolved(values: dict[str, Any]) -> dict[str, Any]:
    """A plain config with its interpolations resolved; untouched where it has none."""
    if "${" not in str(values):
        return values
    plain: Any = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    return plain
