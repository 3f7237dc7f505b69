"""Sweeps on Dask and on Ray: a head and two worker nodes of one core each, started from their command lines."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sweep import results, sweep

from src.data import resolve
from src.data.fashion_mnist import FILES, LAYOUT, folder
from src.engines.nodes import SOURCE
from src.engines.settings import BACKENDS
from sweeps import (
    deadly,
    interrupted,
    killed_and_started_again,
    looks_go_on,
    memory,
    on_cards,
    on_loky,
    own_data,
    refused,
    same_files,
    searched,
    survives,
    survives_on_cards,
)
from tests.engines.clusters import CLUSTERS, Cluster

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", params=CLUSTERS)
def kind(request: pytest.FixtureRequest) -> Iterator[type[Cluster]]:
    """With a token of the tests' own: Ray listens on every interface, so what is started here must not be open."""
    pytest.importorskip(BACKENDS[request.param].package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield CLUSTERS[request.param]


@pytest.fixture(scope="module")
def cluster(kind: Any) -> Iterator[Cluster]:
    with kind() as cluster:
        yield cluster


@pytest.mark.parametrize("shared", ["false", "true"])
def test_same_files_as_on_loky(workshop: Path, cluster: Cluster, shared: str) -> None:
    same_files(workshop, f"{cluster.backend}-{shared}", *cluster.how, f"hydra.launcher.shared={shared}")


def test_a_cluster_is_started_where_no_address_is_given(workshop: Path, kind: type[Cluster]) -> None:
    name = kind.backend
    same_files(workshop, f"{name}-local", f"hydra.launcher.backend={name}", "hydra.launcher.n_jobs=2")


def test_runs_that_kill_their_process_fail_alone(workshop: Path, cluster: Cluster) -> None:
    deadly(workshop, f"{cluster.backend}-deadly", *cluster.how, "hydra.launcher.pack_size=3")
    assert all(worker.poll() is None for worker in cluster.workers), "no node dies of it"


def test_ctrl_c_leaves_nothing_running(workshop: Path, cluster: Cluster) -> None:
    interrupted(workshop, f"{cluster.backend}-ctrlc", cluster.training, *cluster.how)


def test_the_main_process_is_killed(workshop: Path, cluster: Cluster) -> None:
    killed_and_started_again(workshop, f"{cluster.backend}-main", cluster.training, *cluster.how)


def test_a_sweep_that_looks_is_killed_and_goes_on(workshop: Path, cluster: Cluster) -> None:
    looks_go_on(workshop, f"{cluster.backend}-looks", cluster.training, *cluster.how)


def test_a_search_with_several_seeds(workshop: Path, cluster: Cluster) -> None:
    searched(workshop, f"{cluster.backend}-search", *cluster.how)


def test_a_data_set_of_ones_own(workshop: Path, cluster: Cluster) -> None:
    own_data(workshop, f"{cluster.backend}-own", *cluster.how)


def test_a_wrong_address_is_told(workshop: Path, kind: type[Cluster]) -> None:
    address, answers = {
        "dask": ("tcp://127.0.0.1:9", "no Dask scheduler answers there"),
        "ray": ("127.0.0.1:9", "no Ray cluster answers there"),
    }[kind.backend]
    how = [f"hydra.launcher.backend={kind.backend}", f"hydra.launcher.address={address}"]
    refused(workshop, f"hydra.launcher.address={address}: {answers}", *how)


@pytest.mark.parametrize("shared", ["false", "true"])
def test_a_node_dies(workshop: Path, cluster: Cluster, shared: str) -> None:
    how = [*cluster.how, f"hydra.launcher.shared={shared}"]
    name = f"{cluster.backend}-dead-{shared}"
    survives(workshop, name, cluster.kill_one, *how, written=shared == "true")
    cluster.workers.append(cluster.add())  # and one that joins is used


def test_packs_are_of_the_size_that_the_card_holds(workshop: Path, kind: Any) -> None:
    with kind(nodes=0) as cluster:
        for held in (2, 5):
            cluster.add(*cluster.card, CARD=memory(held))
        for shared in ("false", "true"):
            options = [*cluster.how, f"hydra.launcher.shared={shared}"]
            on_cards(workshop, f"{cluster.backend}-cards-{shared}", *options, cards={2: 1, 5: 1}, most=5)


def test_the_node_of_a_card_dies(workshop: Path, kind: Any) -> None:
    with kind(nodes=0) as cluster:
        cluster.workers = [cluster.add(*cluster.card, CARD=memory(3)) for _ in range(2)]
        survives_on_cards(workshop, f"{cluster.backend}-card-dead", cluster.kill_one, *cluster.how)


def test_data_are_sent_once_a_node(workshop: Path, tmp_path: Path, kind: Any) -> None:
    """Nodes that cannot see our files: in a mount namespace of their own the folder is empty."""
    root = tmp_path / "data"
    shutil.copytree(folder(resolve(None)), root / LAYOUT)
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(root)]
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("a mount namespace takes rights that this user has not")
    arguments = ["data=fashion_mnist", f"data.root={root}", "epochs=1", "seed=range(3)"]
    with kind(before=hidden, XDG_CACHE_HOME=str(tmp_path / "cache")) as cluster:
        output = workshop / f"{cluster.backend}-data"
        sweep(workshop, *arguments, f"output={output.name}", *cluster.how)
    assert results(output) == results(on_loky(workshop, "data", *arguments))
    kept = tmp_path / "cache" / "dropout-sweeps" / LAYOUT
    assert (kept / "SOURCE").read_text() == f"{SOURCE}\n"
    assert {path.name for path in kept.iterdir()} == {"SOURCE", *FILES}


def test_a_dask_cluster_of_our_own_has_no_gpus(workshop: Path) -> None:
    pytest.importorskip("distributed")
    how = ["hydra.launcher.backend=dask", "device=cuda"]
    refused(workshop, "hydra.launcher.gpus=1: must come with an address", *how)
