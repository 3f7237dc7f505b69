"""The project's own packages `src` and `analysis`, whatever folders of these names the caller works in."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


def module(name: str) -> ModuleType:
    """A module of the project.

    Raises:
        ImportError: if the caller has imported another package of its name before.
    """
    package = name.partition(".")[0]
    sys.path.insert(0, str(ROOT))
    try:
        top = importlib.import_module(package)
        folders = [Path(folder).resolve() for folder in getattr(top, "__path__", ())]
        if folders != [ROOT / package]:
            where = getattr(top, "__file__", None) or ", ".join(map(str, folders))
            raise ImportError(
                f"a package {package} of another project was imported before: {where}; rename it"
            )
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT))


module("src")  # before anything imports what the caller's folder has under that name
