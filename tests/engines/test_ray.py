"""Sweeps on Ray: a head and two worker nodes of one core each, started from its command line on this machine."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
    refused,
    same_files,
    survives,
    survives_on_cards,
)
from tests.engines.ray_nodes import Cluster

pytestmark = pytest.mark.engines
pytest.importorskip("ray")


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
    how = [*how, f"hydra.launcher.shared={shared}"]
    survives(workshop, f"ray-dead-{shared}", cluster.kill_one, *how, written=shared == "true")
    cluster.workers.append(cluster.add())  # and one that joins is used


def test_packs_are_of_the_size_that_the_card_holds(workshop: Path) -> None:
    cluster = Cluster(nodes=0)
    try:
        for held in (2, 5):
            cluster.add("--num-gpus=1", CARD=memory(held))
        how = ["hydra.launcher.backend=ray", f"hydra.launcher.address={cluster.address}"]
        for shared in ("false", "true"):
            options = [*how, f"hydra.launcher.shared={shared}"]
            on_cards(workshop, f"ray-cards-{shared}", *options, cards={2: 1, 5: 1}, most=5)
    finally:
        cluster.end()


def test_the_node_of_a_card_dies(workshop: Path) -> None:
    cluster = Cluster(nodes=0)
    try:
        cluster.workers = [cluster.add("--num-gpus=1", CARD=memory(3)) for _ in range(2)]
        how = ["hydra.launcher.backend=ray", f"hydra.launcher.address={cluster.address}"]
        survives_on_cards(workshop, "ray-card-dead", cluster.kill_one, *how)
    finally:
        cluster.end()


def test_data_are_sent_once_a_node(workshop: Path, tmp_path: Path) -> None:
    """Nodes that cannot see our files: in a mount namespace of their own the folder is empty."""
    root = tmp_path / "data"
    shutil.copytree(folder(resolve(None)), root / LAYOUT)
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
