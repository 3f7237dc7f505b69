"""Which races of noises there are, and what each of them trains: a sweep's settings, all of them or one noise's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser

from analysis import design, equal_time, runs
from analysis.equal_time import RATIOS, is_same
from analysis.families import GUARDS
from src.errors import InputError
from src.errors.messages import key_of
from src.sweeping.naming import sets_hydra

EQUAL_TIME = "equal_time_"
"""Begins the name of the race of one noise's settings for as much time as dropout takes."""

FURTHER = 4
"""Seeds of the last rung."""

FRESH_SEEDS = range(100, 108)
"""Each with a split into training and validation images of its own: none had a part in the choice of a setting."""

SPLIT, VALIDATION = "data.split", "data.validation"

TUNED = "tuned_dropout"
"""Dropout and no noise with lr, decay, schedule and cap tuned, at equal steps: a race apart from the noises.
Dropout's clone trains on the fresh seeds with what dropout's race chose."""


def parts() -> list[str]:
    """Sweeps of the comparison of noises."""
    return sorted(path.stem for path in design.SWEEP_FILES.glob("noises_*.yaml"))


def raced_in() -> dict[str, list[str]]:
    """The parts that race settings of a noise, by the noise; a file that cannot be read has none."""
    found: dict[str, list[str]] = {}
    for part in parts():
        with contextlib.suppress(InputError):
            for noise in dict.fromkeys(arm["noise"] for arm in _arms(design.read(part)) if "noise" in arm):
                found.setdefault(noise, []).append(part)
    return found


def _arms(planned: design.Design) -> list[dict[str, Any]]:
    """Of each arm the keys that arms set, also those that are the same in all of them."""
    return [{key: of[key] for key in planned.arm_keys if key in of} for of in planned.settings]


def timed(ratios: Mapping[str, float] | None) -> list[str]:
    """Races of one noise's settings for as much time as dropout takes; none where that is unknown, or the same, or
    where several parts have settings of the noise."""
    whole = [noise for noise, of in raced_in().items() if noise not in GUARDS and len(of) == 1]
    known = {noise: equal_time.slowness(ratios, noise) for noise in whole}
    return sorted(f"{EQUAL_TIME}{noise}" for noise, slower in known.items() if slower and not is_same(slower))


def all_races(ratios: Mapping[str, float] | None) -> list[str]:
    """What `make noises` trains."""
    return [*parts(), TUNED, *timed(ratios)]


class Source(NamedTuple):
    """What a race trains."""

    name: str
    """The race's."""
    planned: design.Design
    """The file that has the settings."""
    keys: Sequence[str]
    """Those of its arms, noise first."""
    arms: Sequence[str] = ()
    """Of the first rung, where it does not train all that the file has."""
    overrides: Sequence[str] = ()
    """Of all rungs."""

    @property
    def seeds(self) -> int:
        """Those of the file, before the last rung."""
        return len({seed for _, seed in self.planned.runs})

    @property
    def splits(self) -> bool:
        """Whether each seed has training and validation images of its own."""
        return SPLIT in self.planned.fixed


def sources(names: Sequence[str], ratios: Mapping[str, float] | None) -> list[Source]:
    """What the races of these names train.

    Raises:
        InputError: if there is no such sweep, or one at equal time is of no noise, or of one whose settings several
            parts have or have no epochs in common, whose time is unknown, or whose time is dropout's own.
    """
    of_noises = raced_in() if any(name.startswith(EQUAL_TIME) for name in names) else {}
    return [_at_equal_time(n, ratios, of_noises) if n.startswith(EQUAL_TIME) else _of(n, n) for n in names]


def _of(name: str, sweep: str) -> Source:
    planned = design.read(sweep)
    # those that all arms share, too: arms on the command line take the place of the file's
    return Source(name, planned, ["noise", *(key for key in planned.arm_keys if key != "noise")])


def _at_equal_time(
    name: str, ratios: Mapping[str, float] | None, of_noises: Mapping[str, Sequence[str]]
) -> Source:
    noise = name.removeprefix(EQUAL_TIME)
    if noise not in of_noises or noise in GUARDS:
        names = ", ".join(sorted({*of_noises} - {*GUARDS}))
        right = f"behind {EQUAL_TIME} one of {names} is right" if names else "no part races a noise"
        raise InputError("NAME", name, right)
    part, *others = of_noises[noise]
    if others:
        raise InputError(
            "NAME", name, f"{part} and {others[0]} have settings of {noise}; they must stand in one"
        )
    slower = equal_time.slowness(ratios, noise)
    if slower is None:
        right = f"beside the tables a {RATIOS} that says how long an epoch with {noise} takes is right"
        raise InputError("NAME", name, right)
    if is_same(slower):
        why = f"by {RATIOS} an epoch with {noise} takes as long as dropout's"
        raise InputError("NAME", name, f"{why}; {part} has its race for that time already")
    plain = _of(name, part)
    epochs = plain.planned.fixed.get("epochs")
    if epochs is None or "epochs" in plain.keys:
        why = "needs epochs in its params, one number for all; the race has as many as take dropout's time"
        raise InputError("NAME", name, f"sweeps/{part}.yaml: {why}")
    settings = [arm for arm in _arms(plain.planned) if arm.get("noise") == noise]
    arms = [runs.arm_name({key: runs.shown(of[key]) for key in plain.keys if key in of}) for of in settings]
    of_noise = [key for key in plain.keys if any(key in of for of in settings)]
    timed = f"epochs={equal_time.at_equal_time(epochs, slower)}"
    return plain._replace(keys=of_noise, arms=arms, overrides=[timed])


def check(of: Source, trim: Sequence[str]) -> None:
    """Raises InputError for a sweep that is no race, before any of them trains."""
    planned, name = of.planned, of.name
    file = "" if name == planned.sweep else f"sweeps/{planned.sweep}.yaml: "
    has_noises = "noise" in planned.arm_keys and all("noise" in setting for setting in planned.settings)
    if not has_noises or "noise" in map(key_of, trim):
        why = "its arms must set noise, and no --trim: settings of each noise race"
        raise InputError("NAME", name, f"{file}{why}")
    seeds, most = {seed for _, seed in planned.runs}, FRESH_SEEDS.start - FURTHER
    if seeds != set(range(min(len(seeds), most))):
        why = f"its seed must be range(N), N up to {most}; the race adds others"
        raise InputError("NAME", name, f"{file}{why}")
    needs = f"needs {VALIDATION}, say 10000: settings race by validation accuracy"
    has_images = all(setting.get(VALIDATION) for setting in planned.settings)
    if VALIDATION not in map(key_of, trim) and not has_images:
        raise InputError("NAME", name, f"{file}{needs}")
    for override in OverridesParser.create().parse_overrides(list(trim)):
        key = key_of(override.get_key_element())
        is_hydras = sets_hydra(key) and not key.startswith(("hydra.launcher", "hydra/launcher"))
        if key in ("seed", "output") or is_hydras or override.is_sweep_override():
            right = (
                "one value of a key of the runs is right; seeds are the race's own, folders --output and --to"
            )
            raise InputError(f"--trim {override.input_line}: {right}")
        if key == VALIDATION and not override.value():
            raise InputError(f"--trim {override.input_line}: a race {needs}")
    for key in {key: None for arm in planned.arms for key in arm if key not in planned.arm_keys}:
        why = f"sweeps {key} in its params, which settings of arms alone may differ in"
        raise InputError("NAME", name, f"{file}{why}")
