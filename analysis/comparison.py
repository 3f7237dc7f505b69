"""A sweep's comparison: computes it from the recorded runs and writes it as a page, a text and figures.

`compare` reads a sweep folder and computes everything that is said about it; `write` puts `index.html`,
`report.md` and `figures/` into the same folder. No sentence about a result is typed: each follows from the
numbers.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from analysis import figures, measures, pages, runs, search, statistics, wording
from analysis.measures import Measure
from analysis.runs import InputError, Sweep
from analysis.statistics import Comparison, Summary
from src import store

ALL_PAIRS = 6
"""Most arms of which every pair is compared; more are compared with one reference each."""
PAGE, TEXT = "index.html", "report.md"
SWEEPER = ("hydra/sweeper=", "hydra.sweeper.")
"""Beginnings of the overrides of Hydra's own part that belong to the sweep: how it searches, its arms."""

LAST_EPOCH = "Every value is of a run's last epoch, never of its best one."
PAIRED = (
    "Runs with the same seed share initial weights, order of the images and noise draws where shapes allow, "
    "so arms are compared seed by seed. P(A > B): share of the seeds on which A's value is the larger one, "
    "ties half. d_z: mean of the paired differences over their SD. p: paired t-test, two-sided; Holm p: "
    "adjusted for the number of pairs in the table."
)


@dataclass(frozen=True)
class Compared:
    """What is known of a sweep's arms."""

    sweep: Sweep
    measure: Measure
    """By which the arms are compared and the conclusion is drawn."""
    epochs: pd.DataFrame
    """A row a usable run and epoch, with columns arm and gap."""
    final: pd.DataFrame
    """A row a usable run: its last epoch."""
    summaries: dict[str, dict[str, Summary]]
    """By the measure's column, then by arm, in the order of the sweep."""
    pairs: dict[str, list[Comparison]]
    """By the measure's column; empty for one arm and for arms of one seed."""
    reference: str | None
    """The arm that each other is compared with; None where all pairs are."""
    search: search.Found | None = None
    """Where Optuna proposed the runs: what there is to say of that."""

    @property
    def arms(self) -> list[str]:
        return list(self.summaries[self.measure.column])

    @property
    def tested(self) -> bool:
        return any(pair.paired.p is not None for pair in self.pairs[self.measure.column])


def compare(folder: str | Path, metric: str = "test_acc", baseline: str | None = None) -> Compared:
    """Compute a sweep's comparison at the last epoch of each run.

    Args:
        folder: OUTPUT/sweeps/NAME.
        metric: a key of `measures.METRICS`.
        baseline: name of the arm that each other arm is compared with. Without it all pairs are compared,
            or with more than 6 arms each with the sweep's first: a reference chosen for its result would make
            the differences look larger than they are.

    Raises:
        InputError: if there is nothing to compare by `metric`, or no arm `baseline`.
    """
    measure = measures.METRICS[metric]
    sweep, epochs = _with_numbers(runs.read(folder), measure)
    epochs = epochs.assign(
        arm=runs.arm_names(epochs, sweep.keys), gap=(epochs["train_acc"] - epochs["test_acc"]).round(12)
    )
    final = epochs.groupby(["arm", "seed"], sort=False).tail(1)

    by_arm = dict(iter(final.groupby("arm", sort=False)))
    if baseline is not None and baseline not in by_arm:
        raise InputError(f"{folder} has no arm {baseline!r}; one of these is right: {'; '.join(by_arm)}")
    reference = baseline or (next(iter(by_arm)) if len(by_arm) > ALL_PAIRS else None)
    pairs = (
        list(itertools.combinations(by_arm, 2))
        if reference is None
        else [(arm, reference) for arm in by_arm if arm != reference]
    )
    reported = dict.fromkeys([measure, measures.TEST_ACC, measures.TEST_LOSS, measures.GAP])
    compared = dict.fromkeys([measure, *([measures.TEST_LOSS] if measure is measures.TEST_ACC else [])])
    return Compared(
        sweep=sweep,
        measure=measure,
        epochs=epochs,
        final=final,
        summaries={
            each.column: {arm: statistics.summarise(of_arm[each.column]) for arm, of_arm in by_arm.items()}
            for each in reported
        },
        pairs={
            each.column: statistics.compare_arms(
                {
                    arm: dict(zip(of_arm["seed"], of_arm[each.column], strict=True))
                    for arm, of_arm in by_arm.items()
                },
                pairs,
                higher_is_better=each.higher_is_better is not False,
            )
            for each in compared
        },
        reference=reference,
        search=search.read(sweep.folder),
    )


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
    good = last[np.isfinite(last[list(needed)]).all(axis=1)]["id"]
    lost = last[~last["id"].isin(good)]
    problems = [
        runs.Problem(run, runs.DAMAGED, where, "a metric of its last epoch is not a number")
        for run, where in zip(lost["id"], runs.place_names(lost, sweep.keys), strict=True)
    ]
    if good.empty:
        raise InputError(
            f"{sweep.folder} has no run with all of {', '.join(needed)}; the first: {problems[0]}"
        )
    kept = sweep.epochs[sweep.epochs["id"].isin(good)]
    facts = sweep.runs[sweep.runs["id"].isin(good)]
    return replace(sweep, epochs=kept, runs=facts, problems=(*sweep.problems, *problems)), kept


