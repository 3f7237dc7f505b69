"""torchvision, beside a torch of another build and without the price of `import torchvision`.

`import torchvision` also imports its models and operators and, through them, torch's compiler: about 2 s, where a
whole run should begin within 4. Beside a torch of another build (the CPU's torch and the GPU's torchvision, say) it
fails outright, as the compiled operators that it describes cannot be loaded. The data set needs none of this:
`mnist` imports its one module past the packages' own `__init__`, in 0.04 s. Where torchvision is needed as a whole
(torchmetrics imports it when it finds it), `define_missing_operators` goes first.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_LOCK = threading.RLock()
_DEFINED: list[torch.library.Library] = []
"""torch forgets an operator with the Library object that defined it."""

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators that torchvision's Python describes without asking whether they were loaded."""


@functools.cache
def mnist() -> Any:
    """The module `torchvision.datasets.mnist`: the class `FashionMNIST` and the readers of its files.

    Raises:
        ImportError: if torchvision is not installed.
    """
    with _LOCK:
        if "torchvision" not in sys.modules:
            try:
                return _alone("datasets.mnist")
            except Exception:  # whatever a later torchvision may trip over here, the ordinary import decides
                define_missing_operators()
        return importlib.import_module("torchvision.datasets.mnist")


def define_missing_operators() -> None:
    """Let `import torchvision` succeed where its compiled operators cannot be loaded; else do nothing.

    The operators are declared, not implemented: calling one still raises.
    """
    with _LOCK:
        if _DEFINED or "torchvision" in sys.modules or not importlib.util.find_spec("torchvision"):
            return
        if not _alone("extension")._has_ops():
            _DEFINED.append(torch.library.Library("torchvision", "DEF"))
            for schema in _SCHEMAS:
                _DEFINED[0].define(schema)


def _alone(module: str) -> ModuleType:
    """A module of torchvision, imported without running the `__init__` of the packages around it.

    Bare packages, a name and a place to look in, stand in for them meanwhile. Afterwards `sys.modules` is as it
    was, so that a later `import torchvision` is the real one, from the start.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("torchvision is not installed", name="torchvision")
    before = dict(sys.modules)
    try:
        for name in ("torchvision", "torchvision.datasets"):
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(Path(spec.submodule_search_locations[0], *name.split(".")[1:]))]
        return importlib.import_module(f"torchvision.{module}")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules |= {
            name: value for name, value in before.items() if name.partition(".")[0] == "torchvision"
        }
