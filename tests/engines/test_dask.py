"""Sweeps on Dask: a scheduler and two workers, started from its command line on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from test_sweep import results, sweep

from src.data import resolve
from src.data.fashion_mnist import FILES, LAYOUT, folder
from src.engines.nodes import SOURCE
from sweeps import (
    deadly,
    interrupted,
    killed_and_started_again,
    memory,
    on_cards,
    on_loky,
    processes,
    refused,
    same_files,
    survives,
    survives_on_cards,
)
from tests.engines.processes import end

pytestmark = pytest.mark.engines
Client = pytest.importorskip("distributed").Client


class Cluster:
    """A scheduler and workers whose folders, and nothing else, they see of us: `src` is not on their path."""

    def __init__(self, folder: Path, nodes: int = 2, before: Sequence[str] = (), **environment: str) -> None:
        self.folder, self.before, self.environment = folder, before, {**os.environ, **environment}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        self.members = [self._start("scheduler", "--host", "127.0.0.1", "--port", port)]
        self.workers = [self.add() for _ in range(nodes)]

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        log = (self.folder / f"{arguments[0]}{len(list(self.folder.glob('*.log')))}.log").open("w")
        command = [str(Path(sys.executable).with_name("dask")), *arguments, "--no-dashboard"]
        return subprocess.Popen(
            [*(self.before if arguments[0] == "worker" else ()), *command],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=log,
            stderr=log,
            text=True,
        )

    def add(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        # Dask asks for no password, so it listens on this machine alone
        options = (
            "--host",
            "127.0.0.1",
            "--nthreads",
            "1",
            "--no-nanny",
            "--local-directory",
            str(self.folder),
        )
        self.members.append(self._start("worker", self.address, *options, *more, **environment))
        return self.members[-1]

    def wait_for_workers(self, count: int) -> None:
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def kill_one(self) -> None:
        """As a node dies: its worker and what that started, at once."""
        victim = self.workers.pop()
        end(victim)

    def end(self) -> None:
        for member in reversed(self.members):
            end(member)

    def training(self) -> list[psutil.Process]:
        return [
            process
            for process in processes("src.engines.child")
            if process.cwd().startswith(str(self.folder))
        ]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.end()


@pytest.fixture
def how(cluster: Cluster) -> list[str]:
    return ["hydra.launcher.backend=dask", f"hydra.launcher.address={cluster.address}"]


@pytest.mark.parametrize("shared", ["false", "true"])
def test_same_files_as_on_loky(workshop: Path, how: list[str], shared: str) -> None:
    same_files(workshop, f"dask-{shared}", *how, f"hydra.launcher.shared={shared}")


def test_a_cluster_is_started_where_no_address_is_given(workshop: Path) -> None:
    same_files(workshop, "dask-local", "hydra.launcher.backend=dask", "hydra.launcher.n_jobs=2")


def test_runs_that_kill_their_process_fail_alone(
    workshop: Path,
    how: list[str],
    cluster: Cluster,
) -> None:
    deadly(workshop, "dask-deadly", *how, "hydra.launcher.pack_size=3")
    assert all(worker.poll() is None for worker in cluster.workers), "no Dask worker dies of it"


def test_ctrl_c_leaves_nothing_running(workshop: Path, how: list[str], cluster: Cluster) -> None:
    interrupted(workshop, "dask-ctrlc", cluster.training, *how)
    with Client(cluster.address, set_as_default=False) as client:
        assert sum(len(keys) for keys in client.processing().values()) == 0


def test_the_main_process_is_killed(workshop: Path, how: list[str], cluster: Cluster) -> None:
    killed_and_started_again(workshop, "dask-main", cluster.training, *how)


def test_a_wrong_address_is_told(workshop: Path) -> None:
    address = "tcp://127.0.0.1:9"
    how = ["hydra.launcher.backend=dask", f"hydra.launcher.address={address}"]
    refused(workshop, f"hydra.launcher.address={address}: no Dask scheduler answers there", *how)


def test_a_cluster_of_our_own_has_no_gpus(workshop: Path) -> None:
    refused(
        workshop,
        "hydra.launcher.gpus=1: must come with an address",
        "hydra.launcher.backend=dask",
        "device=cuda",
    )


@pytest.mark.parametrize("shared", ["false", "true"])
def test_a_worker_dies(workshop: Path, how: list[str], cluster: Cluster, shared: str) -> None:
    how = [*how, f"hydra.launcher.shared={shared}"]
    survives(workshop, f"dask-dead-{shared}", cluster.kill_one, *how, written=shared == "true")
    cluster.workers.append(cluster.add())  # and one that joins is used


def test_packs_are_of_the_size_that_the_card_holds(workshop: Path, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, nodes=0)
    try:
        for held in (2, 5):
            cluster.add("--resources", "GPU=1", CARD=memory(held))
        cluster.wait_for_workers(2)
        how = ["hydra.launcher.backend=dask", f"hydra.launcher.address={cluster.address}"]
        for shared in ("false", "true"):
            options = [*how, f"hydra.launcher.shared={shared}"]
            on_cards(workshop, f"dask-cards-{shared}", *options, cards={2: 1, 5: 1}, most=5)
    finally:
        cluster.end()


def test_the_node_of_a_card_dies(workshop: Path, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, nodes=0)
    try:
        cluster.workers = [cluster.add("--resources", "GPU=1", CARD=memory(3)) for _ in range(2)]
        cluster.wait_for_workers(2)
        how = ["hydra.launcher.backend=dask", f"hydra.launcher.address={cluster.address}"]
        survives_on_cards(workshop, "dask-card-dead", cluster.kill_one, *how)
    finally:
        cluster.end()


def test_data_are_sent_once_a_node(workshop: Path, tmp_path: Path) -> None:
    """Two workers on one node that cannot see our files: in a mount namespace of their own the folder is empty."""
    root = tmp_path / "data"
    shutil.copytree(folder(resolve(None)), root / LAYOUT)
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(root)]
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("a mount namespace takes rights that this user has not")
    cluster = Cluster(tmp_path, before=hidden, XDG_CACHE_HOME=str(tmp_path / "cache"))
    try:
        arguments = ["data=fashion_mnist", f"data.root={root}", "epochs=1", "seed=range(3)"]
        sweep(
            workshop,
            *arguments,
            "output=dask-data",
            "hydra.launcher.backend=dask",
            f"hydra.launcher.address={cluster.address}",
        )
        assert results(workshop / "dask-data") == results(on_loky(workshop, "data", *arguments))
        kept = tmp_path / "cache" / "dropout-sweeps" / LAYOUT
        assert (kept / "SOURCE").read_text() == f"{SOURCE}\n"
        assert {path.name for path in kept.iterdir()} == {"SOURCE", *FILES}
    finally:
        cluster.end()
