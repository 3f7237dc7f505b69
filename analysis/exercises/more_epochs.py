"""Exercise 2: with and without dropout as the number of epochs grows, with a constant and with a falling lr."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from analysis import measures, runs, statistics, wording
from analysis.exercises import (
    Answer,
    Case,
    Grid,
    Picture,
    by_seed,
    case_grid,
    family,
    forest,
    reach,
    rows_of,
    with_gaps,
)
from analysis.figures import BAND_RESAMPLES, DASHES, PALETTE, STYLE
from analysis.measures import Measure
from analysis.statistics import Summary
from analysis.tables import Table, Tables
from src import store

NUMBER = 2
TITLE = "More epochs with and without dropout"
SWEEPS = ("more_epochs",)

DROPOUT, NONE = "dropout", "no dropout"
ARMS = {DROPOUT: {"dropout1": 0.2, "dropout2": 0.5}, NONE: {"dropout1": 0.0, "dropout2": 0.0}}
COLOURS = {DROPOUT: PALETTE[0], NONE: PALETTE[3]}
JUDGED = (measures.TEST_LOSS, measures.TEST_ACC, measures.TEST_ECE)
PEAKED = (measures.TEST_LOSS, measures.TEST_ACC)
DRAWN = (measures.TEST_ACC, measures.TEST_LOSS, measures.QUIET_GAP, measures.TEST_ECE)

CONSTANT = "constant"
LENGTHS, SEEDS = {CONSTANT: (10, 30, 100), "cosine": (10, 30, 100)}, 5
"""Numbers of epochs by how lr moves, and common seeds, in the sweep's file."""


@dataclass(frozen=True)
class Setting:
    """How lr moves, and how long is trained."""

    decay: str
    length: int

    @property
    def name(self) -> str:
        return f"{self.decay} lr, {wording.count(self.length, 'epoch')}"


@dataclass(frozen=True)
class Peak:
    """Where an arm's runs are at their best, and what they lose from there to the last epoch."""

    setting: Setting
    arm: str
    measure: Measure
    epochs: Sequence[int]
    """A run each."""
    lost: Summary
    """Not negative: by how much the last epoch is worse."""


BAND = (
    "Line: mean over the {seeds}; band: its 95% interval, where there are several. The axes hold the middle 90% of "
    "the runs' values, and their last ones."
)

HEADLINE = {1: "dropout pays", -1: "dropout costs", 0: "no difference is shown"}
BETTER = {1: "dropout is shown better", -1: "no dropout is shown better", 0: "no difference is shown"}
"""By verdict."""

Cases = Mapping[tuple[Setting, Measure], Case]


