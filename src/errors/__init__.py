"""What goes wrong, in one line, and the exit codes of all commands.

0 done; 1 some runs failed or diverged; 2 bad input (`InputError`, and what Hydra says of the command line); 3 the
machine gave out (`MachineError`, and any other OSError); 130 interrupted, 129 and 143 by SIGHUP and SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, ParamSpec, Self

from src.errors import events, messages, terminal

P = ParamSpec("P")

REPOSITORY = Path(__file__).resolve().parents[2]
DONE, SOME_RUNS_LOST, BAD_INPUT, MACHINE = 0, 1, 2, 3
EXIT_CODES = (
    "The exit code is 0 if all is well, 1 if runs failed, diverged, are unfinished or damaged, or something could "
    "not be answered (the rest is done, and they are named), 2 for bad input, 3 where the machine gave out, 130 if "
    "interrupted."
)
SIGNALS = ("SIGINT", "SIGHUP", "SIGTERM")
"""Signals that end a command cleanly; the first one is that of Ctrl-C."""

GOES_ON = "what is finished is kept; the same command goes on from here"
"""Where the machine gives out and nobody has counted what is kept."""


class InputError(ValueError):
    """Bad input, said in one line.

    >>> print(InputError("outputs/none is not there; a sweep's folder is right"))
    outputs/none is not there; a sweep's folder is right

    Of a wrong value in the config, its key, the value, and what is right:

    >>> print(InputError("dropout1", 1.5, "must be a number from 0 to 1"))
    dropout1=1.5: must be a number from 0 to 1
    """

    def __init__(self, message: str, value: object = None, right: str | None = None) -> None:
        # exceptions are pickled by their arguments
        super().__init__(*((message,) if right is None else (message, value, right)))
        self.key = None if right is None else message
        self.value, self.right = value, message if right is None else right

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else f"{self.key}={shown(self.value)}: {self.right}"

    @classmethod
    def from_line(cls, line: str, key: str | None, value: object, right: str) -> Self:
        """An error whose line is written already; key and value are what it is about."""
        error = cls(line)
        error.key, error.value, error.right = key, value, right
        return error


class MachineError(OSError):
    """The machine gave out: a disk is full, read-only or gone, or what runs elsewhere is. Nothing kept is lost."""


OF_THE_DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EIO", "ESTALE", "ENODEV", "ENXIO")
    if hasattr(errno, name)
}
"""Errors that say nothing about the one file that was written: no other would fare better."""


def is_of_the_disk(error: OSError) -> bool:
    """Whether no other file would fare better than the one that was at hand."""
    return isinstance(error, MachineError) or error.errno in OF_THE_DISK


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, a file of ours is written.

    Raises:
        MachineError: where no file could be; OSError: where it is about this path.
    """
    try:
        yield
    except OSError as error:
        kind = MachineError if error.errno in OF_THE_DISK else OSError
        raise kind(error.errno, error.strerror, str(path)) from error  # not of its temporary file


class Interrupted(KeyboardInterrupt):
    """A signal of `SIGNALS`, whose number is the argument, asked for the end."""


class ThroughHydra(BaseException):
    """Carries an error through Hydra, which catches every `Exception` and would print a line beside ours."""


