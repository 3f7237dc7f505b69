"""What the tests share: small data, and the command line as a user has it. Configs are in `configs.py`.

Torch and the project are imported where they are needed: xdist's main process, for which all workers wait, reads
this file and runs no test.
"""

from __future__ import annotations

import copy
import functools
import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from configs import Command, Compose
    from torch import Tensor

    from src.data import Dataset
    from src.training.trainer import Images

# the same examples each time, and no limit of time that a busy machine would break
settings.register_profile("project", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matmul", help="kernel (torch, onednn, openblas) that `auto` stands for in this process"
    )
    parser.addoption("--threads", type=int, default=1, help="torch's threads in this process")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        return  # the main process
    import torch

    from src import kernels

    # before Triton is imported, which reads it then: its interpreter runs a GPU's code on a CPU (test_fused.py)
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(config.getoption("threads"))
    kernel = config.getoption("matmul")
    if kernel == "onednn" and kernels.missing(kernel):
        # oneDNN multiplies on every processor, but torch.addmm does not ask it to; to test our bounds its digits do
        kernels._by_torch = onednn
    elif kernel:
        kernels.resolve(kernel)
        kernels.fastest = functools.wraps(kernels.fastest.__wrapped__)(lambda: kernel)


def onednn(out: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    import torch

    product = torch.ops.mkldnn._linear_pointwise(left, right.mT, None, "none", [], "").mul_(alpha)
    return out.copy_(product.add_(out, alpha=beta) if beta else product)


def pytest_collection_finish() -> None:
    """What is imported by now stays, and no collection of garbage needs to look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    from src.data import load_bytes

    return load_bytes("digits", None, 0)


@pytest.fixture(scope="session")
def digit_images(digits: Dataset) -> Images:
    import torch

    from src.training.trainer import Images

    return Images(digits, torch.device("cpu"))


@pytest.fixture(scope="session")
def fashion() -> Dataset:
    """The real Fashion-MNIST; `make test` fetches it before any test."""
    from configs import REPOSITORY

    from src.data import load_bytes

    return load_bytes("fashion_mnist", str(REPOSITORY / ".data"), 0)


@pytest.fixture(scope="session")
def hydra_loader() -> Any:
    """Hydra's config loader on conf/, as `src.train` sets it up; Hydra's own global state is left empty."""
    import hydra
    from configs import REPOSITORY
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
    from src import components

    names, added = components.names, dict[str, list[str]]()
    monkeypatch.setattr(components, "names", lambda group: (*names(group), *added.get(group, ())))
    # of two texts of one length, written within a second, Python would take the first one's bytecode
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
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
    from configs import REPOSITORY

    return functools.partial(forks.python, cwd=REPOSITORY)


@pytest.fixture(scope="session", autouse=True)
def _end_of_forks() -> Iterator[None]:
    yield
    forks.TEMPLATE.close()
