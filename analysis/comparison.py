"""A sweep's comparison: computes it from the recorded runs and writes it as a page, a text and figures.

`compare` reads a sweep folder and computes everything that is said about it; `write` puts `index.html`,
`report.md` and `figures/` into the same folder. No sentence stands here: the template has them all.
"""

from __future__ import annotations

import html
import itertools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from analysis import comparison_figures, design, figures, measures, page, phrases, runs, search
from analysis.contrasts import Arms, ArmStats, Result, described, family, with_gaps, without_credit
from analysis.measures import Measure
from analysis.runs import InputError, Sweep
from analysis.tables import Table
from src import stats
from src.runs import store
from src.stats import Summary

ALL_PAIRS = 6
"""Most arms of which every pair is compared; more are compared with one reference each."""
MARGINS = {"%": 0.2, "nats": 0.01}
"""By a measure's unit, the smallest difference that matters where the sweep declares none; as shown."""


@dataclass(frozen=True)
class Compared:
    """What is known of a sweep's arms."""

    sweep: Sweep
    measure: Measure
    """By which the arms are compared and the conclusion is drawn."""
    epochs: pd.DataFrame
    """A row a usable run and epoch, with columns arm and the gaps."""
    final: pd.DataFrame
    """A row a usable run: its last epoch."""
    arms: Sequence[ArmStats]
    """In the order of the sweep; without those of which no run has a result."""
    empty: Sequence[ArmStats]
    """Arms without any result."""
    judged: Sequence[Result]
    """By `measure`; empty for one arm and for arms of one seed."""
    described: Sequence[Result]
    """Other contrasts and measures, not judged."""
    reference: str | None
    """The arm that each other is compared with; None where all pairs are."""
    declared: bool
    """Whether the sweep itself declares what is judged."""
    search: search.Found | None = None
    """Where Optuna proposed the runs: what there is to say of that."""

    @property
    def summaries(self) -> dict[str, Summary]:
        return {arm.name: arm.summaries[self.measure] for arm in self.arms}

    @property
    def best(self) -> ArmStats:
        return max(self.arms, key=lambda arm: self.measure.sign * arm.summaries[self.measure].mean)

    @property
    def tested(self) -> list[Result]:
        return [result for result in self.judged if result.p is not None]

    @property
    def decided(self) -> list[Result]:
        """Better or worse, the largest difference first."""
        found = [result for result in self.tested if result.verdict and result.verdict.decided]
        return sorted(found, key=lambda result: -abs(result.paired.difference))

    @property
    def equivalent(self) -> list[Result]:
        return [r for r in self.tested if r.verdict and r.verdict.word == stats.EQUIVALENT]

    @property
    def noise_floor(self) -> float | None:
        """Binomial standard error of the best arm's test accuracy; None for a data set that is not known."""
        names = self.sweep.runs["data"].unique()
        images = measures.IMAGES.get(str(names[0])) if len(names) == 1 else None
        accuracy = self.best.summaries.get(measures.TEST_ACC)
        return stats.binomial_se(accuracy.mean, images) if images and accuracy else None


def compare(folder: str | Path, metric: str | None = None, baseline: str | None = None) -> Compared:
    """Compute a sweep's comparison at the last epoch of each run.

    Args:
        folder: OUTPUT/sweeps/NAME.
        metric: a key of `measures.METRICS`; by default the one that the sweep declares, or test_acc.
        baseline: name of the arm that each other arm is compared with. Without it the contrast that the sweep
            declares is judged; without one all pairs are, or with more than 6 arms each with the sweep's first: a
            reference chosen for its result would make the differences look larger than they are.

    Raises:
        InputError: if there is nothing to compare by `metric`, or no arm `baseline`.
    """
    sweep = runs.read(folder)
    primary = _primary(sweep)
    measure = measures.METRICS.get(metric or (primary.measure.column if primary else "")) or measures.TEST_ACC
    sweep, epochs = _with_numbers(sweep, measure)
    epochs = with_gaps(epochs.assign(arm=runs.arm_names(epochs, sweep.keys)))
    table = Table(sweep.name, sweep.keys, epochs, sweep.runs, sweep.problems)
    by_name = {name: dict(zip(sweep.keys, values, strict=True)) for name, values in _arms(epochs, sweep.keys)}
    trained = list(by_name)
    for problem in sweep.problems:
        by_name.setdefault(runs.arm_name(problem.arm), dict(problem.arm))
    arms = Arms(table, by_name)
    if baseline is not None and baseline not in trained:
        raise InputError(f"{folder} has no arm {baseline!r}; one of these is right: {'; '.join(trained)}")
    reported = list(dict.fromkeys([measure, measures.TEST_ACC, measures.TEST_LOSS, measures.GAP]))
    reference = baseline or (trained[0] if len(trained) > ALL_PAIRS else None)
    pairs = [(arm, reference) for arm in trained if arm != reference] if reference else []
    pairs = pairs or list(itertools.combinations(trained, 2))
    listed = _listed(sweep)
    declared = primary.pairs(listed) if primary and primary.measure is measure and baseline is None else []
    declared = [pair for pair in declared if set(pair) <= set(trained)]
    margin = primary.margin if primary and primary.measure is measure else MARGINS[measure.unit]
    judged = family((arms.contrast(a, b, measure) for a, b in declared or pairs), margin)
    others = [arms.contrast(a, b, measure) for a, b in pairs if declared and (a, b) not in declared]
    if measure is measures.TEST_ACC:
        others += [arms.contrast(a, b, measures.TEST_LOSS) for a, b in declared or pairs]
    everyone = arms.stats(reported)
    return Compared(
        sweep=sweep,
        measure=measure,
        epochs=epochs,
        final=table.final,
        arms=[arm for arm in everyone if arm.name in trained],
        empty=[arm for arm in everyone if arm.name not in trained],
        judged=without_credit(judged, arms.diverged),
        described=described(others),
        reference=None if declared else reference,
        declared=bool(declared),
        search=search.read(sweep.folder),
    )


