"""Exercise 7: every noise of conf/noise against dropout, and a clone of dropout that must not win."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis import measures, wording
from analysis.exercises import Answer
from analysis.exercises._noises import CLONE, DROPOUT, JUDGED, NONE, Tuned, against, named, read
from analysis.exercises._noises import choose as choose
from analysis.exercises._noises_parts import family_parts, shared_parts
from analysis.exercises._noises_wording import sentence, shown_by, sides, spent, undecided
from analysis.measures import Measure
from analysis.statistics import Comparison
from analysis.tables import Tables

NUMBER = 7
TITLE = "Another noise than dropout"
SWEEPS = ("new_noise", "new_noise_test")


@dataclass(frozen=True)
class Contest:
    """The noises' comparisons by one measure."""

    measure: Measure
    to_dropout: list[Comparison]
    """Of every other noise, the clone among them."""
    to_clone: list[Comparison]
    """Of every noise but dropout and the clone."""
    to_none: list[Comparison]

    @property
    def control(self) -> Comparison | None:
        """The clone's difference to dropout; None where it could not be tested."""
        return next((pair for pair in self.to_dropout if pair.a == CLONE and pair.paired.p is not None), None)

    @property
    def ahead(self) -> list[Comparison]:
        """The noises that are better than dropout, the largest difference first."""
        found = [pair for pair in self.to_dropout if pair.a != CLONE and pair.verdict > 0]
        return sorted(found, key=lambda pair: -abs(pair.paired.difference))

    @property
    def winners(self) -> list[Comparison]:
        """Those of `ahead` that are better than the clone, too; none without a control that holds."""
        if self.control is None or self.control.verdict:
            return []
        over_clone = {pair.a for pair in self.to_clone if pair.verdict > 0}
        return [pair for pair in self.ahead if pair.a in over_clone]


def answer(tables: Tables) -> Answer:
    """Whether a noise beats dropout, by this rule.

    Each noise's rates are those with the highest mean validation accuracy (ties: lower cross-entropy, then
    smaller rates). At these rates, on the test set and fresh seeds, at the last epoch, paired over the common
    seeds, by `statistics.RULE`, in accuracy and likewise in cross-entropy:

    - A noise wins if and only if it is better than dropout, with Holm's correction over all other noises and
      the clone, and better than the clone, with Holm's correction over all noises but dropout and the clone.
    - Control: the clone is dropout under other masks. If it differs from dropout by this rule the experiment is
      declared untrustworthy in that measure; then, and where the clone was not tested, there is no winner by it.
      The farther end of the interval of the clone's difference is the yardstick of what equal arms may differ by.
    - The headline is about accuracy. Differences to no noise, and those to dropout in calibration error, are
      families of their own.
    - The least difference that would have been shown: that of 80% power of the paired t-test, at the level
      0.05/pairs, with the SD and the number of the paired differences.

    Without the second sweep, or where it lacks dropout or every other noise, validation alone is reported,
    without a verdict.
    """
    tuned = read(tables, SWEEPS)
    parts = shared_parts(tuned, NONE)
    contests = {measure: _contest(tuned, measure) for measure in JUDGED}
    if not any(pair.a != CLONE for pair in contests[measures.TEST_ACC].to_dropout):
        return undecided(tuned, parts)
    families = {each.measure: [each.to_dropout, each.to_clone, each.to_none] for each in contests.values()}
    families[measures.TEST_ECE] = families[measures.TEST_ECE][:1]
    parts += family_parts(tuned.rows, families, "each noise, the clone among them,")
    headline = _headline(contests[measures.TEST_ACC], tuned)
    return Answer(headline, tuned.n, _verdict(tuned, contests), parts, tuned.outstanding)


def _contest(tuned: Tuned, measure: Measure) -> Contest:
    noises = [noise for noise in tuned.rows if noise != NONE]
    others = [noise for noise in noises if noise != DROPOUT]
    return Contest(
        measure,
        against(tuned.rows, others, DROPOUT, measure),
        against(tuned.rows, others, CLONE, measure),
        against(tuned.rows, noises, NONE, measure),
    )


