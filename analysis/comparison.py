"""A comparison of any sweep, or of several: computes it from the recorded runs, writes a page, a text and figures.

`compare` reads sweep folders and computes everything that is said about them; `write` puts `index.html`,
`report.md` and `figures/` into a folder. No sentence stands here: the template has them all.
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
from matplotlib.figure import Figure

from analysis import charts, design, figures, measures, merge, page, phrases, runs, search, tables, where
from analysis.arm_stats import ArmStats
from analysis.contrasts import Arms, Result, described, family, with_gaps
from analysis.measures import Measure
from analysis.runs import InputError, Table
from analysis.search import Search
from src import stats

ALL_PAIRS = 6
"""Most arms of which every pair is compared; more are compared with one reference each."""
CARDS = 6
"""Most answers on cards at the top."""
TRIAL_DIGITS = 4
"""Of a number that a search drew, in the trial's name, if that tells the trials apart."""
MARGINS = {"%": 0.2, "nats": 0.01}
"""By a measure's unit, the smallest difference that matters where the sweep declares none; as shown. Without a unit
it is 0: nothing is equivalent."""


@dataclass(frozen=True)
class Compared:
    """What is known of the arms."""

    sweep: Table
    """Its epochs with columns arm and the gaps."""
    folders: Sequence[Path]
    """Of the sweeps that are compared."""
    measure: Measure
    """By which the arms are compared and the conclusion is drawn."""
    arms: Sequence[ArmStats]
    """In the order of the sweep, of a search the best first; without those of which no run has a result."""
    empty: Sequence[ArmStats]
    judged: Sequence[Result]
    """By `measure`; empty for one arm and for arms of one seed."""
    described: Sequence[Result]
    """Other contrasts and measures, not judged."""
    reference: str | None
    """The arm that each other is compared with; None where all pairs are."""
    declared: bool
    """Whether the sweep itself declares what is judged."""
    search: Search | None = None
    """Where Optuna proposed the runs: what there is to say of that."""
    conditions: tuple[str, ...] = ()
    """By which its runs were chosen from those of the sweep."""
    options: tuple[str, ...] = ()
    """Of the command: the metric and the baseline, where one asked for them."""
    without: tuple[str, ...] = ()
    """Arms that are not compared, as no run of theirs logs `measure`: another noise's own number, say."""
    stopped: bool = False
    """Whether a sweep added seeds until contrasts of its own were decided, and some that are judged here are
    others, or are of several sweeps."""

    @property
    def best(self) -> ArmStats:
        return max(self.arms, key=lambda arm: self.measure.sign * arm.summaries[self.measure].mean)

    @property
    def tested(self) -> list[Result]:
        return [result for result in self.judged if result.p is not None]

    @property
    def decided(self) -> list[Result]:
        """Better or worse, the largest difference first."""
        decided = [result for result in self.tested if result.verdict and result.verdict.decided]
        return sorted(decided, key=lambda result: -abs(result.paired.difference))

    @property
    def equivalent(self) -> list[Result]:
        return [r for r in self.tested if r.verdict and r.verdict.word == stats.EQUIVALENT]

    @property
    def cards(self) -> list[Result]:
        """What is answered at the top: what is decided, then what is equivalent, then the rest."""
        first = [*self.decided, *self.equivalent]
        return [*first, *(result for result in self.tested if result not in first)][:CARDS]

    @property
    def images(self) -> int:
        """Images that `measure` is of; 0 where they are not known."""
        if self.measure.column.startswith("val_"):
            return self.validation_images
        names = self.sweep.runs["data"].unique()
        return measures.IMAGES.get(str(names[0]), 0) if len(names) == 1 else 0

    @property
    def validation_images(self) -> int:
        """By which a search's trials were told apart."""
        return int(self.sweep.runs["validation"].min())

    @property
    def noise_floor(self) -> float | None:
        """Binomial standard error of the best arm's accuracy; None where it is not one on known images."""
        is_accuracy = self.measure in (measures.TEST_ACC, measures.VAL_ACC)
        best = self.best.summaries[self.measure].mean
        return stats.binomial_se(best, self.images) if self.images and is_accuracy else None


