"""`hydra.sweeper.plan=true` says what there is to do and does nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from configs import DIGITS, REPOSITORY, make_job
from test_campaign import written
from test_train import SMALL, Train, files_in, train_here

from analysis import races
from src.engines.queue import cores
from src.engines.settings import Settings
from src.runs import store
from src.runs.job import Job
from src.sweeping import dry_run

__all__ = ["train_here"]  # a fixture

SWEEP = ["-m", *SMALL, "dropout1=0.2,0.5", "seed=range(3)", "hydra.launcher.n_jobs=2"]


def test_it_counts_and_estimates_and_writes_nothing(train_here: Train, tmp_path: Path) -> None:
    code, out, err = train_here(*SWEEP, "hydra.sweeper.plan=true")
    assert (code, err, files_in(tmp_path)) == (0, "", {})
    assert not (tmp_path / "outputs").exists()
    said = dict(line.split(": ", 1) for line in out.splitlines())
    assert said["plan"] == "nothing is trained"
    assert said["runs"] == "6, 0 of them done before, 6 to be trained"
    assert re.fullmatch(r"about [\d.]+ s with 2 workers, reckoned from the size of the nets.*", said["time"])
    assert re.fullmatch(r"about 2\d\d kB in outputs; .* are free", said["disk"])
    assert said["folder"].startswith("outputs/sweeps/data=digits__dropout1=0.2,0.5__epochs=3__")


def test_bad_input_is_found(train_here: Train) -> None:
    code, _, err = train_here(*SWEEP, "batch_size=2000", "hydra.sweeper.plan=true")
    assert (code, err) == (2, "error: batch_size=2000: must be at most 1437, the number of training images\n")


def test_a_single_run_has_a_plan_too(train_here: Train, tmp_path: Path) -> None:
    code, out, _ = train_here(*SMALL, "hydra.sweeper.plan=true")
    assert code == 0 and "runs: 1, 0 of them done before, 1 to be trained" in out
    assert files_in(tmp_path) == {}


def test_a_search_has_a_plan_too(train_here: Train, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search = ["hydra/sweeper=optuna", "data.validation=100", "dropout1=interval(0,0.8)", "dropout2=0.1,0.2"]
    code, out, _ = train_here("-m", *SMALL, *search, "hydra.sweeper.n_trials=30", "hydra.sweeper.plan=true")
    assert code == 0 and "runs: 30, 0 of them done before, 30 to be trained" in out
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(
    ("settings", "device", "workers"),
    [
        (None, "cpu", 1),
        (Settings(n_jobs=3), "cpu", 3),
        (Settings(n_jobs=3), "cuda", 1),
        (Settings(backend="slurm"), "cuda", 16),
        (Settings(backend="slurm", n_jobs=5), "cuda", 5),
        (Settings(backend="dask"), "cpu", cores()),
        (Settings(backend="ray", address="auto"), "cpu", 1),
    ],
)
def test_as_many_workers_are_reckoned_with_as_train(
    settings: Settings | None, device: str, workers: int
) -> None:
    assert dry_run._workers(settings, [make_job(device=device).run]) == workers


def test_a_device_that_only_a_cluster_has_is_planned_with(train_here: Train) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    pytest.importorskip("submitit")
    code, out, err = train_here(
        *SWEEP, "device=cuda", "hydra.launcher.backend=slurm", "hydra.sweeper.plan=true"
    )
    assert (code, err) == (0, "") and "with 2 workers" in out


@pytest.mark.parametrize(
    ("before", "planned", "said"),
    [
        (["until.looks=[2,3]", "primary.reference=0"], ["until.looks=[2,4]", "primary.reference=0"],
         "hydra.sweeper.until=looks=[2, 4] "),
        (["until.looks=[2,3]", "primary.reference=0"], [], "hydra.sweep.dir=outputs/x: "),
        (["until.looks=[2,3]", "primary.reference=0"], ["until.looks=[2,3]", "primary.reference=1"],
         "hydra.sweeper.until=looks=[2, 3] "),
    ],
)  # fmt: skip
def test_a_plan_refuses_what_the_sweep_would_refuse(
    train_here: Train, before: list[str], planned: list[str], said: str
) -> None:
    def given(options: list[str]) -> list[str]:
        sweeper = [f"hydra.sweeper.{option}" for option in options]
        return [
            "-m",
            *SMALL,
            "dropout1=0,0.2",
            "hydra.sweep.dir=outputs/x",
            "hydra.launcher.n_jobs=1",
            *sweeper,
        ]

    assert train_here(*given(before))[0] == 0
    ends = [train_here(*given(planned), *more) for more in ([], ["hydra.sweeper.plan=true"])]
    assert ends[0] == ends[1] and ends[0][0] == 2 and ends[0][2].startswith(f"error: {said}")
    assert train_here(*given(before), "hydra.sweeper.plan=true")[0] == 0


def test_the_plan_of_another_search_is_refused(train_here: Train) -> None:
    pytest.importorskip("optuna")
    search = ["-m", *SMALL, "hydra/sweeper=optuna", "data.validation=100", "dropout1=interval(0,0.8)"]
    search += ["hydra.sweeper.n_trials=2", "hydra.sweep.dir=outputs/x", "hydra.launcher.n_jobs=1"]
    assert train_here(*search)[0] == 0
    code, out, err = train_here(*search, "hydra.sweeper.sampler=random", "hydra.sweeper.plan=true")
    assert (code, out) == (2, "") and err.startswith("error: hydra.sweeper.sampler=random: outputs/x holds a")


def job(output: Path, number: int, **changes: object) -> Job:
    run = {"data": DIGITS, "seed": number, "output": str(output), **changes}
    return make_job(number, **run)


def test_finished_runs_like_these_tell_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        written(job(tmp_path, number, epochs=2))  # a second each: half a second an epoch
    written(job(tmp_path, 9, epochs=2, model={"hidden1": 9}))  # another net
    for number, device in ((6, "cuda"), (7, "xpu")):  # of another machine, with a GPU
        written(elsewhere := job(tmp_path, number, epochs=2))
        record = elsewhere.folder / "run.json"
        record.write_text(record.read_text().replace('"device": "cpu"', f'"device": "{device}"'))
        assert f'"device": "{device}"' in record.read_text()
    (broken := job(tmp_path, 8, epochs=2)).folder.mkdir()
    (broken.folder / "run.json").write_text("{")
    jobs = [job(tmp_path, number, epochs=2) for number in range(3)]
    jobs += [job(tmp_path, 100 + number, epochs=100) for number in range(8)]
    dry_run.show(jobs, tmp_path / "sweeps" / "x", Settings(n_jobs=4))
    out = capsys.readouterr().out
    assert "runs: 11, 3 of them done before, 8 to be trained\n" in out
    # 8 runs of 100 epochs of half a second on 4 workers
    assert "time: about 0:01:40 with 4 workers, as 3 finished runs like these took\n" in out


def test_what_is_reckoned_is_not_far_from_the_truth(digits: object) -> None:
    """Of the book's net on digits: between a fifth and five times of what it takes, on a busy machine, too."""
    import time

    import torch

    from src.training.trainer import Images, train

    run = job(Path("out"), 0, epochs=3).run
    images = Images(digits, torch.device("cpu"))  # type: ignore[arg-type]
    train([run], images, 10, lambda rows: None)
    started = time.perf_counter()
    train([run], images, 10, lambda rows: None)
    truth = (time.perf_counter() - started) / run.epochs
    assert truth / 5 < dry_run._reckoned(run) < 5 * truth


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "0:01:00"), (7931, "2:12:11")]
)
def test_durations(seconds: float, said: str) -> None:
    assert dry_run._duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5e9, "5 GB"), (3e13, "30 TB"), (999_600, "1 MB")],
)
def test_sizes(count: float, said: str) -> None:
    assert store.size_text(count) == said


@pytest.mark.parametrize("sweep", [*races.parts(), races.TUNED])
def test_the_small_version_of_the_readme_can_be_trained(sweep: str, train_here: Train) -> None:
    page = (REPOSITORY / "sweeps" / "README.md").read_text()
    (trim,) = re.findall(r"`--trim ([^`]*data=digits[^`]*) --to FOLDER`", page)
    code, out, err = train_here(f"sweep={sweep}", *trim.split(), "seed=0", "hydra.sweeper.plan=true")
    assert (code, err) == (0, "") and "runs" in out