def _headline(contest: Contest, tuned: Tuned) -> str:
    measure, control = contest.measure, contest.control
    others = [pair for pair in contest.to_dropout if pair.a != CLONE]
    if control is not None and control.verdict:
        found = wording.evidence(control.paired, measure)
        ours, its = tuned.choice[DROPOUT].rates, tuned.choice[CLONE].rates
        tuning = "" if ours == its else f", with the rates that its own tuning chose, {its} and not {ours},"
        return (
            f"No winner can be named: dropout under other masks{tuning} should do as well as dropout, but differs "
            f"from it in {measure.name} ({found}), so the experiment is untrustworthy"
            f"{'' if ours == its else ', its tuning included'}."
        )
    if contest.winners:
        first, *more = contest.winners
        too = f", as {'do' if len(more) > 1 else 'does'} {_and([named(p.a) for p in more])}" if more else ""
        return (
            f"{_capital(named(first.a))} beats dropout in {measure.name} "
            f"({wording.evidence(first.paired, measure)}) and its clone as well{too}."
        )
    if contest.ahead:
        first = contest.ahead[0]
        why = "not than dropout under other masks" if control else "the control that a win needs is missing"
        return (
            f"No noise wins: {named(first.a)} is better than dropout in {measure.name} "
            f"({wording.evidence(first.paired, measure)}), but {why}."
        )
    sign = 1 if measure.higher_is_better else -1
    best = max(others, key=lambda pair: sign * pair.paired.difference)
    return (
        f"No noise is shown better than dropout in {measure.name}: of {wording.count(len(others), 'other')} tried, "
        f"{named(best.a)} comes out highest ({wording.evidence(best.paired, measure)})."
    )


def _verdict(tuned: Tuned, contests: Mapping[Measure, Contest]) -> list[str]:
    accuracy, loss, error = (contests[measure] for measure in JUDGED)
    paragraphs = [
        [_outcome(accuracy), sides(accuracy.to_dropout, accuracy.measure)],
        [
            _control(accuracy, tuned),
            shown_by(tuned.rows, accuracy.to_dropout, accuracy.measure),
            "Where no difference is shown, those inside the interval remain possible.",
        ],
        [_outcome(loss), sides(loss.to_dropout, loss.measure), _control(loss, tuned)],
        [sides(error.to_dropout, error.measure), sides(accuracy.to_none, accuracy.measure)],
        [spent(tuned)],
    ]
    return [" ".join(filter(None, each)) for each in paragraphs if any(each)]


def _outcome(contest: Contest) -> str:
    """The winners by a measure, and who is ahead of dropout but wins nothing."""
    winners = [pair.a for pair in contest.winners]
    short = [named(pair.a) for pair in contest.ahead if pair.a not in winners]
    text = f"{_capital(_and([named(a) for a in winners]) or 'no noise')} wins in {contest.measure.name}"
    if len(winners) > 1:
        text = text.replace(" wins in", " win in")
    if short:
        text += (
            f"; {_and(short)} {'is' if len(short) == 1 else 'are'} better than dropout alone, which is no win"
        )
    return text + "."


def _control(contest: Contest, tuned: Tuned) -> str:
    """Whether the clone and dropout come out alike, and the yardstick."""
    pair, measure = contest.control, contest.measure
    if pair is None:
        return f"The control is missing in {measure.name}: without a tested clone no winner is declared."
    ours, its = tuned.choice[DROPOUT].rates, tuned.choice[CLONE].rates
    rates = (
        "" if ours == its else f" Its chosen rates, {its}, are not dropout's, {ours}, and are part of that."
    )
    if pair.verdict:
        return (
            f"The control fails: {sentence(pair, measure)}. The clone is dropout under other masks, so the "
            f"experiment is declared untrustworthy in {measure.name}, and no winner by it.{rates}"
        )
    text = f"The control holds: {sentence(pair, measure)}."
    if interval := pair.paired.interval:
        farther = wording.size(max(abs(interval.lower), abs(interval.upper)), measure)
        text += " So the yardstick of what equal arms may differ by here is "
        text += f"{farther}, the farther end of its interval."
    return text + rates


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
