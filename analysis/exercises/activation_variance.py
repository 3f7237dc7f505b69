"""Exercise 3: the variance of each hidden layer's activations over training, with and without dropout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from analysis import statistics, wording
from analysis.comparison import pair_table
from analysis.exercises import Answer, Case, Grid, Picture, by_seed, extra_by_rates, family, reach
from analysis.figures import BAND_RESAMPLES, DASHES, PALETTE, STYLE
from analysis.measures import Measure
from analysis.runs import InputError
from analysis.statistics import Interval, Summary
from analysis.tables import Tables

NUMBER = 3
TITLE = "Variance of the activations with and without dropout"
SWEEPS = ("activation_variance",)

NONE, BOOK = "(0, 0)", "(0.2, 0.5)"
ARMS, SEEDS = (NONE, BOOK, "(0.5, 0.5)"), 5
"""Of the sweep's file."""

VAR = Measure("var", "variance, noise off", "", "", 1, 3, None)
UNIT_VAR = Measure("unit_var", "mean of the units' variances, noise off", "", "", 1, 3, None)
NOISY_VAR = Measure("noisy_var", "variance, noise on everywhere", "", "", 1, 3, None)
ZEROS = Measure("zeros", "share of zeros, noise off", "%", "pp", 100, 1, None)
DEAD = Measure("dead", "share of dead units", "%", "pp", 100, 1, None)
CHANCE = 1.5
"""Over what independent draws leave: see `answer`."""
RATIOS, SHARES = (VAR, UNIT_VAR, NOISY_VAR), (ZEROS, DEAD)
"""Compared as ratios, on the log scale, and as differences."""

Place = tuple[int, str]
"""Hidden layer and arm."""
Effects = Mapping[Measure, Mapping[Place, Case]]


def answer(tables: Tables) -> Answer:
    """What dropout does to the variance of each hidden layer's activations, by four rules.

    Trained with dropout against without, at the last probe: in each layer each arm with a rate above 0 is compared
    with the arm without dropout on their common seeds; variances by the ratio, that is by the mean difference of
    their logarithms, shares of zeros and of dead units by their difference. All comparisons of one quantity are a
    family for Holm's correction; "larger" or "smaller" by `statistics.RULE`, otherwise "no difference shown". The
    headline is about the book's rates, or the first arm that there is. The same is done at the first probe.

    Over training: from the first probe to the last a variance "grows" or "falls" if the 95% interval of the mean
    logarithm of last over first lies on one side of 0, otherwise "no trend is shown"; not corrected.

    The mask: at each probe with a rate p above 0 the variance just after the mask is held against the identity
    Var(after) = Var(before) + p/(1 − p)·E[before²] by its relative deviation. "A bias is shown" if the 95% interval
    over the seeds of the mean deviation leaves out 0. The deviations of single masks are "as chance has it" if the
    means over a run's masks deviate by at most 1.5 times (root mean square) what independent draws leave: the SD
    among the masks over the root of their number.

    Noise everywhere is the net as it trains: the first rule, on the variance with all masks on.
    """
    table = tables[SWEEPS[0]]
    try:
        probe = with_identity(extra_by_rates(table, "probe").dropna(subset=["var"]))
    except InputError as error:
        return Answer("Not answered: no run looked at its activations.", "0 runs", [], [], [f"{error}"])
    first, last = (_ends(probe, side) for side in ("min", "max"))
    effects, before = against_none(last), against_none(first)
    said = [
        _end(effects, last),
        _course(probe, before, first, last),
        _mask(last, probe),
        _in_training(effects, last),
        reach(table),
    ]
    return Answer(
        headline=_headline(effects, last, probe),
        n=_n(effects, probe),
        verdict=[text for text in said if text],
        parts=_parts(effects, probe, first, last),
        outstanding=_outstanding(probe),
    )


