"""Errors in one line, and exit codes: the class of bad input, the table of Hydra's messages, the decorator."""

from __future__ import annotations

import errno
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configs import REPOSITORY

from src import errors
from src.errors import (
    GOES_ON,
    SIGNALS,
    InputError,
    Interrupted,
    MachineError,
    ThroughHydra,
    command,
    events,
    messages,
    one_line,
    terminal,
)

# The class


def test_a_wrong_value_is_named_as_it_is_typed() -> None:
    error = InputError("probe.train", None, "must be given")
    assert str(error) == "probe.train=null: must be given"
    assert (error.key, error.value, error.right) == ("probe.train", None, "must be given")
    plain = InputError("no such folder")
    assert (str(plain), plain.key, plain.right) == ("no such folder", None, "no such folder")


@pytest.mark.parametrize(
    "error",
    [
        InputError("dropout1", 1.5, "must be a number"),
        InputError("one\nline"),
        MachineError(errno.ENOSPC, "No space left on device", "runs.csv"),
        MachineError("the cluster is gone"),
        ThroughHydra(InputError("dropout1", None, "must be given")),
        Interrupted(15),
    ],
)
def test_errors_survive_the_way_between_processes(error: BaseException) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.args[1:]) == (type(error), str(error), error.args[1:])


# What Hydra says


def composing(*overrides: str, mode: str = "run") -> Callable[[Any, Any], None]:
    return lambda loader, run_mode: loader.load_configuration(
        "config", list(overrides), run_mode, from_shell=mode == "run"
    )


def sweeping(*overrides: str) -> Callable[[Any, Any], None]:
    from hydra.types import RunMode

    return lambda loader, _: loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)


def parsing(text: str) -> Callable[[Any, Any], None]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return lambda loader, mode: OverridesParser.create(loader).parse_overrides([text])


