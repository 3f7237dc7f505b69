"""The launcher's options: each wrong one is named, and one that an engine has no use for is not passed over."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
from configs import REPOSITORY

from src import engines
from src.engines.settings import Settings, parse
from src.errors import InputError


def launcher(**changes: Any) -> dict[str, Any]:
    return {**Settings().__dict__, **changes}


def test_defaults_are_loky_and_those_of_the_plugin() -> None:
    assert parse(launcher()) == Settings()
    plugin = importlib.import_module("hydra_plugins.dropout_sweeps")
    defaults = {k: v for k, v in plugin.PackedConf().__dict__.items() if k != "_target_"}
    assert defaults == Settings().__dict__


def test_typed() -> None:
    settings = parse(launcher(backend="slurm", memory="4G", time_limit="2:00:00", partition="gpu", gpus=1))
    assert (settings.memory, settings.time_limit, settings.gpus) == (4 * 2**30, "2:00:00", 1)
    assert parse(launcher(backend="ray", memory="500M")).memory == 500 * 2**20


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n_jobs": 0}, "hydra.launcher.n_jobs=0: must be a whole number of at least 1, or null"),
    ({"backend": "joblib"}, "hydra.launcher.backend=joblib: must be one of loky, dask, ray, slurm"),
    ({"shared": "yes"}, "hydra.launcher.shared=yes: must be true or false"),
    ({"backend": "ray", "cpus": 0}, "hydra.launcher.cpus=0: must be a whole number of at least 1"),
    ({"backend": "ray", "gpus": 2}, "hydra.launcher.gpus=2: must be a whole number of at least 0 and at most"),
    ({"backend": "ray", "memory": "4"}, "hydra.launcher.memory=4: must be a whole number with its unit"),
    ({"backend": "slurm", "time_limit": "2h"}, "hydra.launcher.time_limit=2h: must be a time as Slurm takes it"),
    ({"backend": "slurm", "partition": "a b"}, "hydra.launcher.partition=a b: must be the name of a partition"),
    ({"address": "host:1"}, "hydra.launcher.address=host:1: backend=loky has no use for it; backend=dask or ray"),
    ({"backend": "slurm", "address": "host:1"}, "hydra.launcher.address=host:1: backend=slurm has no use for it"),
    ({"backend": "ray", "partition": "gpu"}, "hydra.launcher.partition=gpu: backend=ray has no use for it"),
    ({"gpus": 1}, "hydra.launcher.gpus=1: backend=loky has no use for it"),
    ({"memory": "4G"}, "hydra.launcher.memory=4G: backend=loky has no use for it"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[said.partition(":")[0] for _, said in WRONG])
def test_a_wrong_value_is_named_with_what_is_right(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(launcher(**changes))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["dask", "ray", "slurm"])
def test_a_missing_engine_is_told_in_one_line(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        engines.start(Settings(backend=backend))
    assert str(caught.value).startswith(f"hydra.launcher.backend={backend}: ")
    assert str(caught.value).endswith(f"is not installed: pip install -e '.[{backend}]'")


def test_no_engine_is_imported_unless_chosen() -> None:
    code = (
        "import sys, src.sweeping.sweep, src.engines.loky; "
        "print([name for name in ('ray', 'dask', 'distributed', 'submitit') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
