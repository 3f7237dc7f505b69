"""Hydra's side of a sweep: `hydra/sweeper=arms`, `hydra/sweeper=optuna` and `hydra/launcher=packed`.

The work is in `src.sweep` and `src.search`.

Hydra finds plugins in the namespace package `hydra_plugins`, and runs this file more than once while it looks:
it must stay thin, without postponed annotations (dataclasses look those up in a module that is not registered),
and the package must never get an `__init__.py`, which would hide every other plugin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class PrimaryConf:
    """What a sweep is to decide, declared beforehand; no part of IDs or of the sweep's name."""

    metric: str = "test_acc"
    # numbers of the expanded arms, seeds aside: [a, b] for a - b; [b] for every other arm minus b;
    # [a, b, c, d] for (a - b) - (c - d); null where the sweep is to decide nothing in particular
    contrast: list[int] | None = None
    margin: float = 0.2  # smallest difference that matters, as reports show it: percentage points, nats


@dataclass
class ArmsConf:
    """`arms`: override sets, such as "dropout1=0.2 dropout2=0.5", null where the command line must give them;
    `params` is swept within each."""

    _target_: str = "hydra_plugins.dropout_sweeps.ArmsSweeper"
    arms: list[str] | None = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    primary: PrimaryConf = field(default_factory=PrimaryConf)  # the contrast that its report judges


@dataclass
class OptunaConf:
    """A search; see `src/search.py` and sweeps/README.md."""

    _target_: str = "hydra_plugins.dropout_sweeps.OptunaSweeper"
    metric: Any = "val_acc"  # val_acc | val_loss | a list of both
    direction: Any = None  # maximize | minimize | a list; null: what is better for the metric
    n_trials: int = 20  # in total, those of an earlier start included
    batch_size: int = 8  # trials that are asked for, and launched, at once
    sampler: str = "tpe"  # tpe | random | grid | cmaes | nsgaii
    seed: int = 0  # of the sampler
    arms: Any = None  # refused: a sweep file with arms is no search
    params: dict[str, str] = field(default_factory=dict)  # the search space, as on the command line


@dataclass
class PackedConf:
    _target_: str = "hydra_plugins.dropout_sweeps.PackedLauncher"
    n_jobs: int | None = None  # worker processes; null: the cores this process may use
    pack_size: int | None = None  # runs handed to a worker at once; null: measured defaults, see src/packs.py
    backend: str = "loky"  # where workers are: loky (this machine) | dask | ray | slurm; see sweeps/README.md
    address: str | None = None  # of a running Dask scheduler or Ray cluster; null: one is started here
    shared: bool = False  # whether workers see `output` on a disk that they share with this process
    cpus: int = 1  # cores a pack reserves
    gpus: int | None = None  # GPUs a pack reserves, 0 or 1; null: 1 with device=cuda
    memory: str | None = None  # a pack reserves, such as 4G
    partition: str | None = None  # Slurm's
    time_limit: str | None = None  # of a Slurm job, such as 2:00:00


store = ConfigStore.instance()
store.store(group="hydra/sweeper", name="arms", node=ArmsConf, provider="dropout-sweeps")
store.store(group="hydra/sweeper", name="optuna", node=OptunaConf, provider="dropout-sweeps")
store.store(group="hydra/launcher", name="packed", node=PackedConf, provider="dropout-sweeps")


class ArmsSweeper(Sweeper):
    """The product of arms and swept values, launched as one batch."""

    def __init__(self, arms: list[str] | None, params: dict[str, str], primary: Any = None) -> None:
        self.arms, self.params, self.primary = arms, params, primary

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        from hydra.core.plugins import Plugins

        from src.sweep import sweep

        assert self.hydra_context is not None and self.config is not None
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
        return sweep(self, launcher, arguments)


class OptunaSweeper(Sweeper):
    """A search in batches, each launched as one: see `src.search`."""

    def __init__(self, params: dict[str, str], **options: Any) -> None:
        self.params, self.options = params, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        from hydra.core.plugins import Plugins

        from src.search import search

        assert self.hydra_context is not None and self.config is not None
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
        return search(self, launcher, arguments)


class PackedLauncher(Launcher):
    """Resumes, packs, isolates: see `src.sweep`. Task functions other than ours run one after the other."""

    def __init__(self, **options: Any) -> None:
        self.__dict__ |= options  # those of PackedConf; checked by src.engines.settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if hasattr(self.task_function, "is_dropout_sweeps_task"):
            from src.sweep import launch_packed

            return launch_packed(self, job_overrides, initial_job_idx)
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        basic = BasicLauncher()
        basic.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return basic.launch(job_overrides, initial_job_idx)