def with_identity(probe: pd.DataFrame) -> pd.DataFrame:
    """The probe with columns p, predicted (variance after the mask by the identity) and miss (relative deviation).

    The last two are NaN where p is 0 or E[before²] was not recorded.
    """
    p = probe["dropout1"].where(probe["layer"] == 1, probe["dropout2"])
    square = probe.get("mean_square", pd.Series(np.nan, probe.index))
    predicted = (probe["var"] + p / (1 - p) * square).where(p > 0)
    return probe.assign(p=p, predicted=predicted, miss=probe["masked_var"] / predicted - 1)


def against_none(rows: pd.DataFrame) -> Effects:
    """Each arm's paired comparison with the arm without dropout; of the variances' logarithms.

    Args:
        rows: of one probe a run, a row a layer.
    """
    with np.errstate(divide="ignore"):
        rows = rows.assign(**{each.column: np.log(rows[each.column]) for each in RATIOS})
    found: dict[Measure, dict[Place, Case]] = {}
    for measure in (*RATIOS, *SHARES):
        of = {place: by_seed(cell, measure.column) for place, cell in rows.groupby(["layer", "arm"])}
        places = {_name(place): place for place in of if place[1] != NONE}
        members = [(name, measure, of[place], of.get((place[0], NONE), {})) for name, place in places.items()]
        cases = family("with dropout", "without", members)
        found[measure] = {places[case.setting]: case for case in cases}
    return found


def _ends(probe: pd.DataFrame, side: str) -> pd.DataFrame:
    return probe[probe["step"] == probe.groupby("id")["step"].transform(side)]


def _name(place: Place) -> str:
    return f"layer {place[0]}, {place[1]}"


def _lead(places: Sequence[Place]) -> str:
    """The arm that the headline is about."""
    arms = [arm for _, arm in places]
    return BOOK if BOOK in arms or not arms else arms[0]


def _times(mean: float, interval: Interval | None, *more: str) -> str:
    """ "0.79 times (0.70 to 0.88, smaller)", from logarithms."""
    inside = (
        " to ".join(f"{math.exp(end):.2f}" for end in (interval.lower, interval.upper)) if interval else ""
    )
    return f"{math.exp(mean):.2f} times ({', '.join(text for text in (inside or 'one seed', *more) if text)})"


def _word(case: Case) -> str:
    return {1: "larger", -1: "smaller", 0: "no difference shown"}[case.comparison.verdict]


def _compared(case: Case) -> str:
    """ "0.79 times (0.70 to 0.88, smaller)", or "41.2% against 53.0% (−11.8 pp, −14.2 to −9.5, smaller)"."""
    found = case.comparison.paired
    if case.measure in RATIOS:
        return _times(found.difference, found.interval, _word(case))
    means = " against ".join(wording.value(float(each.mean()), case.measure) for each in case.samples)
    inside = [wording.difference(found.difference, case.measure), _word(case)]
    if found.interval:
        inside.insert(1, wording.interval(found.interval, case.measure, signed=True))
    return f"{means} ({', '.join(inside)})"


def _rates(arm: str) -> str:
    return "without dropout" if arm == NONE else f"with {arm}"


def _told(texts: Mapping[Place, str]) -> str:
    """ "layer 1 with (0.2, 0.5) …, with (0.5, 0.5) …; layer 2 with …"."""
    by_layer: dict[int, list[str]] = {}
    for (layer, arm), text in texts.items():
        by_layer.setdefault(layer, []).append(f"{_rates(arm)} {text}")
    return "; ".join(f"layer {layer} {', '.join(each)}" for layer, each in by_layer.items())


def _cases(cases: Mapping[Place, Case], arm: str = "") -> str:
    return _told({place: _compared(case) for place, case in cases.items() if arm in place[1]})


def _over_runs(rows: pd.DataFrame, value: pd.Series) -> dict[Place, Summary]:
    """Mean over the runs of a value a row, by layer and arm."""
    cells = rows.assign(value=value).dropna(subset=["value"]).groupby(["layer", "arm"])
    return {place: statistics.summarise(cell["value"]) for place, cell in cells}


def _when(rows: pd.DataFrame) -> str:
    return f"epoch {wording.ends(rows['epoch'])}, step {wording.ends(rows['step'])}"


