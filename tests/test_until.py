"""Sweeps that end once their pairs are decided: what is refused, which runs are trained, what `looks.csv` holds."""

from __future__ import annotations

import contextlib
import csv
import re
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from configs import make_run, plain
from test_campaign import Scripted
from test_sweep import SMALL, results, start, sweep, without_seconds, workshop

from src.config import Run
from src.errors import InputError
from src.runs import store, sweep_folder
from src.runs.job import Job, Record
from src.stats import Verdict
from src.stats.looks import Looks
from src.sweeping import arms, decisions, naming, until
from src.sweeping.arms import Arm, groups_of
from src.sweeping.campaign import Campaign
from src.sweeping.decisions import Decisions, worded
from src.sweeping.display import Display
from src.sweeping.until import Until

__all__ = ["workshop"]

PRIMARY: dict[str, Any] = {
    "metric": "test_acc",
    "contrast": None,
    "reference": 0,
    "all": False,
    "margin": 0.2,
}
UNTIL: dict[str, Any] = {"looks": [3, 6, 9], "alpha": 0.05, "spending": "pocock"}


ALL = make_run(probe={"every": None, "train": True, "ema": 0.9, "test_time": True}, data={"validation": 100})
"""A run that has a value of every metric."""


def parsed(arms: int, block: dict[str, Any], primary: dict[str, Any]) -> Until:
    return of_runs([ALL] * arms, block, primary)


def of_runs(runs: Sequence[Run], block: dict[str, Any], primary: dict[str, Any]) -> Until:
    return until.parse(SimpleNamespace(until=UNTIL | block, primary=PRIMARY | primary), runs)


