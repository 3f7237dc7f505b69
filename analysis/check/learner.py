"""A learner's file: loaded, and what is known of it."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import sys
import tokenize
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch.nn import functional as F

BOOK_RATES = (0.2, 0.5)


class CannotRun(Exception):
    """The file cannot be checked: one line that says why."""


@dataclass(frozen=True)
class Mistake:
    """What is wrong, by its name in `analysis.check.messages.MISTAKES`."""

    name: str
    seen: str
    line: int | None = None
    """Where Python stopped, if it did."""


@dataclass
class Report:
    """What is known of a file."""

    cannot: str | None = None
    right: list[str] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_net: bool = False
    rates: tuple[float, float] = BOOK_RATES
    """Of the two hidden layers in training."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """A row an epoch: train_loss (nats), train_acc, test_acc."""

    def add(self, name: str, seen: str, line: int | None = None) -> None:
        self.mistakes.append(Mistake(name, seen, line))


class Learner:
    """A loaded file."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report
        self.module = self._load()
        if not callable(getattr(self.module, "dropout_layer", None)):
            raise CannotRun("there is no function `dropout_layer(X, dropout)` in it")
        report.has_net = hasattr(self.module, "Net")

    def _load(self) -> ModuleType:
        module = ModuleType("learner")
        module.__file__ = str(self.path)
        sys.modules["learner"] = module
        sys.path.insert(0, str(self.path.parent))
        try:
            with tokenize.open(self.path) as file:
                source = file.read()
        except OSError as error:
            raise CannotRun(f"it cannot be read ({error.strerror})") from None
        except (SyntaxError, ValueError) as error:
            raise CannotRun(f"it is not a text that Python reads ({one_line(error)})") from None
        try:
            tree = ast.parse(source, str(self.path))
            if importlib.util.find_spec("d2l") is None:
                self._leave_out_d2l(tree)
            exec(compile(tree, str(self.path), "exec"), vars(module))
        except (Exception, SystemExit) as error:
            line = error.lineno if isinstance(error, SyntaxError) else self.line_of(error)
            where = f"line {line}: " if line else ""
            raise CannotRun(f"{where}{one_line(error)}") from None
        return module

    def _leave_out_d2l(self, tree: ast.Module) -> None:
        """Without the book's package, only what needs none of it is run: it fetches data, trains and draws."""
        missing, kept, lines = set[str](), list[ast.stmt](), list[int]()
        for statement in tree.body:
            names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
            is_definition = isinstance(statement, ast.FunctionDef | ast.ClassDef)
            if isinstance(statement, ast.Import | ast.ImportFrom) and "d2l" in ast.unparse(statement):
                missing |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
            elif is_definition or not {name.id for name in names} & missing:
                kept.append(statement)
                continue
            lines.append(statement.lineno)
            missing |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
        tree.body = kept
        if lines:
            listed = f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}"
            self.report.notes.append(f"Left out, as the package d2l is not installed here: {listed}.")

    def line_of(self, error: BaseException) -> int | None:
        """The last line of this file that Python was at."""
        frames = traceback.extract_tb(error.__traceback__)
        return next((frame.lineno for frame in reversed(frames) if frame.filename == str(self.path)), None)

    @contextlib.contextmanager
    def watched(self, quiet: bool = False) -> Iterator[list[tuple[int, float]]]:
        """A list that gets each use of dropout at a rate above 0 as (width of its argument, rate).

        Meanwhile each of them uses the rate 0.5, so that chance does not depend on the file, or with `quiet` none.
        """
        calls, busy = list[tuple[int, float]](), False

        def watcher(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal busy
                bound = inspect.signature(original).bind(*args, **kwargs)
                bound.apply_defaults()
                X, rate = list(bound.arguments.values())[:2]
                is_off = original is functional and not bound.arguments["training"]
                if busy or is_off or not rate > 0:
                    return original(*args, **kwargs)
                calls.append((int(np.prod(X.shape[1:])), float(rate)))
                busy = True
                try:
                    return X if quiet else original(X, 0.5)
                finally:
                    busy = False

            return call

        names, functional = vars(self.module), F.dropout
        layer = names["dropout_layer"]
        names["dropout_layer"], F.dropout = watcher(layer), watcher(functional)
        try:
            yield calls
        finally:
            names["dropout_layer"], F.dropout = layer, functional


def one_line(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {message}".split())[:300]