def conclusion(compared: Compared) -> str:
    """What the sweep shows, in one paragraph, by `statistics.RULE`."""
    measure = compared.measure
    summaries = compared.summaries[measure.column]
    best = _best(compared)
    reached = (
        f"{best} reached a final {measure.name} of {wording.mean_with_interval(summaries[best], measure)}"
    )
    if len(summaries) == 1:
        return f"One arm, so nothing is compared: {reached}."
    if not compared.tested:
        return _untested(compared)
    pairs = [pair for pair in compared.pairs[measure.column] if pair.paired.p is not None]
    if len(summaries) == 2:
        return _of_two(pairs[0], compared)
    shown = sorted((pair for pair in pairs if pair.verdict), key=lambda pair: -abs(pair.paired.difference))
    against = f" with {compared.reference}" if compared.reference else ""
    extreme = "highest" if measure.higher_is_better else "lowest"
    text = (
        f"Of {len(summaries)} arms, {best} has the {extreme} mean final {measure.name}: "
        f"{wording.mean_with_interval(summaries[best], measure)}. "
    )
    if not shown:
        return text + f"None of the {wording.count(len(pairs), 'pair')} compared{against} shows a difference."
    text += f"Of {wording.count(len(pairs), 'pair')} compared{against}, {_show(len(shown))} a difference: "
    if compared.reference is None:
        parts = [
            f"{_winner(pair)} better than {_loser(pair)} by {wording.size(pair.paired.difference, measure)}"
            for pair in shown
        ]
        return text + wording.some(parts) + "."
    sides = []
    for word, sign in (("better", 1), ("worse", -1)):
        arms = [
            f"{pair.a}: {wording.difference(pair.paired.difference, measure)}"
            for pair in shown
            if pair.verdict == sign
        ]
        if arms:
            sides.append(f"{wording.count(len(arms), 'arm')} {word} ({wording.some(arms)})")
    return text + " and ".join(sides) + "."


def _of_two(pair: Comparison, compared: Compared) -> str:
    measure = compared.measure
    summaries = compared.summaries[measure.column]
    found = pair.paired
    values = " and ".join(f"{arm} {wording.value(summaries[arm].mean, measure)}" for arm in (pair.a, pair.b))
    evidence = f"the paired difference is {wording.evidence(found, measure, pair.adjusted_p)}"
    if pair.verdict:
        return f"{_winner(pair)} is better: {values} final {measure.name}; {evidence}."
    return (
        f"No difference shown between {pair.a} and {pair.b}: {values} final {measure.name}; {evidence}. "
        "Differences inside the interval remain possible."
    )


