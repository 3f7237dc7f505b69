"""Names of sweeps: the same command comes back to the same folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from src.checks import ConfigError

WITHOUT_EFFECT = {"output", "device", "resume", "save_model", "matmul", "data.root", "sweep"}
"""Keys that change no result (or, `sweep`, that stand in front of the name)."""

LONGEST = 100


def key_of(override: str) -> str:
    """The key an override sets: `dropout1` of `dropout1=0.2,0.5`, of `+dropout1=…` and of `~dropout1`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def check_swept(key: str, values: str) -> None:
    """Raises ConfigError for a key that changes no result: of two values one run would stand for both."""
    if key in WITHOUT_EFFECT:
        raise ConfigError(key, values, "takes one value in a sweep, as it changes no result")


def sweep_name(overrides: Sequence[str]) -> str:
    """Name of a sweep's folder: the named sweep's name, then the overrides that change results.

    >>> sweep_name(["sweep=swap_rates", "epochs=2", "hydra.launcher.n_jobs=1"])
    'swap_rates__epochs=2'
    >>> sweep_name(["dropout1=0.2,0.5", "output=elsewhere"])
    'dropout1=0.2,0.5'

    A search has a name of its own, for it is another sweep than the product of the same values:

    >>> sweep_name(["hydra/sweeper=optuna", "dropout1=0.2,0.5"])
    'optuna__dropout1=0.2,0.5'
    """
    named = [override.partition("=")[2] for override in overrides if key_of(override) == "sweep"]
    named += ["optuna"] if "hydra/sweeper=optuna" in overrides else []
    others = sorted(
        override
        for override in overrides
        if key_of(override) not in WITHOUT_EFFECT and not key_of(override).startswith(("hydra.", "hydra/"))
    )
    exact = "__".join([*named, *others])
    readable = re.sub(r"\((-?[\d.,]+)\)(?=__|$)", r"-\1", exact)  # seed=range(5) as seed=range-5
    slug = re.sub(r"-*\.\.+-*", "-", re.sub(r"[^\w=.,+-]+", "-", readable, flags=re.ASCII)).strip("-.")[
        :LONGEST
    ]
    if not exact:
        return "book"
    # two sweeps may read alike, once it is shortened or a character is replaced: then the name says which it is
    ambiguous = any("__" in override or re.search(r"[A-Za-z]{2}-", override) for override in others)
    if slug != readable or ambiguous:
        return f"{slug}-{hashlib.sha256(exact.encode(errors='surrogatepass')).hexdigest()[:6]}".lstrip("-")
    return slug
