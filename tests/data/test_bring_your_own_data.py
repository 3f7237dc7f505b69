"""The page "Bring your own data set", done as it is written."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import forks
import pandas as pd
import pytest
from configs import REPOSITORY

PAGE = (REPOSITORY / "src" / "data" / "README.md").read_text()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the page's two files."""
    root = tmp_path_factory.mktemp("project")
    for name in ("src", "conf", "sweeps", "analysis"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    files = re.findall(r"^`(\S+)`\n\n```\w+\n(.*?)^```", PAGE, flags=re.M | re.S)
    assert [name for name, _ in files] == ["src/data/spots.py", "conf/data/spots.yaml"]
    for name, text in files:
        assert not (root / name).exists()
        (root / name).write_text(text)
    return root


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert arguments[0] == "-m"
    return forks.python(*arguments[1:], cwd=root, PYTHONPATH="")


@pytest.mark.slow
def test_the_page_works_as_written(copy: Path) -> None:
    (commands,) = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.M | re.S)
    outputs = []
    for line in commands.splitlines():
        done = python(copy, *shlex.split(line)[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    assert "spots: 5,000 training and 1,000 test images of shape (1, 12, 12), 4 classes" in outputs[0]
    (folder,) = copy.glob("outputs/sweeps/*")
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 8 and set(runs["state"]) == {"finished"}
    accuracy = runs.groupby("data.train")["test_acc"].mean()
    assert accuracy[1000] > accuracy[200] > 0.3, "it is learnt, and more images help"
    assert "index.html" in outputs[2]


def test_its_python_example(copy: Path) -> None:
    example = re.findall(r"^```python\n(from src\.data import load.*?)^```", PAGE, flags=re.M | re.S)[0]
    shown = "print(tuple(train_images.shape), train_images.dtype, test_labels.max())"
    (copy / "example.py").write_text(f"{example}\n{shown}\n")
    done = python(copy, "-m", "example")
    assert done.stdout == "(5000, 144) torch.float32 tensor(3)\n", done.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.split=1", "data.split=1: splits nothing; give data.validation or data.train, too"),
        ("data.train=100", "batch_size=256: must be at most 100, the number of training images"),
    ],
)
def test_bad_input_is_one_line(copy: Path, override: str, said: str) -> None:
    done = python(copy, "-m", "src.train", "data=spots", override)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.splitlines()) == 1 and not done.stdout
