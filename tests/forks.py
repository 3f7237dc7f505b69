"""`python -m MODULE …` without its start: a process that has imported the libraries forks for each command.

A fork has its working folder, environment, output and exit code like any process, and imports the project's code
anew; that is compiled and the libraries are there already, which saves four seconds a process. loky's workers are
forks of the command in the same way. What a test says of signals, pipes, imports or the start needs a real process.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import itertools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

LIBRARIES = (
    "torch", "sklearn.datasets", "sklearn.model_selection", "pandas", "seaborn", "scipy.stats",
    "matplotlib.pyplot", "rich.progress", "rich.table", "rich.live", "jinja2",
    "markdown_it", "psutil", "filelock", "threadpoolctl", "yaml", "hydra.main", "hydra._internal.hydra",
    "hydra._internal.utils", "hydra._internal.config_loader_impl", "hydra._internal.core_plugins.basic_launcher",
    "hydra.core.override_parser.overrides_parser", "loky.process_executor", "loky.backend.popen_loky_posix",
)  # fmt: skip
"""loky behind what brings joblib, which has a loky of its own in it: the last one imported starts the workers."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""A process with threads cannot be forked."""

Done = subprocess.CompletedProcess[str]


class Template:
    """The process that forks, started at the first command."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def _start(self) -> socket.socket:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(its.fileno())],
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        return mine

    def call(
        self,
        arguments: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        streams: Sequence[int],
    ) -> int:
        """The exit code of `python -m ARGUMENTS` with these descriptors as standard output and error."""
        self._socket = self._socket or self._start()
        request = (
            json.dumps([str(cwd.absolute()), *arguments]).encode() + b"\n" + json.dumps(dict(env)).encode()
        )
        socket.send_fds(self._socket, [request], streams)
        self._socket.settimeout(timeout)
        try:
            answer = self._socket.recv(100)
        except TimeoutError:
            self.close()
            raise subprocess.TimeoutExpired(list(arguments), timeout) from None
        assert answer, "the template is gone"
        return int(answer)

    def close(self) -> None:
        """Ends it and its forks."""
        if self._process is not None and self._socket is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._socket.close()
        self._process = self._socket = None


TEMPLATE = Template()


def python(*arguments: str | Path, cwd: Path, timeout: float = 600, **environment: str) -> Done:
    """`python -m ARGUMENTS` in the folder `cwd`, with additions to the environment."""
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = [out.fileno(), err.fileno()]
        code = TEMPLATE.call(words, cwd, {**os.environ, **environment}, timeout, streams)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return Done(words, code, *texts)


def fresh_python(*arguments: str | Path, cwd: Path, timeout: float = 600, **environment: str) -> Done:
    """The same in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Process:
    """For `subprocess.Popen([sys.executable, "-m", …])`; it has ended when it is made."""

    def __init__(self, command: Sequence[str], cwd: Path = Path(), **streams: Any) -> None:
        assert command[:2] == [sys.executable, "-m"]
        if streams.get("stdout") == subprocess.PIPE:
            done = python(*command[2:], cwd=cwd)
            streams["stderr"].write(done.stderr)
            self.stdout, self.returncode = io.StringIO(done.stdout), done.returncode
        else:
            self.returncode = TEMPLATE.call(command[2:], cwd, os.environ, 600, [1, 2])

    def wait(self) -> int:
        return self.returncode


SUBPROCESS = SimpleNamespace(Popen=Process, PIPE=subprocess.PIPE)
"""In the place of a module's `subprocess`."""


# In the template


def serve(requests: socket.socket) -> None:
    """Forks for each request, and answers with its exit code."""
    for library in LIBRARIES:
        importlib.import_module(library)
    prepare()
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not message:
            return
        if (process := os.fork()) == 0:
            requests.close()
            become(*map(json.loads, message.split(b"\n")), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())


def prepare() -> None:
    """Does what each fork would do again: compiles the project's files, and draws once, which finds the fonts."""
    from matplotlib.figure import Figure

    repository = Path(__file__).resolve().parent.parent
    files = [path for folder in ("src", "analysis") for path in (repository / folder).rglob("*.py")]
    known = {path.read_bytes(): compile(path.read_bytes(), path, "exec", dont_inherit=True) for path in files}

    def source_to_code(loader: object, data: bytes, path: Any, *given: Any, **options: Any) -> CodeType:
        """By what the file says, as a test may change it, or copy it."""
        if (code := known.get(bytes(data))) is None:
            return compile(data, path, "exec", dont_inherit=True)
        return located(code, os.fspath(path))

    SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign]
    figure = Figure()
    figure.subplots().set_title("title")
    figure.savefig(io.BytesIO())


def located(code: CodeType, path: str) -> CodeType:
    """The code of a file, in that of another place."""
    if code.co_filename == path:
        return code
    inner = (located(value, path) if isinstance(value, CodeType) else value for value in code.co_consts)
    return code.replace(co_filename=path, co_consts=tuple(inner))


def become(command: list[str], environment: dict[str, str], descriptors: list[int]) -> None:
    """Makes this fork the command, up to its end."""
    folder, module, *arguments = command
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # streams know from their beginning what they lead to
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [module, *arguments]
    from loky.backend import fork_exec

    fork_exec.fork_exec = fork_worker
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    # As an interpreter ends, but for clearing all that is the template's, which takes as long as a short command.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def fork_worker(command: list[str], keep: Sequence[int], env: Mapping[str, str] | None = None) -> int:
    """loky's function of that name: `python -m MODULE ARGUMENTS`, with these descriptors and this environment."""
    if process := os.fork():
        return process
    code: Any = 1
    try:
        bounds = [2, *sorted(map(int, keep)), os.sysconf("SC_OPEN_MAX")]
        for last, following in itertools.pairwise(bounds):
            os.closerange(last + 1, following)
        os.environ.update(env or {})
        _, _, module, *arguments = command
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)  # of which runpy would warn
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        # not an exit, which would go on with what the command does
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