def _headline(effects: Effects, last: pd.DataFrame, probe: pd.DataFrame) -> str:
    lead = _lead(list(effects[VAR]))
    cases = {layer: case for (layer, arm), case in effects[VAR].items() if arm == lead}
    if not cases:
        return "Not answered: no seed has a run with dropout and one without."
    each = " and ".join(f"{_compared(case)} in layer {layer}" for layer, case in cases.items())
    factors = _over_runs(last, np.log(last["masked_var"] / last["var"]))
    masks = " and ".join(f"{math.exp(factors[layer, lead].mean):.2f}" for layer in cases)
    text = (
        f"After training with rates {lead} the activations' variance, noise off, against that after training "
        f"without dropout is {each} (95% intervals in brackets); the masks themselves multiply it by {masks}"
    )
    misses = probe["miss"].abs().dropna()
    if len(misses):
        text += f", which Var + p/(1 − p)·E[h²] predicts to within {misses.median():.1%} (median)"
    return f"{text}."


def _n(effects: Effects, probe: pd.DataFrame) -> str:
    lead = _lead(list(effects[VAR]))
    seeds = [case.comparison.paired.n for (_, arm), case in effects[VAR].items() if arm == lead]
    told = wording.count(min(seeds, default=0), "common seed")
    return f"{told}, {wording.count(probe['id'].nunique(), 'run')}"


def _end(effects: Effects, last: pd.DataFrame) -> str:
    """With dropout against without at the end of training, noise off."""
    if not effects[VAR]:
        return ""
    pooled, units = effects[VAR], effects[UNIT_VAR]
    other = {
        place: case
        for place, case in units.items()
        if case.comparison.verdict != pooled[place].comparison.verdict
    }
    text = (
        f"At the end of training ({_when(last)}), noise off, the variance over images and units as a multiple "
        f"of that without dropout: {_cases(pooled)}. In brackets: 95% intervals over the common seeds. The "
        "mean of each unit's own variance over images, which leaves out that some units are more active than "
        f"others, gives the same verdict in {len(units) - len(other)} of {len(units)} comparisons"
        + (f", but not for {_cases(other)}." if other else ".")
    )
    undecided = [case.comparison.paired for case in pooled.values() if case.comparison.verdict == 0]
    if undecided:
        text += " Where no difference is shown, those inside the interval remain possible."
    if any(pair.interval and pair.interval.excludes(0) for pair in undecided):
        text += " An interval without 1 is not enough: verdicts are corrected for the number of comparisons."
    return text


def _course(probe: pd.DataFrame, before: Effects, first: pd.DataFrame, last: pd.DataFrame) -> str:
    """From the first probe to the last."""
    if probe["step"].nunique() < 2:
        return ""
    both = last.merge(first[["id", "layer", "var"]], on=["id", "layer"], suffixes=("", "_first"))
    trends = {}
    for place, growth in _over_runs(both, np.log(both["var"] / both["var_first"])).items():
        shown = growth.interval is not None and growth.interval.excludes(0)
        word = ("grows" if growth.mean > 0 else "falls") if shown else "no trend is shown"
        trends[place] = _times(growth.mean, growth.interval, word)
    text = f"From the first probe ({_when(first)}) to the last the variance is multiplied: {_told(trends)}."
    if before[VAR]:
        text += f" At the first probe, as a multiple of that without dropout: {_cases(before[VAR])}."
    return text


def _mask(last: pd.DataFrame, probe: pd.DataFrame) -> str:
    """What the mask alone adds, and the identity."""
    masked = last[last["p"] > 0]
    if masked.empty:
        return ""
    predicted = _over_runs(masked, np.log(masked["predicted"] / masked["var"]))
    factors = {
        place: _times(
            found.mean,
            found.interval,
            f"predicted {math.exp(predicted[place].mean):.2f}" if place in predicted else "",
        )
        for place, found in _over_runs(masked, np.log(masked["masked_var"] / masked["var"])).items()
    }
    text = f"At the last probe a layer's mask alone multiplies its variance: {_told(factors)}. {_identity(probe)}"
    return text.strip()


