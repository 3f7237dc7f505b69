"""Exercise 6: weights dropped instead of activations, by DropConnect and its Gaussian form."""

from __future__ import annotations

from analysis import measures
from analysis.exercises import Answer
from analysis.exercises._noises import DROPOUT, JUDGED, NONE, Tuned, against, named, read
from analysis.exercises._noises import choose as choose
from analysis.exercises._noises_parts import family_parts, ratio, shared_parts
from analysis.exercises._noises_wording import sentence, shown_by, sides, spent, undecided
from analysis.measures import Measure
from analysis.statistics import Comparison
from analysis.tables import Tables

NUMBER = 6
TITLE = "Dropping weights instead of activations"
SWEEPS = ("drop_weights", "drop_weights_test")

FORMS = ("dropconnect", "dropconnect_gaussian")
"""The noises that act on weights."""

Families = dict[Measure, tuple[list[Comparison], list[Comparison]]]
"""By measure: differences to dropout, and to no noise."""


def answer(tables: Tables) -> Answer:
    """What happens if weights are dropped, by this rule.

    Each noise's rates are those with the highest mean validation accuracy (ties: lower cross-entropy, then
    smaller rates). At these rates, on the test set and fresh seeds, at the last epoch:

    - DropConnect and its Gaussian form are each compared with dropout, and together with dropout each with no
      noise: paired over the common seeds, in accuracy, cross-entropy and calibration error. The pairs of one
      measure and one reference are one family for Holm's correction; a difference is shown or not by
      `statistics.RULE`.
    - The headline gives both forms' differences to dropout in accuracy.
    - Time per epoch is each noise's median over the runs of their mean seconds per epoch, over dropout's.
    - The least difference that would have been shown: that of 80% power of the paired t-test, at the level
      0.05/pairs, with the SD and the number of the paired differences.

    Without the second sweep, or where it lacks dropout or both forms, validation alone is reported, without a
    verdict.
    """
    tuned = read(tables, SWEEPS)
    parts = shared_parts(tuned, DROPOUT)
    families = {measure: _families(tuned, measure) for measure in JUDGED}
    of_accuracy = families[measures.TEST_ACC][0]
    if not of_accuracy:
        return undecided(tuned, parts)
    parts += family_parts(tuned.rows, families, "dropped weights")
    found = "; ".join(sentence(pair, measures.TEST_ACC) for pair in of_accuracy)
    headline = f"If weights are dropped instead of activations, each at its best rates: {found}."
    return Answer(headline, tuned.n, _verdict(tuned, families), parts, tuned.outstanding)


def _families(tuned: Tuned, measure: Measure) -> tuple[list[Comparison], list[Comparison]]:
    to_dropout = against(tuned.rows, FORMS, DROPOUT, measure)
    return to_dropout, against(tuned.rows, (DROPOUT, *FORMS), NONE, measure)


def _verdict(tuned: Tuned, families: Families) -> list[str]:
    said = {
        measure: " ".join(filter(None, [sides(of_family, measure) for of_family in of]))
        for measure, of in families.items()
    }
    power = shown_by(tuned.rows, families[measures.TEST_ACC][0], measures.TEST_ACC)
    return [
        f"{said[measures.TEST_ACC]} {power}".strip(),
        said[measures.TEST_LOSS],
        f"{said[measures.TEST_ECE]} Where no difference is shown, those inside the interval remain possible.",
        _time(tuned),
        spent(tuned),
    ]


def _time(tuned: Tuned) -> str:
    timed = [noise for noise in (NONE, *FORMS) if {noise, DROPOUT} <= tuned.times.keys()]
    if not timed:
        return "No time per epoch was measured beside dropout's."
    times = ", ".join(f"{named(noise)} {ratio(tuned.times, noise, DROPOUT)}" for noise in timed)
    return (
        f"Time per epoch over dropout's: {times}. That is rough, as several runs shared the machine; "
        "`python -m tests.benchmarks.throughput --noises` measures it side by side."
    )
