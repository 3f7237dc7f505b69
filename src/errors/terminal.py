"""Standard output that cannot take a command down: its reader may go away, and it need not know every character."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

SPELLED = {
    "−": "-",
    "–": "-",
    "±": "+/-",
    "…": "...",
    "×": "x",
    "²": "^2",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "→": "->",
}
"""What we print beyond ASCII, for streams that do not know it: a number must not lose its sign."""


def _spell(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: in ASCII what can be, a question mark for any other character."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(SPELLED.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("spelled", _spell)


def spelled(text: str) -> str:
    """The text as standard output shows it: what lays out a table must know how long that is."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "spelled").decode(encoding)


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
    """Within it, stdout and stderr are `Stream`s; characters that they do not know are spelled in ASCII, or become
    question marks."""
    held = [_held(descriptor) for descriptor in range(3)]
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(sys.stdout, held[1]), _stream(sys.stderr, held[2])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _held(descriptor: int) -> int | None:
    """Opens a standard descriptor that was closed, to nowhere: else a file or a pipe of ours gets its number, which
    processes that are started take for their output. None where it was open."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest one that is free
        return descriptor
    return None


def _stream(stream: TextIO | None, held: int | None) -> Stream:
    """
    Args:
        held: the stream's descriptor where it leads to nowhere.
    """
    if stream is None:  # closed before we started
        nowhere = os.devnull if held is None else held
        lost = Stream(open(nowhere, "w", closefd=held is None))  # noqa: SIM115 - as long as the command
        lost.is_lost = True
        return lost
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="spelled")
    return stream if isinstance(stream, Stream) else Stream(stream)
