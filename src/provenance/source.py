"""What the code of a component means, as checksums: of its file, and of each file of ours that it imports.

Comments, docstrings and formatting do not count, nor does the version of Python. What is imported by a name that
only the running program knows, and files that the code reads, are not seen.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from src.errors import REPOSITORY

FRAMEWORK = frozenset(
    {
        *("src", "src.checks", "src.components", "src.config"),
        *("src.errors", "src.errors.events", "src.errors.messages", "src.errors.terminal"),
        *("src.kernels", "src.kernels.compiled", "src.kernels.fused", "src.kernels.gpu"),
        *("src.provenance", "src.provenance.source"),
        *("src.streams", "src.streams.memory", "src.streams.philox"),
        *("src.data", "src.data._arrays", "src.data._split", "src.data._torchvision"),
        *(
            "src.models",
            "src.noise",
            "src.noise._hooks",
            "src.noise._trial",
            "src.optimizers",
            "src.schedules",
        ),
        *("src.stacks", "src.stacks.injector", "src.stacks.mlp", "src.stacks.modules"),
        *("src.stacks.objective", "src.stacks.trial", "src.stacks.workspace"),
        *("src.training", "src.training.average", "src.training.evaluation", "src.training.images"),
        *("src.training.places", "src.training.custom", "src.training.probes", "src.training.trainer"),
    }
)
"""Modules that every run uses or that change no result. `store.SCHEMA` is raised where results change with them,
which `tests/test_golden_values.py` notices."""

WITHOUT_MEANING = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of a syntax tree that follow from the others, or from how a text is quoted."""

STATEMENTS = frozenset({"body", "orelse", "finalbody"})


class _Mark(str):
    """A part of the normal form that is no value of the source's."""


def checksum(source: bytes) -> str:
    """SHA-256, 16 hex digits, of what Python source means; of the source itself where it cannot be parsed.

    >>> checksum(b"x = f(1)  # one") == checksum(b"x=f( 1 )") != checksum(b"x = f(2)")
    True
    """
    tree = _parsed(source)
    digest = hashlib.sha256(source if tree is None else " ".join(_normal_form(tree)).encode())
    return digest.hexdigest()[:16]


@cache
def files(module: ModuleType) -> Mapping[str, str]:
    """Checksums of a component's file and of all that it imports, transitively, but for the framework's own.

    They are computed once for each module object, after it was imported: an edit after that does not change what
    this process trains.

    Returns:
        By path, from the repository's root.
    """
    assert module.__file__ is not None
    return closure(module.__name__, Path(module.__file__), REPOSITORY)


def closure(name: str, path: Path, root: Path) -> dict[str, str]:
    """The same of a module by its name and its file, with `root` as the folder that imports begin in."""
    checksums = {}
    waiting, seen = [(name, path)], {name}
    while waiting:
        name, path = waiting.pop()
        digest, imported = _read(name, path, sys.modules.get(name))
        inside = path.is_relative_to(root)
        checksums[path.relative_to(root).as_posix() if inside else f"{name.replace('.', '/')}.py"] = digest
        for other in imported:
            for module, location in _located(other, root):
                if module not in seen and module not in FRAMEWORK:
                    seen.add(module)
                    waiting.append((module, location))
    return dict(sorted(checksums.items()))


def total(checksums: Mapping[str, str]) -> str:
    """One checksum of several files, by their paths; 16 hex digits."""
    text = "\n".join(f"{path} {digest}" for path, digest in sorted(checksums.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of all that a file imports, anywhere in it.

    Args:
        package: the one that its relative imports start from.

    >>> list(imports(ast.parse("import a.b; from . import c; from d import *"), "src.noise"))
    ['a.b', 'src.noise', 'src.noise.c', 'd', 'd.*']
    """
    for node in ast.walk(tree):
        with contextlib.suppress(ImportError):  # of a relative one that leads out of the package
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), package)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                if called in ("import_module", "__import__") and isinstance(name := node.args[0].value, str):
                    yield resolve_name(name, package)


@cache  # a process trains with what it imported first; a module that is made anew is read anew
def _read(name: str, path: Path, module: ModuleType | None) -> tuple[str, tuple[str, ...]]:
    """A file's checksum, and the names of what it imports."""
    source = path.read_bytes()
    tree = _parsed(source)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return checksum(source), () if tree is None else tuple(dict.fromkeys(imports(tree, package)))


def _located(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """The repository's files that an import executes: the module's, and its packages' `__init__.py`."""
    parts = name.split(".")
    if parts[-1] == "*":  # it may import what `__all__` names
        parts.pop()
        package = ".".join(parts)
        if package not in FRAMEWORK:
            folder = root.joinpath(*parts)
            yield from ((f"{package}.{path.stem}", path) for path in sorted(folder.glob("*.py")))
            yield from (
                (f"{package}.{path.parent.name}", path) for path in sorted(folder.glob("*/__init__.py"))
            )
    for end in range(1, len(parts) + 1):
        at = root.joinpath(*parts[:end])
        for path in (at / "__init__.py", at.with_name(f"{at.name}.py")):
            if path.is_file():
                yield ".".join(parts[:end]), path
                break


def _parsed(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _normal_form(tree: ast.AST) -> Iterator[str]:
    """The tree as words: each node with its fields by name. What is empty is left out, as newer versions of Python
    have fields that older ones lack."""
    waiting: list[object] = [tree]  # no recursion: a sum of a thousand terms is a thousand nodes deep
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Mark):
            yield part
        elif isinstance(part, ast.Constant):
            yield f"{type(part.value).__name__}:{_value(part.value)}"
        elif isinstance(part, ast.AST):
            fields = [(name, _content(part, name)) for name in sorted(part._fields)]
            waiting.append(_Mark(")"))
            for name, value in reversed(fields):
                if value is not None and value != []:
                    waiting += [value, _Mark(f"{name}=")]
            yield f"{type(part).__name__}("
        elif isinstance(part, list):
            waiting += [_Mark("]"), *reversed(part)]
            yield "["
        else:
            yield _value(part)


def _content(node: ast.AST, name: str) -> object:
    """What counts of a node's field."""
    value = getattr(node, name, None)
    if name in WITHOUT_MEANING:
        return None
    if name in STATEMENTS and isinstance(value, list):
        return [statement for statement in value if not _does_nothing(statement)]
    if isinstance(node, ast.JoinedStr):
        return _joined(node.values)
    return value


def _does_nothing(statement: ast.stmt) -> bool:
    """`pass`, and a constant that stands alone: a docstring."""
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_constant or isinstance(statement, ast.Pass)


def _joined(values: Iterable[Any]) -> list[Any]:
    """Parts of an f-string, texts that follow each other as one: versions of Python cut them differently."""
    parts: list[Any] = []
    for kind, group in itertools.groupby(values, type):
        if kind is ast.Constant:
            text = "".join(str(value.value) for value in group)
            parts += [ast.Constant(text)] if text else []
        else:
            parts += group
    return parts


def _value(value: object) -> str:
    """A constant or a name; the same text in every version of Python, whatever characters it knows."""
    return hex(value) if type(value) is int else ascii(value)
