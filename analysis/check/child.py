"""The process that a learner's file runs in: `python -m analysis.check.child FILE RESULT DATA SECONDS`.

RESULT gets the `Report` as JSON: once after the checks, and again after the training. DATA is a data set's name, or
empty for no training; SECONDS is the time that there is.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from analysis.check.layer import LayerCheck
from analysis.check.learner import CannotRun, Learner, Report
from analysis.check.net import check_net, train
from src.data import DataError, load
from src.runs import store

FEATURES = 784
"""Of Fashion-MNIST; a net is checked with so many where none is trained."""


def examine(
    path: Path, data: str = "", seconds: float = 300, save: Callable[[Report], None] = lambda report: None
) -> Report:
    """Checks a file, and trains it where `data` names a data set.

    Args:
        seconds: the time for all of it.
        save: gets the report after the checks, and again at the end.
    """
    deadline = time.monotonic() + 0.9 * seconds
    report, tensors, features = Report(), None, FEATURES
    if data:
        try:
            tensors = load({"name": data})
            features = tensors.train_images.shape[1]
        except DataError as error:
            report.notes.append(f"Not trained: {error}.")
    _seed()
    try:
        learner = Learner(path, report)
        _seed()
        runs = LayerCheck(learner).check() and check_net(learner, features)
        save(report)
        if runs and tensors is not None:
            train(learner, tensors, deadline)
    except CannotRun as error:
        report.cannot = str(error)
    save(report)
    return report


def _seed() -> None:
    """Seeds every generator that a file is likely to draw from."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - files may draw from it


def main(file: str, result: str, data: str, seconds: str) -> None:
    torch.set_num_threads(1)
    signal.alarm(int(float(seconds)) + 10)  # should the process that watches the time be gone

    def save(report: Report) -> None:
        store.write_whole(Path(result), json.dumps(asdict(report)))

    examine(Path(file), data, float(seconds), save)


if __name__ == "__main__":
    main(*sys.argv[1:])
