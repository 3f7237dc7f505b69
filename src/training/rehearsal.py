"""A few steps on random numbers, before anything trains: do components give the metrics that they declare?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from src import components
from src.config import Run
from src.data import Dataset
from src.training import custom, trainer
from src.training.images import Images

STEPS, BATCH = 4, 8


def check(runs: Sequence[Run], shape: Sequence[int], classes: int) -> None:
    """Refuses components whose `metrics` would end every run of theirs after its first epoch.

    Args:
        runs: of one data set.
        shape: of an image in it.

    Raises:
        InputError: naming the component, its file, and what is wrong. Another exception than one of `metrics` is no
            answer: the run that meets it keeps it.
    """
    tried = set[tuple[str, ...]]()
    for run in runs:
        names = tuple(getattr(run, group).name for group in components.WITH_METRICS)
        if names in tried or not any(map(components.metrics, components.WITH_METRICS, names)):
            continue
        tried.add(names)
        try:
            _train(run, shape, classes)
        except custom.WrongMetricsError:
            raise
        except components.RAISED:
            continue


def _train(run: Run, shape: Sequence[int], classes: int) -> None:
    images = torch.rand(STEPS * BATCH, math.prod(shape), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(images)) % classes
    some, none = (images, labels), (images[:0], labels[:0])
    data = Dataset("random", *some, *none, *some, scale=1.0, classes=classes, shape=tuple(shape))
    probe = run.probe.changed(every=None, test_time=False, train=False, ema=None)
    short = dataclasses.replace(
        run, epochs=1, batch_size=BATCH, matmul="torch", precision="float32", probe=probe
    )
    trainer.train([short], Images(data, torch.device("cpu")), classes, lambda rows: None)
