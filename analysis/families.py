"""The families of the noises that race, which of them are guards, and what their files say of them."""

from __future__ import annotations

import ast
import re

from src.errors import REPOSITORY

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
    module = ast.parse((REPOSITORY / "src" / "noise" / f"{noise}.py").read_text(encoding="utf-8"))
    classes = (node for node in module.body if isinstance(node, ast.ClassDef))
    (of,) = [node for node in classes if not node.name.startswith("_")]
    head, text = (" ".join((ast.get_docstring(node) or "").split()) for node in (module, of))
    source = re.search(r"Source: (ours|.*?\d{4})", text)
    return {
        "words": (head.partition(": ")[2] or head).removesuffix("."),
        "source": source[1] if source else "",
    }
