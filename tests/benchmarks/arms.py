"""What is measured in a process of its own: each function runs in a `Worker` and returns seconds.

Imports are inside the functions, so that the process that only directs the measuring stays free of torch.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class Worker:
    """A fresh process with its own number of torch threads; it stays, its imports and data are loaded once.

    Args:
        threads: torch's threads; None leaves torch's own choice.
        pinned: to one core, which what chooses its own threads needs to be compared with one thread of ours.
    """

    def __init__(self, threads: int | None, pinned: bool = False) -> None:
        self._executor = ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(threads, pinned, multiprocessing.get_start_method()),
        )

    def begin(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start the call in the process."""
        return self._executor.submit(function, *arguments)

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The call's result, waited for."""
        return self.begin(function, *arguments).result()

    def close(self) -> None:
        self._executor.shutdown()


def _begin(threads: int | None, pinned: bool, start_method: str) -> None:
    if pinned and hasattr(os, "sched_setaffinity"):  # before any library counts the cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import torch

    # a DataLoader in here is to start its processes as in a user's script, not as this one was started
    multiprocessing.set_start_method(start_method, force=True)

    if threads is not None:
        torch.set_num_threads(threads)


def threads() -> int:
    """Torch's threads in this process."""
    import torch

    return torch.get_num_threads()


def data_root() -> str:
    """The folder that torchvision's data set takes as its root."""
    from src.data import fashion_mnist, resolve

    folder, LAYOUT = fashion_mnist.folder(resolve(None)), fashion_mnist.LAYOUT
    if folder.parts[-len(LAYOUT.parts) :] != LAYOUT.parts:
        raise FileNotFoundError(
            f"torchvision reads Fashion-MNIST from a folder {LAYOUT}, but it is in {folder}"
        )
    return str(folder.parents[len(LAYOUT.parts) - 1])


@functools.cache
def _recipe_data() -> Any:
    from tests.benchmarks import recipe

    return recipe.datasets(data_root())


def recipe(epochs: int) -> float:
    """Seconds per epoch of the book's recipe: training, test accuracy, its own metrics."""
    from tests.benchmarks import recipe

    data = _recipe_data()
    started = time.perf_counter()
    recipe.train(data, epochs)
    return (time.perf_counter() - started) / epochs


@functools.cache
def _products() -> Any:
    from src.training.probes import EVALUATION_BATCH
    from tests.benchmarks.floor import Products

    return Products(EVALUATION_BATCH)


def kernels() -> tuple[list[str], str, dict[str, str]]:
    """The kernels of products that are at hand, the one that ours takes, and the processor (`src.kernels`)."""
    from src import kernels

    there = [kernel for kernel in kernels.KERNELS if not kernels.missing(kernel)]
    return there, kernels.resolve("auto"), kernels.processor()


def floor(epochs: int, kernel: str = "auto") -> float:
    """Seconds per epoch of the matrix products alone."""
    from src import kernels

    products = _products()
    with kernels.using(kernels.resolve(kernel)):
        started = time.perf_counter()
        for _ in range(epochs):
            products.run()
        return (time.perf_counter() - started) / epochs


@functools.cache
def _jax_training() -> Any:
    from src.data import load_bytes
    from tests.benchmarks.jax_rival import Training

    data = load_bytes(**compose()["data"])
    parts = (data.train_images, data.train_labels.int(), data.test_images, data.test_labels.int())
    training = Training(tuple(part.numpy() for part in parts))
    training.epoch()  # compiles
    return training


def jax(epochs: int) -> float:
    """Seconds per epoch of the JAX script, its compilation apart."""
    training = _jax_training()
    started = time.perf_counter()
    for _ in range(epochs):
        training.epoch()
    return (time.perf_counter() - started) / epochs


def epoch_flops() -> int:
    """Floating-point operations of the matrix products of an epoch of the book's net."""
    from tests.benchmarks import floor

    return floor.epoch_flops()


@functools.cache
def compose(*overrides: str) -> dict[str, Any]:
    """The project's config as plain dicts."""
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)
    return plain