def _arms(epochs: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, list[Any]]]:
    rows = epochs[["arm", *keys]].drop_duplicates("arm")
    return [(row["arm"], [row[key] for key in keys]) for row in rows.to_dict("records")]


def _listed(sweep: Sweep) -> list[str]:
    """Names of all arms in the order of runs.csv, with or without a result."""
    listed, keys = runs.read_list(sweep.folder)
    return list(dict.fromkeys(runs.arm_names(listed, keys)))


def _primary(sweep: Sweep) -> design.Primary | None:
    """What the sweep declares, by its `multirun.yaml`; None where that is not there or declares nothing."""
    try:
        block = OmegaConf.select(OmegaConf.load(sweep.folder / "multirun.yaml"), "hydra.sweeper.primary")
        return design.primary(block, str(sweep.folder / "multirun.yaml"), len(_listed(sweep)))
    except Exception:  # absent, no YAML, another layout or trimmed arms: then all pairs are compared
        return None


def _with_numbers(sweep: Sweep, measure: Measure) -> tuple[Sweep, pd.DataFrame]:
    """The sweep and its epochs without the runs that lack a number where the comparison needs one."""
    needed = dict.fromkeys([measure.column, "test_acc", "test_loss", "train_acc", "train_loss"])
    absent = [column for column in needed if column not in sweep.epochs or sweep.epochs[column].isna().all()]
    if absent:
        raise InputError(
            f"{sweep.folder} has no {absent[0]}; "
            + (
                "trained with data.validation above 0, or another --metric, is right"
                if absent[0].startswith("val_")
                else "trained with probe.train=true, or another --metric, is right"
                if absent[0].startswith("eval_")
                else "finished runs of src.train are right"
            )
        )
    last = sweep.epochs.groupby("id", sort=False).tail(1)
    good = last[np.isfinite(last[list(needed)].astype(float)).all(axis=1)]["id"]
    lost = last[~last["id"].isin(good)].to_dict("records")
    reason = "a metric of its last epoch is not a number"
    problems = [
        runs.Problem(row["id"], runs.DAMAGED, *runs.identity(row, sweep.keys), reason) for row in lost
    ]
    if good.empty:
        raise InputError(
            f"{sweep.folder} has no run with all of {', '.join(needed)}; the first: {problems[0]}"
        )
    kept = sweep.epochs[sweep.epochs["id"].isin(good)]
    recorded = sweep.runs[sweep.runs["id"].isin(good)]
    return replace(sweep, epochs=kept, runs=recorded, problems=(*sweep.problems, *problems)), kept


def facts(compared: Compared) -> list[tuple[str, str]]:
    """What was run, on what, and how long it took: pairs of a label and a text."""
    sweep, recorded = compared.sweep, compared.sweep.runs
    total = len(recorded) + len(sweep.problems)
    swept = [f"{key}: {phrases.listing(list(sweep.epochs[key].unique()))}" for key in sweep.keys]
    times = recorded["seconds"].dropna()
    rows = [
        ("Swept", "; ".join(swept) or "nothing but the seed"),
        ("Seeds", phrases.listing(sorted(sweep.epochs["seed"].unique()))),
        ("Arms", f"{len(compared.arms):,}"),
        ("Runs", f"{total:,}" if total == len(recorded) else f"{len(recorded):,} usable of {total:,}"),
        ("Epochs", phrases.ends(recorded["epochs"])),
        ("Data set", phrases.distinct(recorded["data"])),
        ("Parameters of the model", phrases.ends(recorded["parameters"])),
        ("Device", phrases.distinct(recorded["device"])),
        ("Versions", phrases.distinct(recorded["versions"])),
        ("Training time, all runs", phrases.duration(times.sum()) if len(times) else ""),
    ]
    return [(label, text or "not recorded") for label, text in rows]


