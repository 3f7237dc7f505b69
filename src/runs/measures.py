"""What a run is judged by: name, unit and direction of each measure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from src.stats import BETTER, LARGER, SMALLER, WORSE


@dataclass(frozen=True)
class Measure:
    column: str
    name: str
    unit: str
    """Of a value as it is shown."""
    difference_unit: str
    scale: float
    """Shown value over stored value."""
    digits: int
    """After the decimal point, as shown."""
    higher_is_better: bool | None
    """None where neither is."""
    log: bool = False
    """Whether values are compared as logarithms, so that a difference is shown as a ratio."""

    @property
    def sign(self) -> int:
        """-1 where lower is better, otherwise 1."""
        return -1 if self.higher_is_better is False else 1

    def stored(self, shown: float) -> float:
        """A size as it is shown, such as a margin, as it is stored; of a ratio its logarithm above 1."""
        return math.log1p(shown) if self.log else shown / self.scale

    def compared(self, recorded: ArrayLike) -> NDArray[np.float64]:
        """Values as they are compared; not finite where a run has none, or none with a logarithm."""
        values = np.asarray(recorded, dtype=float)
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(values))

    def word(self, verdict: str) -> str:
        """A verdict's word; where neither side is better, "larger" and "smaller"."""
        turned = {BETTER: LARGER, WORSE: SMALLER} if self.higher_is_better is None else {}
        return turned.get(verdict, verdict)

    def size(self, shown: float) -> str:
        """A margin as it is declared, with its unit: "0.2 pp"; of a ratio how far it is from 1: "10%"."""
        return f"{100 * shown:g}%" if self.log else f"{shown:g} {self.difference_unit}".rstrip()

    @property
    def label(self) -> str:
        """Of an axis or a table's column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def shown(self, value: float | None, *, signed: bool = False) -> str:
        """A stored value as it is shown, without its unit; a dash for None."""
        if value is None or math.isnan(value):
            return "–"
        if self.log:
            return f"{math.exp(value):.{self.digits}f}"
        text = f"{value * self.scale:{'+' if signed else ''}.{self.digits}f}"
        # A difference that rounds to nothing has no sign.
        return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _accuracy(column: str, name: str) -> Measure:
    return Measure(column, name, "%", "pp", 100, 2, True)


def _loss(column: str, name: str) -> Measure:
    return Measure(column, name, "nats", "nats", 1, 4, False)


TEST_ACC = _accuracy("test_acc", "test accuracy")
TEST_LOSS = _loss("test_loss", "test cross-entropy")
TRAIN_ACC = _accuracy("train_acc", "train accuracy")
TRAIN_LOSS = _loss("train_loss", "train cross-entropy")
TEST_ECE = Measure("test_ece", "expected calibration error", "%", "pp", 100, 2, False)
EMA_TEST_ACC = _accuracy("ema_test_acc", "test accuracy, averaged weights")
EMA_VAL_ACC = _accuracy("ema_val_acc", "validation accuracy, averaged weights")
"""Both by the average of the weights that `probe.ema` keeps."""
EVAL_TRAIN_ACC = _accuracy("eval_train_acc", "train accuracy, noise off")
EVAL_TRAIN_LOSS = _loss("eval_train_loss", "train cross-entropy, noise off")
VAL_ACC = _accuracy("val_acc", "validation accuracy")
VAL_LOSS = _loss("val_loss", "validation cross-entropy")
NOISY_TEST_ACC = _accuracy("noisy_test_acc", "test accuracy, one noisy pass")
NOISY_TEST_LOSS = _loss("noisy_test_loss", "test cross-entropy, one noisy pass")
NOISY_TEST_ECE = replace(TEST_ECE, column="noisy_test_ece", name="expected calibration error, one noisy pass")
"""Of the trained net, with `probe.test_time`."""

VARIANCES = tuple(
    Measure(
        f"{noisy}var{layer}", f"variance in layer {layer}, noise {when}", "", "times", 1, 2, None, log=True
    )
    for noisy, when in (("", "off"), ("noisy_", "on"))
    for layer in (1, 2)
)
"""Of the hidden layers' activations; compared as ratios."""

METRICS = {
    measure.column: measure
    for measure in (
        TEST_ACC,
        TEST_LOSS,
        TRAIN_ACC,
        TRAIN_LOSS,
        VAL_ACC,
        VAL_LOSS,
        TEST_ECE,
        EMA_TEST_ACC,
        EMA_VAL_ACC,
        EVAL_TRAIN_ACC,
        EVAL_TRAIN_LOSS,
        NOISY_TEST_ACC,
        NOISY_TEST_LOSS,
        NOISY_TEST_ECE,
    )
}
"""Measures that arms can be compared by, by their column of `metrics.csv`."""

OURS = {**METRICS, **{measure.column: measure for measure in VARIANCES}}
"""By their column all that a sweep may declare to decide, beside what components declare."""

DIRECTIONS = {"higher": True, "lower": False, None: None}


def of_column(column: str, declared: Mapping[str, str | None] = MappingProxyType({})) -> Measure:
    """The measure of a column of `metrics.csv`: one of ours, or any other number.

    Args:
        declared: where the metrics that components declare are better, see `src.runs.declared`.
    """
    better = DIRECTIONS[declared.get(column)]
    return OURS.get(column) or Measure(column, column, "", "", 1, 4, better)


def noisy(measure: Measure) -> Measure | None:
    """The same with the noise on, of the same nets; None where runs do not have it."""
    return OURS.get(f"noisy_{measure.column}")