def answer(tables: Tables) -> Answer:
    """When dropout begins to pay as training gets longer.

    With a constant lr the first epochs of a run are a shorter run; with another lr each length is a run of its
    own. At each length, and for each way in which lr moves, dropout and no dropout are compared on their common
    seeds at the last epoch in test cross-entropy, test accuracy and calibration error. All these comparisons
    are one family for Holm's correction; each shows a difference or none by `statistics.RULE`. Dropout "pays"
    in a measure at the lengths where it is shown better in it, and "costs" where no dropout is. A run that
    diverged has no last epoch: how many did is said, and the comparisons are of the seeds left.

    With a constant lr dropout is "ahead from epoch k to the end" if k is the first epoch from which to the last
    one each 95% interval of that epoch's paired difference lies on dropout's side. These intervals are not
    corrected: they describe the curve.

    A run's peak is its epoch of highest test accuracy, or of lowest test cross-entropy. A peak picked on the test
    set is optimistic: it is there to show overfitting, and no arm is judged by it. Gaps are described, too, each
    with the 95% interval of its paired difference, not corrected.
    """
    table = tables[SWEEPS[0]]
    epochs = histories(table)
    settings = trained(epochs)
    of_decay = {decay: list(of) for decay, of in itertools.groupby(settings, lambda each: each.decay)}
    longest = [of[-1] for of in of_decay.values()]
    found = _compared(epochs, settings, JUDGED)
    named = {each.name: each for each in settings}
    cases = {(named[case.setting], case.measure): case for case in found}
    gaps = _compared(epochs, longest, [measures.QUIET_GAP])
    ahead = {
        measure: ahead_from(differences(epochs, setting, measure), measure)
        for setting in longest
        for measure in JUDGED
        if setting.decay == CONSTANT
    }
    peaks = [
        peak
        for setting in settings
        for measure in PEAKED
        for arm in ARMS
        if (peak := find_peak(epochs, arm, setting, measure))
    ]
    lost = {decay: diverged(table, epochs, decay) for decay in of_decay}
    paragraphs = [
        *(_at_the_end(cases, of, gaps, lost[decay]) for decay, of in of_decay.items()),
        _stays_ahead(ahead, longest),
        _overfitting(peaks, longest),
        reach(table),
    ]
    seeds = sorted({case.comparison.paired.n for case in found} or {0})
    seeds_told = " to ".join([*map(str, seeds[:-1][:1]), wording.count(seeds[-1], "common seed")])
    return Answer(
        headline=_headline(cases, of_decay, lost),
        n=f"{seeds_told}, {wording.count(len(table.runs), 'run')}",
        verdict=[text for text in paragraphs if text],
        parts=_parts(epochs, of_decay, found, ahead, peaks),
        outstanding=_outstanding(epochs, cases),
    )


def histories(table: Table) -> pd.DataFrame:
    """Every epoch of the two arms, with columns arm, decay, length (of the run) and the gaps."""
    set_once = dict(override.split("=", 1) for override in table.overrides if "=" in override)
    frame = with_gaps(table.epochs)
    frame = frame.assign(
        decay=frame.get("optimizer.decay", set_once.get("optimizer.decay", CONSTANT)),
        length=frame.groupby("id")["epoch"].transform("max"),
    )
    return pd.concat([rows_of(frame, rates).assign(arm=arm) for arm, rates in ARMS.items()])


def trained(epochs: pd.DataFrame) -> list[Setting]:
    """The settings that there are runs of, constant lr first, then by length."""
    found = {
        Setting(str(decay), int(length))
        for decay, length in epochs[["decay", "length"]].drop_duplicates().itertuples(index=False)
    }
    constant = [each.length for each in found if each.decay == CONSTANT]
    found |= {Setting(CONSTANT, each) for each in LENGTHS[CONSTANT] if constant and each <= max(constant)}
    return sorted(found, key=lambda each: (each.decay != CONSTANT, each.decay, each.length))


def runs_of(epochs: pd.DataFrame, arm: str, setting: Setting) -> pd.DataFrame:
    """Rows of the arm's runs, one a seed and epoch; with a constant lr also the first epochs of longer runs."""
    rows = epochs[(epochs["arm"] == arm) & (epochs["decay"] == setting.decay)]
    if setting.decay != CONSTANT:
        return rows[rows["length"] == setting.length]
    rows = rows[rows["length"] >= setting.length]
    longest = rows["length"] == rows.groupby("seed")["length"].transform("max")
    return rows[longest & (rows["epoch"] <= setting.length)]


def curves_of(epochs: pd.DataFrame, arm: str, setting: Setting, measure: Measure) -> pd.DataFrame:
    """The arm's runs by epoch: a row an epoch, a column a seed."""
    return runs_of(epochs, arm, setting).pivot_table(index="epoch", columns="seed", values=measure.column)


def differences(epochs: pd.DataFrame, setting: Setting, measure: Measure) -> pd.DataFrame:
    """Dropout minus no dropout: a row an epoch, a column a common seed."""
    with_it, without = (curves_of(epochs, arm, setting, measure) for arm in (DROPOUT, NONE))
    return (with_it - without).dropna(axis=1)


