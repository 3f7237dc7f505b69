"""What the tests share: configs, small data, and the command line as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.config import Run, parse
from src.data import Dataset, load_bytes
from src.trainer import Images

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)

BOOK: dict[str, Any] = {
    "seed": 0,
    "epochs": 10,
    "batch_size": 256,
    "dropout1": 0.2,
    "dropout2": 0.5,
    "device": "cpu",
    "output": "outputs",
    "resume": True,
    "save_model": False,
    "data": {"name": "fashion_mnist", "root": ".data", "validation": 0},
    "model": {"name": "scratch", "hidden1": 256, "hidden2": 256},
    "noise": {"name": "dropout", "input_rate": 0.0},
    "schedule": {"name": "constant"},
    "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "decay": "constant"},
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


DIGITS = {"name": "digits", "root": None, "validation": 0}


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_bytes("digits", None, 0)


@pytest.fixture(scope="session")
def digit_images(digits: Dataset) -> Images:
    return Images(digits, torch.device("cpu"))


@pytest.fixture(scope="session")
def fashion() -> Dataset:
    """The real Fashion-MNIST; `make test` fetches it before any test."""
    return load_bytes("fashion_mnist", str(REPOSITORY / ".data"), 0)


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command() -> Command:
    """Runs `python -m ARGUMENTS` in the repository's root, as the README has it."""

    def run(*arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
