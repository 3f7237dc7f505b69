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

    def word(self, verdict: str, is_interaction: bool = False) -> str:
        """A verdict's word; where neither side is better, as none of an interaction is, "larger" and "smaller"."""
        if self.higher_is_better is not None and not is_interaction:
            return verdict
        return dict(zip((BETTER, WORSE), (LARGER, SMALLER)[:: self.sign], strict=True)).get(verdict, verdict)

    def size(self, shown: float) -> str:
        """A margin as it is declared, with its unit: "0.2 pp"; of a ratio how far it is from 1: "10%"."""
        return f"{100 * shown:g}%" if self.log else f"{shown:g} {self.difference_unit}".rstrip()

    @property
    def label(self) -> str:
        """Of an axis or a table's column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def fine_enough(self, *differences: float) -> Measure:
        """The measure with a digit or two more where one of the differences would be shown as none without them:
        its side of 0 is what an interval says."""
        finest, *finer = (replace(self, digits=self.digits + more) for more in (2, 0, 1))
        visible = [number for number in differences if finest.shown(number) != finest.shown(0.0)]
        fit = (of for of in finer if all(of.shown(number) != of.shown(0.0) for number in visible))
        return next(fit, finest)

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


def _ece(column: str, name: str) -> Measure:
    return Measure(column, name, "%", "pp", 100, 2, False)


METRICS = {
    measure.column: measure
    for measure in (
        _accuracy("test_acc", "test accuracy"),
        _loss("test_loss", "test cross-entropy"),
        _accuracy("train_acc", "train accuracy"),
        _loss("train_loss", "train cross-entropy"),
        _accuracy("val_acc", "validation accuracy"),
        _loss("val_loss", "validation cross-entropy"),
        _ece("test_ece", "expected calibration error"),
        # both by the average of the weights that `probe.ema` keeps
        _accuracy("ema_test_acc", "test accuracy, averaged weights"),
        _accuracy("ema_val_acc", "validation accuracy, averaged weights"),
        _accuracy("eval_train_acc", "train accuracy, noise off"),
        _loss("eval_train_loss", "train cross-entropy, noise off"),
        # of the trained net, with `probe.test_time`
        _accuracy("noisy_test_acc", "test accuracy, one noisy pass"),
        _loss("noisy_test_loss", "test cross-entropy, one noisy pass"),
        _ece("noisy_test_ece", "expected calibration error, one noisy pass"),
    )
}
"""Measures that arms can be compared by, by their column of `metrics.csv`."""

TEST_ACC, TEST_LOSS, TEST_ECE = (METRICS[f"test_{name}"] for name in ("acc", "loss", "ece"))
TRAIN_ACC, TRAIN_LOSS = METRICS["train_acc"], METRICS["train_loss"]
VAL_ACC, VAL_LOSS, EMA_VAL_ACC = METRICS["val_acc"], METRICS["val_loss"], METRICS["ema_val_acc"]

VARIANCES = tuple(
    Measure(
        f"{noisy}var{layer}", f"variance in layer {layer}, noise {when}", "", "times", 1, 2, None, log=True
    )
    for noisy, when in (("", "off"), ("noisy_", "on"))
    for layer in (1, 2)
)
"""Of the hidden layers' activations; compared as ratios."""

OURS = {**METRICS, **{measure.column: measure for measure in VARIANCES}}
"""By their column all that a sweep may declare to decide, beside what components declare."""


def of_column(column: str, declared: Mapping[str, str | None] = MappingProxyType({})) -> Measure:
    """The measure of a column of `metrics.csv`: one of ours, or any other number.

    Args:
        declared: where the metrics that components declare are better, see `src.runs.declared`.
    """
    better = {"higher": True, "lower": False}.get(declared.get(column) or "")
    return OURS.get(column) or Measure(column, column, "", "", 1, 4, better)


def noisy(measure: Measure) -> Measure | None:
    """The same with the noise on, of the same nets; None where runs do not have it."""
    return OURS.get(f"noisy_{measure.column}")