def shown(value: object) -> str:
    """A value as it is typed on the command line.

    >>> print(shown([0.5, None, ["a", "b c"]]), shown({"lr": 0.1}))
    [0.5,null,[a,'b c']] {lr:0.1}
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_item(key)}:{_item(of)}' for key, of in value.items())}}}"
    # OmegaConf's own list is a sequence, and no list
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"[{','.join(map(_item, value))}]"
    return str(value)


def _item(value: object) -> str:
    """A value inside a list; a text with characters that have a meaning there needs quotes."""
    is_plain = not isinstance(value, str) or re.fullmatch(r"[\w.+*/@?|%-]+", value)
    return shown(value) if is_plain else f"'{value}'"


# Commands


class Parser(argparse.ArgumentParser):
    """Of a command's arguments; what is wrong with them is bad input like any other. Its help ends in `EXIT_CODES`,
    where the command has no `epilog` of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"epilog": EXIT_CODES, **options})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` says what is right")


def folder(text: str) -> Path:
    """The type of an argument that names a folder, which need not be there yet."""
    path = Path(text)
    if not text or any(place.exists() and not place.is_dir() for place in (path, *path.parents)):
        raise argparse.ArgumentTypeError(f"{text!r} is no folder; one that is there, or a new one, is right")
    return path


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Gives a command its exit codes: an error becomes one line on stderr and a code, as the module says.

    With HYDRA_FULL_ERROR=1 the trace stands above that line. SIGHUP and SIGTERM raise `Interrupted` inside; a
    reader of the output that goes away ends nothing. Notes on an error (`add_note`) say what is kept, and stand
    behind it.
    """

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        wants_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
        with terminal.tolerant(), events.ended(), _signals(), _drawing_to_files():
            try:
                return main(*args, **kwargs) or DONE
            except ThroughHydra as carrier:
                return _report(carrier.args[0], wants_trace)
            except (Exception, KeyboardInterrupt) as error:
                return _report(error, wants_trace)

    return wrapped


@contextlib.contextmanager
def _drawing_to_files() -> Iterator[None]:
    """Within it matplotlib takes its backend for files: a shell's profile may name one that it does not know."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        del os.environ["MPLBACKEND"]
        if before is not None:
            os.environ["MPLBACKEND"] = before


def _report(error: BaseException, wants_trace: bool) -> int:
    """Says an error; its exit code."""
    if wants_trace:
        traceback.print_exception(error)
    notes = list(getattr(error, "__notes__", ()))
    if isinstance(error, KeyboardInterrupt):
        code = 128 + (error.args[0] if isinstance(error, Interrupted) else signal.SIGINT)
        line = ": ".join(filter(None, ["interrupted", "; ".join(notes)]))
    else:
        code = BAD_INPUT if _is_input(error) else MACHINE if isinstance(error, OSError) else SOME_RUNS_LOST
        if not notes and isinstance(error, OSError) and is_of_the_disk(error):
            notes = [GOES_ON]
        line = "; ".join([f"error: {one_line(error)}", *notes])
    if not events.is_call:
        print(line, file=sys.stderr)
    parts = _parts(error) if code == BAD_INPUT else {}
    events.tell("error", code=code, message=line.removeprefix("error: "), **parts)
    return code


def _parts(error: BaseException) -> dict[str, Any]:
    """Of bad input, for programs: key and value where it is about one, and what is right."""
    if isinstance(error, InputError):
        return {"key": error.key, "value": error.value, "right": error.right}
    where, right = messages.sentence(error) or ("", one_line(error))
    key, value = messages.setting(where) or (None, None)
    return {"key": key, "value": value, "right": right if key else one_line(error)}


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Makes `Interrupted` of those signals that would end the process in the midst of whatever it does.

    Those that come after it are ignored until the process has ended: they would cut short what keeps the results
    together, or leave a trace.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        for later in caught:
            signal.signal(later, signal.SIG_IGN)
        raise Interrupted(number)

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    is_main = threading.current_thread() is threading.main_thread()
    # one that is ignored stays so: that is how nohup works
    usual = (signal.SIG_DFL, signal.default_int_handler)
    caught = {n: before for n in numbers if is_main and (before := signal.getsignal(n)) in usual}
    for number in caught:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, before in caught.items():
            if signal.getsignal(number) is interrupt:  # else the process is ending
                signal.signal(number, before)


# Hydra


@contextlib.contextmanager
def through_hydra() -> Iterator[None]:
    """Lets a task's errors reach `command` as they are: `@through_hydra()` above it."""
    try:
        yield
    except Exception as error:
        raise ThroughHydra(error) from None


@contextlib.contextmanager
def raised_by_hydra() -> Iterator[None]:
    """Makes Hydra raise its errors; by default it prints them in its own way and exits with 1."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _is_input(error: BaseException) -> bool:
    """Whether the command line or a file of the user's is to blame: we say so, or Hydra's own code raised it."""
    if isinstance(error, InputError):
        return True
    if "hydra" not in sys.modules:
        return False
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    if messages.config_file(error) or messages.merging(error) or messages.logging_of(error):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    is_hydras = bool(frames) and Path(hydra.__file__).parent in Path(frames[-1].filename).parents
    return isinstance(error, ValueError) and is_hydras


def one_line(error: BaseException) -> str:
    """An error in one line that names the key, the value and what would be right."""
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if sentence := messages.sentence(error):
        return ": ".join(filter(None, sentence))
    message, cause = messages.plain(error), messages.plain(error.__cause__)
    if not _is_input(error) and not isinstance(error, OSError):
        message = f"{type(error).__name__}: {message}; HYDRA_FULL_ERROR=1 shows where"
    return " ".join(f"{message} {cause if cause not in message else ''}".split())
