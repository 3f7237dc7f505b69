"""A search's part of a report: what was optimised, how the best result came, which parameters mattered.

Trials count from 1, as in `runs.csv`, and not from 0 as in `study.db`. Optuna's figures change matplotlib's global
state and look unlike the others, so they are drawn here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import figures, measures, tables
from analysis.measures import Measure
from src.stats import binomial_se

FILE = "study.db"
FEWEST = 2
"""Complete trials below which there is nothing to compare."""
MOST_TO_MEDIAN = 20
"""Largest over median value from which a few bad trials would flatten all others on a linear axis."""
TIED = 2
"""Standard errors of the validation set within which trials are not told apart from the best."""


@dataclass(frozen=True)
class Trial:
    number: int
    params: Mapping[str, Any]
    values: Sequence[float]
    """As stored, of each objective."""


@dataclass(frozen=True)
class Search:
    """What there is to say of a search."""

    missing: str = ""
    """Why its history is left out: "optuna" where it is not installed, otherwise what is wrong with the file."""
    sampler: str = ""
    seed: int = 0
    objectives: Sequence[Measure] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    """Trials by their state in Optuna's words."""
    complete: Sequence[Trial] = ()
    best: Sequence[Trial] = ()
    """The best one; of several objectives those that no other one beats in all."""
    shares: Sequence[Mapping[str, float]] = ()
    """For each objective, a parameter's share of the importance of all, the greatest first."""

    @property
    def trials(self) -> int:
        return sum(self.states.values())

    def error(self, images: int) -> float | None:
        """Standard error of the best validation accuracy on so many images; None where that is not judged."""
        if len(self.objectives) != 1 or self.objectives[0] is not measures.VAL_ACC or not self.best:
            return None
        return binomial_se(self.best[0].values[0], images) if images else None

    def tied(self, images: int) -> int:
        """Trials that the validation images do not tell apart from the best one, itself left out."""
        error = self.error(images) or 0.0
        return sum(self.best[0].values[0] - t.values[0] <= TIED * error for t in self.complete) - 1

    def figures(self) -> dict[str, Figure]:
        drawn = {}
        if len(self.complete) >= FEWEST:
            drawn["search_history"] = history(self.complete, self.objectives)
        if any(len(set(of.values())) > 1 for of in self.shares):  # equal ones say that the trials are too few
            drawn["search_importances"] = importances(self.shares, self.objectives, len(self.complete))
        return drawn


def metric(folder: Path) -> str | None:
    """What the sweep in `folder` searched for, by its `multirun.yaml`; None where it is no search."""
    if not (folder / FILE).exists():
        return None
    metrics = tables.recorded(folder, "hydra.sweeper.metric")
    first = metrics[0] if isinstance(metrics, list) and metrics else metrics
    return first if first in measures.METRICS else None


def read(folder: Path) -> Search | None:
    """A search's numbers; None where the sweep in `folder` is no search."""
    if not (folder / FILE).exists():
        return None
    if find_spec("optuna") is None:
        return Search(missing="optuna")
    from src.errors import InputError
    from src.sweeping import study

    try:
        recorded = study.load(folder / FILE)
        about = recorded.user_attrs[study.ABOUT]
        objectives = [measures.METRICS[name] for name in about["metric"]]
        trials = recorded.get_trials()
        complete = {t.number: Trial(t.number + 1, t.params, t.values) for t in trials if t.values is not None}
        best = [complete[trial.number] for trial in recorded.best_trials] if complete else []
    except (InputError, LookupError, TypeError) as error:
        return Search(missing=str(error))
    places = range(len(objectives)) if len(complete) >= FEWEST else ()
    return Search(
        sampler=about["sampler"],
        seed=about["seed"],
        objectives=objectives,
        states=Counter(trial.state.name for trial in trials),
        complete=list(complete.values()),
        best=best[:1] if len(objectives) == 1 else best,
        shares=[_importances(recorded, place, objectives[place]) for place in places],
    )


def _importances(recorded: Any, position: int, objective: Measure) -> dict[str, float]:
    """Optuna's importance of each parameter for one objective, the greatest first; their sum is 1."""
    from optuna.importance import get_param_importances

    sign = -1 if objective.higher_is_better else 1  # a target is taken to be better the lower
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few trials they are all equal
        try:
            shares = get_param_importances(recorded, target=lambda trial: sign * trial.values[position])
        except (ValueError, RuntimeError):
            return {}
    return {key: float(share) for key, share in shares.items()}


@figures.styled
def history(trials: Sequence[Trial], objectives: Sequence[Measure]) -> Figure:
    """Each trial's values by its number, and the best one so far, a panel an objective."""
    numbers = [trial.number for trial in trials]
    figure, axes = figures.panels(len(objectives), 1, 3.0, sharex=True)
    for position, (axis, objective) in enumerate(zip(axes[:, 0], objectives, strict=True)):
        shown = np.array([trial.values[position] for trial in trials]) * objective.scale
        best = (np.maximum if objective.higher_is_better else np.minimum).accumulate(shown)
        axis.scatter(numbers, shown, s=28, color=figures.PALETTE[0], alpha=0.55, linewidths=0, label="trial")
        axis.step(numbers, best, where="post", color=figures.PALETTE[3], linewidth=2, label="best so far")
        axis.set(ylabel=objective.label)
        if shown.min() > 0 and shown.max() > MOST_TO_MEDIAN * np.median(shown):
            axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[-1, 0].set(xlabel="trial")
    return figures.finish(figure, 2)


@figures.styled
def importances(shares: Sequence[Mapping[str, float]], objectives: Sequence[Measure], trials: int) -> Figure:
    """Bars of the parameters' importance for each objective.

    Args:
        shares: for each objective, a parameter's share of the importance of all.
        trials: number of trials that the shares follow from.
    """
    keys = list(shares[0])
    height = 0.8 / len(objectives)
    figure, axes = figures.panels(1, 1, 0.7 + 0.42 * len(keys) * len(objectives))
    axis = axes[0][0]
    for position, (of, objective) in enumerate(zip(shares, objectives, strict=True)):
        rows = np.arange(len(keys)) + (position - (len(objectives) - 1) / 2) * height
        colour = figures.PALETTE[(0, 3)[position % 2]]
        axis.barh(rows, [of.get(key, 0) for key in keys], height, color=colour, label=objective.name)
    figures.name_rows(axis, keys)
    axis.set(xlabel=f"importance (PED-ANOVA, shares of 1), from {trials} trials", xlim=(0, 1))
    return figures.finish(figure) if len(objectives) > 1 else figure
