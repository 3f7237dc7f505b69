"""Sweeps on Ray: a head and two worker nodes of one core each, started from its command line on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from test_sweep import results, sweep, wait_for

from src.engines.nodes import SOURCE
from src.fetch import FILES, LAYOUT, fashion_mnist_folder, resolve
from sweeps import (
    deadly,
    end,
    interrupted,
    killed_and_started_again,
    on_loky,
    refused,
    same_files,
    survives,
)

pytestmark = pytest.mark.engines
pytest.importorskip("ray")


class Cluster:
    """Each node is a `ray start --block`; the head trains nothing."""

    def __init__(self, before: Sequence[str] = (), **environment: str) -> None:
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
        wait_for(self._answers)
        self.workers = [self.add() for _ in range(2)]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        log = (self.folder / f"start{len(list(self.folder.glob('start*')))}.log").open("w")
        command = [str(Path(sys.executable).with_name("ray")), "start", *arguments, "--block"]
        command += ["--object-store-memory=200000000"]
        before = () if "--head" in arguments else self.before
        return subprocess.Popen(
            [*before, *command], cwd=self.folder, env=self.environment, stdout=log, stderr=log, text=True
        )

    def add(self) -> subprocess.Popen[str]:
        self.members.append(self._start(f"--address={self.address}", "--num-cpus=1"))
        return self.members[-1]

    def kill_one(self) -> None:
        """As a node dies: all its processes, at once."""
        end(self.workers.pop())

    def training(self) -> list[psutil.Process]:
        """Ray names a worker by the task that it runs."""
        found = []
        for member in self.members:
            if member.poll() is None:
                for process in psutil.Process(member.pid).children(recursive=True):
                    try:
                        if "ray::_train" in " ".join(process.cmdline()):
                            found.append(process)
                    except psutil.Error:
                        continue
        return found

    def end(self) -> None:
        for member in reversed(self.members):
            end(member)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def token() -> Iterator[None]:
    """A token of the tests' own: Ray listens on every interface, so what is started here must not be open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def cluster(token: None) -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.end()


@pytest.fixture
def how(cluster: Cluster) -> list[str]:
    return ["hydra.launcher.backend=ray", f"hydra.launcher.address={cluster.address}"]


@pytest.mark.parametrize("shared", ["false", "true"])
def test_same_files_as_on_loky(workshop: Path, how: list[str], shared: str) -> None:
    same_files(workshop, f"ray-{shared}", *how, f"hydra.launcher.shared={shared}")


def test_a_cluster_is_started_where_no_address_is_given(workshop: Path) -> None:
    same_files(workshop, "ray-local", "hydra.launcher.backend=ray", "hydra.launcher.n_jobs=2")


def test_runs_that_kill_their_worker_fail_alone(workshop: Path, how: list[str]) -> None:
    deadly(workshop, "ray-deadly", *how, "hydra.launcher.pack_size=3")


def test_ctrl_c_leaves_nothing_running(workshop: Path, how: list[str], cluster: Cluster) -> None:
    interrupted(workshop, "ray-ctrlc", cluster.training, *how)


def test_the_main_process_is_killed(workshop: Path, how: list[str], cluster: Cluster) -> None:
    killed_and_started_again(workshop, "ray-main", cluster.training, *how)


def test_a_wrong_address_is_told(workshop: Path) -> None:
    how = ["hydra.launcher.backend=ray", "hydra.launcher.address=127.0.0.1:9"]
    refused(workshop, "hydra.launcher.address=127.0.0.1:9: no Ray cluster answers there", *how)


@pytest.mark.parametrize("shared", ["false", "true"])
def test_a_node_dies(workshop: Path, how: list[str], cluster: Cluster, shared: str) -> None:
    survives(workshop, f"ray-dead-{shared}", cluster.kill_one, *how, f"hydra.launcher.shared={shared}")
    cluster.workers.append(cluster.add())  # and one that joins is used


def test_data_are_sent_once_a_node(workshop: Path, tmp_path: Path) -> None:
    """Nodes that cannot see our files: in a mount namespace of their own the folder is empty."""
    root = tmp_path / "data"
    shutil.copytree(fashion_mnist_folder(resolve(None)), root / LAYOUT)
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(root)]
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("a mount namespace takes rights that this user has not")
    cluster = Cluster(before=hidden, XDG_CACHE_HOME=str(tmp_path / "cache"))
    try:
        arguments = ["data=fashion_mnist", f"data.root={root}", "epochs=1", "seed=range(3)"]
        how = ["hydra.launcher.backend=ray", f"hydra.launcher.address={cluster.address}"]
        sweep(workshop, *arguments, "output=ray-data", *how)
        assert results(workshop / "ray-data") == results(on_loky(workshop, "data", *arguments))
        kept = tmp_path / "cache" / "dropout-sweeps" / LAYOUT
        assert (kept / "SOURCE").read_text() == f"{SOURCE}\n"
        assert {path.name for path in kept.iterdir()} == {"SOURCE", *FILES}
    finally:
        cluster.end()
