"""A search with Optuna: its space, what it refuses, its batches, and how it goes on after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import forks
import psutil
import pytest
import yaml
from configs import REPOSITORY, Command, heed_signals

pytest.importorskip("optuna", reason="a search needs optuna: pip install -e '.[optuna]'")

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import open_dict
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from src import provenance
from src.errors import InputError, MachineError
from src.runs import store
from src.sweeping import search, space, study

DIGITS = ["data=digits", "data.validation=100", "model.hidden1=16", "model.hidden2=16", "epochs=2"]
SPACE = ["dropout1=interval(0,0.8)", "optimizer.lr=tag(log,interval(1e-2,1))"]
PARSER = OverridesParser.create()


# The space


def axis(text: str) -> space.Axis:
    (axis_,) = space.parse([PARSER.parse_override(text)]).axes
    return axis_


FORMS: list[tuple[str, Any]] = [
    ("x=choice(a,b)", CategoricalDistribution(("a", "b"))),
    ("x=a,b", CategoricalDistribution(("a", "b"))),
    ("x=0.2,0.5", CategoricalDistribution((0.2, 0.5))),
    ("x=choice(1,true,'a b')", CategoricalDistribution((1, "True", "a b"))),
    ("x=0.5,null", CategoricalDistribution((0.5, None))),
    ("x=choice(0.2,0.20)", CategoricalDistribution((0.2,))),
    ("x=choice([1,2],[3])", CategoricalDistribution(("[1,2]", "[3]"))),
    ("x=shuffle(range(1,3))", CategoricalDistribution((1, 2))),
    ("x=range(1,10)", IntDistribution(1, 10)),
    ("x=range(5)", IntDistribution(0, 5)),
    ("x=range(1,10,4)", IntDistribution(1, 9, step=4)),
    ("x=range(10,1,-3)", IntDistribution(1, 10, step=3)),
    ("x=range(-5.5,5.5,step=0.5)", FloatDistribution(-5.5, 5.5, step=0.5)),
    ("x=range(0,0.3,0.1)", FloatDistribution(0, 0.3, step=0.1)),
    ("x=range(0,1,0.3)", FloatDistribution(0, 0.9, step=0.3)),
    ("x=interval(0,1)", FloatDistribution(0, 1)),
    ("x=int(interval(1,512))", IntDistribution(1, 512)),
    ("x=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
    ("x=tag(log, int(interval(1, 512)))", IntDistribution(1, 512, log=True)),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("text", "expected"), FORMS, ids=[text for text, _ in FORMS])
def test_each_form_is_a_distribution(text: str, expected: Any) -> None:
    assert axis(text).distribution == expected


def test_values_are_written_as_they_are_typed() -> None:
    assert [axis("x=choice('a b',c)").override(value) for value in ("a b", "c")] == ["x=a\\ b", "x=c"]
    assert [axis("+x=true,null").override(value) for value in (True, None)] == ["+x=True", "+x=null"]
    assert axis("x=interval(0,1)").override(0.1) == "x=0.1"
    stepped = axis("x=range(0,0.8,0.1)")
    assert stepped.override(0.1 + 0.2) == "x=0.3"  # and not 0.30000000000000004, which would be another run
    assert stepped.points() == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert axis("x=shuffle(range(0,0.4,0.1))").points() == [0, 0.1, 0.2, 0.3]


def test_plain_values_are_fixed_and_the_last_setting_wins() -> None:
    parsed = space.parse(
        PARSER.parse_overrides(["a=1", "b=interval(0,1)", "c=1,2", "c=3", "~d", "a=range(2)"])
    )
    assert (list(parsed.distributions), parsed.fixed) == (["a", "b"], ["c=3", "~d"])
    assert parsed.overrides({"a": 2, "b": 0.5}) == ["a=2", "b=0.5", "c=3", "~d"]
    assert parsed.size() is None
    assert space.parse(PARSER.parse_overrides(["a=range(1,3)", "b=x,y"])).size() == 6


WRONG_AXES = [
    ("x=interval(1,0)", r"x=interval\(1,0\): must be choice\(a,b\), .*low <= high"),
    ("x=tag(log,interval(0,1))", r"x=tag\(log,interval\(0,1\)\): .*low > 0"),
    ("x=tag(exp,interval(1,2))", r"x=tag\(exp,interval\(1,2\)\): a search knows no tag but log"),
    ("x=range(0,1,0)", r"x=range\(0,1,0\): .*its step is 0"),
    ("x=interval(0,inf)", r"x=interval\(0,inf\): .*must be finite"),
]


@pytest.mark.parametrize(("text", "said"), WRONG_AXES, ids=[text for text, _ in WRONG_AXES])
def test_a_wrong_axis_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        axis(text)
    assert "\n" not in str(caught.value)


# A search without training: the launcher gives each job the result of a formula


def formula(config: dict[str, Any]) -> dict[str, float]:
    """Best at dropout1 = 0.3, lr = 0.1; accuracy and cross-entropy disagree about dropout2."""
    away = (config["dropout1"] - 0.3) ** 2 + (config["optimizer"]["lr"] - 0.1) ** 2
    return {"val_acc": 1 - away - 0.1 * config["dropout2"], "val_loss": away + 0.1 * (1 - config["dropout2"])}


class Stopped(Exception):
    """Ends a search in the middle, as a kill would."""


class Launcher:
    """A launcher that is not ours: it trains nothing, and stops after so many jobs."""

    def __init__(self, result: Callable[[dict[str, Any]], Any], most: int) -> None:
        self.result, self.most = result, most
        self.batches: list[list[list[str]]] = []
        self.make: Callable[[Sequence[str]], dict[str, Any]]

    def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.batches.append([list(job_overrides) for job_overrides in overrides])
        if sum(map(len, self.batches)) > self.most:
            raise Stopped
        returned = []
        for job_overrides in overrides:
            returned.append(JobReturn(status=JobStatus.COMPLETED))
            returned[-1].return_value = self.result(self.make(job_overrides))
        return returned


class Searched(NamedTuple):
    trials: list[FrozenTrial]
    batches: list[list[list[str]]]
    folder: Path
    exit_code: int


Run = Callable[..., Searched]


@pytest.fixture
def run(hydra_loader: Any, tmp_path: Path) -> Iterator[Run]:
    """Searches with the formula; `result` makes a run's metrics or state, options are those of `hydra.sweeper`."""

    def searched(
        *arguments: str,
        name: str = "searched",
        result: Callable[[dict[str, Any]], Any] = formula,
        most: int = 10**6,
        **options: Any,
    ) -> Searched:
        folder = tmp_path / "sweeps" / name
        overrides = ["hydra/sweeper=optuna", "hydra/launcher=basic"]
        config = hydra_loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
        launcher = Launcher(result, most)
        sweeper = SimpleNamespace(
            plan=False,
            hydras_launcher=lambda: launcher,
            hydra_context=SimpleNamespace(config_loader=hydra_loader),
            config=config,
            params={},
            options={"metric": "val_acc", "direction": None, "n_trials": 12, "batch_size": 4, "sampler": "tpe",
                     "seed": 0, "arms": None, **options},
        )  # fmt: skip
        planner = search.planning.Planner(hydra_loader, config)

        def record(overrides: Sequence[str]) -> dict[str, Any]:
            return planner.job(overrides, 0)

        launcher.make = record  # type: ignore[assignment]
        launcher.result = lambda job: as_record(job, result(job.config))
        code = 0
        try:
            search.search(sweeper, [*DIGITS, f"output={tmp_path}", "device=cpu", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Searched(trials_of(folder), launcher.batches, folder, code)

    yield searched
    study.optuna.logging.set_verbosity(study.optuna.logging.ERROR)


def as_record(job: Any, outcome: Any) -> dict[str, Any] | None:
    """A run's record of a state by name, or finished with the metrics given; written as the run would."""
    state = outcome if isinstance(outcome, str) else store.FINISHED
    metrics = dict.fromkeys(store.METRICS, 0.5) | ({} if isinstance(outcome, str) else outcome) | {"epoch": 2}
    record = {
        "id": job.id,
        "state": state,
        "config": job.config,
        "final": metrics,
        "seconds": 0.0,
        "error": state,
    }
    job.folder.mkdir(parents=True, exist_ok=True)
    store.write_metrics(job.folder, [{**metrics, "epoch": 1}, metrics])
    store.write_record(job.folder, record)
    return record


def trials_of(folder: Path) -> list[FrozenTrial]:
    return list(study.load(folder / study.FILE).get_trials())


def params_of(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    return [trial.params for trial in trials]


def rows(folder: Path) -> list[dict[str, str]]:
    import csv

    with (folder / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_batch_is_one_launch_and_all_is_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    searched = run(*SPACE, n_trials=10)
    assert [len(batch) for batch in searched.batches] == [4, 4, 2]
    assert [trial.state for trial in searched.trials] == [TrialState.COMPLETE] * 10
    assert searched.exit_code == 0
    table = rows(searched.folder)
    assert list(table[0])[:5] == ["id", "state", "dropout1", "optimizer.lr", "seed"]
    assert [row["id"] for row in table] == [trial.user_attrs["run"] for trial in searched.trials]
    assert [float(row["dropout1"]) for row in table] == [
        trial.params["dropout1"] for trial in searched.trials
    ]
    assert [float(row["val_acc"]) for row in table] == [trial.value for trial in searched.trials]
    assert "hydra" in yaml.safe_load((searched.folder / "multirun.yaml").read_text())
    best = max(searched.trials, key=lambda trial: trial.value or 0)
    out = capsys.readouterr().out
    assert f"best of 10 trials: val_acc {best.value:.4f}  trial {best.number + 1}: dropout1=" in out
    assert "report: python -m analysis.compare" in out


@pytest.mark.parametrize("seeds", [[], ["seed=0,1"]], ids=["a run a trial", "two seeds"])
def test_a_search_does_not_go_on_with_other_data_or_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, seeds: list[str]
) -> None:
    """What its trials were told is of the earlier runs; new runs beside them would contradict it."""
    before = run(*SPACE, *seeds, n_trials=4)
    again = run(*SPACE, *seeds, n_trials=5)
    assert [trial.value for trial in again.trials[:4]] == [trial.value for trial in before.trials]
    table = (again.folder / "runs.csv").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "arrays_checksum", lambda options: "other")
        with pytest.raises(
            InputError, match=r"trial 1 was trained with other code or data than now; another"
        ):
            run(*SPACE, *seeds, n_trials=6)
    assert (again.folder / "runs.csv").read_text() == table
    assert len(run(*SPACE, *seeds, n_trials=6).trials) == 6


@pytest.mark.parametrize("override", ["data.split=0,1", "data.validation=100,200"])
def test_trials_share_their_validation_images(run: Run, override: str) -> None:
    with pytest.raises(InputError, match=rf"^{override}: must be one in a search"):
        run(*SPACE, override)


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_the_same_seed_asks_for_the_same_trials_even_after_a_kill(run: Run, sampler: str) -> None:
    axes = ["dropout1=range(0,0.8,0.1)", "optimizer.lr=0.1,0.2"] if sampler == "grid" else SPACE
    options: dict[str, Any] = {"sampler": sampler, "n_trials": 18}
    first = run(*axes, name="first", **options)
    other = run(*axes, name="other", seed=1, **{**options, "n_trials": 4})
    assert params_of(first.trials)[:4] != params_of(other.trials)
    assert len({str(params) for params in params_of(first.trials)}) == 18
    with pytest.raises(Stopped):
        run(*axes, name="killed", most=8, **options)
    left = trials_of(first.folder.parent / "killed")
    assert [trial.state.name for trial in left] == ["COMPLETE"] * 8 + ["RUNNING"] * 4
    killed = run(*axes, name="killed", **options)
    assert [len(batch) for batch in killed.batches] == [4, 4, 2]
    assert params_of(killed.trials) == params_of(first.trials)
    assert [t.values for t in killed.trials] == [t.values for t in first.trials]
    assert [row["id"] for row in rows(killed.folder)] == [row["id"] for row in rows(first.folder)]


@pytest.mark.slow
def test_a_sampler_that_learns_beats_chance(run: Run) -> None:
    best = {
        sampler: max(
            trial.value or 0 for trial in run(*SPACE, name=sampler, sampler=sampler, n_trials=60).trials[20:]
        )
        for sampler in ("tpe", "random")
    }
    tried = run(*SPACE, name="tpe", sampler="tpe", n_trials=60).trials[40:]
    assert best["tpe"] >= best["random"]
    assert sum(abs(trial.params["dropout1"] - 0.3) < 0.2 for trial in tried) > 12  # by chance: 10 of 20


def test_more_trials_go_on_and_fewer_do_nothing(run: Run) -> None:
    run(*SPACE, n_trials=6)
    searched = run(*SPACE, n_trials=9)
    assert [len(batch) for batch in searched.batches] == [2, 1]  # the batch of 4 to 7 is completed first
    assert params_of(searched.trials) == params_of(run(*SPACE, name="whole", n_trials=9).trials)
    again = run(*SPACE, n_trials=5)
    assert (again.batches, len(again.trials)) == ([], 9)


def test_finished_runs_are_used_again_without_their_study(run: Run) -> None:
    before = run(*SPACE)
    (before.folder / study.FILE).unlink()
    after = run(*SPACE)
    assert params_of(after.trials) == params_of(before.trials)


def test_a_run_that_is_gone_is_trained_again(run: Run) -> None:
    searched = run(*SPACE, n_trials=4)
    shutil.rmtree(searched.folder.parents[1] / "runs" / searched.trials[2].user_attrs["run"])
    again = run(*SPACE, n_trials=4)
    assert again.batches == [[searched.batches[0][2]]]
    assert params_of(again.trials) == params_of(searched.trials)


def test_a_grid_is_every_point_once(run: Run) -> None:
    searched = run("dropout1=range(0,0.4,0.2)", "noise=dropout,gaussian", sampler="grid", n_trials=100)
    points = {(trial.params["dropout1"], trial.params["noise"]) for trial in searched.trials}
    assert len(searched.trials) == len(points) == 6


def test_failed_is_told_as_fail_and_diverged_as_pruned(run: Run) -> None:
    def result(config: dict[str, Any]) -> Any:
        if config["dropout1"] > 0.6:
            return store.FAILED
        return store.DIVERGED if config["dropout1"] > 0.3 else formula(config)

    searched = run(*SPACE, result=result, n_trials=16)
    states = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "diverged", TrialState.FAIL: "failed"}
    assert {trial.state for trial in searched.trials} == set(states)
    assert [states[trial.state] for trial in searched.trials] == [
        row["state"] for row in rows(searched.folder)
    ]
    assert searched.exit_code == 1
    assert run(*SPACE, result=result, n_trials=16).exit_code == 1  # nothing left to do, and it says so again


def test_tpe_stays_away_from_what_diverged(run: Run) -> None:
    searched = run(
        *SPACE, result=lambda c: store.DIVERGED if c["dropout1"] > 0.4 else formula(c), n_trials=40, seed=3
    )
    late = [trial.params["dropout1"] > 0.4 for trial in searched.trials[20:]]
    assert sum(late) < 5  # by chance: 10 of 20


def test_settings_that_do_not_go_together_are_a_failed_trial(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(space, "MOST_CHECKED", 1)
    searched = run("dropout2=0.5,1", "noise=dropout,gaussian", sampler="grid", n_trials=4)
    states = {(t.params["dropout2"], t.params["noise"]): t.state for t in searched.trials}
    assert states.pop((1, "gaussian")) == TrialState.FAIL
    assert set(states.values()) == {TrialState.COMPLETE}
    assert "cannot be run: dropout2=1.0: must be a finite number from 0 to below 1" in capsys.readouterr().err
    assert (len(rows(searched.folder)), searched.exit_code) == (3, 1)


def test_several_metrics(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    searched = run(
        *SPACE,
        "dropout2=interval(0,1)",
        metric=["val_acc", "val_loss"],
        sampler="nsgaii",
        n_trials=24,
        batch_size=8,
    )
    loaded = study.load(searched.folder / study.FILE)
    assert [direction.name for direction in loaded.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(len(trial.values) == 2 for trial in searched.trials)
    front = {str(trial.params) for trial in loaded.best_trials}
    assert 1 < len(front) < 24
    out = capsys.readouterr().out
    assert f"{len(front)} of 24 trials that no other one beats" in out
    generations = [
        value for t in searched.trials for key, value in t.system_attrs.items() if "generation" in key
    ]
    assert set(generations) == {0, 1, 2}  # a batch is a generation


# Refusals

REFUSED: list[tuple[list[str], dict[str, Any], str]] = [
    (["data.validation=0", *SPACE], {}, "data.validation=0: must be above 0, .*the test set is not for searching"),
    (SPACE, {"metric": "test_acc"}, "hydra.sweeper.metric=test_acc: must be val_acc or .*not for searching"),
    (SPACE, {"metric": "train_loss"}, "hydra.sweeper.metric=train_loss: must be val_acc or val_loss"),
    (SPACE, {"metric": ["val_acc", "test_acc"]}, r"hydra.sweeper.metric=.*: must be val_acc or val_loss"),
    (SPACE, {"direction": "minimize"}, "hydra.sweeper.direction=minimize: must be maximize for val_acc, or null"),
    (SPACE, {"direction": "up"}, "hydra.sweeper.direction=up: must be maximize or minimize"),
    (SPACE, {"metric": ["val_acc", "val_loss"], "direction": ["maximize"]},
     r"hydra.sweeper.direction=\[maximize\]: must be \[maximize,minimize\] for val_acc, val_loss, or null"),
    (SPACE, {"n_trials": 0}, "hydra.sweeper.n_trials=0: must be a whole number of at least 1"),
    (SPACE, {"batch_size": 0}, "hydra.sweeper.batch_size=0: must be a whole number of at least 1"),
    (SPACE, {"sampler": "best"}, "hydra.sweeper.sampler=best: must be one of tpe, gp, random, qmc, grid, cmaes"),
    (SPACE, {"seed": -1}, "hydra.sweeper.seed=-1: must be a whole number of at least 0"),
    (SPACE, {"arms": ["dropout1=0.2"]}, "hydra.sweeper.arms=.*: a search takes no arms"),
    (SPACE, {"sampler": "grid"}, r"dropout1=interval\(0,0.8\): the sampler grid needs a choice or a range"),
    (["dropout1=0.1,0.2", SPACE[1]], {"sampler": "cmaes"}, "dropout1=0.1,0.2: the sampler cmaes needs a range"),
    (SPACE[:1], {"sampler": "cmaes"}, "hydra.sweeper.sampler=cmaes: needs two keys to search over"),
    (SPACE, {"sampler": "cmaes", "metric": ["val_acc", "val_loss"]},
     "hydra.sweeper.sampler=cmaes: takes one metric"),
    (["dropout1=range(0,1,0.0001)", "dropout2=range(0,1,0.01)"], {"sampler": "grid"},
     "hydra.sweeper.sampler=grid: the grid has 1,010,101 points; at most 100,000"),
    (["dropout1=0.2"], {}, "a search needs a key to search over"),
    (["dropout1=interval(0,2)"], {}, "dropout1=2.0: must be a finite number from 0 to 1"),
    (["dropout1=choice(0.2,half)"], {}, "dropout1=half: must be a finite number from 0 to 1"),
    (["dropout2=0.5,1", "noise=dropout,gaussian"], {}, "dropout2=1.0: must be a finite number from 0 to below 1"),
    ([*SPACE, "batch_size=range(1000,2000)"], {}, "batch_size=2000: must be at most 1337"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "said"), REFUSED, ids=[said[:60] for *_, said in REFUSED])
def test_what_is_refused_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, arguments: list[str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=f"^{said}") as caught:
        run(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("data.validation=0", "data.validation=0: must be above 0, "),
        ("hydra.sweeper.metric=test_acc", "hydra.sweeper.metric=test_acc: must be val_acc or val_loss, "),
        ("hydra.sweeper.n_trials=many", "hydra.sweeper.n_trials=many: "),
    ],
)
def test_a_refusal_as_a_user_sees_it(command: Command, tmp_path: Path, typed: str, said: str) -> None:
    done = command("src.train", "-m", "hydra/sweeper=optuna", *DIGITS, *SPACE, f"output={tmp_path}", typed)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())


def test_another_search_in_the_same_folder_is_refused(run: Run) -> None:
    searched = run(*SPACE)
    for options in ({"metric": "val_loss"}, {"sampler": "random"}, {"seed": 5}):
        ((key, value),) = options.items()
        with pytest.raises(InputError, match=f"^hydra.sweeper.{key}=.*{value}.* holds a search with "):
            run(*SPACE, **options)
    for axes in (["dropout1=interval(0,0.7)", SPACE[1]], [*SPACE, "dropout2=0.1"]):
        with pytest.raises(InputError, match="holds a search with "):
            run(*axes)
    assert trials_of(searched.folder) == searched.trials
    assert len(run(*SPACE, batch_size=6, n_trials=14).trials) == 14  # how fast and how far may change


def test_a_damaged_study_is_named(run: Run) -> None:
    searched = run(*SPACE)
    (searched.folder / study.FILE).write_bytes(b"no database" * 100)
    with pytest.raises(
        InputError, match=r"study.db is no study of Optuna \(.*\); without it the search begins"
    ):
        run(*SPACE)


def test_two_searches_of_one_folder_at_once_are_refused(run: Run, tmp_path: Path) -> None:
    run(*SPACE)
    with (
        search._alone(tmp_path / "sweeps" / "searched"),
        pytest.raises(InputError, match="another process is at"),
    ):
        run(*SPACE)


def ended(folder: Path, check: str, *arguments: str) -> forks.Done:
    """A sweep from an empty folder, and a check behind its end."""
    (folder / "checked.py").write_text(
        f"import sys\nfrom src import train\ncode = train.main()\n{check}\nsys.exit(code)\n"
    )
    return forks.python("checked", "-m", *DIGITS, *arguments, cwd=folder, PYTHONPATH=str(REPOSITORY))


def test_without_optuna_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ModuleNotFoundError('No module named optuna', name='optuna')")
    done = ended(tmp_path, "", "hydra/sweeper=optuna", *SPACE)
    assert done.returncode == 2
    said = "hydra/sweeper=optuna: the package optuna is not installed; pip install -e '.[optuna]' brings it"
    assert done.stderr == f"error: {said}\n"
    assert not (tmp_path / "outputs").exists()


def test_a_plain_sweep_does_not_import_optuna(tmp_path: Path) -> None:
    names = {"optuna", "sqlalchemy", "src.sweeping.search"}
    plan = [*SPACE, "hydra.sweeper.plan=true"]
    for check, arguments in (("not names &", ["seed=0"]), ("names <=", ["hydra/sweeper=optuna", *plan])):
        done = ended(tmp_path, f"names = {names}; assert {check} set(sys.modules)", *arguments)
        assert (done.returncode, done.stderr) == (0, "")


# In processes of their own, with real training


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", "-m", "hydra/sweeper=optuna", *DIGITS, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_signals,
    )


def finished(*arguments: str) -> str:
    done = forks.python("src.train", "-m", "hydra/sweeper=optuna", *DIGITS, *arguments, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def folder_of(output: Path) -> Path:
    (folder,) = output.glob("sweeps/*")
    return folder


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to it in time"
        time.sleep(0.02)


LONG = [*SPACE, "epochs=60", "hydra.sweeper.n_trials=10", "hydra.sweeper.batch_size=4"]


@pytest.mark.slow
def test_kill_everything_and_start_again(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(*LONG, f"output={whole}")
    process = start(*LONG, f"output={killed}")
    main = psutil.Process(process.pid)
    wait_for(lambda: len(list(killed.glob("runs/*/run.json"))) >= 5)
    family = [main, *main.children(recursive=True)]
    for member in family:
        member.kill()
    process.communicate(timeout=10)
    psutil.wait_procs(family, timeout=5)
    done = {path: path.stat().st_mtime_ns for path in killed.glob("runs/*/run.json")}
    assert 5 <= len(done) < 10
    out = finished(*LONG, f"output={killed}")
    assert done == {path: path.stat().st_mtime_ns for path in done}
    trials = trials_of(folder_of(killed))
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 10
    assert params_of(trials) == params_of(trials_of(folder_of(whole)))
    assert [t.values for t in trials] == [t.values for t in trials_of(folder_of(whole))]
    assert len(list(killed.glob("runs/*"))) == 10
    assert out.count("10 runs, ") == 1  # one display for all batches
    for log in killed.glob("runs/*/train.log"):
        assert log.read_text().count("epoch 1/60") == 1


@pytest.mark.slow
def test_ctrl_c(tmp_path: Path) -> None:
    two = ["hydra.sweeper.batch_size=2", "hydra.launcher.n_jobs=2"]
    process = start(*SPACE, "epochs=2000", *two, f"output={tmp_path}")
    main = psutil.Process(process.pid)
    wait_for(lambda: len(list(tmp_path.glob("runs/*/metrics.csv"))) >= 2)
    family = main.children(recursive=True)
    psutil.Process(process.pid).send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "0 of 20 trials are done" in err and "the same command" in err and "Traceback" not in err
    assert psutil.wait_procs(family, timeout=3)[1] == []
    assert [row["state"] for row in rows(folder_of(tmp_path))] == ["unfinished"] * 2


BUGGY = """
from src.noise import Noise
class Buggy(Noise):
    def factor(self, h, rate, draws):
        if rate > 0.6:
            raise RuntimeError("a bug in a user's noise")
        return draws.keep(h.shape, rate) / (1 - rate)
"""
NAMED = """
defaults:
  - override /hydra/sweeper: optuna
hydra:
  sweeper:
    n_trials: 16
    batch_size: 5
    sampler: random
    params:
      dropout1: interval(0,0.8)
      optimizer.lr: tag(log,interval(1e-2,1))
"""


@pytest.mark.slow
def test_a_named_search_with_a_failing_trial_and_its_report(tmp_path: Path) -> None:
    for name in ("src", "conf", "sweeps", "analysis"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src" / "noise" / "buggy.py").write_text(BUGGY)
    (tmp_path / "conf" / "noise" / "buggy.yaml").write_text("name: buggy\n")
    (tmp_path / "sweeps" / "rates.yaml").write_text(NAMED)
    done = forks.python("src.train", "sweep=rates", "noise=buggy", *DIGITS, "output=out", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    folder = folder_of(tmp_path / "out")
    assert folder.name.startswith("rates__")
    trials = trials_of(folder)
    states = [trial.state for trial in trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.FAIL}
    assert states == [
        TrialState.FAIL if trial.params["dropout1"] > 0.6 else TrialState.COMPLETE for trial in trials
    ]
    assert "a bug in a user's noise" in done.stdout
    failed = next(trial for trial in trials if trial.state == TrialState.FAIL)
    record = json.loads((tmp_path / "out" / "runs" / failed.user_attrs["run"] / "run.json").read_text())
    assert record["error"].endswith("RuntimeError: a bug in a user's noise")

    assert forks.python("analysis.compare", folder, cwd=tmp_path).returncode == 1
    report = (folder / "report.md").read_text()
    assert "## Search" in report and "searched for the highest validation accuracy in 16 trials" in report
    assert f"of which {states.count(TrialState.FAIL)} failed" in report
    assert "The best trial is" in report and "test accuracy" not in report
    for name in ("search_history", "search_importances"):
        assert f"figures/{name}.png" in report and (folder / "figures" / f"{name}.svg").exists()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("database or disk is full", MachineError),
        ("attempt to write a readonly database", MachineError),
        ("disk I/O error", MachineError),
        ("file is not a database", InputError),
    ],
)
@pytest.mark.parametrize("is_optunas", [False, True])
def test_a_disk_that_gives_out_is_no_damaged_study(
    tmp_path: Path, reason: str, kind: type[Exception], is_optunas: bool
) -> None:
    with (
        pytest.raises(kind, match=f"study.db .*{reason.split()[-1]}") as caught,
        study._in_one_line(tmp_path / study.FILE),
    ):
        error = sqlite3.OperationalError(reason)
        if is_optunas:  # as it raises what goes wrong in a commit
            raise StorageInternalError("An exception is raised during the commit.") from error
        raise error
    assert isinstance(caught.value, InputError) == (kind is InputError)
