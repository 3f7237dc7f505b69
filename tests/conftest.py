"""What the tests share: small data, and the command line as a user has it. Configs are in `configs.py`."""

from __future__ import annotations

import copy
import functools
import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
from configs import REPOSITORY, Command, Compose
from hypothesis import settings
from torch import Tensor

from src import components, kernels
from src.data import Dataset, load_bytes
from src.training import places
from src.training.trainer import Images

# before anything imports Triton, which reads it then: its interpreter runs a GPU's code on a CPU (test_fused.py)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# the same examples each time, and no limit of time that a busy machine would break
settings.register_profile("project", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matmul", choices=kernels.KERNELS, help="kernel that `auto` stands for in this process"
    )
    parser.addoption("--threads", type=int, default=1, help="torch's threads in this process")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(config.getoption("threads"))
    kernel = config.getoption("matmul")
    if kernel == "onednn" and kernels.missing(kernel):
        # oneDNN multiplies on every processor, but torch.addmm does not ask it to; to test our bounds its digits do
        kernels._by_torch = onednn
    elif kernel:
        kernels.resolve(kernel)
        kernels.fastest = functools.wraps(kernels.fastest.__wrapped__)(lambda: kernel)


def onednn(out: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    product = torch.ops.mkldnn._linear_pointwise(left, right.mT, None, "none", [], "").mul_(alpha)
    return out.copy_(product.add_(out, alpha=beta) if beta else product)


def pytest_collection_finish() -> None:
    """What is imported by now stays, and no collection of garbage needs to look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_bytes("digits", None, 0)


@pytest.fixture(scope="session")
def digit_images(digits: Dataset) -> Images:
    return Images(digits, torch.device("cpu"))


@pytest.fixture(scope="session")
def fashion() -> Dataset:
    """The real Fashion-MNIST; `make test` fetches it before any test."""
    return load_bytes("fashion_mnist", str(REPOSITORY / ".data"), 0)


@pytest.fixture(scope="session")
def hydra_loader() -> Any:
    """Hydra's config loader on conf/, as `src.train` sets it up; Hydra's own global state is left empty."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
    compose = loader.load_configuration

    @functools.cache
    def composed(folder: Path, name: str, overrides: tuple[str, ...], *given: Any, **options: Any) -> Any:
        return compose(name, list(overrides), *given, **options)

    def load(config_name: str, overrides: list[str], *given: Any, **options: Any) -> Any:
        """Many tests ask for the same config, which takes Hydra a tenth of a second."""
        return copy.deepcopy(composed(Path.cwd(), config_name, tuple(overrides), *given, **options))

    loader.load_configuration = load
    return loader


@pytest.fixture(scope="session")
def compose(hydra_loader: Any) -> Compose:
    """Composes conf/ with overrides: plain dicts, without Hydra's own part."""
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    def composed(*overrides: str) -> dict[str, Any]:
        config = hydra_loader.load_configuration("config", list(overrides), RunMode.RUN)
        with open_dict(config):
            del config["hydra"]
        plain: Any = OmegaConf.to_container(config, resolve=True)
        return plain

    return composed


@pytest.fixture
def component(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Makes a component of a text, as if it stood in a file of its group: group, name, text."""
    names, added = components.names, dict[str, list[str]]()
    monkeypatch.setattr(components, "names", lambda group: (*names(group), *added.get(group, ())))
    monkeypatch.setattr(places, "_known", {})
    components.find.cache_clear()

    def make(group: str, name: str, text: str) -> None:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(f"{components.PACKAGES[group]}.{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        added.setdefault(group, []).append(name)
        components.find.cache_clear()

    return make


@pytest.fixture
def command() -> Command:
    """Runs `python -m ARGUMENTS` in the repository's root, as the README has it; a fork, see `forks.py`."""
    return functools.partial(forks.python, cwd=REPOSITORY)


@pytest.fixture(scope="session", autouse=True)
def _end_of_forks() -> Iterator[None]:
    yield
    forks.TEMPLATE.close()
