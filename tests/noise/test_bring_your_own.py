"""The page "Bring your own noise, net and data", done as it is written."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forks
import pytest
import yaml
from configs import DIGITS, REPOSITORY, make_run

from src.runs.job import ready
from src.training.images import Images
from src.training.trainer import train

PAGE = REPOSITORY / "src" / "noise" / "README.md"
OTHERS = (
    "src/noise/tempered.py", "conf/noise/tempered.yaml", "src/schedules/halves.py", "conf/schedule/halves.yaml",
    "src/optimizers/signsgd.py", "conf/optimizer/signsgd.yaml",
)  # fmt: skip
GROUPS = {"noise": "noise", "schedules": "schedule", "optimizers": "optimizer"}


def files_of_the_page() -> list[tuple[str, str]]:
    return re.findall(r"^`(\S+)`\n\n```\w+\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)


def test_the_pages_noise_that_learns_schedule_and_optimizer(
    component: Callable[[str, str, str], None], tmp_path: Path, digit_images: Images
) -> None:
    texts, config = dict(files_of_the_page()), dict[str, Any]()
    for path in OTHERS:
        kind, name = Path(path).parent.name, Path(path).stem
        if path.endswith(".py"):
            component(GROUPS[kind], name, texts[path])
        else:
            config[kind] = yaml.safe_load(texts[path])
    config["optimizer"]["lr"] = 0.01
    small = {"data": DIGITS, "model": {"hidden1": 16, "hidden2": 16}, "output": str(tmp_path)}
    small |= {"epochs": 5, "batch_size": 300}  # 25 steps of one length, which cannot end where they began
    runs = [make_run(**small, **config, seed=seed, dropout1=rate) for seed, rate in ((0, 0.2), (1, 0.0))]
    ready(runs)
    both: list[Any] = []
    train(runs, digit_images, 10, both.append)
    for number, run in enumerate(runs):
        alone: list[Any] = []
        train([run], digit_images, 10, alone.append)
        last, stacked = alone[-1][0], both[-1][number]
        assert (last["dropout1"], last["dropout2"]) == (run.dropout1 / 2, 0.25)
        for name in ("strength1", "strength2", "train_loss"):
            assert stacked[name] == pytest.approx(last[name], rel=0.02), "a stack trains the same"
        assert (last["strength1"] != 1) == (run.dropout1 > 0) and last["strength2"] != 1
        assert last["test_acc"] > 0.5, "the optimizer learns"


@pytest.mark.slow
def test_the_page_works_as_written(tmp_path: Path) -> None:
    for name in ("src", "conf", "sweeps", "analysis"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    page, files = PAGE.read_text(), files_of_the_page()
    assert [name for name, _ in files] == [
        "src/noise/flip.py", "conf/noise/flip.yaml", "src/models/lenet.py", "conf/model/lenet.yaml",
        "src/data/stripes.py", "conf/data/stripes.yaml", "sweeps/lenet.yaml", *OTHERS,
    ]  # fmt: skip
    assert len(files[0][1].split("class")[1].splitlines()) < 15
    for name, text in files:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    walks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S)
    assert len(walks) == 2
    for commands in walks:
        for line in commands.splitlines():
            done = run(tmp_path, *shlex.split(line)[1:])
            assert done.returncode == 0, done.stdout + done.stderr
        assert "index.html" in done.stdout
    reports = {path.parent.name: path.read_text() for path in tmp_path.glob("outputs/sweeps/*/report.md")}
    assert len(reports) == 2
    for report in reports.values():
        assert "dropout" in report and "flip" in report

    (table,) = tmp_path.glob("outputs/sweeps/lenet/runs.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["noise"], row["dropout3"]) for row in rows} == {
        ("none", "0.0"), ("dropout", "0.2"), ("flip", "0.2"),
    }  # fmt: skip
    by_noise = {row["noise"]: row["test_loss"] for row in rows if row["seed"] == "0"}
    assert len(set(by_noise.values())) == 3, "each noise is another one"
    assert all(float(row["test_acc"]) > 0.7 for row in rows), "the net learns to tell the stripes"

    refused = run(tmp_path, "-m", "src.train", "model=lenet", "data=digits", "dropout4=0.5")
    assert refused.returncode == 2
    assert refused.stderr == "error: dropout4=0.5: model=lenet has 3 places; add dropout4=0\n"

    # an edited noise is another noise, and the others are kept
    before = {path.parent.name for path in tmp_path.glob("outputs/runs/*/run.json")}
    flip = tmp_path / "src" / "noise" / "flip.py"
    flip.write_text(flip.read_text().replace("(1 - 2 * rate)", "(1 - 2 * rate)  # for the mean"))
    command = [*shlex.split(walks[0].splitlines()[0])[1:], "seed=0", "hydra.launcher.n_jobs=1"]
    assert run(tmp_path, *command).returncode == 0
    assert {path.parent.name for path in tmp_path.glob("outputs/runs/*/run.json")} == before
    flip.write_text(flip.read_text().replace("(1 - 2 * rate)", "(1 - 1.9 * rate)"))
    assert run(tmp_path, *command).returncode == 0
    after = {path.parent.name for path in tmp_path.glob("outputs/runs/*/run.json")}
    assert len(after - before) == 1
    (sweep,) = tmp_path.glob("outputs/sweeps/*seed=0/runs.csv")
    assert (after - before).pop() in sweep.read_text()


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert arguments[0] == "-m"
    return forks.python(*arguments[1:], cwd=root, PYTHONPATH="")
