"""Hydra's side of a sweep: `hydra/sweeper=arms`, `hydra/sweeper=optuna`, `hydra/launcher=packed`, and `sweep=NAME`.

It plans and calls; the work is in `src.sweeping.sweep` and `src.sweeping.search`.

Hydra finds plugins in the namespace package `hydra_plugins`, and runs this file more than once while it looks:
it must stay thin, without postponed annotations (dataclasses look those up in a module that is not registered),
and the package must never get an `__init__.py`, which would hide every other plugin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

TASK = "src.sweeping.single.task"
"""Where our own task function is. Others run as with Hydra's own sweeper and launcher."""


@dataclass
class PrimaryConf:
    """What a sweep is to decide, declared beforehand; no part of IDs or of the sweep's name."""

    metric: str = "test_acc"
    # numbers of the expanded arms, seeds aside: [a, b] for a - b; [b] for every other arm minus b;
    # [a, b, c, d] for (a - b) - (c - d); [a, a] for the noise on minus the noise off in the nets of a;
    # null where the sweep is to decide nothing in particular
    contrast: list[int] | None = None
    reference: int | None = None  # every other arm minus this one, as contrast: [b]
    all: bool = False  # every pair of arms
    # smallest difference that matters, as reports show it: percentage points, nats; 0.1 of a variance is 10 %
    margin: float = 0.2


@dataclass
class UntilConf:
    """Seeds after which a sweep looks whether `primary` is decided, and stops where it is; off without looks."""

    # such as [10, 20, 30]: an arm takes the first so many of the sweep's seeds
    looks: list[int] | None = None
    alpha: float = 0.05  # of all contrasts and looks together
    spending: str = "pocock"  # the same level at each look, or obrien-fleming: next to none at the first


@dataclass
class ArmsConf:
    """`arms`: override sets, such as "dropout1=0.2 dropout2=0.5", null where the command line must give them;
    `params` is swept within each."""

    _target_: str = "hydra_plugins.dropout_sweeps.ArmsSweeper"
    arms: list[str] | None = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    plan: bool = False  # say what there is to do, what it takes, and do nothing
    primary: PrimaryConf = field(default_factory=PrimaryConf)  # the contrast that its report judges
    until: UntilConf = field(default_factory=UntilConf)  # whether it ends once that is decided


@dataclass
class OptunaConf:
    """A search; see `src/sweeping/search.py` and sweeps/README.md."""

    _target_: str = "hydra_plugins.dropout_sweeps.OptunaSweeper"
    metric: Any = "val_acc"  # val_acc | val_loss | a list of both
    direction: Any = None  # maximize | minimize | a list; null: what is better for the metric
    n_trials: int = 20  # in total, those of an earlier start included
    # trials that are asked for at once, and the search is reproducible; null: one by one as workers become free
    batch_size: int | None = None
    sampler: str = "tpe"  # tpe | gp | random | qmc | grid | cmaes | nsgaii | nsgaiii
    seed: int = 0  # of the sampler
    pruner: str | None = None  # wilcoxon: a trial that is clearly worse gets no more seeds
    arms: Any = None  # refused: a sweep file with arms is no search
    until: Any = None  # refused
    params: dict[str, str] = field(default_factory=dict)  # the search space, as on the command line
    plan: bool = False  # say what there is to do, what it takes, and do nothing


@dataclass
class PackedConf:
    _target_: str = "hydra_plugins.dropout_sweeps.PackedLauncher"
    n_jobs: int | None = None  # worker processes; null: the cores this process may use
    # runs handed to a worker at once; null: measured defaults, see src/engines/queue.py
    pack_size: int | None = None
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


class _OurSweeper(Sweeper):
    """What both sweepers have in common."""

    arms: list[str] | None
    params: dict[str, str]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        # Hydra has resolved these by the sweep's own config; in each job `${dropout1}` is the job's
        typed: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
        self.arms, self.params = typed.get("arms"), typed["params"]
        if is_ours(task_function):
            from src.sweeping.naming import name_folder

            name_folder(config)

    def hydras_launcher(self) -> Launcher:
        """The launcher that the config names, where it is another one than ours."""
        from hydra.core.plugins import Plugins

        assert self.hydra_context is not None and self.config is not None
        return Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )


class ArmsSweeper(_OurSweeper):
    """The product of arms and swept values, launched as one batch."""

    def __init__(self, plan: bool = False, primary: Any = None, until: Any = None, **_: Any) -> None:
        self.plan, self.primary, self.until = plan, primary, until  # `setup` reads arms and params

    def sweep(self, arguments: list[str]) -> Any:
        from src.sweeping import sweep

        if is_ours(self.task_function):
            return sweep.sweep(self, arguments)
        assert self.config is not None
        overrides, folder = sweep.expanded(self, arguments), Path(self.config.hydra.sweep.dir)
        sweep.save_multirun(folder, self.config)
        return [self.hydras_launcher().launch(overrides, initial_job_idx=0)]


class OptunaSweeper(_OurSweeper):
    """A search: see `src.sweeping.search`."""

    def __init__(self, params: dict[str, str], plan: bool = False, **options: Any) -> None:
        self.params, self.plan, self.options = params, plan, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        # where a file of sweeps/ chose it, the jobs have not: they are composed without that file
        typed: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
        if "hydra/sweeper=optuna" not in typed:
            with read_write(config.hydra):
                config.hydra.overrides.hydra.append("hydra/sweeper=optuna")

    def sweep(self, arguments: list[str]) -> Any:
        from src.errors import InputError

        if not is_ours(self.task_function):
            raise InputError("hydra/sweeper", "optuna", "searches among runs of src.train alone")
        try:
            from src.sweeping.search import search
        except ModuleNotFoundError as error:
            if error.name not in ("optuna", "sqlalchemy"):
                raise
            right = "the package optuna is not installed; pip install -e '.[optuna]' brings it"
            raise InputError(f"hydra/sweeper=optuna: {right}") from None
        return search(self, arguments)


class PackedLauncher(Launcher):
    """Resumes, packs, isolates: see `src.sweeping.campaign`. Other task functions run one after the other.

    Our own sweepers train without it: they read its options in the config.
    """

    def __init__(self, **_: Any) -> None:  # src.engines.settings reads PackedConf's options in the config
        self.earlier: list[Any] = []  # jobs and records of earlier batches

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        if is_ours(task_function):
            from src.sweeping.naming import name_folder

            name_folder(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if is_ours(self.task_function):
            from src.sweeping.sweep import launch

            return launch(self, job_overrides, initial_job_idx)
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        basic = BasicLauncher()
        basic.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return basic.launch(job_overrides, initial_job_idx)


def is_ours(task_function: Any) -> bool:
    return f"{task_function.__module__}.{getattr(task_function, '__qualname__', '')}" == TASK


class SweepFolder(SearchPathPlugin):
    """Puts the folder `sweeps/` beside our own `conf/` on Hydra's search path; other applications have none."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for element in search_path.get_path():
            conf = Path(str(element.path).removeprefix("file://"))
            if element.provider == "main" and (conf / "hydra" / "help" / "dropout_sweeps.yaml").is_file():
                search_path.append("dropout-sweeps", f"sweeps://{conf.parent / 'sweeps'}")
                return


class SweepFiles(ConfigSource):
    """The files of a flat folder as the group `sweep`; one is read only when it is asked for."""

    @staticmethod
    def scheme() -> str:
        return "sweeps"

    @property
    def folder(self) -> Path:
        return Path(self.path)

    def available(self) -> bool:
        return self.folder.is_dir()

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", "sweep")

    def is_config(self, config_path: str) -> bool:
        return self._file(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else ["sweep"]
        names = sorted(path.stem for path in self.folder.glob("[!.]*.yaml") if path.is_file())
        return [] if results_filter == ObjectType.GROUP else names

    def load_config(self, config_path: str) -> ConfigResult:
        from src.sweeping.naming import sweep_file

        path = self._file(config_path)
        assert path is not None
        header: dict[str, str | None] = {"package": "_global_"}
        return ConfigResult(self.provider, self.full_path(), sweep_file(path), header)

    def _file(self, config_path: str) -> Path | None:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        path = self.folder / f"{name}.yaml"
        return path if group == "sweep" and name and path.is_file() else None