def _identity(probe: pd.DataFrame) -> str:
    """How well Var(after) = Var(before) + p/(1 − p)·E[before²] predicts."""
    found = probe.dropna(subset=["miss"])
    if found.empty:
        return ""
    text = (
        f"Over all {wording.count(len(found), 'mask')} the variance after the mask deviates from the "
        f"prediction, Var(before) + p/(1 − p)·E[before²], by {found['miss'].abs().median():.2%} in the median "
        f"and {found['miss'].abs().max():.1%} at most."
    )
    mean = statistics.summarise(found.groupby("seed")["miss"].mean())
    if mean.interval is not None:
        bias = "a bias is shown" if mean.interval.excludes(0) else "no bias is shown"
        ends = " to ".join(_percent(end) for end in (mean.interval.lower, mean.interval.upper))
        text += f" The mean deviation is {_percent(mean.mean)} (95% interval {ends}, {mean.n} seeds): {bias}."
    runs = found.groupby(["id", "layer"])["miss"].agg(["mean", "std", "count"]).dropna()
    if len(runs):
        seen = math.sqrt((runs["mean"] ** 2).mean())
        left = math.sqrt((runs["std"] ** 2 / runs["count"]).mean())
        chance = "as chance has it" if seen <= CHANCE * left else "more than by chance"
        text += (
            " A mask is one draw on the probe batch: the SD of the deviations among a run's masks is "
            f"{math.sqrt((runs['std'] ** 2).mean()):.2%}, and their mean is off by {seen:.2%} (root mean "
            f"square) where independent draws leave {left:.2%}, {chance}."
        )
    return text


def _percent(number: float) -> str:
    text = f"{number:+.2%}".replace("-", "−")
    return text.lstrip("+−") if float(text[1:-1]) == 0 else text


def _in_training(effects: Effects, last: pd.DataFrame) -> str:
    """Noise everywhere, zeros and dead units."""
    if not effects[NOISY_VAR]:
        return ""
    lead = _lead(list(effects[VAR]))
    text = (
        "With dropout on everywhere, as in training, the variance at the end as a multiple of that without "
        f"dropout: {_cases(effects[NOISY_VAR])}. With the noise off, the share of activations that are 0, "
        f"against that without dropout: {_cases(effects[ZEROS], lead)}."
    )
    dead = "dead (0 for every image of the probe batch)"
    if not last["dead"].any():
        return f"{text} No unit of any run is {dead}."
    worst = last.loc[last["dead"].idxmax()]
    alike = last[(last["layer"] == worst["layer"]) & (last["arm"] == worst["arm"])]
    return (
        f"{text} The share of units that are {dead}: {_cases(effects[DEAD], lead)}. The largest share in one "
        f"run is {wording.value(worst['dead'], DEAD)}, in layer {worst['layer']} {_rates(worst['arm'])} (seed "
        f"{worst['seed']}; the median of these runs is {wording.value(alike['dead'].median(), DEAD)})."
    )


def _outstanding(probe: pd.DataFrame) -> list[str]:
    seeds = probe.groupby("arm")["seed"].nunique()
    missing = [
        f"rates {arm}: {seeds.get(arm, 0)} of {SEEDS} seeds" for arm in ARMS if seeds.get(arm, 0) < SEEDS
    ]
    if probe["predicted"].isna().all():
        missing.append("the identity: needs a rate above 0 and the probe's mean_square")
    if probe["step"].nunique() < 2:
        missing.append("the course of training: needs more than one probe")
    return missing


