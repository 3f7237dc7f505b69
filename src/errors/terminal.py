"""Standard output that cannot take a command down: its reader may go away, and it need not know every character."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Stream:
    """Writes to a stream until that fails, and to nowhere from then on; in all else the stream itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.is_lost = True
            # what is still held back, and what others write to the same descriptor, goes to nowhere, too
            with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """Within it, stdout and stderr are `Stream`s, and characters that they do not know become question marks."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(sys.stdout), _stream(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _stream(stream: TextIO | None) -> Stream:
    if stream is None:  # closed before we started
        lost = Stream(open(os.devnull, "w"))  # noqa: PTH123, SIM115 - it is there as long as the command
        lost.is_lost = True
        return lost
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream if isinstance(stream, Stream) else Stream(stream)
