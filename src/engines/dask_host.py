"""Our side of a Dask worker: keeps one process that trains, and hands calls to it.

Sent by value: a worker needs Dask and torch, and nothing of ours. The process has the main process's code,
whatever this worker ran before; it can be ended in the middle of a run; and a run that kills it leaves the worker.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

import cloudpickle
from distributed import WorkerPlugin, get_worker

from src.engines.settings import ONE_THREAD

DIED = b""
"""Answer of a process that is gone."""


class Host(WorkerPlugin):
    """Args: name, one a sweep; code, a zip of `src/`."""

    idempotent = False

    def __init__(self, name: str, code: bytes) -> None:
        self.name, self._code = name, code

    def setup(self, worker: Any) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._folder = tempfile.mkdtemp(prefix="dropout-sweeps-", dir=worker.local_directory)
        with zipfile.ZipFile(io.BytesIO(self._code)) as archive:
            archive.extractall(self._folder)

    def teardown(self, worker: Any) -> None:
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, messages: tuple[bytes, ...], wanted: Callable[[], bool]) -> bytes:
        """The process's answer; DIED if it died, or was ended since nobody wants the answer any more."""
        with self._lock:  # a worker of several threads still trains one pack at a time
            if self._process is None or self._process.poll() is not None:
                self._begin()
            try:
                for message in messages:
                    self._connection.send_bytes(message)
                while not self._connection.poll(0.2):
                    if not wanted():
                        self._end()
                        return DIED
                return self._connection.recv_bytes()
            except (EOFError, OSError):
                self._end()
                return DIED

    def _begin(self) -> None:
        ours, theirs = connection.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "src.engines.child", str(theirs.fileno())],
                cwd=self._folder,
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._connection = ours

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(OSError):
                self._connection.close()
            self._process = None


def call(name: str, *messages: bytes) -> bytes:
    """The task that Dask runs: these messages for the process of sweep `name`."""
    worker = get_worker()
    key, tasks = worker.get_current_task(), worker.state.tasks
    host: Any = worker.plugins[name]
    answer: bytes = host.call(messages, lambda: key in tasks and tasks[key].state != "cancelled")
    return answer


class ByValue:
    """A function of this module, as a worker without this module can read it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._function, self._pickled = function, cloudpickle.dumps(function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        return cloudpickle.loads, (self._pickled,)
