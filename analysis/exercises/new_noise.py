"""Exercise 7: the best noises of a race against dropout, and a clone of dropout that must not win.

The race (`analysis.race`, shown by `analysis.noises`) tunes every noise on validation images; the sweep confirms
its best on the test set, with fresh seeds. Its arms were frozen before any run looked at the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis import figures, measures
from analysis.contrasts import Arms, Result, described, family
from analysis.exercises import NOT_DECIDED, Facts, Rule, decided, pick, promised, word
from analysis.exercises._noises import CLONE, DROPOUT, NONE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.tables import Tables
from src.stats import BETTER, WORSE

NUMBER = 7
SWEEPS = ("new_noise",)
JUDGED = (measures.TEST_ACC, measures.TEST_LOSS, measures.TEST_ECE)

RULES = (
    NOT_DECIDED,
    Rule(
        "untrustworthy",
        "dropout's clone, which is dropout under other masks, is better or worse than dropout",
        lambda e: e.control is not None and word(e.control) in (BETTER, WORSE),
    ),
    Rule(
        "a noise wins",
        "another noise is better than dropout, and its interval against the clone lies above 0, too",
        lambda e: bool(e.winners),
    ),
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
class ContestFacts(Facts):
    images: int
    """Training images of each run."""

    def judged(self, noise: str) -> Result | None:
        return pick(self.primary, a=noise)

    def versus(self, noise: str, reference: str, measure: Measure) -> Result | None:
        return pick(self.described, a=noise, b=reference, measure=measure)

    @property
    def control(self) -> Result | None:
        """The clone's difference to dropout."""
        return self.judged(CLONE)

    @property
    def others(self) -> Sequence[Result]:
        """Of every noise but the clone and none, the highest first."""
        others = [r for r in self.primary if r.contrast.a not in (CLONE, NONE)]
        return sorted(others, key=lambda r: -r.paired.difference)

    @property
    def winners(self) -> Sequence[Result]:
        return [r for r in self.others if word(r) == BETTER and self._beats_clone(r)]

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
        lower = [r for r in self.described if r.contrast.b == DROPOUT and r.measure is measures.TEST_LOSS]
        return [r for r in lower if r.gain > 0 and r.contrast.a not in (CLONE, NONE)]

    def _beats_clone(self, result: Result) -> bool:
        against = self.versus(result.contrast.a, CLONE, result.measure)
        return against is None or against.gain > 0


def analyse(tables: Tables) -> ContestFacts:
    """Every other arm minus dropout in test accuracy, one family; all else described."""
    table = tables[SWEEPS[0]]
    design, primary = promised(SWEEPS[0])
    arms = Arms(table, {arm["noise"]: arm for arm in design.arms})
    judged = family(primary.contrasts(arms, list(arms.named), "test"), primary.margin, arms.diverged)
    facts = ContestFacts(
        primary=judged,
        arms=[stats for stats in arms.stats((*JUDGED, measures.EMA_TEST_ACC)) if stats.planned],
        described=described(
            arms.contrast(noise, reference, measure, "test")
            for measure in (*JUDGED, measures.EMA_TEST_ACC)
            for reference in (NONE, DROPOUT, CLONE)
            for noise in arms.named
            if noise != reference
        ),
        images=int(design.fixed["data.train"]),
    )
    return decided(RULES, facts)


def draw(facts: ContestFacts) -> dict[str, Figure]:
    if not facts.primary:
        return {}
    beside = [r for r in facts.beside((measures.TEST_LOSS,)) if r.contrast.b == DROPOUT]
    return {"differences": figures.forest([*facts.primary, *beside], lambda r: named(r.contrast.a))}