def _parts(
    effects: Effects, probe: pd.DataFrame, first: pd.DataFrame, last: pd.DataFrame
) -> list[Picture | Grid | str]:
    seeds = probe.groupby("arm")["seed"].nunique()
    over = f"mean over the seeds ({wording.ends(seeds)}); thin: a run each"
    over += "; band: 95% interval of the mean" if seeds.max() > 1 else ""
    parts: list[Picture | Grid | str] = [
        Picture(
            "course",
            "Variance of each hidden layer's activations on the probe batch, over images and units, noise off, "
            f"on a log axis. Line: geometric {over}.",
            draw_lines(probe, [VAR]),
        )
    ]
    if (probe["p"] > 0).any():
        parts.append(
            Picture(
                "mask",
                "Each layer's variance before its mask (noise off), just after it (noise on in this layer "
                "alone), by the identity Var(before) + p/(1 − p)·E[before²], and with noise on everywhere, on "
                "a log axis. Line: mean over the seeds.",
                draw_mask(probe),
            )
        )
    parts.append(
        Picture(
            "silent",
            "Noise off: share of activations that are 0, and share of units that are 0 for every image of the "
            f"probe batch. Line: {over}.",
            draw_lines(probe, SHARES),
        )
    )
    return [*parts, _levels(first, last), *([_effect_grid(effects)] if effects[VAR] else [])]


def _levels(first: pd.DataFrame, last: pd.DataFrame) -> Grid:
    """Mean ± SD of what the probe saw, by layer and arm."""
    columns: dict[str, tuple[pd.DataFrame, str, float, str]] = {
        "first probe": (first, "var", 1, ".3f"),
        "last probe": (last, "var", 1, ".3f"),
        "units' own": (last, "unit_var", 1, ".3f"),
        "after the mask": (last, "masked_var", 1, ".3f"),
        "by the identity": (last, "predicted", 1, ".3f"),
        "noise everywhere": (last, "noisy_var", 1, ".3f"),
        "zeros (%)": (last, "zeros", 100, ".1f"),
        "dead (%)": (last, "dead", 100, ".1f"),
    }
    rows = []
    for place, cell in last.groupby(["layer", "arm"]):
        row = [_name(place), str(len(cell))]
        for frame, column, scale, digits in columns.values():
            values = (
                frame.loc[(frame["layer"] == place[0]) & (frame["arm"] == place[1]), column].dropna() * scale
            )
            spread = f" ± {values.std():{digits}}" if len(values) > 1 else ""
            row.append(f"{values.mean():{digits}}{spread}" if len(values) else "–")
        rows.append(row)
    caption = (
        "Mean ± SD over the seeds: variance with the noise off at the first probe and the last; at the last "
        "also the mean over units of their own variance over images, the variance after the mask, by the "
        "identity and with noise everywhere, and the shares of zeros and dead units"
    )
    return Grid(caption, ["layer and rates", "n", *columns], rows)


def _effect_grid(effects: Effects) -> Grid:
    """Every comparison with the arm without dropout."""
    rows, headers = [], []
    for measure, cases in effects.items():
        for place, case in cases.items():
            table = pair_table([case.comparison], measure, None)
            row, headers = table["rows"][0][2:], table["headers"][4:-1]
            found = case.comparison.paired
            if measure in RATIOS:
                row[1] = f"{math.exp(found.difference):.3f} times"
                ends = [found.interval.lower, found.interval.upper] if found.interval else []
                row[2] = " to ".join(f"{math.exp(end):.3f}" for end in ends) or "–"
            else:
                row[1] += " pp"
            rows.append([measure.name, _name(place), *row[:-1], row[-1] if found.p is None else _word(case)])
    caption = (
        "With dropout (A) against without (B) at the last probe: variances as ratios, with d_z and p of their "
        "logarithms, shares as differences; Holm's correction over the rows of one quantity"
    )
    return Grid(
        caption, ["quantity", "layer and rates", "seeds", "A against B", *headers, "verdict"], rows, texts=2
    )


