"""torchvision's Fashion-MNIST class, at a fiftieth of the price of `import torchvision`.

`import torchvision` also imports its models and operators and, through them, torch's compiler: about 2 s,
where a whole run should begin within 4. Beside a torch of another build (the CPU's torch and the GPU's
torchvision, say) it fails outright, for the compiled operators that it describes cannot be loaded. The data
set needs none of this, so it is imported past the packages' own `__init__`, in 0.04 s, with the ordinary
import to fall back on.
"""

from __future__ import annotations

import contextlib
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

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""The operators that torchvision's Python describes without asking whether they were loaded."""


@functools.cache
def fashion_mnist() -> Any:
    """torchvision's data set class `FashionMNIST`.

    Raises:
        ImportError: if torchvision is not installed.
    """
    with _LOCK:
        if "torchvision" not in sys.modules:
            # Whatever a later torchvision may trip over here, the ordinary import decides.
            with contextlib.suppress(Exception):
                return _import_alone("torchvision.datasets.mnist").FashionMNIST
        define_missing_operators()
        return importlib.import_module("torchvision.datasets").FashionMNIST


def define_missing_operators() -> None:
    """Let `import torchvision` succeed where its compiled operators cannot be loaded.

    Call it before importing a library that imports torchvision when it finds it (torchmetrics, for one). The
    operators are declared, not implemented: calling one still raises. Where they can be loaded, or
    torchvision is not installed, or imported already, nothing happens.
    """
    with _LOCK:
        if _DEFINED or "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
            return
        if _import_alone("torchvision.extension")._has_ops():
            return
        library = torch.library.Library("torchvision", "DEF")
        for name, schema in _SCHEMAS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(schema)
        _DEFINED.append(library)


def _import_alone(module: str) -> ModuleType:
    """Import a module of torchvision without running the `__init__` of the packages around it.

    Bare packages stand in for them meanwhile. Afterwards `sys.modules` is as it was, so that a later
    `import torchvision` is the real one, from the start.
    """
    before = _torchvision_modules()
    try:
        for package in _packages_of(module):
            sys.modules[package.__name__] = package
        return importlib.import_module(module)
    finally:
        for name in _torchvision_modules():
            del sys.modules[name]
        sys.modules.update(before)


def _packages_of(module: str) -> list[ModuleType]:
    """Bare packages that enclose `module`, outermost first: a name and a place to look in, no content."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("torchvision is not installed", name="torchvision")
    parts = module.split(".")[:-1]
    packages = []
    for depth in range(1, len(parts) + 1):
        package = ModuleType(".".join(parts[:depth]))
        package.__path__ = [str(Path(at, *parts[1:depth])) for at in spec.submodule_search_locations]
        packages.append(package)
    return packages


def _torchvision_modules() -> dict[str, ModuleType]:
    return {name: found for name, found in sys.modules.items() if name.partition(".")[0] == "torchvision"}
