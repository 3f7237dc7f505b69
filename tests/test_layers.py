"""The law of import directions: a room imports only rooms of lines above its own in `LAYERS`.

A room is a file of `src` or `analysis`, or a package as a whole; a package's `__main__` is a room of its own. Who
moves a file moves its name here, and nothing else. Imports within functions count as well: they are arrows, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from configs import REPOSITORY

LAYERS = """
analysis src src.stats
src.errors
src.checks
src.components src.kernels src.loggers
src.streams
src.data src.noise src.schedules
src.data.__main__ src.provenance src.stacks
src.config src.models src.optimizers
src.training
src.runs
src.clean src.engines
src.sweeping
src.plugins src.schedules.__main__ src.train
analysis.agreement analysis.families analysis.measures analysis.parsing
analysis.arm_stats analysis.equal_time analysis.looks analysis.records
analysis.runs
analysis.check analysis.export
analysis.tables
analysis.check.__main__ analysis.contrasts analysis.lengths
analysis.live analysis.sensitivity analysis.where
analysis.design analysis.figures analysis.merge analysis.phrases
analysis.charts analysis.page analysis.search analysis.translated
analysis.exercises analysis.second_stage
analysis.chapter analysis.comparison
analysis.programs
analysis.choose analysis.compare analysis.report analysis.watch
analysis.races analysis.reproduce
analysis.race
analysis.winners
analysis.noises
src.plugins.dropout_sweeps
"""


PYTHON = "src.plugins.dropout_sweeps"
"""The package for Python users stands above all."""


def _name(path: Path) -> str:
    """Of a file its module: `src/noise/__init__.py` is `src.noise`."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    _name(path): path for folder in ("src", "analysis") for path in (REPOSITORY / folder).rglob("*.py")
}


def _room(module: str) -> str:
    if module.endswith(".__main__"):
        return module
    return PYTHON if module.startswith(PYTHON) else ".".join(module.split(".")[:2])


def imports(source: str) -> Iterator[str]:
    """Modules of ours that a file's text imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from src import noise` imports a module, `from src.noise import Noise` what is in one
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from {name if name in MODULES else node.module for name in names} & MODULES.keys()


def arrows() -> set[tuple[str, str]]:
    """(importing room, imported room), of different rooms."""
    pairs = {
        (_room(name), _room(other)) for name, path in MODULES.items() for other in imports(path.read_text())
    }
    return {(importing, imported) for importing, imported in pairs if importing != imported}


LEVEL = {room: level for level, line in enumerate(LAYERS.strip().splitlines()) for room in line.split()}


def test_every_room_has_its_line() -> None:
    rooms = {_room(name) for name in MODULES}
    assert sorted(LEVEL) == sorted(rooms), "LAYERS and the files differ"


def test_src_never_imports_analysis() -> None:
    assert not [
        (room, other)
        for room, other in arrows()
        if room.startswith("src.") and other.startswith("analysis") and room != PYTHON
    ]


def test_imports_go_downward() -> None:
    assert [f"{a} -> {b}" for a, b in arrows() if LEVEL[b] >= LEVEL[a]] == []


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import src.runs.store", {"src.runs.store"}),
        ("from src import noise, config as c", {"src.noise", "src.config"}),
        ("def f():\n    from src.noise.dropout import Dropout", {"src.noise.dropout"}),
        ("import numpy\nfrom torch import nn\nfrom . import noise", set()),
    ],
)
def test_sees_every_form_of_import(source: str, modules: set[str]) -> None:
    assert set(imports(source)) == modules
