"""Ends what a test or a benchmark has started, and finds what it started."""

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


def processes(*words: str) -> list[psutil.Process]:
    """Live processes whose command line holds all these words."""
    processes = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if all(word in command for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except psutil.Error:
            continue
    return processes