def ahead_from(found: pd.DataFrame, measure: Measure) -> int | None:
    """First epoch from which on dropout is ahead to the end, see `answer`; None where there is none."""
    first = None
    for epoch, values in reversed(list(found.iterrows())):
        interval = statistics.mean_interval(values, BAND_RESAMPLES)
        if interval is None or (interval.lower <= 0 if measure.higher_is_better else interval.upper >= 0):
            break
        first = int(epoch)
    return first


def find_peak(epochs: pd.DataFrame, arm: str, setting: Setting, measure: Measure) -> Peak | None:
    """The arm's peaks in runs of more than one epoch; None where it has no such run."""
    curves = curves_of(epochs, arm, setting, measure)
    if len(curves) < 2:
        return None
    best = curves.idxmax() if measure.higher_is_better else curves.idxmin()
    at_best = curves.max() if measure.higher_is_better else curves.min()
    return Peak(setting, arm, measure, list(best), statistics.summarise((curves.iloc[-1] - at_best).abs()))


def _compared(epochs: pd.DataFrame, settings: Sequence[Setting], judged: Sequence[Measure]) -> list[Case]:
    """Dropout against none at the last epoch: a family over the settings and the measures."""

    def values(arm: str, setting: Setting, measure: Measure) -> dict[int, float]:
        rows = runs_of(epochs, arm, setting)
        return by_seed(rows[rows["epoch"] == setting.length], measure.column)

    members = [
        (each.name, measure, values(DROPOUT, each, measure), values(NONE, each, measure))
        for measure in judged
        for each in settings
    ]
    return family(DROPOUT, NONE, members)


def diverged(table: Table, epochs: pd.DataFrame, decay: str) -> str:
    """ "2 of 5 runs of 100 epochs with no dropout diverged"; empty where none of this way for lr did."""
    lost = [problem.where for problem in table.problems if problem.kind == store.DIVERGED]
    if "optimizer.decay" in table.keys:
        lost = [where for where in lost if f"optimizer.decay={decay}, " in where]
    trained_so = epochs[epochs["decay"] == decay]

    def length_of(where: str) -> int:
        found = re.search(r"epochs=(\d+), ", where)
        return int(found[1]) if found else int(epochs["length"].max())

    told = []
    for arm, rates in ARMS.items():
        first, second = (runs.shown(rate) for rate in rates.values())
        names = (f"dropout1={first}, dropout2={second}, ", f"({first}, {second}), ")
        of_arm = [where for where in lost if where.startswith(names)]
        for length in sorted(set(map(length_of, of_arm))):
            number = sum(length_of(where) == length for where in of_arm)
            rows = trained_so[trained_so["arm"] == arm]
            of = wording.count(rows[rows["length"] == length]["id"].nunique() + number, "run")
            told.append(f"{number} of {of} of {wording.count(length, 'epoch')} with {arm} diverged")
    return " and ".join(told)


def _headline(cases: Cases, of_decay: Mapping[str, Sequence[Setting]], lost: Mapping[str, str]) -> str:
    clauses = []
    for decay, settings in of_decay.items():
        judged = [each for each in settings if (each, measures.TEST_LOSS) in cases]
        if not judged:
            continue
        last = judged[-1]
        found = cases[last, measures.TEST_LOSS].comparison
        told = wording.evidence(found.paired, measures.TEST_LOSS, found.adjusted_p)
        verdicts = _verdicts([(each, cases[each, measures.TEST_LOSS]) for each in judged], HEADLINE)
        clauses.append(
            f"with a {decay} lr {verdicts} (after {last.length}, dropout minus none is {told}"
            f"{'; ' if lost[decay] else ''}{lost[decay]})"
        )
    if not clauses:
        return "Whether dropout pays cannot be judged: no seed was trained both with and without it."
    return f"In {measures.TEST_LOSS.name}, {'; '.join(clauses)}."


