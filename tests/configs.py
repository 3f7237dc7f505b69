"""Configs for tests: the book's, and changes of it.

Not in `conftest.py`: of the folders' several files of that name, only one can be imported.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from src.config import Run, parse
from src.runs.job import Job

REPOSITORY = Path(__file__).resolve().parent.parent


def documented(group: str) -> set[str]:
    """Names in a group's table of src/README.md: the project's own, beside which users may have theirs."""
    text = (REPOSITORY / "src" / "README.md").read_text(encoding="utf-8")
    rows = re.split(rf"(?m)^\| `{group}=` .*\n\|.*\n", text)[1].split("\n\n")[0]
    return set(re.findall(r"(?m)^\| `(\w+)`", rows))


BOOK: dict[str, Any] = {
    "seed": 0,
    "epochs": 10,
    "batch_size": 256,
    "label_smoothing": 0,
    "dropout1": 0.2,
    "dropout2": 0.5,
    **dict.fromkeys((f"dropout{place}" for place in range(3, 10)), 0),
    "device": "cpu",
    "output": "outputs",
    "resume": True,
    "save_model": False,
    "matmul": "auto",
    "precision": "float32",
    "logger": None,
    "tags": [],
    "note": None,
    "probe": {"every": None, "test_time": False, "train": False, "ema": None},
    "data": {"name": "fashion_mnist", "root": ".data", "validation": 0, "split": 0, "train": None},
    "model": {"name": "scratch", "hidden1": 256, "hidden2": 256},
    "noise": {"name": "dropout", "input_rate": 0.0},
    "schedule": {"name": "constant"},
    "optimizer": {
        "name": "sgd",
        "lr": 0.5,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "decay_biases": True,
        "decay": "constant",
        "warmup": 0.0,
        "max_norm": None,
    },
}
"""The defaults of conf/, as plain dicts (test_config.py holds them to be the same)."""


def plain(**changes: Any) -> dict[str, Any]:
    """The book's config with some keys changed; a group's dict is merged into the book's, a name replaces it."""
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in BOOK.items()}
    for key, value in changes.items():
        if isinstance(value, dict) and not ("name" in value and value["name"] != config[key]["name"]):
            config[key] = {**config[key], **value}
        else:
            config[key] = value
    return config


def make_run(**changes: Any) -> Run:
    return parse(plain(**changes))


def make_job(
    number: int | None = 0,
    overrides: Sequence[str] = (),
    hydra: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """The book's run with some keys changed, as a job."""
    return Job(make_run(**changes), plain(**changes), list(overrides), hydra or {}, number)


DIGITS = {"name": "digits", "root": None, "validation": 0, "split": 0, "train": None}

Compose = Callable[..., dict[str, Any]]
"""The fixture `compose`: overrides to the config that Hydra composes from conf/, as plain dicts."""

Command = Callable[..., subprocess.CompletedProcess[str]]
"""The fixture `command`: `python -m ARGUMENTS` in the repository's root."""


def heed_signals() -> None:
    """For a child before it starts: a shell's background job is started deaf to Ctrl-C, and one under nohup to the
    end of the terminal, and both hand that on."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
