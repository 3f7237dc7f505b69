"""Our side of a Dask worker: keeps one process that trains, and hands packs to it.

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
import time
import zipfile
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

import cloudpickle
from distributed import Future, WorkerPlugin, get_worker, worker_client

from src.engines.child import NO_DATA
from src.engines.settings import ONE_THREAD

DIED = b""
"""Answer of a process that is gone."""

REST_SECONDS = 2.0
"""How late a death is told: should the worker be about to go, too, then it is the same death."""

DATA_SECONDS = 60.0


class Host(WorkerPlugin):
    """Args: name, of the sweep, and of the data set with Dask; code, a zip of `src/`."""

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

    def call(self, pack: bytes, wanted: Callable[[], bool]) -> bytes:
        """The process's answer; DIED if it died, or was ended since nobody wants the answer any more."""
        with self._lock:  # a worker of several threads still trains one pack at a time
            if self._process is None or self._process.poll() is not None:
                self._begin()
            try:
                self._connection.send_bytes(pack)
                while wanted():
                    if self._connection.poll(0.2):
                        if (answer := self._connection.recv_bytes()) != NO_DATA:
                            return answer
                        self._connection.send_bytes(_data(self.name))
            except (EOFError, OSError):
                time.sleep(REST_SECONDS)
            self._end()
            return DIED

    def _begin(self) -> None:
        self._connection, child_end = connection.Pipe()
        with child_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "src.engines.child", str(child_end.fileno())],
                cwd=self._folder,
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.DEVNULL,
                pass_fds=[child_end.fileno()],
            )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(OSError):
                self._connection.close()
            self._process = None


def _data(name: str) -> bytes:
    """The data set of sweep `name`; from here, as another worker may be busy for long."""
    address = get_worker().address
    with worker_client() as client:
        data = client.submit(bytes, Future(name, client), workers=[address], pure=False)
        return data.result(timeout=DATA_SECONDS)


def call(name: str, pack: bytes) -> bytes:
    """The task that Dask runs: a pack for the process of sweep `name`."""
    worker = get_worker()
    key, tasks = worker.get_current_task(), worker.state.tasks
    host: Any = worker.plugins[name]
    return host.call(pack, lambda: key in tasks and tasks[key].state != "cancelled")


# by value: for what is sent by itself, and for what is sent within another object
cloudpickle.register_pickle_by_value(sys.modules[__name__])
call.__module__ = "__main__"