@pytest.mark.parametrize(
    ("block", "primary", "said"),
    [
        *[
            ({"looks": looks}, {}, "hydra.sweeper.until.looks=.*whole numbers of at least 2 that ascend")
            for looks in ([], [1, 2], [5, 5], [10, 5], [2.5], [True, 3], ["a"])
        ],
        *[({"alpha": alpha}, {}, "hydra.sweeper.until.alpha=") for alpha in (0, 1, -0.1, float("nan"))],
        ({"spending": "normal"}, {}, "hydra.sweeper.until.spending=normal: must be one of pocock, obrien"),
        ({}, {"metric": ""}, "hydra.sweeper.primary.metric=: must be a text"),
        ({}, {"margin": 0}, "hydra.sweeper.primary.margin=0"),
        ({}, {"reference": None}, "must be one of contrast=.*reference=b and all=true"),
        ({}, {"all": True}, "reference and hydra.sweeper.primary.all: .*must be one of"),
        ({}, {"reference": 3}, "hydra.sweeper.primary.reference=3: .*at most 2"),
        *[
            ({}, {"reference": None, "contrast": contrast}, "hydra.sweeper.primary.contrast=")
            for contrast in ([], [0, 3], [-1, 0], [0, 1, 2], [0, 1, 2, 3], [True, 0])
        ],
        *[
            ({}, {"reference": None, "contrast": contrast}, "must be four different arms")
            for contrast in ([0, 1, 2, 0], [1, 0, 1, 2], [0, 0, 0, 0])
        ],
    ],
)
def test_what_is_wrong_is_said_in_a_line(block: dict[str, Any], primary: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        parsed(3, block, primary)
    assert "\n" not in str(error.value)


def test_pairs() -> None:
    assert parsed(3, {}, {}).contrasts == ((1, 0), (2, 0))
    assert parsed(3, {}, {"reference": None, "contrast": [2]}).contrasts == ((0, 2), (1, 2))
    assert parsed(2, {}, {"reference": None, "contrast": [0, 1]}).contrasts == ((0, 1),)
    assert parsed(3, {}, {"reference": None, "all": True}).contrasts == ((0, 1), (0, 2), (1, 2))
    with pytest.raises(InputError, match="two arms are right"):
        parsed(1, {}, {})


def test_intervals_of_all_pairs_are_simultaneous() -> None:
    assert parsed(3, {}, {}).plan == Looks((3, 6, 9), 0.025)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (["0", "1"], "seed=0,1: must be 3 different seeds"),
        (["0", "1", "1"], "must be 3 different seeds"),
        ([""], "must be 3 different seeds"),
        (["0", "2", "1"], "the same seeds in the same order"),
    ],
)
def test_seeds_that_do_not_do(seeds: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        arms._check_seeds(seeds, ["0", "1", "2"], 3, "dropout1=0.2")


def test_metrics_that_no_run_would_have() -> None:
    for metric, needs in {
        "val_acc": "data.validation",
        "eval_train_loss": "probe.train",
        "ema_test_acc": "probe.ema",
        "noisy_test_loss": "probe.test_time=true",
    }.items():
        with pytest.raises(InputError, match=f"{metric}: needs {needs}"):
            of_runs([ALL, make_run()], {}, {"metric": metric})
        # an arm that is in no contrast need not have it
        of_runs([ALL, ALL, make_run()], {}, {"metric": metric, "reference": None, "contrast": [0, 1]})
    with pytest.raises(InputError, match=r"primary\.metric=epoch: must be one of test_acc, "):
        parsed(3, {}, {"metric": "epoch"})


def test_arms_are_what_differs_beside_the_seed() -> None:
    jobs = [["seed=4", "dropout1=0.2"], ["seed=3", "dropout1=0.2"], ["dropout1=0.5"]]
    assert groups_of(jobs) == {
        ("dropout1=0.2",): [("4", jobs[0]), ("3", jobs[1])],
        ("dropout1=0.5",): [("", jobs[2])],
    }


@pytest.mark.parametrize(
    ("word", "broken", "last", "said"),
    [
        ("better", (0, 0), False, "better"),
        ("better", (1, 1), False, "better"),
        ("better", (0, 2), False, "better"),
        ("better", (2, 1), False, "open"),
        ("better", (2, 1), True, "undecided, 2 of 9 broke"),
        ("worse", (2, 1), False, "worse"),
        ("worse", (0, 1), True, "undecided, 1 of 9 broke"),
        ("equivalent", (1, 0), True, "undecided, 1 of 9 broke"),
        ("equivalent", (1, 1), True, "equivalent"),
        ("undecided", (0, 0), False, "open"),
        ("undecided", (3, 0), True, "undecided"),
        ("not tested", (0, 0), True, "undecided"),
    ],
)
def test_an_arm_gains_nothing_by_runs_that_broke(
    word: str, broken: tuple[int, int], last: bool, said: str
) -> None:
    assert worded(Verdict(word), broken, 9, last) == said


def test_a_search_takes_no_looks() -> None:
    pytest.importorskip("optuna")
    from src.sweeping import search_options

    with pytest.raises(InputError, match=r"hydra.sweeper.until=.*takes no looks"):
        search_options.parse({"arms": None, "until": {"looks": [2, 3]}})


def test_a_single_run_would_ignore_looks() -> None:
    hydra = {"sweeper": {"until": {"looks": [2, 3]}}, "runtime": {"choices": {}}}
    with pytest.raises(InputError, match=r"hydra.sweeper.until.looks=.*add -m"):
        naming.check_single(hydra)


# The looks themselves, on an engine that makes numbers up

Outcome = Callable[[int, int], float | tuple[float, float] | str]
"""Of an arm and a seed: the run's accuracy, with that of a noisy pass, or how else it ended."""


class Invented(Scripted):
    """Ends each run as the outcome says."""

    def __init__(self, outcome: Outcome, seeds: int, most: int = 10**6) -> None:
        super().__init__(most, KeyboardInterrupt() if most < 10**6 else None)
        self._outcome, self._seeds = outcome, seeds

    def wait(self) -> list[Any]:
        if self._error and len(self.trained) >= self._most:
            raise self._error
        pack = self._under_way.pop(0)
        self.trained += [job.number for job in pack]
        return [(pack, [self._ended(job) for job in pack])]

    def _ended(self, job: Job) -> Record:
        assert job.number is not None
        result = self._outcome(*divmod(job.number, self._seeds))
        accuracy = result if isinstance(result, float) else result[0] if isinstance(result, tuple) else 0.5
        fell = [0.9, 0.8] if result == "broke" else [0.8, 0.9]
        rows = [
            dict.fromkeys(store.METRICS, 0.5)
            | {
                "epoch": epoch,
                "train_acc": train,
                "test_acc": accuracy,
                "test_loss": accuracy,
                "noisy_var2": accuracy,
                "noisy_test_acc": result[1] if isinstance(result, tuple) and epoch == 2 else None,
            }
            for epoch, train in enumerate(fell, 1)
        ]
        state = result if result in ("diverged", "failed") else "finished"
        record: Record = {"id": job.id, "state": state, "config": job.config, "seconds": 1.0}
        record |= {"final": rows[-1]} if state == "finished" else {"error": "made up"}
        job.folder.mkdir(parents=True, exist_ok=True)
        store.write_metrics(job.folder, rows)
        store.write_record(job.folder, record)
        return record


def arms_in(output: Path, count: int, seeds: int) -> list[Arm]:
    def job(arm: int, seed: int) -> Job:
        config = {"seed": seed, "dropout1": arm / 10, "epochs": 2, "output": str(output)}
        overrides = [f"dropout1={arm / 10}", f"seed={seed}"]
        return Job(make_run(**config), plain(**config), overrides, {}, arm * seeds + seed)

    return [Arm(f"dropout1={arm / 10}", partial(job, arm)) for arm in range(count)]


def looked(
    output: Path, outcome: Outcome, arms: int = 2, most: int = 10**6, **primary: Any
) -> tuple[list[dict[str, str]], list[int | None]]:
    """Rows of `looks.csv`, and the numbers of the runs that were trained."""
    plan = parsed(arms, {}, {"margin": 1.0} | primary)
    folder = store.sweep_folder(output, "tried")
    folder.mkdir(parents=True, exist_ok=True)
    engine = Invented(outcome, 9, most)
    decided = Decisions(plan, arms_in(output, arms, 9), folder)
    with Campaign(folder, ["dropout1", "seed"], engine, Display(["dropout1"]), pack_size=1) as campaign:
        decided.run(campaign)
    with (folder / decisions.FILE).open(newline="") as file:
        return list(csv.DictReader(file)), engine.trained


def noise(arm: int, seed: int) -> float:
    return float(np.random.default_rng([arm, seed]).normal(0, 0.001))


def test_an_arm_goes_on_while_a_pair_of_its_own_is_open(tmp_path: Path) -> None:
    # arm 1 is better by 10 points, arm 2 varies by 20
    def outcome(arm: int, seed: int) -> float:
        return (0.5, 0.6, 0.5 + 200 * noise(2, seed))[arm] + noise(arm, seed)

    rows, trained = looked(tmp_path, outcome, arms=3)
    assert [(row["look"], row["a"], row["b"], row["verdict"]) for row in rows] == [
        ("1", "1", "0", "better"),
        ("1", "2", "0", "open"),
        ("2", "2", "0", "open"),
        ("3", "2", "0", "undecided"),
    ]
    # arm 1 saves six runs, the reference goes on with arm 2
    assert [(row["trained"], row["saved"]) for row in rows] == [
        ("6", "6"),
        ("6", "0"),
        ("12", "0"),
        ("18", "0"),
    ]
    assert sorted(number for number in trained if number is not None) == [
        *range(9),
        9,
        10,
        11,
        *range(18, 27),
    ]
    differences = [round(outcome(1, seed) - outcome(0, seed), 12) for seed in range(3)]
    interval = parsed(3, {}, {}).plan.interval(differences, (3,))
    assert interval is not None
    assert float(rows[0]["estimate"]) == pytest.approx(np.mean(differences))
    assert (float(rows[0]["lower"]), float(rows[0]["upper"])) == (interval.lower, interval.upper)


def test_all_pairs(tmp_path: Path) -> None:
    rows, trained = looked(
        tmp_path, lambda arm, seed: 0.5 + arm / 10 + noise(arm, seed), 3, reference=None, all=True
    )
    assert [(row["a"], row["b"], row["verdict"]) for row in rows] == [
        ("0", "1", "worse"),
        ("0", "2", "worse"),
        ("1", "2", "worse"),
    ]
    assert len(trained) == 9


def test_a_lower_loss_is_better_and_a_margin_of_it_is_in_nats(tmp_path: Path) -> None:
    def outcome(arm: int, seed: int) -> float:
        return 0.5 - arm / 10 + noise(arm, seed)

    rows, _ = looked(tmp_path, outcome, metric="test_loss", margin=0.01)
    assert [row["verdict"] for row in rows] == ["better"]
    rows, _ = looked(tmp_path / "same", noise, metric="test_loss", margin=0.01)
    assert [row["verdict"] for row in rows] == ["equivalent"]


def test_equal_runs_are_equivalent_once_there_are_enough(tmp_path: Path) -> None:
    rows, _ = looked(tmp_path, lambda arm, seed: 0.5)
    assert [row["verdict"] for row in rows] == ["open", "open", "equivalent"]


def test_a_diverged_run_leaves_the_mean_and_is_counted(tmp_path: Path) -> None:
    def outcome(arm: int, seed: int) -> float | str:
        return "diverged" if (arm, seed) == (1, 1) else 0.5 + arm / 10 + noise(arm, seed)

    rows, _ = looked(tmp_path, outcome)
    assert [(row["n"], row["broken_a"], row["broken_b"]) for row in rows] == [
        ("2", "1", "0"),
        ("5", "1", "0"),
        ("8", "1", "0"),
    ]
    assert [row["verdict"] for row in rows] == ["open", "open", "undecided, 1 of 9 broke"]


def test_a_run_that_broke_down_counts_and_a_failed_one_does_not(tmp_path: Path) -> None:
    def outcome(arm: int, seed: int) -> float | str:
        strange = {(1, 0): "broke", (1, 4): "failed"}
        return strange.get((arm, seed), 0.5 + noise(arm, seed))

    rows, _ = looked(tmp_path, outcome)
    assert [(row["n"], row["broken_a"]) for row in rows] == [("3", "1"), ("5", "1"), ("8", "1")]


@pytest.mark.parametrize("most", [1, 5, 8, 17])
def test_a_killed_sweep_ends_in_the_same_files(tmp_path: Path, most: int) -> None:
    def outcome(arm: int, seed: int) -> float:
        return 0.5 + 30 * noise(arm, seed)

    rows, trained = looked(tmp_path / "whole", outcome, arms=2)
    with pytest.raises(KeyboardInterrupt):
        looked(tmp_path / "killed", outcome, arms=2, most=most)
    again, rest = looked(tmp_path / "killed", outcome, arms=2)
    assert again == rows
    assert len(rest) == len(trained) - most
    table = [(tmp_path / name / "sweeps" / "tried" / "runs.csv").read_text() for name in ("whole", "killed")]
    assert table[0].count("\n") == table[1].count("\n")
    # once more: nothing is left to train, and the rows are the same
    assert looked(tmp_path / "killed", outcome, arms=2) == (rows, [])


def test_another_plan_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    plan = parsed(3, {}, {}).text()
    other = parsed(3, {"looks": [3, 6, 9, 12]}, {}).text()
    sweep_folder.claim(tmp_path / "a", "x", tmp_path, plan)
    sweep_folder.claim(tmp_path / "a", "x", tmp_path, plan)
    sweep_folder.claim(tmp_path / "b", "x", tmp_path)
    for name, text in (("a", other), ("a", ""), ("b", plan)):
        with pytest.raises(InputError, match="who may need more plans more looks"):
            sweep_folder.claim(tmp_path / name, "x", tmp_path, text)
        with pytest.raises(InputError, match="who may need more plans more looks"):
            sweep_folder.check(tmp_path / name, "x", text)
    sweep_folder.check(tmp_path / "a", "x")  # whose plan nobody knows yet
    (tmp_path / "a" / sweep_folder.FILE).write_text("{")
    sweep_folder.claim(tmp_path / "a", "x", tmp_path, plan)  # what is damaged is written anew


# As a user has it

LOOKS = ["dropout1=0,0.9", "hydra.sweeper.until.looks=[3,6]", "hydra.sweeper.primary.reference=0"]


@pytest.mark.slow
def test_a_real_sweep_killed_and_resumed(workshop: Path) -> None:
    text = sweep(workshop, *LOOKS, "output=until_whole")
    assert re.search(r"look at 3 of at most 6 seeds: \d of 1 pairs decided, at most \d+ more runs", text)
    killed = workshop / "until_killed"
    process = start(workshop, "-m", *SMALL, *LOOKS, f"output={killed.name}", "hydra.launcher.n_jobs=1")
    while len(list(killed.glob("runs/*/run.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sweep(workshop, *LOOKS, f"output={killed.name}")
    whole = workshop / "until_whole"
    assert results(killed) == results(whole)
    rows, runs = (
        [next(of.glob(f"sweeps/*/{name}.csv")) for of in (whole, killed)] for name in ("looks", "runs")
    )
    assert rows[0].read_text() == rows[1].read_text()
    assert without_seconds(runs[0].read_text()) == without_seconds(runs[1].read_text())
    # the name says that it is no plain sweep, and what it would take is told without training
    assert [path.name[:7] for path in killed.glob("sweeps/*")] == ["until__"]
    assert "at least 6 of these runs" in sweep(
        workshop, *LOOKS, "output=until_new", "hydra.sweeper.plan=true"
    )


def test_refused_before_anything_trains(workshop: Path) -> None:
    text = sweep(workshop, "hydra.sweeper.until.looks=10", "output=until_refused", code=2)
    assert "until.looks" in text
    assert len(text.strip().splitlines()) == 1
    assert not (workshop / "until_refused").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("contrast", [0, 9], r"contrast=\[0,9\]: must be one, two or four numbers of arms, from 0 to 1"),
        ("contrast", [0, 1, 0], "must be one, two or four numbers of arms"),
        ("reference", 2, "reference=2: must be a whole number of at least 0 and at most 1, or null"),
        ("metric", "nope", "metric=nope: must be one of test_acc, "),
        ("metric", "epoch", "metric=epoch: must be one of test_acc, "),
        ("metric", "val_acc", "metric=val_acc: needs data.validation above 0"),
        ("metric", "ema_test_acc", "metric=ema_test_acc: needs probe.ema"),
        ("metric", "noisy_var2", None),
        ("margin", 0.0, "margin=0.0: must be a finite number above 0"),
        ("all", True, None),
        ("contrast", [0, 1], "one of contrast, reference and all is right, and not several"),
    ],
)
def test_what_a_sweep_without_looks_declares(key: str, value: Any, said: str | None) -> None:
    several = {"reference": 0} if said and "several" in said else {}
    block = (
        {"metric": "test_acc", "contrast": None, "reference": None, "all": False, "margin": 0.2}
        | several
        | {key: value}
    )
    with pytest.raises(InputError, match=said) if said else contextlib.nullcontext():
        until.check_primary(block, 2, [make_run()])