def _untested(compared: Compared) -> str:
    """Arms without two common seeds: a ranking, and how large a difference must be to mean anything."""
    measure = compared.measure
    summaries = compared.summaries[measure.column]
    best = _best(compared)
    means = [summary.mean for summary in summaries.values()]
    extreme = "highest" if measure.higher_is_better else "lowest"
    return (
        f"No pair of arms has two common seeds, so no difference is tested. {best} has the {extreme} final "
        f"{measure.name}, {wording.value(summaries[best].mean, measure)}; from the lowest arm to the highest it is "
        f"{wording.size(max(means) - min(means), measure)}. {_noise_floor(compared)}"
    )


def _noise_floor(compared: Compared) -> str:
    """The binomial standard error, where the number of test images is known."""
    names = compared.sweep.runs["data"].unique()
    images = measures.IMAGES.get(str(names[0])) if len(names) == 1 else None
    if images is None:
        return "With one seed an arm, differences mix the arms' effect with the noise of a single run."
    accuracy = compared.summaries["test_acc"][_best(compared)].mean
    error = statistics.binomial_se(accuracy, images)
    text = (
        f"The binomial standard error of one test accuracy of {accuracy:.2f} on {images:,} images is "
        f"{error * 100:.2f} pp: single-seed differences in accuracy below it are noise"
    )
    if compared.measure.column == "test_acc":
        means = [summary.mean for summary in compared.summaries["test_acc"].values()]
        within = sum(max(means) - mean < error for mean in means) - 1
        others = wording.count(len(means) - 1, "difference")
        text += f"; {within} of the {others} from the best arm {_lie(within)} below it"
    return text + ". Several seeds an arm (seed=0,1,2,3,4) would give intervals and tests."


def _best(compared: Compared) -> str:
    means = {arm: summary.mean for arm, summary in compared.summaries[compared.measure.column].items()}
    return (max if compared.measure.higher_is_better else min)(means, key=lambda arm: means[arm])


def _winner(pair: Comparison) -> str:
    return pair.a if pair.verdict > 0 else pair.b


def _loser(pair: Comparison) -> str:
    return pair.b if pair.verdict > 0 else pair.a


def _show(number: int) -> str:
    return f"{number} shows" if number == 1 else f"{number} show"


def _lie(number: int) -> str:
    return "lies" if number == 1 else "lie"


def facts(compared: Compared) -> list[tuple[str, str]]:
    """What was run, on what, and how long it took: pairs of a label and a text."""
    sweep, recorded = compared.sweep, compared.sweep.runs
    total = len(recorded) + len(sweep.problems)
    swept = [f"{key}: {wording.listing(list(sweep.epochs[key].unique()))}" for key in sweep.keys]
    lengths = recorded["epochs"]
    times = recorded["seconds"].dropna()
    rows = [
        ("Swept", "; ".join(swept) or "nothing but the seed"),
        ("Seeds", wording.listing(sorted(sweep.epochs["seed"].unique()))),
        ("Arms", f"{len(compared.arms):,}"),
        ("Runs", f"{total:,}" if total == len(recorded) else f"{len(recorded):,} usable of {total:,}"),
        ("Epochs", wording.ends(lengths)),
        ("Data set", wording.distinct(recorded["data"])),
        ("Parameters of the model", wording.ends(recorded["parameters"].dropna())),
        ("Device", wording.distinct(recorded["device"])),
        ("Versions", wording.distinct(recorded["versions"])),
        ("Training time, all runs", wording.duration(times.sum()) if len(times) else ""),
    ]
    return [(label, text or "not recorded") for label, text in rows]


def arm_table(compared: Compared) -> dict[str, Any]:
    """Headers and rows of text: an arm a row, mean ± SD and interval of each measure."""
    columns = [_measure(column) for column in compared.summaries]
    headers = ["arm", "n"]
    for measure in columns:
        headers += [f"{measure.label}: mean ± SD", "95% CI"]
    rows = []
    for arm in compared.arms:
        row = [arm, str(compared.summaries[compared.measure.column][arm].n)]
        for measure in columns:
            summary = compared.summaries[measure.column][arm]
            spread = f" ± {measure.shown(summary.sd)}" if summary.sd is not None else ""
            row += [measure.shown(summary.mean) + spread, wording.interval(summary.interval, measure)]
        rows.append(row)
    return {"headers": headers, "rows": rows}