def in_a_sweeps_file(block: str) -> Callable[[Any, Any], None]:
    def compose(loader: Any, mode: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (path := Path(folder, "sweep", "mine.yaml")).parent.mkdir()
            path.write_text(f"# @package _global_\nhydra: {{sweeper: {{{block}}}}}\n")
            composing(f"hydra.searchpath=[file://{folder}]", "sweep=mine")(loader, mode)

    return compose


def with_verbose(value: Any) -> Callable[[Any, Any], None]:
    """As a file of conf/ may have it, where nothing was typed."""
    from hydra.core.utils import configure_log
    from omegaconf import OmegaConf

    return lambda loader, mode: configure_log(OmegaConf.create({"root": None}), OmegaConf.create([value])[0])


SAID: list[tuple[Callable[[Any, Any], None], list[str], str]] = [
    (composing("noise=nope"), [], "noise=nope: there is no such choice; choose one of additive, "),
    (composing("foo=1"), ["foo=1"], "foo=1: there is no such key; `python -m src.train --help` lists the keys"),
    (composing("hydra.nil=1"), ["hydra.nil=1"], "hydra.nil=1: there is no such key (Key 'nil' not in 'HydraConf'"),
    (composing("hydra.launcher.n_jobs=two"), [], "hydra.launcher.n_jobs=two: Value 'two' of type 'str' could not"),
    (composing("seed=1,2"), [], "seed=1,2: a single run takes one value; add -m to sweep over several"),
    (composing("tags=a,b"), [], "tags=a,b: several are a list, tags=[a,b]"),
    (composing("logger=mlflow,wandb", mode="compose"), [], "logger=mlflow,wandb: several are a list, logger=[mlf"),
    (composing("hydra.sweeper.until.looks=10"), [], "hydra.sweeper.until.looks=10: must be a list, such as"),
    (composing("hydra.sweeper.arms=foo"), [], "hydra.sweeper.arms=foo: must be a list, such as hydra.sweeper.arm"),
    (composing("tags={a:1}"), [], "tags={a:1}: must be a list, such as tags=[a,b]"),
    (composing("probe=[1]"), [], "probe=[1]: must be keys with their values, such as probe={KEY:VALUE}"),
    (composing("hydra.sweeper.params=4"), [], "hydra.sweeper.params=4: must be keys with their values, such as"),
    (composing("hydra.sweeper.primary=foo"), [], "hydra.sweeper.primary=foo: must be keys with their values, su"),
    (composing("tags.a=foo"), [], "tags.a=foo: a list is given as a whole, such as tags=[pilot,final]"),
    (composing("tags.0=foo"), [], "tags.0=foo: a list is given as a whole, such as tags=[pilot,final]"),
    (composing("tags.x.y=3"), [], "tags.x.y=3: a list is given as a whole, such as tags=[pilot,final]"),
    (composing("hydra.sweeper.until.looks.0=3"), [], "hydra.sweeper.until.looks.0=3: a list is given as a whole, "),
    (sweeping("hydra.sweeper.until.looks=2,4"), [], "hydra.sweeper.until.looks=2,4: several are a list, "),
    (sweeping("hydra.launcher.n_jobs=1,2"), [], "hydra.launcher.n_jobs=1,2: takes one value in a sweep"),
    (in_a_sweeps_file("arms: noise=none"), [], "sweeps/mine.yaml, hydra.sweeper.arms: must be a list"),
    (in_a_sweeps_file("until: {looks: 9}"), [], "sweeps/mine.yaml, hydra.sweeper.until.looks: must be a list"),
    (in_a_sweeps_file("plan: maybe"), [], "sweeps/mine.yaml, hydra.sweeper.plan: Value 'maybe' is not a valid"),
    (in_a_sweeps_file("metrc: lr"), [], "sweeps/mine.yaml, hydra.sweeper.metrc: Key 'metrc' not in 'ArmsConf'"),
    (in_a_sweeps_file("until: 3"), [], "sweeps/mine.yaml: int is not a subclass of UntilConf. value: 3"),
    (composing("tags=[a],[b]"), [], "tags=[a],[b]: a single run takes one value; add -m to sweep"),
    (composing("seed=1,2", mode="compose"), [], "seed=1,2: a single run takes one value; add -m to sweep"),
    (composing("noise=3"), ["seed=2", "noise=3"], "noise=3: must be the name of a choice; `python -m src.tra"),
    (composing("+noise=dropout"), ["+noise=dropout"], "+noise=dropout: noise has a choice already; change it by"),
    (composing("+noise=none"), ["+noise=none"], "+noise=none: noise has a choice already; change it by noise="),
    (composing("++noise=none"), [], "++noise=none: a choice is changed by KEY=NAME, without a +"),
    (composing("+dropout1=1"), ["+dropout1=1"], "+dropout1=1: dropout1 has a value already; change it by dr"),
    (composing("~foo"), ["~foo"], "~foo: there is no such key to delete, or it is null; `python"),
    (composing("noise=[a]"), ["noise=[a]"], "noise=[a]: must be the name of one choice; `python"),
    (parsing("seed=rnge(3)"), [], "seed=rnge(3): there is no function rnge; choose one of bool,choice,"),
    (parsing("seed=range(1,2,3,4)"), [], "seed=range(1,2,3,4): in range(1,2,3,4), too many positional arg"),
    (parsing("seed=choice()"), [], "seed=choice(): in choice(), empty choice is not legal"),
    (parsing("seed=range(0,3"), [], "seed=range(0,3: its ( is not closed"),
    (parsing("seed=choice(1,[2)"), [], "seed=choice(1,[2): its [ is not closed"),
    (parsing("seed=[,1]"), [], "seed=[,1]: cannot be read behind [,"),
    (parsing("hydra.sweeper.arms=[noise=glob(*)]"), [], "hydra.sweeper.arms=[noise=glob(*)]: must be texts in"),
    (parsing("hydra.sweeper.arms=noise=none,x"), [], "hydra.sweeper.arms=noise=none,x: must be texts in quotes"),
    (composing("hydra.sweeper.arms=[choice(a,b)]"), [], "hydra.sweeper.arms=[choice(a,b)]: must be texts in quo"),
    (composing("tags=[x,range(3)]"), [], "tags=[x,range(3)]: must be texts in quotes, such as 'tags=["),
    (parsing("hydra.sweeper.arms=[noise"), [], "hydra.sweeper.arms=[noise: its [ is not closed"),
    (parsing("output='abc"), [], "output='abc: the quote in front of abc is not closed"),
    (parsing("seed"), [], "seed: must be KEY=VALUE"),
    (parsing("seed=1,"), [], "seed=1,: something is missing at its end"),
    (parsing("seed=1,,2"), [], "seed=1,,2: a , cannot stand there; a value with special characters needs quotes, "),
    (parsing("a b=3"), [], "a b=3: a ' ' cannot stand there; a value with special characters needs quotes, KEY="),
    (parsing("output=a;b"), [], "output=a;b: a ';' cannot stand there"),
    (parsing("seed=1 ]"), [], "seed=1 ]: a ' ' cannot stand there"),
    (parsing("seed=${a"), [], "seed=${a: its { is not closed"),
    (parsing("seed=1)"), [], "seed=1): a ) cannot stand there"),
    (composing("="), ["="], "=: must be KEY=VALUE"),
    (composing("optimizer.beta1=0.95"), ["-m", "optimizer=adam,adamw", "optimizer.beta1=0.95"],
     "optimizer.beta1=0.95: not every optimizer has this key; ++optimizer.beta1=0.95 gives it to each of the"),
    (composing("schedule.cutoff=0.5"), ["-m", "schedule=constant,early", "schedule.cutoff=0.5"],
     "schedule.cutoff=0.5: not every schedule has this key; give it to those that do in arms of the sweep, such as "
     "'schedule=early schedule.cutoff=0.5'"),
    (composing("optimizer.beta1=0.9"), ["-m", "optimizer=sgd,adam", "optimizer.beta1=0.9"],
     "optimizer.beta1=0.9: not every optimizer has this key; give it to those that do in arms of the sweep, such "),
    (composing("noise.keep=2"), ["-m", "noise=blend,shakeout", "noise.keep=2"], "noise.keep=2: there is no"),
    (with_verbose([1]), [], "hydra.verbose=[1]: must be true, false, or a list of names of loggers, such as [hy"),
    (with_verbose(1.5), [], "hydra.verbose=1.5: must be true, false, or a list of names of loggers"),
    (composing("optimizer.beta1=2"), ["optimizer.beta1=2"], "optimizer.beta1=2: there is no such key here, but "),
]  # fmt: skip
"""What to do, the command line, and how the line begins."""


@pytest.mark.parametrize(("action", "typed", "said"), SAID, ids=[said[:50] for *_, said in SAID])
def test_what_hydra_says_is_one_line_that_names_key_value_and_what_is_right(
    hydra_loader: Any,
    monkeypatch: pytest.MonkeyPatch,
    action: Callable[[Any, Any], None],
    typed: list[str],
    said: str,
) -> None:
    from hydra.types import RunMode

    monkeypatch.setattr(sys, "argv", ["train", *typed])
    with pytest.raises(Exception) as caught:
        action(hydra_loader, RunMode.RUN)
    line = one_line(caught.value)
    assert line.startswith(said)
    assert "\n" not in line
    assert errors._is_input(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"name: [\n", "line 2: expected the node content, but found '<stream end>'"), (b"a:\n  b\n c: d", "line 3: "),
     (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff"), (b"a: \x00", "special characters are not allowed")],
)  # fmt: skip
def test_a_broken_config_file_is_named_for_who_asks_for_it_alone(
    tmp_path: Path, content: bytes, said: str
) -> None:
    from hydra._internal.core_plugins.file_config_source import FileConfigSource

    (tmp_path / "broken.yaml").write_bytes(content)
    with pytest.raises(Exception) as caught:
        FileConfigSource("main", f"file://{tmp_path}").load_config("broken")
    line = one_line(caught.value)
    assert "broken.yaml cannot be read: " in line and said in line and "\n" not in line
    assert errors._is_input(caught.value)


def test_each_sentence_is_tested(hydra_loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that nothing needs any more is seen: without it no line changes."""
    from hydra.types import RunMode

    caught = []
    for action, typed, _ in SAID:
        with pytest.raises(Exception) as raised:
            action(hydra_loader, RunMode.RUN)
        caught.append((raised.value, typed))

    def lines() -> list[str]:
        said = []
        for error, typed in caught:
            monkeypatch.setattr(sys, "argv", ["train", *typed])
            said.append(one_line(error))
        return said

    rows, complete = messages.SENTENCES, lines()
    for row in rows:
        monkeypatch.setattr(messages, "SENTENCES", tuple(other for other in rows if other != row))
        assert lines() != complete, row


@pytest.mark.parametrize(
    ("action", "typed", "parts"),
    [
        (
            composing("noise=nope"),
            ["noise=nope"],
            ("noise", "nope", "there is no such choice; choose one of"),
        ),
        (composing("+noise=none"), ["+noise=none"], ("noise", "none", "noise has a choice already; change")),
        (composing("~foo"), ["~foo"], ("foo", None, "there is no such key to delete, or it is null; ")),
        (composing("seed=1,2"), [], ("seed", "1,2", "a single run takes one value; add -m to sweep over")),
        (composing("hydra.launcher.n_jobs=two"), [], ("hydra.launcher.n_jobs", "two", "Value 'two' of type")),
        (parsing("note=a=b"), [], ("note", "a=b", "a = cannot stand there; a value with special characters")),
        (parsing("a b=3"), [], (None, None, "a b=3: a ' ' cannot stand there; a value with special")),
        (composing("="), ["="], (None, None, "=: must be KEY=VALUE")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_programs_hear_key_and_value_of_what_hydra_refuses(
    hydra_loader: Any,
    monkeypatch: pytest.MonkeyPatch,
    action: Callable[[Any, Any], None],
    typed: list[str],
    parts: tuple[str | None, str | None, str],
) -> None:
    from hydra.types import RunMode

    monkeypatch.setattr(sys, "argv", ["train", *typed])
    with pytest.raises(Exception) as caught:
        action(hydra_loader, RunMode.RUN)
    heard = errors._parts(caught.value)
    assert (heard["key"], heard["value"]) == parts[:2]
    assert heard["right"].startswith(parts[2]) and one_line(caught.value).endswith(heard["right"])


# Commands


def ending(error: BaseException | None, *notes: str) -> Callable[[], int]:
    """A command that ends like this."""

    @command
    def main() -> int | None:
        if error is None:
            return None
        for note in notes:
            error.add_note(note)
        raise error

    return main


KEPT = "3 of 12 runs are done and kept"
ENDS: list[tuple[BaseException | None, tuple[str, ...], int, str]] = [
    (None, (), 0, ""),
    (InputError("dropout1", 2, "not\na number"), (), 2, "error: dropout1=2: not a number\n"),
    (ThroughHydra(InputError("a", 2, "no")), (), 2, "error: a=2: no\n"),
    (OSError(errno.ENOSPC, "No space", "runs.csv"), (KEPT,), 3, f"error: runs.csv: No space; {KEPT}\n"),
    (MachineError("the cluster is gone"), (KEPT,), 3, f"error: the cluster is gone; {KEPT}\n"),
    (OSError(errno.ENOSPC, "No space", "sweep.json"), (), 3, f"error: sweep.json: No space; {GOES_ON}\n"),
    (MachineError("the cluster is gone"), (), 3, f"error: the cluster is gone; {GOES_ON}\n"),
    (OSError(errno.EACCES, "Permission denied", "a.csv"), (), 3, "error: a.csv: Permission denied\n"),
    (KeyboardInterrupt(), (), 130, "interrupted\n"),
    (KeyboardInterrupt(), (KEPT,), 130, f"interrupted: {KEPT}\n"),
    (Interrupted(signal.SIGTERM), (KEPT,), 143, f"interrupted: {KEPT}\n"),
    (Interrupted(signal.SIGHUP), (), 129, "interrupted\n"),
    (TypeError("a bug"), (), 1, "error: TypeError: a bug; HYDRA_FULL_ERROR=1 shows where\n"),
    (ValueError("a bug"), (), 1, "error: ValueError: a bug; HYDRA_FULL_ERROR=1 shows where\n"),
]


@pytest.mark.parametrize("wants_trace", [False, True])
@pytest.mark.parametrize(("error", "notes", "code", "said"), ENDS, ids=[repr(end[0])[:30] for end in ENDS])
def test_each_end_has_its_code_and_its_line_and_the_trace_stands_above(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    notes: tuple[str, ...],
    code: int,
    said: str,
    wants_trace: bool,
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1" if wants_trace else "0")
    if error is not None and hasattr(error, "__notes__"):
        del error.__notes__  # it is raised twice
    assert ending(error, *notes)() == code
    out, err = capsys.readouterr()
    assert out == ""
    if error is not None and wants_trace:
        inner = error.args[0] if isinstance(error, ThroughHydra) else error
        assert type(inner).__name__ in err and len(err) > len(said) and err.endswith(said)
    else:
        assert err == said


def test_system_exit_passes_and_what_a_command_returns_is_its_code() -> None:
    assert command(lambda: 1)() == 1
    with pytest.raises(SystemExit) as caught:
        command(lambda: sys.exit(7))()
    assert caught.value.code == 7


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_raises_inside_and_later_ones_are_ignored_to_the_end(name: str) -> None:
    numbers = [getattr(signal, each) for each in SIGNALS]
    number = getattr(signal, name)
    # a shell starts its background jobs deaf to Ctrl-C
    outside = {
        each: signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        for each in numbers
    }
    before = {each: signal.getsignal(each) for each in numbers}
    cleaned = []

    @command
    def main() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), number)  # a second one does not cut the end short
            cleaned.append(True)

    try:
        assert command(lambda: 1)() == 1
        assert {each: signal.getsignal(each) for each in numbers} == before
        assert main() == 128 + number
        assert cleaned == [True]
        assert {signal.getsignal(each) for each in numbers} == {signal.SIG_IGN}
    finally:
        for each, handler in outside.items():
            signal.signal(each, handler)


def test_a_signal_that_is_ignored_stays_so_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command(lambda: os.kill(os.getpid(), signal.SIGHUP))() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# The output


def test_an_output_that_was_closed_before_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with terminal.tolerant():
        print("to nowhere", flush=True)
        assert events.is_lost()
    assert sys.stdout is None


def in_a_shell(
    script: str, streams: str, folder: Path, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """Runs a script whose output the shell sends elsewhere.

    Args:
        streams: what stands behind the command, such as `| head -1`. encoding: of the script's output.
    """
    (folder / "script.py").write_text(script)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} {folder / 'script.py'} {streams}"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


TALKER = """
import sys
from src.errors import command
@command
def main():
    for _ in range(10000):
        print("é" * 50)
    sys.stderr.write("done\\n")
sys.exit(main())
"""


@pytest.mark.parametrize("named", ["nonsense", None])
def test_the_backend_of_a_shell_is_left_alone_but_in_a_command(
    monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    monkeypatch.setenv("MPLBACKEND", named) if named else monkeypatch.delenv("MPLBACKEND", raising=False)
    seen: list[str | None] = []
    assert command(lambda: seen.append(os.environ.get("MPLBACKEND")))() == 0
    assert (seen, os.environ.get("MPLBACKEND")) == (["agg"], named)


@pytest.mark.parametrize("reader", ["| head -1", "| true", ">/dev/full", ">&-", "<&- >&-"])
def test_a_reader_that_goes_away_ends_nothing(tmp_path: Path, reader: str) -> None:
    done = in_a_shell(TALKER, reader, tmp_path, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, "done\n")
    assert done.stdout in ("", "?" * 50 + "\n")


@pytest.mark.parametrize(
    ("printed", "encoding", "shown"),
    [
        ("−2.50 to +3.24", "ascii", "-2.50 to +3.24"),
        ("23.39 ± 1.66 %", "ascii", "23.39 +/- 1.66 %"),
        ("“2 of 30 broke”, größe …", "ascii", '"2 of 30 broke", gr??e ...'),
        ("1.000 times X²", "ascii", "1.000 times X^2"),
        ("−2.50 ± größe", "latin-1", "-2.50 ± größe"),
        ("−2.50 ± größe 中", "utf-8", "−2.50 ± größe 中"),
    ],
)
def test_a_number_keeps_its_sign_on_any_stream(
    printed: str, encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with terminal.tolerant():
        print(printed, end="")
    assert written.getvalue().decode(encoding) == shown


HOLDER = """
import os, sys
from src.errors import command
@command
def main():
    with open(sys.argv[0] + ".held", "w") as file:
        held = [os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in range(3)]
        print(file.fileno() > 2, held, file=file)
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("streams", "lost"), [("<&- >&- 2>&-", [True] * 3), (">&- 2>&-", [False, True, True])]
)
def test_no_file_gets_the_number_of_a_stream_that_was_closed(
    tmp_path: Path, streams: str, lost: list[bool]
) -> None:
    done = in_a_shell(HOLDER, f"{streams} </dev/zero" if not lost[0] else streams, tmp_path)
    assert done.returncode == 0 and (tmp_path / "script.py.held").read_text() == f"True {lost}\n"


TELLER = """
import os, subprocess, sys
from src.errors import command, events
@command
def main():
    events.begin()
    print("printed")
    os.write(1, b"from C\\n")
    subprocess.run([sys.executable, "-c", "print('by a child')"])
    events.tell("end", text="é")
    sys.stderr.write(f"lost: {events.is_lost()}\\n")
code = main()
print("after it")
sys.exit(code)
"""
TOLD = '{"event": "end", "text": "\\u00e9"}\nafter it\n'
BESIDE = ["by a child", "from C", "lost: False", "printed"]


@pytest.mark.parametrize(
    ("streams", "out", "err"),
    [
        ("", TOLD, BESIDE),
        ("2>&-", TOLD, []),
        ("| true", "", ["by a child", "from C", "lost: True", "printed"]),
        (">&-", "", ["by a child", "from C", "lost: True", "printed"]),
        ("2>&1", None, []),
    ],
)
def test_events_alone_stand_on_standard_output(
    tmp_path: Path, streams: str, out: str | None, err: list[str]
) -> None:
    done = in_a_shell(TELLER, streams, tmp_path)
    assert done.returncode == 0 and sorted(done.stderr.splitlines()) == err
    if out is None:  # both in one file, for a person
        assert sorted(done.stdout.splitlines()) == sorted([*TOLD.splitlines(), *BESIDE])
    else:
        assert done.stdout == out


def test_a_missing_key_is_looked_for_in_the_sweeps_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf.errors import InterpolationKeyError

    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(
        "hydra:\n  sweeper:\n    params:\n      seed: 1,${ nope }\n"
    )
    monkeypatch.setattr(messages, "CONF", tmp_path / "conf")
    monkeypatch.setattr(sys, "argv", ["train.py", "sweep=mine"])
    for key, where in (("nope", "sweeps/mine.yaml, line 4"), ("nop", "${nop}")):
        said = one_line(InterpolationKeyError(f"Interpolation key '{key}' not found"))
        assert said == f"{where}: there is no key {key}; `python -m src.train --help` lists the keys"


def test_lists_are_shown_as_they_are_typed() -> None:
    error = InputError("tags", ["a", ["b c", None, True], {"d": 0.5}, ()], "must be words")
    assert str(error) == "tags=[a,['b c',null,true],{d:0.5},[]]: must be words"