def compare(
    folders: str | Path | Sequence[str | Path],
    metric: str | None = None,
    baseline: str | None = None,
    conditions: Sequence[str] = (),
) -> Compared:
    """Compute the comparison of one sweep, or of several as one, at the last epoch of each run.

    Args:
        folders: OUTPUT/sweeps/NAME.
        metric: a column of `metrics.csv`; by default the one that a search optimised or the sweep declares, or
            test_acc.
        baseline: the arm that each other arm is compared with. Without it the contrast that the sweep declares is
            judged; without one all pairs are, or with more than 6 arms each with the sweep's first: a reference
            chosen for its result would make the differences look larger than they are.
        conditions: which runs are compared, see `where.select`; what the sweep declares is of all its arms and then
            not judged.

    Raises:
        InputError: if there is nothing to compare by `metric`, no arm `baseline` or no run that meets `conditions`.
    """
    paths = [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    sweep = merge.read(paths, conditions)
    primary = None if conditions else _primary(sweep)
    # one whose runs do not meet the conditions says nothing of the others
    has_runs = paths if len(paths) == 1 else [path for path in paths if merge.is_in(sweep, path)]
    searched = next(filter(None, map(search.metric, has_runs)), None)
    column = metric or searched or (primary.measure.column if primary else "test_acc")
    measure = measures.of_column(column, sweep.metrics)
    if primary and primary.measure != measure:
        primary = None
    sweep, without = _with_measure(sweep, measure)
    sweep = _with_numbers(sweep, measure)
    by_name = merge.named(sweep, TRIAL_DIGITS if searched else runs.DIGITS)
    names = {merge.place(arm): name for name, arm in by_name.items()}
    rows = sweep.epochs[list(sweep.keys)].to_dict("records")
    sweep = replace(
        sweep, epochs=with_gaps(sweep.epochs.assign(arm=[names[merge.place(row)] for row in rows]))
    )
    looks = [look for path in has_runs for look in runs.read_looks(path)]
    if len({*has_runs}) == 1:
        sweep = replace(
            sweep, looks=tuple(look for look in looks if not conditions or where.keeps(sweep, look))
        )
    arms, with_result = Arms(sweep, by_name), {*sweep.epochs["arm"]}
    trained = [name for name in by_name if name in with_result]
    reference = _chosen(baseline, trained, paths) or (trained[0] if len(trained) > ALL_PAIRS else None)
    reported = [measures.TEST_ACC, measures.TEST_LOSS, measures.GAP]
    if searched:  # the test set is not for searching
        reported = [measures.VAL_ACC, measures.VAL_LOSS, measures.TRAIN_LOSS]
    pairs: list[tuple[str, ...]] = [(arm, reference) for arm in trained if reference and arm != reference]
    pairs = pairs or list(itertools.combinations(trained, 2))
    declared = primary.arms(list(by_name)) if primary and not baseline else []
    declared = [of for of in declared if with_result.issuperset(of) and arms.has(of, measure)]
    margin = primary.margin if primary else MARGINS.get(measure.unit, 0.0)
    others = [of for of in pairs if declared and not {of, of[::-1]} & {*declared}]
    beside = [arms.contrast_of(of, measure) for of in others]
    if measure == measures.TEST_ACC:
        beside += [arms.contrast_of(of, measures.TEST_LOSS) for of in declared or pairs]
    judged = family((arms.contrast_of(of, measure) for of in declared or pairs), margin, arms.diverged)
    everyone = arms.stats(list(dict.fromkeys([measure, *reported])))
    if searched:
        everyone.sort(key=lambda a: -measure.sign * a.summaries[measure].mean if a.summaries else np.inf)
    return Compared(
        sweep=sweep,
        folders=list(dict.fromkeys(paths)),
        measure=measure,
        arms=[arm for arm in everyone if arm.name in with_result],
        empty=[arm for arm in everyone if arm.name not in with_result],
        judged=judged,
        described=described(beside),
        reference=None if declared else reference,
        declared=bool(declared),
        search=None if conditions else search.read(sweep.folder),
        conditions=tuple(conditions),
        options=(*(("--metric", metric) if metric else ()), *(("--baseline", baseline) if baseline else ())),
        without=without,
        stopped=bool(looks) and any(result.contrast.look is None for result in judged),
    )


def _chosen(baseline: str | None, names: Sequence[str], paths: Sequence[Path]) -> str | None:
    """The arm meant by its settings, in any order, or by those that it alone has."""
    if baseline is None or baseline in names:
        return baseline
    meant = set(re.split(r"[,\s]+", baseline.strip()))
    for fits in (set.__eq__, set.issubset):
        fitting = [name for name in names if fits(meant, set(name.split()))]
        if len(fitting) == 1:
            return fitting[0]
    which = "several arms" if fitting else "no arm"
    where = " and ".join(map(str, paths))
    raise InputError(f"{where}: {which} {baseline!r}; one of these is right: {'; '.join(names)}")


def _primary(sweep: Table) -> design.Primary | None:
    """What the sweep declares, by its `multirun.yaml`; None where that is not there or declares nothing."""
    try:
        block = tables.recorded(sweep.folder, "hydra.sweeper.primary")
        path = str(sweep.folder / "multirun.yaml")
        return design.primary(block, path, len(merge.named(sweep)), sweep.metrics)
    except Exception:  # absent, no YAML, another layout or trimmed arms: then all pairs are compared
        return None


RIGHT = {"val": "trained with data.validation above 0", "eval": "trained with probe.train=true"}
"""By the beginning of a metric's name, what records it."""

OF_EVERY_RUN = ("test_acc", "test_loss", "train_acc", "train_loss")


def _with_measure(sweep: Table, measure: Measure) -> tuple[Table, tuple[str, ...]]:
    """The sweep without the arms of which no run logs the measure, and their names."""
    column = measure.column
    if column in OF_EVERY_RUN or column not in sweep.epochs or sweep.epochs[column].isna().all():
        return sweep, ()
    names = runs.arm_names(sweep.epochs, sweep.keys)
    logs = sweep.epochs[column].notna().groupby(names).transform("any")
    return sweep.without(set(sweep.epochs["id"][~logs])), tuple(names[~logs].unique())


def _with_numbers(sweep: Table, measure: Measure) -> Table:
    """The sweep without the runs that lack a number where the comparison needs one."""
    needed = list(dict.fromkeys([measure.column, *OF_EVERY_RUN]))
    numbers = [c for c in sweep.epochs if c not in ("id", "state", "seed", "epoch", *sweep.keys)]
    for column in needed:
        if column not in numbers or sweep.epochs[column].isna().all():
            right = RIGHT.get(column.partition("_")[0])
            right = f"{right}, or another --metric," if right else f"one of {', '.join(numbers)}"
            raise InputError(f"{sweep.folder} has no {column}; {right} is right")
    last = sweep.epochs.groupby("id", sort=False).tail(1)
    bad = last["id"][~np.isfinite(last[needed].astype(float)).all(axis=1)]
    reasons = dict.fromkeys(bad, "a metric of its last epoch is not a number")
    return sweep.with_damaged(reasons, f"run with all of {', '.join(needed)}")


def facts(compared: Compared) -> dict[str, Any]:
    """What was run, on what, and how long it took."""
    sweep, recorded = compared.sweep, compared.sweep.runs
    return {
        "swept": {key: list(sweep.epochs[key].unique()) for key in sweep.keys},
        "seeds": sorted(sweep.epochs["seed"].unique()),
        "usable": len(recorded),
        "total": len(recorded) + len(sweep.problems),
        **phrases.recorded(recorded),
    }


def mixed(compared: Compared) -> list[str]:
    """In which columns of the sweep's runs an arm's differ, so that equal seeds need not be equal runs."""
    arms = compared.sweep.final[["id", "arm"]].merge(compared.sweep.runs, on="id")
    return [column for column in ("versions", "device") if arms.groupby("arm")[column].nunique().max() > 1]


def commands(compared: Compared) -> list[tuple[str, bool]]:
    """Of each sweep the command that trains it again, and whether it is as recorded."""
    lines = []
    for folder in compared.folders:
        recorded = tasks = tables.overrides(folder)
        if tasks is None:
            listed, keys = runs.read_list(folder)
            tasks = [f"{key}={','.join(map(runs.shown, listed[key].unique()))}" for key in (*keys, "seed")]
        lines.append((shlex.join(["python", "-m", "src.train", "-m", *tasks]), recorded is not None))
    return lines


def draw(compared: Compared, folder: Path) -> list[str]:
    """Write the figures into `folder`; their names."""
    measure, sweep = compared.measure, compared.sweep
    summaries = {arm.name: arm.summaries[measure] for arm in compared.arms}
    drawn: dict[str, Figure] = {f"card_{n}": figures.card([r]) for n, r in enumerate(compared.cards)}
    by_measure: dict[Measure, list[Result]] = {}
    for result in [*compared.judged, *(r for r in compared.described if r.measure != measure)]:
        by_measure.setdefault(result.measure, []).append(result)
    for of, results in by_measure.items():
        if any(result.p is not None for result in results):
            forest = figures.forest(results, lambda r: f"{r.contrast.a} − {r.contrast.b}")
            drawn[f"paired_{of.column}"] = forest
    if not compared.search:  # its history shows the same
        drawn[f"final_{measure.column}"] = charts.final_values(sweep.final, summaries, measure)
    drawn |= charts.grid(sweep.keys, sweep.final, measure, bool(compared.search))
    drawn |= compared.search.figures() if compared.search else {}
    means = {name: summary.mean for name, summary in summaries.items()}
    drawn["learning_curves"] = charts.learning_curves(sweep.epochs, means, measure)
    for name, figure in drawn.items():
        figures.save(figure, folder, name)
    for path in folder.glob("card_*"):
        if path.stem not in drawn:
            path.unlink()  # of an earlier report
    return list(drawn)


def content(compared: Compared, drawn: Sequence[str] = (), to: Path | None = None) -> dict[str, Any]:
    """What the template is given: numbers and names."""
    names = [str(folder) for folder in compared.folders]
    chosen = [word for condition in compared.conditions for word in ("--where", condition)]
    chosen += [*compared.options, *(["--to", str(to)] if to else [])]
    return {
        "c": compared,
        "title": compared.sweep.name,
        "question": design.question(tables.overrides(compared.folders[0]) or []),
        "facts": facts(compared),
        "mixed": mixed(compared),
        "columns": list(compared.arms[0].summaries),
        "figures": drawn,
        "commands": commands(compared),
        "compare_command": shlex.join(["python", "-m", "analysis.compare", *names, *chosen]),
        "all_pairs": ALL_PAIRS,
    }


def conclusion(compared: Compared) -> str:
    """What the sweep shows, in one paragraph without Markdown."""
    template = page.environment().get_template("comparison.md")
    context = template.new_context(content(compared))
    text = " ".join("".join(template.blocks["conclusion"](context)).split())
    return html.unescape(re.sub(r"\\([\\`*\[\]|$~_])", r"\1", text))


def write(compared: Compared, to: Path | None = None) -> Path:
    """Write `index.html`, `report.md` and `figures/` into a folder, the sweep's own by default; path of the page.

    The page holds its figures and needs no other file and no network.
    """
    folder = to or where.folder(compared.sweep.folder, compared.conditions)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(compared, folder / "figures")
    return page.write("comparison.md", content(compared, drawn, to), folder, title=compared.sweep.name)
