"""`sweep`, `run` and `plan`: the command line in a process of its own, followed by its events (`--json`)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.errors import BAD_INPUT, MACHINE
from src.errors import InputError as InputError
from src.errors import MachineError as MachineError

from ._progress import Progress, in_notebook
from ._results import Run, Sweep

CHILD = Path(__file__).with_name("_child.py")
PATIENCE = 30.0
"""Seconds that an interrupted command has for its end, before it is killed; its workers die with it."""


def sweep(*overrides: str, output: str | Path = "outputs", progress: bool = True) -> Sweep:
    """Trains a sweep, or what is missing of it: `python -m src.train -m OVERRIDES`.

        sweep("noise=dropout,gaussian", "seed=range(10)")
        sweep("sweep=rate_order", "epochs=3")                                        # a named one
        sweep("hydra/sweeper=optuna", "data.validation=10000", "dropout1=interval(0,0.8)")   # a search

    Args:
        overrides: as on the command line, without the quotes that a shell needs.
        output: the folder of all results; a relative one is taken from the working folder.
        progress: whether to show how far it is: as a bar in a notebook, else as the command does, on stderr.

    Returns:
        The sweep; runs that failed or diverged are among its `problems`.

    Raises:
        InputError: for bad input, in one line. MachineError: if the machine gave out.
        KeyboardInterrupt: if it was interrupted; the same call goes on from there.
    """
    return Sweep(_folder(_call(["-m", *_checked(overrides, output)], progress)))


def run(*overrides: str, output: str | Path = "outputs", progress: bool = True) -> Run:
    """Trains one run, or shows it where it is finished already: `python -m src.train OVERRIDES`.

    Arguments and errors are those of `sweep`. A run that failed or diverged is returned as such (`state`, `error`).
    """
    return Run(_folder(_call(_checked(overrides, output), progress)))


def plan(*overrides: str, output: str | Path = "outputs") -> dict[str, Any]:
    """What `sweep` would do: runs, runs that are done, seconds, workers, folder. It trains nothing.

    Raises:
        InputError: as `sweep`.
    """
    event = _call(["-m", *_checked(overrides, output), "hydra.sweeper.plan=true"], progress=False)
    return {key: value for key, value in event.items() if key != "event"}


def _checked(overrides: tuple[str, ...], output: str | Path) -> list[str]:
    for override in overrides:
        if not isinstance(override, str) or override.startswith("-"):
            raise InputError(f"{override!r} is no override; texts such as 'dropout1=0.2,0.5' are right")
    if str(output) == "outputs":
        return list(overrides)
    if any(override.startswith("output=") for override in overrides):
        raise InputError("output", output, "is given as an override, too; one of the two is right")
    # in Hydra's quotes a backslash has a meaning in front of a quote alone
    text = re.sub(
        r'(\\*)("|$)', lambda end: 2 * end[1] + end[2].replace('"', '\\"'), str(Path(output).expanduser())
    )
    return [*overrides, f'output="{text}"']


def _folder(event: Mapping[str, Any]) -> Path:
    if "folder" not in event or event["event"] != "end":
        raise InputError(
            "hydra.sweeper.plan", True, "trains nothing; dropout_sweeps.plan(...) says what it says"
        )
    return Path(event["folder"])


def _call(arguments: list[str], progress: bool) -> dict[str, Any]:
    """The command's last event."""
    is_bar = progress and in_notebook()
    process = subprocess.Popen(
        [sys.executable, "-P", str(CHILD), "--json", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # on a terminal the command's own bar; a notebook would show what is meant for a log
        stderr=subprocess.PIPE if is_bar or not progress else None,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        errors="replace",
    )
    errors: deque[str] = deque(maxlen=20)
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    bar = Progress() if is_bar else None
    with process:  # whose pipes it closes
        try:
            last = _followed(process, bar)
        except BaseException as error:
            line = _interrupted(process).get("message", "interrupted; the same call goes on from here")
            if bar:
                bar.close(line)
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(line) from None
            raise
        finally:
            reader.join(timeout=5)
    if bar:
        bar.close(last.get("message", ""))
    if last.get("event") not in ("end", "plan"):
        raise _error(last, process.returncode, "".join(errors).strip())
    return last


def _followed(process: subprocess.Popen[str], bar: Progress | None) -> dict[str, Any]:
    """Shows the events of a command to its end; the last one."""
    event: dict[str, Any] = {}
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:  # half a line, of a command that was killed
            continue
        if bar:
            bar.show(event)
    process.wait()
    return event


def _interrupted(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Ends a command as cleanly as it lets us; its last event."""
    process.terminate()
    killer = threading.Timer(PATIENCE, process.kill)
    killer.start()
    try:
        return _followed(process, None)
    except BaseException:  # a second Ctrl-C, or half a line
        process.kill()
        process.wait()
        return {}
    finally:
        killer.cancel()


def _error(last: Mapping[str, Any], code: int, errors: str) -> BaseException:
    """What a command without a result raises."""
    line = str(last.get("message") or (errors.splitlines() or ["it said nothing"])[-1])
    if code == BAD_INPUT:
        return InputError.from_line(line, last.get("key"), last.get("value"), last.get("right", line))
    if code == MACHINE:
        return MachineError(line)
    if code > 128:
        return KeyboardInterrupt(line)
    return RuntimeError(f"src.train ended with exit code {code}: {line}")