def pair_table(pairs: Sequence[Comparison], measure: Measure, reference: str | None) -> dict[str, Any]:
    """Headers and rows of text: a pair of arms a row; B has no column where it is the reference in all."""
    names = ["A"] if reference else ["A", "B"]
    headers = ["seeds", f"A − B ({measure.difference_unit})", "95% CI", "P(A > B)", "d_z", "p", "Holm p"]
    words = {1: "A better", -1: "B better", 0: "no difference shown"}
    rows = []
    for pair in pairs:
        found = pair.paired
        rows.append(
            [
                *([pair.a] if reference else [pair.a, pair.b]),
                str(found.n),
                measure.shown(found.difference, signed=True) if found.n else "–",
                wording.interval(found.interval, measure, signed=True),
                f"{found.superiority:.2f}" if found.n else "–",
                "–" if found.effect is None else f"{found.effect:+.1f}".replace("-", "−"),
                wording.p_value(found.p),
                wording.p_value(pair.adjusted_p),
                "not tested" if found.p is None else words[pair.verdict],
            ]
        )
    return {"names": len(names), "headers": [*names, *headers, "verdict"], "rows": rows}


def overrides(sweep: Sweep) -> list[str] | None:
    """Overrides that the sweep was trained with, as `multirun.yaml` records them; None where it does not."""
    try:
        recorded = OmegaConf.load(sweep.folder / "multirun.yaml")
        own = [o for o in OmegaConf.select(recorded, "hydra.overrides.hydra") or [] if o.startswith(SWEEPER)]
        return [str(override) for override in [*own, *OmegaConf.select(recorded, "hydra.overrides.task")]]
    except Exception:  # absent, no YAML, or another layout: the report is worth as much without it
        return None


def command(sweep: Sweep) -> tuple[str, str]:
    """Command that trains the sweep again, and where it comes from."""
    tasks, source = overrides(sweep), "as recorded in multirun.yaml"
    if tasks is None:
        values = {key: list(sweep.epochs[key].unique()) for key in (*sweep.keys, "seed")}
        tasks = [f"{key}={','.join(runs.shown(value) for value in found)}" for key, found in values.items()]
        source = "rebuilt from runs.csv, as multirun.yaml has none: overrides that were not swept are missing"
    return shlex.join(["python", "-m", "src.train", "-m", *tasks]), source


def draw(compared: Compared, folder: Path) -> list[dict[str, str]]:
    """Write the figures into `folder`; of each its name, title, section of the report and data for the page."""
    measure = compared.measure
    summaries = compared.summaries[measure.column]
    means = {arm: summary.mean for arm, summary in summaries.items()}
    drawn = []

    def add(section: str, name: str, title: str, figure: Any) -> None:
        data = pages.embedded(*figures.save(figure, folder, name))
        drawn.append({"section": section, "name": name, "title": title, "data": data})

    add(
        "arms",
        f"final_{measure.column}",
        f"Final {measure.name} of each arm",
        figures.final_values(compared.final, summaries, measure),
    )
    for column, pairs in compared.pairs.items():
        found = [pair for pair in pairs if pair.paired.p is not None]
        if found:
            add(
                column,
                f"paired_{column}",
                f"Paired differences in final {_measure(column).name}",
                figures.paired_differences(found, _measure(column)),
            )
    grid = _grid(compared)
    if grid is not None:
        add(
            "arms",
            f"grid_{measure.column}",
            f"Final {measure.name} over the grid of {grid.columns.name} and {grid.index.name}",
            figures.heat_map(grid, measure),
        )
    if compared.search and compared.search.history:
        add("search", "search_history", "The best result so far, by trial", compared.search.history)
    if compared.search and compared.search.importances:
        title = "Importance of the parameters searched over"
        add("search", "search_importances", title, compared.search.importances)
    title = "Accuracy and cross-entropy by epoch"
    add("curves", "learning_curves", title, figures.learning_curves(compared.epochs, means, measure))
    return drawn


