"""A search whose trials are asked for as workers become free: on an engine that trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

pytest.importorskip("optuna", reason="a search needs optuna: pip install -e '.[optuna]'")

from hydra.types import RunMode
from omegaconf import open_dict
from optuna.trial import FrozenTrial, TrialState
from test_search import DIGITS, SPACE, as_record, formula, rows, trials_of

from src.engines import Death, Engine, Outcome, Slot
from src.engines.settings import Settings
from src.runs import store
from src.runs.job import Job
from src.sweeping import search, search_options, study

Ends = Callable[[list[list[Job]]], int]


class Scripted(Engine):
    """Takes a pack more than it has workers, as loky does, and ends one at each wait: the one that `ends` says."""

    workers = 2

    def __init__(
        self, ends: Ends, result: Callable[[dict[str, Any]], Any], seconds: float, most: int
    ) -> None:
        self._ends, self._result, self._seconds, self._most = ends, result, seconds, most
        self.under_way: list[list[Job]] = []
        self.packs: list[int] = []
        self.trained: list[str] = []
        self.idle = 0
        """Waits with a worker that has nothing to do."""

    def prepare(self, jobs: Sequence[Job], at_once: int) -> None:
        pass

    def slot(self) -> Slot | None:
        return Slot() if len(self.under_way) <= self.workers else None

    def submit(self, pack: list[Job]) -> None:
        self.under_way.append(pack)
        self.packs.append(len(pack))

    def wait(self) -> list[Outcome]:
        if len(self.trained) >= self._most:
            raise KeyboardInterrupt
        self.idle += len(self.under_way) < self.workers
        pack = self.under_way.pop(self._ends(self.under_way))
        if self._result is DIES:
            return [(pack, Death("killed"))]
        self.trained += [job.id for job in pack]
        records = [as_record(job, self._result(job.config)) | {"seconds": self._seconds} for job in pack]
        return [(pack, records)]

    def close(self) -> None:
        pass


def DIES(config: dict[str, Any]) -> Any:  # noqa: N802 - a constant
    raise AssertionError


class Searched(NamedTuple):
    trials: list[FrozenTrial]
    engine: Scripted
    folder: Path
    exit_code: int


Run = Callable[..., Searched]


def newest(under_way: list[list[Job]]) -> int:
    """The first pack of all ends last."""
    return len(under_way) - 1


@pytest.fixture
def run(hydra_loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    def searched(
        *arguments: str,
        ends: Ends = newest,
        result: Callable[[dict[str, Any]], Any] = formula,
        seconds: float = 5.0,
        most: int = 10**6,
        name: str = "searched",
        **options: Any,
    ) -> Searched:
        folder = tmp_path / "sweeps" / name
        config = hydra_loader.load_configuration("config", ["hydra/sweeper=optuna"], RunMode.MULTIRUN)
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
        sweeper = SimpleNamespace(
            plan=False,
            hydra_context=SimpleNamespace(config_loader=hydra_loader),
            config=config,
            params={},
            options={"metric": "val_acc", "direction": None, "n_trials": 12, "batch_size": None,
                     "sampler": "random", "seed": 0, "arms": None, **options},
        )  # fmt: skip
        engine = Scripted(ends, result, seconds, most)
        monkeypatch.setattr("src.sweeping.sweep.engines.start", lambda settings: engine)
        code = 0
        try:
            search.search(sweeper, [*DIGITS, f"output={tmp_path}", "device=cpu", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        except KeyboardInterrupt:
            code = 130
        return Searched(trials_of(folder), engine, folder, code)

    yield searched
    study.optuna.logging.set_verbosity(study.optuna.logging.ERROR)


def test_no_worker_waits_for_the_slowest(run: Run) -> None:
    searched = run(*SPACE)
    engine = searched.engine
    assert (len(engine.trained), len(set(engine.trained)), searched.exit_code) == (12, 12, 0)
    assert engine.trained[-1] == searched.trials[0].user_attrs["run"], "the first one ends last"
    assert engine.idle == 1, "alone while the last one trains"
    assert set(engine.packs) == {1}
    assert [trial.state for trial in searched.trials] == [TrialState.COMPLETE] * 12
    assert [trial.user_attrs["trial"] for trial in searched.trials] == list(range(1, 13))
    assert [row["id"] for row in rows(searched.folder)] == [t.user_attrs["run"] for t in searched.trials]


@pytest.mark.slow
def test_what_is_asked_knows_of_what_has_ended(run: Run) -> None:
    """With batches the same trials are asked for whoever ends first; without it depends on it."""
    options: dict[str, Any] = {"sampler": "tpe", "n_trials": 20}
    orders: dict[str, Ends] = {"newest": newest, "oldest": lambda under_way: 0}
    asked = {
        (name, size): [trial.params for trial in run(*SPACE, ends=ends, name=f"{name}{size}", batch_size=size,
                                                     **options).trials]
        for name, ends in orders.items()
        for size in (4, None)
    }  # fmt: skip
    assert asked["newest", 4] == asked["oldest", 4]
    assert asked["newest", None] != asked["oldest", None]


@pytest.mark.parametrize("size", [None, pytest.param(4, marks=pytest.mark.slow)])
def test_an_interrupted_search_goes_on_and_trains_nothing_again(run: Run, size: int | None) -> None:
    first = run(*SPACE, most=5, batch_size=size)
    assert first.exit_code == 130
    states = [trial.state for trial in first.trials]
    assert (states.count(TrialState.COMPLETE), set(states)) == (5, {TrialState.COMPLETE, TrialState.RUNNING})
    assert [row["state"] for row in rows(first.folder)].count("finished") == 5
    then = run(*SPACE)  # without batches, whatever was before
    assert not set(then.engine.trained) & set(first.engine.trained)
    assert len(then.engine.trained) + len(first.engine.trained) == 12
    assert [trial.params for trial in then.trials[: len(first.trials)]] == [t.params for t in first.trials]
    assert [trial.state for trial in then.trials] == [TrialState.COMPLETE] * 12
    assert all(row["state"] == "finished" for row in rows(then.folder))
    assert not run(*SPACE).engine.trained
    assert len(run(*SPACE, n_trials=13, batch_size=4).engine.trained) == 1


def test_short_runs_come_in_packs_that_shrink_towards_the_end(run: Run) -> None:
    searched = run(*SPACE, seconds=0.01, n_trials=60)
    packs = searched.engine.packs
    assert (sum(packs), packs[:3]) == (60, [1, 1, 1])
    assert max(packs) > 5 and packs[-1] == 1
    assert [trial.state for trial in searched.trials] == [TrialState.COMPLETE] * 60


def test_a_run_that_two_trials_ask_for_is_trained_once(run: Run) -> None:
    searched = run("dropout1=0.1,0.2", n_trials=8)
    assert len(searched.engine.trained) == 2
    assert [trial.state for trial in searched.trials] == [TrialState.COMPLETE] * 8
    assert len({trial.value for trial in searched.trials}) == 2


def test_pruned_trials_make_room_at_once(run: Run) -> None:
    searched = run(*SPACE, "seed=range(6)", pruner="wilcoxon", n_trials=6, ends=lambda under_way: 0)
    seeds = [sum(row["trial"] == str(number) for row in rows(searched.folder)) for number in range(1, 7)]
    assert {4, 6} <= set(seeds) <= {4, 5, 6}
    assert len(searched.engine.trained) == sum(seeds)
    assert searched.engine.idle <= 1
    best = max(searched.trials, key=lambda trial: trial.value or 0)
    assert seeds[best.number] == 6
    assert not run(*SPACE, "seed=range(6)", pruner="wilcoxon", n_trials=6).engine.trained


def test_failed_diverged_and_dying_runs(run: Run) -> None:
    def result(config: dict[str, Any]) -> Any:
        if config["dropout1"] > 0.6:
            return store.FAILED
        return store.DIVERGED if config["dropout1"] > 0.3 else formula(config)

    searched = run(*SPACE, result=result)
    assert {trial.state.name for trial in searched.trials} == {"COMPLETE", "PRUNED", "FAIL"}
    assert searched.exit_code == 1
    dead = run(*SPACE, result=DIES, name="dead", n_trials=3, seed=9)
    assert [trial.state for trial in dead.trials] == [TrialState.FAIL] * 3


def test_where_trials_cannot_be_asked_for_one_by_one() -> None:
    options = search_options.Options(("val_acc",), ("maximize",), 20, None, "tpe", 0)
    cpu, gpu, auto = (SimpleNamespace(device=device) for device in ("cpu", "cuda", "auto"))

    def size(chosen: Settings | None, run: Any) -> int | None:
        return search_options.batched(options, chosen, run).batch_size

    assert size(Settings(), cpu) is size(Settings(backend="dask"), auto) is None
    assert size(None, cpu) == search_options.BATCH
    assert size(Settings(backend="slurm"), gpu) == size(Settings(backend="ray", gpus=1), auto) == 8
    assert search_options.batched(search_options.replace(options, batch_size=3), None, cpu).batch_size == 3
