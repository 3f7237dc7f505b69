"""Ends what a test or a benchmark has started."""

from __future__ import annotations

import subprocess

import psutil


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process and all that it started."""
    family = (
        [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    )
    for member in family:
        member.kill()
    process.wait()
