"""The families of the noises that race, which of them are guards, and what their files say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from src.components import find, find_class
from src.config import RATES
from src.noise import Noise
from src.sweeping.planning import split_arm

DROPOUT, CLONE = "dropout", "dropout_clone"
GUARDS = ("none", DROPOUT, CLONE)
"""What the noises are held against, and which is not ranked with them."""
IMAGES = "images"
"""The family that knows what the input shows: augmentation."""
FAMILIES = {
    "factors on activations": ("dropout", "dropout_clone", "gaussian", "uniform", "random_rate", "standout"),
    "by batch or step": ("additive", "jumpout", "blend", "balanced", "correlated"),
    "weights": ("shakeout", *(f"dropconnect{kind}" for kind in ("", "_gaussian", "_dynamic", "_example"))),
    "several masks": ("dropout_masks", "dropout_importance"),
    "learned": ("concrete", "variational", "advanced"),
    IMAGES: ("dropblock", "neighbours", "tangent"),
}
INPUT = "noise.input_rate"
PIXEL_RATES = {"neighbours": "noise.pixel_rate"}
"""Of noises that know the image, the key of the rate at which they drop pixels, where it is not the input's own."""


def control(noise: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Rates of the dropout that controls augmentation: those at which it drops units, too."""
    pixels = setting.get(PIXEL_RATES.get(noise, INPUT), 0)
    return {**{key: setting[key] for key in RATES if key in setting}, INPUT: pixels}


def controls(arms: Sequence[str]) -> Iterator[str]:
    """Arms that control those of augmentation, but for those that are among the arms."""
    parts = [split_arm(arm) for arm in arms]
    for setting in (dict(part.split("=", 1) for part in of) for of in parts):
        if setting["noise"] in FAMILIES[IMAGES]:
            rates = control(setting["noise"], setting)
            wanted = [f"noise={DROPOUT}", *(f"{key}={rate}" for key, rate in rates.items())]
            if {*wanted} not in map(set, parts):
                yield " ".join(wanted)


def clones(arms: Sequence[str]) -> Iterator[str]:
    """Of each arm with dropout the same with its clone."""
    dropout, clone = (f"noise={noise} " for noise in (DROPOUT, CLONE))
    return (arm.replace(dropout, clone) for arm in arms if arm.startswith(dropout))


def description(noise: str) -> dict[str, str]:
    """What the noise's file says of it: in words, and its source."""
    of = find_class("noise", noise, Noise)
    head, text = (" ".join((node.__doc__ or "").split()) for node in (find("noise", noise), of))
    source = re.search(r"Source: (ours|.*?\d{4})", text)
    return {
        "words": (head.partition(": ")[2] or head).removesuffix("."),
        "source": source[1] if source else "",
    }
