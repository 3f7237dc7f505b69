"""torchvision, with which ours is compared: it is imported beside a torch of another build, too."""

from __future__ import annotations

import importlib
import sys

import torch

_DEFINED: list[torch.library.Library] = []
"""torch forgets an operator with the Library object that defined it."""

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators that torchvision's Python describes without asking whether they were loaded."""


def define_missing_operators() -> None:
    """Lets `import torchvision` succeed where its compiled operators cannot be loaded: calling one still raises."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        _DEFINED.append(torch.library.Library("torchvision", "DEF"))
        for schema in _SCHEMAS:
            _DEFINED[0].define(schema)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.import_module("torchvision")