def mixed(compared: Compared) -> list[str]:
    """In what the runs of some arm differ beside their seeds, so that equal seeds need not be equal runs."""
    runs_of = compared.sweep.epochs.drop_duplicates("id")[["id", *compared.sweep.keys]]
    arms = runs_of.assign(arm=runs.arm_names(runs_of, compared.sweep.keys))[["id", "arm"]]
    told = compared.sweep.runs.merge(arms, on="id")
    labels = {"versions": "versions of packages", "device": "devices, processors or kernels of products"}
    return [label for column, label in labels.items() if told.groupby("arm")[column].nunique().max() > 1]


def command(sweep: Sweep) -> tuple[str, bool]:
    """Command that trains the sweep again, and whether it is as recorded."""
    tasks = runs.overrides(sweep)
    is_recorded = tasks is not None
    if tasks is None:
        values = {key: list(sweep.epochs[key].unique()) for key in (*sweep.keys, "seed")}
        tasks = [f"{key}={','.join(runs.shown(value) for value in found)}" for key, found in values.items()]
    return shlex.join(["python", "-m", "src.train", "-m", *tasks]), is_recorded


def draw(compared: Compared, folder: Path) -> list[str]:
    """Write the figures into `folder`; their names."""
    measure = compared.measure
    means = {arm: summary.mean for arm, summary in compared.summaries.items()}
    drawn = {
        f"final_{measure.column}": comparison_figures.final_values(
            compared.final, compared.summaries, measure
        )
    }
    tested = compared.tested + [r for r in compared.described if r.p is not None]
    for column in dict.fromkeys(result.measure.column for result in tested):
        of = [result for result in tested if result.measure.column == column]
        drawn[f"paired_{column}"] = figures.forest(of, lambda r: f"{r.contrast.a} − {r.contrast.b}")
    drawn |= _grid(compared)
    if compared.search and compared.search.history:
        drawn["search_history"] = compared.search.history
    if compared.search and compared.search.importances:
        drawn["search_importances"] = compared.search.importances
    drawn["learning_curves"] = comparison_figures.learning_curves(compared.epochs, means, measure)
    for name, figure in drawn.items():
        figures.save(figure, folder, name)
    return list(drawn)


def _grid(compared: Compared) -> dict[str, Any]:
    """Means over the values of two swept numbers, or the runs at theirs where they make no grid."""
    keys, final, measure = compared.sweep.keys, compared.final, compared.measure
    if len(keys) != 2 or not all(pd.api.types.is_numeric_dtype(final[key]) for key in keys):
        return {}
    grid = final.pivot_table(index=keys[1], columns=keys[0], values=measure.column, aggfunc="mean")
    if min(grid.shape) < 3:
        return {}
    is_full = grid.notna().to_numpy().mean() > 0.5
    figure = (
        comparison_figures.heat_map(grid, measure)
        if is_full
        else comparison_figures.scattered(final, keys, measure)
    )
    return {f"grid_{measure.column}": figure}


def content(compared: Compared, drawn: Sequence[str] = ()) -> dict[str, Any]:
    """What the template is given: numbers and names."""
    trained, is_recorded = command(compared.sweep)
    return {
        "c": compared,
        "title": compared.sweep.name,
        "facts": facts(compared),
        "mixed": mixed(compared),
        "columns": list(compared.arms[0].summaries),
        "figures": drawn,
        "total": len(compared.sweep.runs) + len(compared.sweep.problems),
        "command": trained,
        "is_recorded": is_recorded,
        "compare_command": shlex.join(["python", "-m", "analysis.compare", str(compared.sweep.folder)]),
        "all_pairs": ALL_PAIRS,
    }


def conclusion(compared: Compared, language: str = "en") -> str:
    """What the sweep shows, in one paragraph without Markdown."""
    template = page.environment(language).get_template("comparison.md")
    context = template.new_context(content(compared))
    text = " ".join("".join(template.blocks["conclusion"](context)).split())
    return html.unescape(re.sub(r"\\([\\`*\[\]|$~_])", r"\1", text))


def write(compared: Compared, language: str = "en") -> Path:
    """Write `index.html`, `report.md` and `figures/` into the sweep's folder; path of the page.

    The page holds its figures and needs no other file and no network.
    """
    folder = compared.sweep.folder
    drawn = draw(compared, folder / "figures")
    text = page.render("comparison.md", content(compared, drawn), language)
    store.write_whole(folder / page.TEXT, text)
    store.write_whole(folder / page.PAGE, page.html(text, compared.sweep.name, folder, language))
    return folder / page.PAGE
