"""What a run is judged by: the measures of `src.runs.measures`, and those that only a report knows."""

from __future__ import annotations

from src.runs.broken import CLASSES as CLASSES
from src.runs.measures import *  # noqa: F403 - a report knows them all
from src.runs.measures import Measure as Measure

GAP = Measure("gap", "train−test gap", "pp", "pp", 100, 2, None)
"""train_acc - test_acc; the train accuracy is a running mean over the epoch with the noise on."""
QUIET_GAP = Measure("quiet_gap", "train−test gap, noise off", "pp", "pp", 100, 2, None)
"""eval_train_acc - test_acc: both with the noise off, so that it measures overfitting alone."""

IMAGES = {"fashion_mnist": 10_000, "digits": 360}
"""Test images of the data sets with a fixed test set, for the binomial standard error."""
