"""A search whose trials have several seeds: the objective is their mean."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("optuna", reason="a search needs optuna: pip install -e '.[optuna]'")

from optuna.trial import TrialState
from test_search import SPACE, Run, Stopped, formula, params_of, rows, run

from src.errors import InputError
from src.runs import store

__all__ = ["run"]

SEEDS = "seed=0,1,4"


def by_seed(config: dict[str, Any]) -> dict[str, float]:
    """The formula's, and 0.01 more with each seed."""
    values = formula(config)
    return values | {"val_acc": values["val_acc"] + 0.01 * config["seed"]}


def test_the_objective_is_the_mean_over_the_seeds(run: Run) -> None:
    searched = run(*SPACE, SEEDS, result=by_seed, n_trials=6, batch_size=2)
    assert [len(batch) for batch in searched.batches] == [6, 6, 6]
    assert searched.exit_code == 0
    table = rows(searched.folder)
    assert list(table[0])[:5] == ["id", "state", "dropout1", "optimizer.lr", "seed"]
    assert [(int(row["trial"]), row["seed"]) for row in table] == [
        (t + 1, s) for t in range(6) for s in "014"
    ]
    for trial in searched.trials:
        values = [float(row["val_acc"]) for row in table if int(row["trial"]) == trial.number + 1]
        assert trial.value == pytest.approx(sum(values) / 3)
        assert trial.user_attrs["runs"] == [
            row["id"] for row in table if int(row["trial"]) == trial.number + 1
        ]


def test_a_seed_that_diverged_or_failed_speaks_for_its_trial(run: Run) -> None:
    def result(config: dict[str, Any]) -> Any:
        if config["seed"] != 4:
            return by_seed(config)
        return {0: store.DIVERGED, 1: store.FAILED}[int(config["dropout2"])]

    searched = run("dropout1=0.1,0.2", "dropout2=0,1", SEEDS, result=result, sampler="grid", n_trials=4)
    states = {trial.params["dropout2"]: trial.state for trial in searched.trials}
    assert states == {0: TrialState.PRUNED, 1: TrialState.FAIL}
    assert all(trial.value is None for trial in searched.trials)
    assert searched.exit_code == 1


def test_a_killed_search_goes_on_with_the_seeds_that_are_left(run: Run) -> None:
    whole = run(*SPACE, SEEDS, result=by_seed, n_trials=6, batch_size=2, name="whole")
    with pytest.raises(Stopped):
        run(*SPACE, SEEDS, result=by_seed, n_trials=6, batch_size=2, most=7)
    again = run(*SPACE, SEEDS, result=by_seed, n_trials=6, batch_size=2)
    assert params_of(again.trials) == params_of(whole.trials)
    assert [trial.value for trial in again.trials] == [trial.value for trial in whole.trials]


def test_other_seeds_are_another_search(run: Run) -> None:
    run(*SPACE, SEEDS, result=by_seed, n_trials=2)
    for seeds in ("seed=0,1", "seed=0"):
        with pytest.raises(InputError, match="the search's fixed"):
            run(*SPACE, seeds, result=by_seed, n_trials=2)


def test_seeds_are_listed_as_in_a_sweep(run: Run) -> None:
    searched = run(*SPACE, "seed=range(2)", result=by_seed, n_trials=1)
    assert [row["seed"] for row in rows(searched.folder)] == ["0", "1"]
    with pytest.raises(InputError, match=r"seed=interval\(0,3\): must be a list of values, or range"):
        run(*SPACE, "seed=interval(0,3)", result=by_seed, n_trials=1, name="other")


# Pruning

TEN: dict[str, Any] = {"n_trials": 9, "batch_size": 3, "pruner": "wilcoxon"}


def test_a_clearly_worse_trial_gets_no_more_seeds(run: Run) -> None:
    plain = run(
        *SPACE, "seed=range(8)", result=by_seed, name="plain", n_trials=9, batch_size=3, sampler="random"
    )
    pruned = run(*SPACE, "seed=range(8)", result=by_seed, sampler="random", **TEN)
    table = rows(pruned.folder)
    seeds = [sum(int(row["trial"]) == number + 1 for row in table) for number in range(9)]
    # nothing to compare with in the first batch; later a trial ends after the fourth seed at the earliest
    assert seeds[:3] == [8, 8, 8]
    assert set(seeds[3:]) == {4, 8}
    assert all(row["state"] == store.FINISHED for row in table)
    assert (pruned.exit_code, {trial.state for trial in pruned.trials}) == (0, {TrialState.COMPLETE})
    assert params_of(pruned.trials) == params_of(plain.trials)
    best = max(plain.trials, key=lambda trial: trial.value or 0)
    assert seeds[best.number] == 8
    assert max(pruned.trials, key=lambda trial: trial.value or 0).number == best.number
    for trial, whole in zip(pruned.trials, plain.trials, strict=True):
        # with every seed the differences of all pairs are alike: pruned is what is worse than the best before
        before = [t.value or 0 for t in plain.trials[: trial.number // 3 * 3]]
        assert (seeds[trial.number] == 4) == bool(before and (whole.value or 0) < max(before))


@pytest.mark.parametrize("most", [pytest.param(3, marks=pytest.mark.slow), 26])
def test_a_killed_search_prunes_the_same_trials(run: Run, most: int) -> None:
    options: dict[str, Any] = {"result": by_seed, **TEN, "n_trials": 6}
    whole = run(*SPACE, "seed=range(6)", name="whole", **options)
    with pytest.raises(Stopped):
        run(*SPACE, "seed=range(6)", most=most, **options)
    again = run(*SPACE, "seed=range(6)", **options)
    assert [trial.value for trial in again.trials] == [trial.value for trial in whole.trials]
    assert [row["id"] for row in rows(again.folder)] == [row["id"] for row in rows(whole.folder)]
    assert 18 + 12 <= len(rows(whole.folder)) < 36
    assert not run(*SPACE, "seed=range(6)", **options).batches


def test_a_seed_that_diverged_ends_its_trial(run: Run) -> None:
    def result(config: dict[str, Any]) -> Any:
        return store.DIVERGED if config["seed"] == 2 else by_seed(config)

    searched = run(*SPACE, "seed=range(8)", result=result, **TEN | {"n_trials": 1})
    assert [trial.state for trial in searched.trials] == [TrialState.PRUNED]
    assert len(rows(searched.folder)) == 4


def test_a_pruner_needs_seeds_and_one_metric(run: Run) -> None:
    for seeds, options, said in (
        ("seed=0,1,2,3", {}, "hydra.sweeper.pruner=wilcoxon: can spare none of fewer than five seeds"),
        (
            "seed=range(8)",
            {"metric": ["val_acc", "val_loss"]},
            "pruner=wilcoxon: takes one metric",
        ),
        (
            "seed=range(8)",
            {"pruner": "hyperband"},
            "pruner=hyperband: must be one of wilcoxon, or null",
        ),
    ):
        with pytest.raises(InputError, match=said):
            run(*SPACE, seeds, **TEN | options)