def _verdicts(judged: Sequence[tuple[Setting, Case]], words: Mapping[int, str]) -> str:
    """ "dropout pays after 30 and 100 epochs, no difference is shown after 10 epochs"."""
    return ", ".join(
        f"{word} after {_epochs(lengths)}"
        for verdict, word in words.items()
        if (lengths := [each.length for each, case in judged if case.comparison.verdict == verdict])
    )


def _at_the_end(cases: Cases, settings: Sequence[Setting], gaps: Sequence[Case], lost: str) -> str:
    """At which lengths dropout pays in each measure, where lr moves in one way."""
    sentences = []
    for measure in JUDGED:
        tested = [
            (each, case)
            for each in settings
            if (case := cases.get((each, measure))) and case.comparison.paired.p is not None
        ]
        if tested:
            last, case = tested[-1]
            numbers = _numbers(case, case.comparison.adjusted_p)
            sentences.append(
                f"In {measure.name}, {_verdicts(tested, BETTER)} (after {last.length}: {numbers})."
            )
    sentences += [
        f"The train−test gap with the noise off, after {settings[-1].length}: {_numbers(case)}."
        for case in gaps
        if case.setting == settings[-1].name
    ]
    if lost:
        sentences.append(
            f"{lost}: the loss ceased to be finite. Such a run is left out, so the comparisons after as many "
            "epochs are of the seeds that got through, in favour of the arm that diverges."
        )
    if not sentences:
        return ""
    compared = len([case for case in cases.values() if case.comparison.paired.p is not None])
    holm = f"p after Holm's correction over {wording.count(compared, 'comparison')}"
    return " ".join([f"Dropout against none with a {settings[0].decay} lr ({holm}).", *sentences])


def _numbers(case: Case, p: float | None = None) -> str:
    means = [wording.value(statistics.summarise(each).mean, case.measure) for each in case.samples]
    return (
        f"{' against '.join(means)}, difference {wording.evidence(case.comparison.paired, case.measure, p)}"
    )


def _epochs(lengths: Sequence[int]) -> str:
    """ "10, 30 and 100 epochs"."""
    *others, last = lengths
    return f"{', '.join(map(str, others))} and {last} epochs" if others else wording.count(last, "epoch")


def _stays_ahead(ahead: Mapping[Measure, int | None], longest: Sequence[Setting]) -> str:
    if not ahead:
        return ""
    last = longest[0].length
    found: dict[str, list[str]] = {}
    for measure, first in ahead.items():
        since = {None: "not ahead at the end", last: "ahead at the last epoch alone"}.get(
            first, f"ahead from epoch {first} to the end"
        )
        found.setdefault(since, []).append(measure.name)
    told = "; ".join(f"{since} in {', '.join(names)}" for since, names in found.items())
    return (
        f"Epoch by epoch up to {last} with a constant lr, dropout is {told}. Ahead: each 95% interval of the "
        "paired difference from there on lies on dropout's side; that describes the curve and is not corrected "
        "for the number of epochs."
    )


def _overfitting(peaks: Sequence[Peak], longest: Sequence[Setting]) -> str:
    sentences = []
    for setting, measure in itertools.product(longest, PEAKED):
        told = [
            f"{peak.arm} at epoch {_range(peak.epochs)}, the last epoch worse by {_worse(peak)}"
            for peak in peaks
            if (peak.setting, peak.measure) == (setting, measure)
        ]
        if told:
            sentences.append(f"In {measure.name} with a {setting.name}: {'; '.join(told)}.")
    if not sentences:
        return ""
    of = {(peak.setting, peak.arm, peak.measure): peak.epochs for peak in peaks if peak.setting in longest}
    arms = dict.fromkeys((setting, arm) for setting, arm, _ in of)
    before = [
        loss < acc
        for arm in arms
        for loss, acc in zip(of[*arm, measures.TEST_LOSS], of[*arm, measures.TEST_ACC], strict=True)
    ]
    return (
        f"Where the runs peak (median and ends), and what they lose from there. {' '.join(sentences)} Test "
        f"cross-entropy peaks before test accuracy in {sum(before)} of {wording.count(len(before), 'run')}. A "
        "peak is picked on the test set and so is optimistic: it shows overfitting and judges no arm."
    )


