"""A Ray cluster on this machine, started from Ray's command line: for the tests and the benchmark."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.engines.processes import end

START_SECONDS = 60.0


class Cluster:
    """A head that trains nothing and worker nodes of one core each, each of them a `ray start --block`.

    Args:
        nodes: how many worker nodes.
        before: a command that each of them is run by.
        environment: variables beside this process's.
    """

    def __init__(self, nodes: int = 2, before: Sequence[str] = (), **environment: str) -> None:
        self.before = before
        self.environment = {**os.environ, **environment}
        # sockets lie in it, whose names may have 107 characters
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=0"]
        self.members = [self._start(*head, "--include-dashboard=false", f"--temp-dir={self.folder}")]
        try:
            self._await_last()
            self.workers = [self.add() for _ in range(nodes)]
        except BaseException:
            self.end()
            raise

    def _await_last(self) -> None:
        """One after the other: nodes of one machine that start at once may take the same ports, and give up."""
        log = self.folder / f"start{len(self.members) - 1}.log"
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in (said := log.read_text()):
            if self.members[-1].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"a Ray node does not start: {said[-2000:]}")
            time.sleep(0.05)

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        log = (self.folder / f"start{len(list(self.folder.glob('start*')))}.log").open("w")
        command = [str(Path(sys.executable).with_name("ray")), "start", *arguments, "--block"]
        command += ["--object-store-memory=200000000"]
        before = () if "--head" in arguments else self.before
        return subprocess.Popen(
            [*before, *command],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=log,
            stderr=log,
            text=True,
        )

    def add(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        self.members.append(self._start(f"--address={self.address}", "--num-cpus=1", *more, **environment))
        self._await_last()
        return self.members[-1]

    def kill_one(self) -> None:
        """As a node dies: all its processes, at once."""
        end(self.workers.pop())

    def training(self) -> list[psutil.Process]:
        """Ray names a worker by the task that it runs."""
        processes = []
        for member in self.members:
            if member.poll() is None:
                for process in psutil.Process(member.pid).children(recursive=True):
                    try:
                        if "ray::_train" in " ".join(process.cmdline()):
                            processes.append(process)
                    except psutil.Error:
                        continue
        return processes

    def end(self) -> None:
        for member in reversed(self.members):
            end(member)
        shutil.rmtree(self.folder, ignore_errors=True)
