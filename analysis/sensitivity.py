"""The sensitivity of a verdict: the same contrast by other reasonable analyses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.contrasts import Arms, Contrast, Result, Sample, Values, by_seed, described, rows_of, with_gaps
from src import stats
from src.stats import common_seeds, rounded_differences


@dataclass(frozen=True)
class Sensitivity:
    """In how many analyses of one contrast the verdict's word is the same."""

    result: Result
    """The contrast, judged."""
    holds: int
    analyses: int
    other: tuple[str, ...] = ()
    """Names of the analyses in which it is another one."""
    splits: Result | None = None
    """The contrast on the validation splits that made the choice of the settings."""
    averaged: bool = False
    """Whether the mean of the last three epochs is among the analyses."""
    sound: bool = False
    """Whether some leave out runs that broke down."""

    @property
    def word(self) -> str:
        assert self.result.verdict is not None
        return self.result.verdict.word


def sensitivity(
    judged: Sequence[Result], arms: Arms | None = None, splits: Contrast | None = None
) -> Sensitivity | None:
    """The verdict again by other reasonable analyses: without each seed in turn, at the mean of the last three
    epochs, without runs that broke down, by sign-flip tests, and these combined; and on validation splits. All are
    at the level of the verdict: that of its family, or over the seeds and at the level of the look that decided.

    Args:
        judged: the contrast is the first one.
        arms: where other epochs and runs are; without them only seeds and tests change.
        splits: the same contrast on the validation splits that made the choice of the settings, a seed each.

    Returns:
        None where nothing was tested.
    """
    result = next(iter(judged), None)
    if result is None or result.verdict is None or result.margin is None or result.p is None:
        return None
    words: dict[str, str] = {}
    verdict, measure, margin = result.verdict.word, result.measure, result.margin
    higher, look, level = measure.sign > 0, result.contrast.look, result.level

    def word(first: Sample, second: Sample) -> str:
        return stats.judged_at(first, second, level, margin, higher)[1].word

    names = (result.contrast.a, result.contrast.b)

    def last(name: str, epochs: int) -> pd.DataFrame:
        assert arms is not None
        rows = rows_of(with_gaps(arms.table.epochs).groupby("id", sort=False).tail(epochs), arms.named[name])
        return rows[rows["seed"].isin(look.seeds)] if look else rows

    def values(name: str, epochs: int, whole: bool) -> Values:
        assert arms is not None
        rows = last(name, epochs)
        rows = rows if whole else rows[~rows["id"].isin(arms.broken)]
        return by_seed(
            rows.groupby(["id", "seed"], sort=False, as_index=False)[measure.column].mean(), measure
        )

    sound = arms is not None and any(last(name, 1)["id"].isin(arms.broken).any() for name in names)
    for epochs, whole in itertools.product((1, 3) if arms else (1,), (True, False) if sound else (True,)):
        first, second = result.samples
        if arms:
            sides = (values(name, epochs, whole) for name in names)
            first, second = common_seeds(*sides)
        name = f"{'last epoch' if epochs == 1 else 'last three epochs'}{'' if whole else ', sound runs'}"
        words[f"{name}, t"] = word(first, second)
        if 2.0 ** (1 - len(first)) < level:
            differences = rounded_differences(first, second)
            words[f"{name}, sign flips"] = stats.sign_flip(differences, margin, higher, level)
    n = len(result.samples[0])
    for seed in range(n if n > 2 else 0):
        first, second = (np.delete(sample, seed) for sample in result.samples)
        words[f"without one seed ({seed + 1})"] = word(first, second)
    on_splits = next(iter(described([splits] if splits else [])), None)
    if on_splits:
        words["validation splits, t"] = word(*on_splits.samples)
    other = tuple(name for name in words if words[name] != verdict)
    return Sensitivity(
        result, len(words) - len(other), len(words), other, on_splits, arms is not None, bool(sound)
    )
