"""A search's memory: Optuna's study in a folder's `study.db`.

The study that is asked lives in memory, since one question costs SQLite a dozen transactions; a trial is written
to `study.db` in one piece before it is launched, and told there when it has ended. What a sampler draws for a trial
follows from the seed, the trial's number and the trials before it (`src.sweeping.samplers`): a search in batches
that was killed asks for the same trials as one that ran through.
"""

from __future__ import annotations

import math
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from src.errors import InputError, MachineError

FILE = "study.db"
ABOUT = "search"
"""Attribute of the study that holds what must not change while it goes on."""

Direction = Literal["maximize", "minimize"]

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


OF_THE_DISK = re.compile("disk is full|disk I/O error|readonly database|unable to open database")


@contextmanager
def _in_one_line(path: Path, kind: type[Exception] = sqlite3.Error) -> Iterator[None]:
    """Says what goes wrong with the database at `path`, an error of SQL or of this kind.

    Raises:
        InputError: if the file is something else; MachineError: if the disk gives out.
    """
    try:
        yield
    except InputError:
        raise
    except (SQLAlchemyError, sqlite3.Error, StorageInternalError, kind) as error:
        # Optuna's own says nothing of what went wrong when it wrote
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = str(cause or error).strip().splitlines()[0]
        if match := OF_THE_DISK.search(reason):
            raise MachineError(f"{path} cannot be written ({match[0]})") from None
        right = "without it the search begins anew, and trains no finished run again"
        raise InputError(f"{path} is no study of Optuna ({reason}); {right}") from None


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """The SQLite storage at `path`, made where there is none.

    Raises:
        InputError: if the file is something else; MachineError: if the disk gives out.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=60, check_same_thread=False)

    with _in_one_line(path, RuntimeError):
        return optuna.storages.RDBStorage("sqlite:///" + FILE, engine_kwargs={"creator": connect})


def load(path: Path) -> optuna.Study:
    """The study in an existing `study.db`.

    Raises:
        InputError: if there is not exactly one, or it cannot be read.
    """
    try:
        with _in_one_line(path, ValueError):
            storage = open_storage(path)
            (name,) = optuna.get_all_study_names(storage)
            return optuna.load_study(study_name=name, storage=storage)
    except MachineError as error:
        raise InputError(str(error)) from None


def begun(folder: Path) -> optuna.Study | None:
    """The folder's study; None where there is none yet."""
    path = folder / FILE
    return load(path) if path.exists() and optuna.get_all_study_names(open_storage(path)) else None


class Study:
    """Trials of one search, numbered from 0 as they were asked for.

    Args:
        folder: the sweep's; its name is the study's.
        directions: of each objective.
        sampler: makes the sampler that draws the trial of this number.
        about: what must be the same when the search goes on, as plain JSON.
    """

    def __init__(
        self,
        folder: Path,
        directions: Sequence[Direction],
        distributions: Mapping[str, BaseDistribution],
        sampler: Callable[[int], BaseSampler],
        about: Mapping[str, Any],
    ) -> None:
        self._distributions, self._sampler = dict(distributions), sampler
        self._path = path = folder / FILE
        storage = open_storage(path)
        with _in_one_line(path, ValueError):
            (name,) = optuna.get_all_study_names(storage) or [folder.name]
            options: dict[str, Any] = {"directions": list(directions), "sampler": RandomSampler()}
            self._disk = optuna.create_study(study_name=name, storage=storage, load_if_exists=True, **options)
            if not self._disk.user_attrs.get(ABOUT):
                self._disk.set_user_attr(ABOUT, dict(about))
        self._live = optuna.create_study(**options)
        self._live.add_trials(self._disk.get_trials())
        self._written = len(self.trials)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self._live.get_trials(deepcopy=False)

    def ask(self) -> optuna.Trial:
        """One more trial, its parameters drawn. It is in memory alone until `write`."""
        self._live.sampler = self._sampler(len(self.trials))
        return self._live.ask(self._distributions)

    def write(self) -> None:
        """Puts the trials that were asked for since into `study.db`, as running."""
        new = self.trials[self._written :]
        with _in_one_line(self._path):
            self._disk.add_trials(new)
        self._written += len(new)

    def tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """A trial that was written has ended."""
        self._live.tell(number, values, state)
        with _in_one_line(self._path):
            self._disk.tell(number, values, state)

    def best(self) -> list[FrozenTrial]:
        """The best trial; for several objectives those that no other one beats in all of them, each
        setting once; or none."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.trials):
            return []
        best = self._live.best_trials if len(self._live.directions) > 1 else [self._live.best_trial]
        return list({str(trial.params): trial for trial in reversed(best)}.values())[::-1]


def is_worse(values: Sequence[float], best: Sequence[float], direction: Direction) -> bool:
    """Whether Optuna's `WilcoxonPruner` would prune a trial with these values, by seed, beside the best trial's.

    Args:
        values: of the first seeds.
        best: of all seeds.
    """
    other = optuna.create_study(direction=direction)
    other.add_trial(
        optuna.trial.create_trial(
            value=math.fsum(best) / len(best), intermediate_values=dict(enumerate(best))
        )
    )
    running = optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(values)))
    return optuna.pruners.WilcoxonPruner().prune(other, running)