def _grid(compared: Compared) -> pd.DataFrame | None:
    """Means over the values of two swept numbers with at least three values each, otherwise None."""
    keys, final = compared.sweep.keys, compared.final
    if len(keys) != 2 or not all(pd.api.types.is_numeric_dtype(final[key]) for key in keys):
        return None
    grid = final.pivot_table(index=keys[1], columns=keys[0], values=compared.measure.column, aggfunc="mean")
    return grid if min(grid.shape) >= 3 else None


def _measure(column: str) -> Measure:
    return measures.GAP if column == measures.GAP.column else measures.METRICS[column]


def notes(compared: Compared) -> list[str]:
    """What a reader must know to judge the numbers; only what the sweep's report shows."""
    said = [
        LAST_EPOCH,
        "Cross-entropies are means in nats. Train figures are running means over the epoch with the noise "
        "on, as in the book, so the train−test gap (train − test accuracy, in percentage points, pp) can be "
        "negative.",
    ]
    found = [(one.n, one.interval) for by_arm in compared.summaries.values() for one in by_arm.values()]
    found += [(pair.paired.n, pair.paired.interval) for pairs in compared.pairs.values() for pair in pairs]
    intervals = [(n, interval.method) for n, interval in found if interval is not None]
    if intervals:
        smallest, largest = statistics.SMALLEST_BOOTSTRAP, statistics.LARGEST_BOOTSTRAP
        methods = {
            "BCa bootstrap": any(method == "BCa" for _, method in intervals),
            f"Student's t below {smallest} seeds, where a bootstrap is too short": any(
                method == "t" and n < smallest for n, method in intervals
            ),
            f"Student's t above {largest:,} seeds, where a bootstrap gives the same": any(
                method == "t" and n > largest for n, method in intervals
            ),
        }
        used = "; ".join(text for text, is_used in methods.items() if is_used)
        said.append(
            "SD: sample standard deviation over the seeds. 95% CI: interval of the mean over the seeds, "
            f"{used}. It does not cover the choice of the test images."
        )
    if compared.tested:
        said += [
            PAIRED,
            statistics.RULE,
        ]
    if compared.tested and compared.reference is not None:
        said.append(
            f"With more than {ALL_PAIRS} arms, or with --baseline, each arm is compared with one reference, "
            "the sweep's first arm unless another is named: one chosen for its result would make differences "
            "look larger."
        )
    if len(compared.arms) > 1 and not compared.tested:
        said.append(_noise_floor(compared))
    return said


def content(compared: Compared) -> dict[str, Any]:
    """Everything that the two templates say, as text."""
    trained, source = command(compared.sweep)
    reference = compared.reference
    family = f"each arm (A) with {reference} (B)" if reference else "all pairs of arms"
    return {
        "title": compared.sweep.name,
        "facts": facts(compared),
        "conclusion": conclusion(compared),
        "arms": arm_table(compared),
        "pairs": [
            {
                "section": column,
                "name": _measure(column).name,
                "tested": wording.count(sum(pair.paired.p is not None for pair in pairs), "tested pair"),
                **pair_table(pairs, _measure(column), compared.reference),
            }
            for column, pairs in compared.pairs.items()
        ]
        if compared.tested
        else [],
        "family": family,
        "search": compared.search.text if compared.search else "",
        "notes": notes(compared),
        "problems": [
            {"id": problem.id, "kind": problem.kind, "where": problem.where, "reason": problem.reason}
            for problem in compared.sweep.problems
        ],
        "total": len(compared.sweep.runs) + len(compared.sweep.problems),
        "command": trained,
        "source": source,
        "compare_command": shlex.join(["python", "-m", "analysis.compare", str(compared.sweep.folder)]),
    }


def write(compared: Compared) -> Path:
    """Write `index.html`, `report.md` and `figures/` into the sweep's folder; path of the page.

    The page holds its figures and needs no other file and no network.
    """
    folder = compared.sweep.folder
    said = content(compared)
    drawn = draw(compared, folder / "figures")
    environment = pages.environment()
    for template, path in (("comparison.html", PAGE), ("comparison.md", TEXT)):
        store.write_whole(folder / path, environment.get_template(template).render(said, figures=drawn))
    return folder / PAGE
