"""Exercise 7: our tangent noise against tuned dropout on all images and on few, and a clone that must not win.

Settings are tuned on validation images (`analysis.race`, of all noises shown by `analysis.noises`); the sweeps take
the best to the test set, with fresh seeds. Their arms were frozen before any run looked at the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from scipy.stats import fisher_exact

from analysis import figures, measures
from analysis.contrasts import Arm, Arms, ArmStats, Result, described, family
from analysis.exercises import NOT_DECIDED, Facts, Rule, decided, pick, promised, word
from analysis.exercises._noises import CLONE, DROPOUT, NONE
from analysis.measures import Measure
from analysis.phrases import named
from analysis.sensitivity import sensitivity
from analysis.tables import Table, Tables
from src.stats import ALPHA, BETTER, WORSE

NUMBER = 7
SWEEPS = ("new_noise", "new_noise_5000", "new_noise_control")
SAME_RATES = "dropout_same_rates"
"""Dropout at the rates of the noise that is judged: what is left is what the noise does beside."""
GUARDS = (NONE, CLONE, SAME_RATES)
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
    few: Sequence[Result] = ()
    """The same contrasts on a small training set, judged by that sweep's own block."""
    images: int = 0
    """In the small training set."""
    positive: Result | None = None
    """The positive control: dropout minus no noise, which has settings of its own, judged by that sweep's block."""

    def judged(self, noise: str) -> Result | None:
        return pick(self.primary, a=noise)

    def versus(self, noise: str, reference: str, measure: Measure) -> Result | None:
        return pick(self.described, a=noise, b=reference, measure=measure)

    @property
    def control(self) -> Result | None:
        """The clone's difference to dropout."""
        return self.judged(CLONE)

    @property
    def beyond_rates(self) -> Result | None:
        """Of the best noise: its difference to dropout with its own settings."""
        return self.versus(self.others[0].contrast.a, SAME_RATES, self.first.measure) if self.others else None

    @property
    def others(self) -> Sequence[Result]:
        """Of every noise but the guards, the highest first."""
        return _contestants(self.primary)

    @property
    def others_on_few(self) -> Sequence[Result]:
        return _contestants(self.few)

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
        """Whether dropout is shown to be better than no noise: with settings of its own where it has them."""
        if self.positive is not None:
            return word(self.positive) == BETTER
        against = self.judged(NONE)
        return against is not None and word(against) == WORSE

    def bad_of(self, noise: str) -> ArmStats | None:
        """The counts of an arm of which runs diverged or broke down; None where all went well."""
        return next((arm for arm in self.bad if arm.name == noise), None)

    @property
    def steadies(self) -> bool:
        """Whether more runs went wrong without noise than with dropout, by a two-sided exact test at 5%."""
        counted = {arm.name: arm for arm in self.arms}
        if not {NONE, DROPOUT} <= counted.keys():
            return False
        table = [[arm.bad, arm.planned - arm.bad] for arm in (counted[NONE], counted[DROPOUT])]
        return table[0][0] > table[1][0] and float(fisher_exact(table).pvalue) < ALPHA

    def lower_loss(self) -> Sequence[Result]:
        """Noises with a lower cross-entropy than dropout (described)."""
        lower = [r for r in self.described if r.contrast.b == DROPOUT and r.measure is measures.TEST_LOSS]
        return [r for r in lower if r.gain > 0 and r.contrast.a not in GUARDS]

    def _beats_clone(self, result: Result) -> bool:
        against = self.versus(result.contrast.a, CLONE, result.measure)
        return against is None or against.gain > 0


def analyse(tables: Tables) -> ContestFacts:
    """Every other arm minus dropout in test accuracy, one family a training set; all else described."""
    arms, judged = _judged(tables[SWEEPS[0]])
    few, control = (tables.get(sweep) for sweep in SWEEPS[1:])
    facts = ContestFacts(
        primary=judged,
        sensitivity=sensitivity(_contestants(judged), arms),
        arms=[stats for stats in arms.stats(JUDGED) if stats.planned],
        described=described(
            arms.contrast(noise, reference, measure, "test")
            for measure in JUDGED
            for reference in (DROPOUT, *GUARDS)
            for noise in arms.named
            if reference in arms.named and noise != reference
        ),
        few=_judged(few)[1] if few else (),
        images=promised(SWEEPS[1])[0].fixed["data.train"],
        positive=next(iter(_judged(control)[1]), None) if control else None,
    )
    return decided(RULES, facts)


def _contestants(judged: Sequence[Result]) -> list[Result]:
    return sorted((r for r in judged if r.contrast.a not in GUARDS), key=lambda r: -r.paired.difference)


def _judged(table: Table) -> tuple[Arms, list[Result]]:
    design, primary = promised(table.sweep)
    named = dict[str, Arm]()
    for arm in design.arms:  # the second arm with dropout is the control
        named[SAME_RATES if arm["noise"] in named else arm["noise"]] = arm
    arms = Arms(table, named)
    return arms, family(primary.contrasts(arms, [*named], "test"), primary.margin, arms.diverged)


def draw(facts: ContestFacts) -> dict[str, Figure]:
    if not facts.primary:
        return {}
    beside = [r for r in facts.beside((measures.TEST_LOSS,)) if r.contrast.b == DROPOUT]
    return {"differences": figures.forest([*facts.primary, *beside], lambda r: named(r.contrast.a))}