def _range(epochs: Sequence[int]) -> str:
    """ "12 (9 to 15)": median and, of several runs, the ends."""
    middle = f"{np.median(epochs):g}"
    return middle if min(epochs) == max(epochs) else f"{middle} ({min(epochs)} to {max(epochs)})"


def _worse(peak: Peak) -> str:
    text = wording.size(peak.lost.mean, peak.measure)
    ends = peak.lost.interval
    return text if ends is None else f"{text} (95% interval {wording.interval(ends, peak.measure)})"


def _outstanding(epochs: pd.DataFrame, cases: Cases) -> list[str]:
    missing = []
    for decay, lengths in LENGTHS.items():
        for setting in (Setting(decay, length) for length in lengths):
            case = cases.get((setting, measures.TEST_LOSS))
            seeds = case.comparison.paired.n if case else 0
            if seeds < SEEDS:
                missing.append(f"common seeds at {setting.name}: {seeds} of {SEEDS}")
    if epochs["quiet_gap"].isna().all():
        missing.append("the train−test gap with the noise off: needs probe.train")
    return missing


def _parts(
    epochs: pd.DataFrame,
    of_decay: Mapping[str, Sequence[Setting]],
    found: Sequence[Case],
    ahead: Mapping[Measure, int | None],
    peaks: Sequence[Peak],
) -> list[Picture | Grid | str]:
    parts: list[Picture | Grid | str] = []
    for decay, settings in of_decay.items():
        drawn = settings[-1:] if decay == CONSTANT else settings
        caption = (
            f"With and without dropout, {decay} lr: test accuracy, test cross-entropy, train−test gap with the "
            f"noise off and calibration error by epoch. {BAND.format(seeds='seeds')}"
        )
        if len(drawn) > 1:
            lengths = _epochs([each.length for each in drawn])
            caption += f" Each length ({lengths}) is a run of its own, the longest the solid line."
        parts.append(Picture(f"curves_{decay}", caption, draw_curves(epochs, drawn)))
    if ahead:
        caption = (
            f"Dropout minus no dropout by epoch, constant lr. {BAND.format(seeds='common seeds')} The shaded side "
            "of 0 is dropout's; a dashed line marks the epoch from which on it is ahead to the end."
        )
        drawn_differences = draw_differences(epochs, of_decay[CONSTANT][-1], ahead)
        parts.append(Picture("differences", caption, drawn_differences))
    if found:
        parts += [
            Picture(
                "last_epoch",
                "Dropout minus no dropout at the last epoch. Dots: a seed each; diamond: mean over the common "
                "seeds, with its 95% interval; coloured and filled where a difference is shown. Lower "
                "cross-entropy, higher accuracy and lower calibration error are better.",
                forest(found),
            ),
            case_grid(
                f"A: {DROPOUT}, B: {NONE}, last epoch; Holm's correction over all rows of this table", found
            ),
        ]
    if peaks:
        parts.append(_peak_grid(peaks))
    return parts


def _peak_grid(peaks: Sequence[Peak]) -> Grid:
    rows = [
        [
            peak.setting.name,
            f"{peak.measure.name} ({peak.measure.difference_unit})",
            peak.arm,
            str(peak.lost.n),
            _range(peak.epochs),
            peak.measure.shown(peak.lost.mean),
            wording.interval(peak.lost.interval, peak.measure),
        ]
        for peak in peaks
    ]
    return Grid(
        "Where each arm peaks on the test set (epoch: median and ends over the runs) and how much worse its last "
        "epoch is. Even a curve that only jitters loses something against its best epoch.",
        ["setting", "measure", "arm", "n", "peak's epoch", "last epoch worse by", "95% CI"],
        rows,
        texts=3,
    )