@functools.cache
def _images(evaluated: int | None = None, **data: Any) -> Any:
    """A data set's images, of those for evaluation the first few alone."""
    import torch

    from src.data import load_bytes
    from src.training.trainer import Images

    images = Images(load_bytes(**data), torch.device("cpu"))
    for name in ("val", "val_labels", "test", "test_labels"):
        setattr(images, name, getattr(images, name)[:evaluated])
    return images


def noises() -> dict[str, list[str]]:
    """Of each noise there is the override that chooses it."""
    from src import components

    return {name: [f"noise={name}"] for name in components.names("noise")}


def raced() -> dict[str, list[str]]:
    """Of each noise that a race has, overrides of its best setting so far, or else of the last in its file."""
    from analysis import design, race, races, runs, winners

    jobs = {job["noise"]: job for part in races.parts() for job in design.read(part).settings}
    for winner in winners.winners(winners.table_of(race.RESULTS)):
        jobs[winner.noise] |= winner.setting
    return {
        noise: [f"{key}={runs.shown(value)}" for key, value in job.items()] for noise, job in jobs.items()
    }


def ours(epochs: int, runs: int = 1, overrides: Sequence[str] = (), evaluated: int | None = None) -> float:
    """Seconds per run-epoch of `src.training.trainer.train`, on a stack of so many runs.

    Includes all that `metrics.csv` needs: training, its metrics, the test set, the probes.

    Args:
        overrides: of the default config.
        evaluated: images of the validation and of the test set that are evaluated; None for all.
    """
    from src import config
    from src.training.trainer import train

    values = compose("device=cpu", *overrides)
    images = _images(evaluated, **values["data"])
    stack = [config.parse({**values, "epochs": epochs, "seed": seed}) for seed in range(runs)]
    started = time.perf_counter()
    train(stack, images, 10, lambda rows: None)
    return (time.perf_counter() - started) / (epochs * runs)


@contextmanager
def _multirun() -> Iterator[tuple[Any, Any]]:
    """Hydra's config loader, and a sweep's own config."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)


def planning(overrides: Sequence[str]) -> tuple[int, float]:
    """Number of jobs of a sweep's overrides, and seconds to compose, check and identify them all."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from src.sweeping import planning

    with _multirun() as (loader, master):
        started = time.perf_counter()
        jobs = planning.expand(OverridesParser.create(loader).parse_overrides(list(overrides)), [])
        planner = planning.Planner(loader, master)
        ids = {planner.job(job, number).id for number, job in enumerate(jobs)}
        return len(ids), time.perf_counter() - started


def first_look(overrides: Sequence[str], looks: Sequence[int]) -> tuple[int, float]:
    """Number of arms of a sweep that looks, and CPU seconds to plan, check and identify the first look's jobs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from src.sweeping import arms, planning

    with _multirun() as (loader, master):
        started = time.process_time()
        jobs = planning.expand(OverridesParser.create(loader).parse_overrides(list(overrides)), [])
        planner = planning.Planner(loader, master)
        planned = arms.arms_of(looks, planner, jobs, planning.swept_keys(jobs))
        ids = {job.id for arm in planned for job in arm.jobs(looks[0])}
        seconds = time.process_time() - started
    if len(ids) != len(planned) * looks[0]:
        raise ValueError(f"{len(planned)} arms have {len(ids)} runs in a look of {looks[0]} seeds")
    return len(planned), seconds


def writing(overrides: Sequence[str], folder: Path, repeats: int = 5) -> float:
    """Seconds to write `runs.csv` of a sweep that has ended, all its rows, into a folder: median of several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from src.runs.job import final_record
    from src.sweeping import planning
    from src.sweeping.table import Table

    with _multirun() as (loader, master):
        jobs = planning.expand(OverridesParser.create(loader).parse_overrides(list(overrides)), [])
        planner = planning.Planner(loader, master)
        planned = [planner.job(job, number) for number, job in enumerate(jobs)]
    table = Table(folder, planning.swept_keys(jobs))
    table.extend(planned)
    for job in planned:
        if record := final_record(job):
            table.add(record)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        table.write()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
