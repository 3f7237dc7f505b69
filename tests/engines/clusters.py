"""Dask and Ray clusters on this machine, started from their own command lines: for the tests and the benchmark."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil

from tests.engines.processes import end, processes

START_SECONDS = 300.0


class Cluster(ABC):
    """A head that trains nothing and worker nodes of one core each, which see nothing of us but the disk.

    Args:
        nodes: how many worker nodes.
        before: a command that each of them is run by.
        environment: variables beside this process's.
    """

    backend: ClassVar[str]
    card: ClassVar[tuple[str, ...]]
    """Arguments of `add` for a node that has a GPU."""
    trainer: ClassVar[str]
    """In the command line of a process that trains."""
    address: str
    """As `hydra.launcher.address` takes it."""

    def __init__(self, nodes: int = 2, before: Sequence[str] = (), **environment: str) -> None:
        self.before = before
        self.environment = {**os.environ, **environment}
        # Ray's sockets lie in it, whose names may have 107 characters
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.backend}-", dir="/tmp"))
        self.members: list[subprocess.Popen[str]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            self._start_head(port)
            self.workers = [self.add() for _ in range(nodes)]
        except BaseException:
            self.end()
            raise

    @abstractmethod
    def _start_head(self, port: int) -> None:
        """Start the head at this port of 127.0.0.1, and set `address`."""

    @abstractmethod
    def add(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        """A worker node more; it has joined when this returns."""

    def training(self) -> list[psutil.Process]:
        """Processes of this cluster that train."""
        nodes = [psutil.Process(member.pid) for member in self.members if member.poll() is None]
        below = {child.pid for node in nodes for child in node.children(recursive=True)}
        return [process for process in processes(self.trainer) if process.pid in below]

    @property
    def how(self) -> list[str]:
        """Overrides by which a sweep trains here."""
        return [f"hydra.launcher.backend={self.backend}", f"hydra.launcher.address={self.address}"]

    def kill_one(self) -> None:
        """As a node dies: all its processes, at once."""
        end(self.workers.pop())

    def end(self) -> None:
        for member in reversed(self.members):
            end(member)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _start(self, command: Sequence[str], before: Sequence[str] = (), **environment: str) -> Path:
        """Start a member; the log that it writes."""
        path = self.folder / f"member{len(self.members)}.log"
        program = str(Path(sys.executable).with_name(self.backend))
        with path.open("w") as log:
            member = subprocess.Popen(
                [*before, program, *command],
                cwd=self.folder,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.members.append(member)
        return path

    def _await(self, log: Path, sign: str) -> None:
        """Wait until the last member's log says that it has started."""
        latest = time.monotonic() + START_SECONDS
        while sign not in (said := log.read_text()):
            if self.members[-1].poll() is not None or time.monotonic() > latest:
                raise RuntimeError(f"a {self.backend} node does not start: {said[-2000:]}")
            time.sleep(0.05)


class Dask(Cluster):
    """A scheduler and workers. Dask asks for no password, so they listen on this machine alone."""

    backend, card, trainer = "dask", ("--resources", "GPU=1"), "src.engines.child"

    def _start_head(self, port: int) -> None:
        self.address = f"tcp://127.0.0.1:{port}"
        command = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        self._await(self._start(command), "Scheduler at:")

    def add(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        options = ["--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        command = ["worker", self.address, *options, "--local-directory", str(self.folder), *more]
        self._await(self._start(command, self.before, **environment), "Registered to:")
        return self.members[-1]


class Ray(Cluster):
    """Nodes of `ray start --block`, one started after the other: at once they may take the same ports."""

    backend, card, trainer = "ray", ("--num-gpus=1",), "ray::_train"  # Ray names a worker by its task

    def _start_head(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=0"]
        self._start_node([*head, "--include-dashboard=false", f"--temp-dir={self.folder}"])

    def add(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        self._start_node(
            [f"--address={self.address}", "--num-cpus=1", *more], before=self.before, **environment
        )
        return self.members[-1]

    def _start_node(self, arguments: Sequence[str], **how: Any) -> None:
        log = self._start(["start", *arguments, "--block", "--object-store-memory=200000000"], **how)
        self._await(log, "Ray runtime started")


CLUSTERS = {cluster.backend: cluster for cluster in (Dask, Ray)}
