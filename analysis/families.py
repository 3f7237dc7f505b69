"""The families of the noises that race, which of them are guards, and what their files say of them."""

from __future__ import annotations

import re

from src.components import find, find_class
from src.noise import Noise

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
PIXEL_RATES = {"neighbours": "noise.pixel_rate"}
"""Of noises that know the image, the key of the rate at which they drop pixels, where it is not the input's own."""


def description(noise: str) -> dict[str, str]:
    """What the noise's file says of it: in words, and its source."""
    of = find_class("noise", noise, Noise)
    head, text = (" ".join((node.__doc__ or "").split()) for node in (find("noise", noise), of))
    source = re.search(r"Source: (ours|.*?\d{4})", text)
    return {
        "words": (head.partition(": ")[2] or head).removesuffix("."),
        "source": source[1] if source else "",
    }
