"""What a command tells programs: with `--json` one JSON object a line on standard output, and all else on stderr.

Each object has its `event`; src/runs/README.md lists them. The last one is `end`, or `error` with the exit code.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

FLAG = "--json"

_channel: TextIO | None = None
"""Standard output, while it belongs to programs."""


def begin() -> None:
    """From here on `tell` writes to standard output, and what is printed goes to standard error."""
    global _channel
    if _channel is None:
        _channel, sys.stdout = sys.stdout, sys.stderr


def begin_if_asked(arguments: Sequence[str] | None) -> None:
    """`begin` where the command line, or these arguments, have `--json`: before they are read, which may fail."""
    if FLAG in (sys.argv[1:] if arguments is None else arguments):
        begin()


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Gives standard output back at its end."""
    global _channel
    try:
        yield
    finally:
        if _channel is not None:
            _channel, sys.stdout = None, _channel


def tell(event: str, **content: Any) -> None:
    """One line for programs; nothing without `--json`."""
    if _channel is not None:
        line = json.dumps(
            {"event": event, **plain(content)}, allow_nan=False, ensure_ascii=False, default=str
        )
        print(line, file=_channel, flush=True)


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
