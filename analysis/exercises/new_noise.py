"""Exercise 7: every noise of conf/noise against dropout, and a clone of dropout that must not win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import measures
from analysis.contrasts import Result
from analysis.exercises import NOT_DECIDED, Rule, decided, word
from analysis.exercises._noises import CLONE, DROPOUT, NONE, NoiseFacts, read
from analysis.exercises._noises import choose as choose
from analysis.exercises._noises import draw as draw
from analysis.tables import Tables
from src.stats import BETTER, WORSE

NUMBER = 7
SWEEPS = ("new_noise", "new_noise_test")

RULES = (
    NOT_DECIDED,
    Rule(
        "untrustworthy",
        "dropout's clone, which is dropout under other masks, is better or worse than dropout",
        lambda e: e.control is not None and word(e.control) in (BETTER, WORSE),
    ),
    Rule("a noise wins", "another noise is better than dropout", lambda e: bool(e.winners)),
    Rule(
        "no yardstick",
        "none is better, and dropout itself is not shown to be better than no noise",
        lambda e: not e.helps,
    ),
    Rule(
        "none better", "none is better by the margin, for certain", lambda e: len(e.capped) == len(e.others)
    ),
    Rule("undecided", "otherwise", lambda e: True),
)


@dataclass(frozen=True, kw_only=True)
class ContestFacts(NoiseFacts):
    @property
    def control(self) -> Result | None:
        """The clone's difference to dropout."""
        return self.judged(CLONE)

    @property
    def others(self) -> Sequence[Result]:
        """Of every noise but the clone and none, the highest first."""
        found = [r for r in self.primary if r.contrast.a not in (CLONE, NONE)]
        return sorted(found, key=lambda r: -r.paired.difference)

    @property
    def winners(self) -> Sequence[Result]:
        return [r for r in self.others if word(r) == BETTER]

    @property
    def losers(self) -> Sequence[Result]:
        return [r for r in self.others if word(r) == WORSE]

    @property
    def capped(self) -> Sequence[Result]:
        """Not better than dropout by the margin, for certain."""
        return [r for r in self.others if r.excludes(BETTER)]

    @property
    def helps(self) -> bool:
        """Whether dropout is shown to be better than no noise: the positive control."""
        against = self.judged(NONE)
        return against is not None and word(against) == WORSE

    def lower_loss(self) -> Sequence[Result]:
        """Noises with a lower cross-entropy than dropout (described)."""
        found = [r for r in self.to(DROPOUT, measures.TEST_LOSS) if r.gain > 0]
        return [r for r in found if r.contrast.a not in (CLONE, NONE)]


def analyse(tables: Tables) -> NoiseFacts:
    """Every other noise minus dropout in test accuracy, at its chosen rates: one family; all else described."""
    return decided(RULES, read(tables, SWEEPS, ContestFacts))