def draw_curves(epochs: pd.DataFrame, settings: Sequence[Setting]) -> Figure:
    """Test accuracy and cross-entropy, gap and calibration error by epoch, in settings that differ in length."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7.4), layout="constrained")
        axes = figure.subplots(2, 2)
        for axis, measure in zip(axes.flat, DRAWN, strict=True):
            drawn = []
            for setting, dash in zip(reversed(settings), DASHES, strict=False):
                for arm in ARMS:
                    drawn.append(curves_of(epochs, arm, setting, measure))
                    _curve(axis, drawn[-1], measure, color=COLOURS[arm], linestyle=dash, label=arm)
            _limits(axis, drawn, measure)
            axis.set_ylabel(measure.label)
            _epoch_axis(axis, max(each.length for each in settings))
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles[:2], labels[:2], loc="outside lower center", ncols=2)
    return figure


def draw_differences(epochs: pd.DataFrame, setting: Setting, ahead: Mapping[Measure, int | None]) -> Figure:
    """Dropout minus no dropout by epoch, a panel a measure."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        for axis, (measure, first) in zip(figure.subplots(1, len(ahead)), ahead.items(), strict=True):
            found = differences(epochs, setting, measure)
            _curve(axis, found, measure, color=PALETTE[0])
            _limits(axis, [found, found * 0], measure)
            low, high = axis.get_ylim()
            side = (0, high) if measure.higher_is_better else (low, 0)
            axis.axhspan(*side, color=PALETTE[0], alpha=0.07, linewidth=0)
            axis.axhline(0, color="0.3", linewidth=1)
            axis.set(ylim=(low, high), ylabel=f"{measure.name} ({measure.difference_unit})")
            if first is not None:
                axis.axvline(first, color="0.3", linestyle="--", linewidth=1)
            _epoch_axis(axis, setting.length)
    return figure


def _curve(axis: Axes, curves: pd.DataFrame, measure: Measure, **style: Any) -> None:
    """Mean over the seeds with its interval; an epoch a row, a seed a column."""
    if curves.empty:
        return
    curves = curves * measure.scale
    mark = "o" if len(curves) < 4 else None
    axis.plot(curves.index, curves.mean(axis=1), linewidth=1.8, marker=mark, **style)
    found = [statistics.mean_interval(values, BAND_RESAMPLES) for values in curves.dropna(axis=1).to_numpy()]
    ends = np.array([(each.lower, each.upper) if each else (np.nan, np.nan) for each in found])
    axis.fill_between(curves.index, ends[:, 0], ends[:, 1], color=style["color"], alpha=0.15, linewidth=0)


def _limits(axis: Axes, curves: Sequence[pd.DataFrame], measure: Measure) -> None:
    """Most of the values and all last ones: one bad epoch, or the interval of two seeds, would hide the rest."""
    values, last = (
        np.concatenate([part.to_numpy(float).ravel() for part in parts]) * measure.scale
        for parts in (curves, [each.tail(1) for each in curves])
    )
    if not np.isfinite(values).any():
        return
    low, high = np.nanquantile(values, [0.05, 0.95])
    low, high = np.nanmin([low, *last]), np.nanmax([high, *last])
    if high > low:
        axis.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def _epoch_axis(axis: Axes, length: int) -> None:
    """Epochs; of long runs on a logarithmic scale, as most happens at the start."""
    axis.set_xlabel("epoch")
    if length < 30:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return
    axis.set_xscale("log")
    axis.set_xlabel("epoch (logarithmic)")
    axis.xaxis.set_major_locator(FixedLocator([each for each in (1, 3, 10, 30, 100, 300) if each <= length]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter())
