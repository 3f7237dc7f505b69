"""Processes with a limit of time: each in a group of its own, which ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

KEPT = 4000
"""Bytes of the end of the output that are kept."""

GRACE = 20
"""Seconds that a process has to save what it has, after it was interrupted."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int | None
    """Exit code, -N for the signal N; None if it was stopped at the limit of time."""
    output: str
    """The end of what it printed, of both streams."""

    @property
    def last_line(self) -> str:
        return next((line.strip() for line in reversed(self.output.splitlines()) if line.strip()), "")


def run(command: Sequence[str], seconds: float, gently: bool = False) -> Ended:
    """Runs a command without input and waits for it, at most so long; nothing of its group is left behind.

    Args:
        gently: where this process is interrupted, the command is interrupted too and may save what it has.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8:replace"},
    )
    assert process.stdout is not None
    tail = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(process.stdout, tail), daemon=True)
    reader.start()
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    except BaseException:
        if gently:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(1)
    return Ended(code, bytes(tail).decode(errors="replace"))


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    while chunk := os.read(stream.fileno(), 1 << 16):
        tail += chunk
        del tail[:-KEPT]
