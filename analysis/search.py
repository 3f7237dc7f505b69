"""A search's part of a report: what was optimised, how the best result came, which parameters mattered.

The numbers are Optuna's own, of the sweep's `study.db`; its figures change matplotlib's global state and look
unlike the others, so they are drawn here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import figures, measures, phrases
from analysis.measures import Measure

FILE = "study.db"
FEWEST = 2
"""Complete trials below which there is nothing to compare."""

MOST_TO_MEDIAN = 20
"""Largest over median value from which a few bad trials would flatten all others on a linear axis."""


@dataclass(frozen=True)
class Found:
    """What the report says of a search."""

    text: str
    history: Figure | None = None
    importances: Figure | None = None


def metric(folder: Path) -> str | None:
    """What the sweep in `folder` searched for, by its `multirun.yaml`; None where it is no search."""
    if not (folder / FILE).exists():
        return None
    try:
        recorded = yaml.safe_load((folder / "multirun.yaml").read_text(encoding="utf-8"))
        found = recorded["hydra"]["sweeper"]["metric"]
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return None
    first = found[0] if isinstance(found, list) and found else found
    return first if first in measures.METRICS else None


def read(folder: Path) -> Found | None:
    """A search's text and figures; None where the sweep in `folder` is no search."""
    if not (folder / FILE).exists():
        return None
    if find_spec("optuna") is None:
        return Found(
            "Optuna proposed these runs, but is not installed here (pip install -e '.[optuna]'): the history of "
            "the search and the importance of its parameters are left out."
        )
    from src.checks import InputError
    from src.sweeping import study

    try:
        recorded = study.load(folder / FILE)
        about = recorded.user_attrs[study.ABOUT]
        objectives = [measures.METRICS[name] for name in about["metric"]]
        trials = recorded.get_trials()
    except (InputError, LookupError, TypeError) as error:
        return Found(f"The history of the search cannot be read: {error}.")
    complete = [trial for trial in trials if trial.values is not None]
    found = _text(about, trials, complete, objectives)
    if len(complete) < FEWEST:
        return Found(found)
    shares = [_importances(recorded, *each) for each in enumerate(objectives)]
    several = any(len(set(own.values())) > 1 for own in shares)  # equal ones say that the trials are too few
    return Found(
        found,
        history([(trial.number, trial.values) for trial in complete], objectives),
        importances(shares, objectives, len(complete)) if several else None,
    )


def _text(
    about: Mapping[str, Any], trials: Sequence[Any], complete: Sequence[Any], objectives: Sequence[Measure]
) -> str:
    states = Counter(trial.state.name for trial in trials)
    words = {"PRUNED": "diverged", "FAIL": "failed", "RUNNING": "not finished"}
    lost = [f"{states[name]} {word}" for name, word in words.items() if states[name]]
    aims = " and ".join(f"the {'highest' if o.higher_is_better else 'lowest'} {o.name}" for o in objectives)
    text = (
        f"Optuna (sampler {about['sampler']}, seed {about['seed']}) searched for {aims} in "
        f"{phrases.count(len(trials), 'trial')}{', of which ' + ', '.join(lost) if lost else ''}. "
    )
    if complete and len(objectives) == 1:
        sign = 1 if objectives[0].higher_is_better else -1
        best = max(complete, key=lambda trial: sign * trial.values[0])
        settings = ", ".join(f"{key}={_shown(value)}" for key, value in best.params.items())
        value = phrases.value(best.values[0], objectives[0])
        text += f"The best, trial {best.number} with {settings}, reached {value}. "
    return (
        text
        + "The best of many trials looks better on its validation images than it is: its rank is a finding, its "
        "value is not."
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _importances(recorded: Any, position: int, objective: Measure) -> dict[str, float]:
    """Optuna's importance of each parameter for one objective, the greatest first; their sum is 1."""
    from optuna.importance import get_param_importances

    sign = -1 if objective.higher_is_better else 1  # a target is taken to be better the lower
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few trials they are all equal
        try:
            found = get_param_importances(recorded, target=lambda trial: sign * trial.values[position])
        except (ValueError, RuntimeError):
            return {}
    return {key: float(share) for key, share in found.items()}


def history(values: Sequence[tuple[int, Sequence[float]]], objectives: Sequence[Measure]) -> Figure:
    """Each complete trial's values by its number, and the best one so far.

    Args:
        values: number and stored values of each complete trial, in order.
        objectives: of the values.
    """
    numbers = [number for number, _ in values]
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(10, 1 + 3 * len(objectives)), layout="constrained")
        axes = figure.subplots(len(objectives), 1, sharex=True, squeeze=False)[:, 0]
        for position, (axis, objective) in enumerate(zip(axes, objectives, strict=True)):
            shown = np.array([own[position] for _, own in values]) * objective.scale
            best = (np.maximum if objective.higher_is_better else np.minimum).accumulate(shown)
            axis.scatter(
                numbers, shown, s=28, color=figures.PALETTE[0], alpha=0.55, linewidths=0, label="trial"
            )
            axis.step(numbers, best, where="post", color=figures.PALETTE[3], linewidth=2, label="best so far")
            axis.set(ylabel=objective.label)
            if shown.min() > 0 and shown.max() > MOST_TO_MEDIAN * np.median(shown):
                axis.set_yscale("log")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes[-1].set(xlabel="trial")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def importances(shares: Sequence[Mapping[str, float]], objectives: Sequence[Measure], trials: int) -> Figure:
    """Bars of the parameters' importance for each objective.

    Args:
        shares: for each objective, a parameter's share of the importance of all.
        objectives: their measures.
        trials: number of trials that the shares follow from.
    """
    keys = list(shares[0])
    height = 0.8 / len(objectives)
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(10, 1.6 + 0.42 * len(keys) * len(objectives)), layout="constrained")
        axis = figure.subplots()
        for position, (own, objective) in enumerate(zip(shares, objectives, strict=True)):
            rows = np.arange(len(keys)) + (position - (len(objectives) - 1) / 2) * height
            colour = figures.PALETTE[(0, 3)[position % 2]]
            axis.barh(rows, [own.get(key, 0) for key in keys], height, color=colour, label=objective.name)
        axis.set_yticks(range(len(keys)), keys)
        axis.set_ylim(len(keys) - 0.5, -0.5)
        axis.grid(visible=False, axis="y")
        axis.set(xlabel=f"importance (PED-ANOVA, shares of 1), from {trials} trials", xlim=(0, 1))
        if len(objectives) > 1:
            figure.legend(loc="outside lower center", ncols=len(objectives))
    return figure
