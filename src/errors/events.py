"""What a command tells programs: with `--json` one JSON object a line on standard output, and all else on stderr.

Each object has its `event`; src/runs/README.md lists them. The last one is `end`, of a plan `plan`, or `error` with
the exit code.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from src.errors import terminal

FLAG = "--json"
STDOUT = 1
"""Its descriptor, by which processes that are started, and code in C, know standard output."""

is_call = False
"""Whether a call from Python hears the events, and raises the error that it is told: nothing else need say it."""

_channel: _Channel | None = None
"""Standard output, while it belongs to programs."""


class _Channel:
    """Standard output for events alone: what is printed, here or in a process that is started, goes to stderr."""

    def __init__(self) -> None:
        self.given, self.lines = sys.stdout, sys.stdout
        self._saved: int | None = None
        errors = _descriptor(sys.stderr)
        if _descriptor(sys.stdout) == STDOUT and errors is not None:
            sys.stdout.flush()
            self._saved = os.dup(STDOUT)  # which no process that is started inherits
            os.dup2(errors, STDOUT)
            encoding = sys.stdout.encoding
            lines = open(self._saved, "w", encoding=encoding, errors="replace", closefd=False)  # noqa: SIM115
            self.lines = cast(TextIO, terminal.Stream(lines))
        sys.stdout = sys.stderr

    def close(self) -> None:
        sys.stdout.flush()
        sys.stdout = self.given
        if self._saved is not None:
            os.dup2(self._saved, STDOUT)
            os.close(self._saved)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, AttributeError):  # in a notebook, say
        return None


def begin() -> None:
    """From here on `tell` writes to standard output, and what is printed goes to standard error."""
    global _channel
    if _channel is None:
        _channel = _Channel()


def begin_if_asked(arguments: Sequence[str] | None) -> None:
    """`begin` where the command line, or these arguments, have `--json`: before they are read, which may fail."""
    if FLAG in (sys.argv[1:] if arguments is None else arguments):
        begin()


def is_lost() -> bool:
    """Whether nobody reads our output any more."""
    streams = (_channel.given, _channel.lines) if _channel else (sys.stdout,)
    return any(getattr(stream, "is_lost", False) for stream in streams)


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Gives standard output back at its end."""
    global _channel
    try:
        yield
    finally:
        if _channel is not None:
            _channel.close()
            _channel = None


def tell(event: str, **content: Any) -> None:
    """One line for programs; nothing without `--json`."""
    if _channel is not None:
        # in ASCII, which the stream knows whatever its encoding: no path may become another one
        line = json.dumps({"event": event, **plain(content)}, allow_nan=False, default=str)
        print(line, file=_channel.lines, flush=True)


def plain(value: Any) -> Any:
    """A value as JSON has it: a number that is not finite is null, a path its text.

    >>> plain({"best": (0.5, float("nan")), "folder": Path("outputs")})
    {'best': [0.5, None], 'folder': 'outputs'}
    """
    if hasattr(value, "item") and not isinstance(value, Mapping):
        value = value.item()  # of numpy
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(of) for of in value]
    return str(value) if isinstance(value, Path) else value