def draw_lines(probe: pd.DataFrame, measures: Sequence[Measure]) -> Figure:
    """Quantities by training step, a row each, a column a layer and a line an arm; variances on a log axis."""
    layers, arms = sorted(probe["layer"].unique()), list(probe["arm"].unique())
    styles = [
        {"color": PALETTE[at], "linestyle": dash} for at, dash in zip((3, 0, 2, 1), DASHES, strict=True)
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.4 + 2.7 * len(measures)), layout="constrained")
        axes = figure.subplots(len(measures), len(layers), squeeze=False, sharex=True, sharey="row")
        for measure, row in zip(measures, axes, strict=True):
            for layer, axis in zip(layers, row, strict=True):
                for position, arm in enumerate(arms):
                    rows = probe[(probe["layer"] == layer) & (probe["arm"] == arm)]
                    curves = rows.pivot_table(index="step", columns="seed", values=measure.column)
                    _band(axis, curves, measure, {"label": arm, **styles[position % len(styles)]})
                _axis(axis, f"hidden layer {layer}", log=measure in RATIOS)
            row[0].set_ylabel(measure.label if measure.unit else measure.name)
        _legend(figure, axes, "dropout rates of layers 1 and 2")
    return figure


def draw_mask(probe: pd.DataFrame) -> Figure:
    """Variance before and after the mask, by the identity, and with noise everywhere, a row an arm."""
    lines: dict[str, tuple[str, dict[str, Any]]] = {
        "noisy_var": ("noise on everywhere", {"color": PALETTE[1], "linestyle": "-."}),
        "masked_var": ("just after the mask", {"color": PALETTE[0], "linewidth": 5, "alpha": 0.5}),
        "predicted": ("by the identity", {"color": "black", "linestyle": ":"}),
        "var": ("before the mask", {"color": PALETTE[2], "linestyle": "--"}),
    }
    probe = probe[probe["p"] > 0]
    arms, layers = list(probe["arm"].unique()), sorted(probe["layer"].unique())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.4 + 2.7 * len(arms)), layout="constrained")
        axes = figure.subplots(len(arms), len(layers), squeeze=False, sharex=True, sharey=True)
        for arm, row in zip(arms, axes, strict=True):
            for layer, axis in zip(layers, row, strict=True):
                rows = probe[(probe["arm"] == arm) & (probe["layer"] == layer)]
                for column, (label, style) in lines.items():
                    means = rows.groupby("step")[column].mean().dropna()
                    if len(means):
                        axis.plot(means, label=label, marker=_mark(means), **{"linewidth": 2, **style})
                rates = f", p = {rows['p'].iloc[0]:g}" if len(rows) else ""
                _axis(axis, f"hidden layer {layer}{rates}, trained with {arm}", log=True)
            row[0].set_ylabel("variance")
        _legend(figure, axes)
    return figure


def _band(axis: Axes, curves: pd.DataFrame, measure: Measure, style: Mapping[str, Any]) -> None:
    """Mean over the seeds with its interval, of a variance that of its logarithm; a step a row, a seed a column."""
    if curves.empty:
        return
    log = measure in RATIOS
    curves = np.log(curves) if log else curves * measure.scale
    found = [statistics.mean_interval(values, BAND_RESAMPLES) for values in curves.dropna(axis=1).to_numpy()]
    ends = np.array([(each.lower, each.upper) if each else (np.nan, np.nan) for each in found])
    means = curves.mean(axis=1).to_numpy()
    if log:
        means, ends = np.exp(means), np.exp(ends)
    axis.plot(curves.index, means, marker=_mark(curves), linewidth=2, **style)
    axis.fill_between(curves.index, ends[:, 0], ends[:, 1], color=style["color"], alpha=0.15, linewidth=0)
    axis.plot(curves.index, np.exp(curves) if log else curves, color=style["color"], linewidth=0.7, alpha=0.5)
    if not log and axis.get_ylim()[0] < 0:
        axis.set_ylim(bottom=0)


def _mark(steps: Any) -> str | None:
    return "o" if len(steps) < 4 else None


def _axis(axis: Axes, title: str, log: bool) -> None:
    axis.set_title(title, fontsize=10)
    if log:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=8))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.yaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, axes: Any, title: str | None = None) -> None:
    for axis in axes[-1]:
        axis.set_xlabel("training step")
    shown: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, title=title)
