"""Exercise 7: our tangent noise against tuned dropout on all images and on few, and a clone that must not win.

Settings are tuned on validation images (`analysis.race`, of all noises shown by `analysis.noises`); the sweeps take
the best to the test set, with fresh seeds. Their arms were frozen before any run looked at the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from scipy.stats import fisher_exact

from analysis import exercises, figures, measures
from analysis.contrasts import Arm, ArmStats, Result, described
from analysis.exercises import NOT_DECIDED, Facts, Rule, decided, pick, promised, word
from analysis.phrases import named
from analysis.tables import Tables
from src.stats import ALPHA, BETTER, WORSE

NUMBER = 7
SWEEPS = ALL, FEW, CONTROL = ("new_noise", "new_noise_5000", "new_noise_control")
NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
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
        "none better",
        "none is better by the margin, for certain",
        lambda e: all(r.excludes(BETTER) for r in e.others),
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
    def leading(self) -> Sequence[Result]:
        return self.others

    @property
    def others_on_few(self) -> Sequence[Result]:
        return _contestants(self.few)

    @property
    def winners(self) -> Sequence[Result]:
        """Better than dropout, and than its clone (described)."""
        better = [r for r in self.others if word(r) == BETTER]
        clones = [self.versus(r.contrast.a, CLONE, r.measure) for r in better]
        return [r for r, clone in zip(better, clones, strict=True) if clone is None or clone.gain > 0]

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
        counts = {arm.name: (arm.bad, arm.planned - arm.bad) for arm in self.arms}
        if not {NONE, DROPOUT} <= counts.keys():
            return False
        none, dropout = counts[NONE], counts[DROPOUT]
        return none[0] > dropout[0] and float(fisher_exact([none, dropout]).pvalue) < ALPHA

    def lower_loss(self) -> Sequence[Result]:
        """Noises with a lower cross-entropy than dropout (described)."""
        lower = [r for r in self.described if r.contrast.b == DROPOUT and r.measure is measures.TEST_LOSS]
        return [r for r in lower if r.gain > 0 and r.contrast.a not in GUARDS]


def analyse(tables: Tables) -> ContestFacts:
    """Every other arm minus dropout in test accuracy, one family a training set; all else described."""
    arms, primary = exercises.judged(tables[ALL], _named(ALL), "test")
    few, control = (
        exercises.judged(tables[sweep], _named(sweep), "test")[1] if sweep in tables else []
        for sweep in (FEW, CONTROL)
    )
    facts = ContestFacts(
        primary=primary,
        arms=arms.stats(JUDGED),
        described=described(
            arms.contrast(noise, reference, measure, "test")
            for measure in JUDGED
            for reference in (DROPOUT, *GUARDS)
            for noise in arms.named
            if noise != reference
        ),
        few=few,
        images=promised(FEW)[0].fixed["data.train"],
        positive=control[0] if control else None,
    )
    return decided(RULES, facts, arms)


def _contestants(judged: Sequence[Result]) -> list[Result]:
    return sorted((r for r in judged if r.contrast.a not in GUARDS), key=lambda r: -r.paired.difference)


def _named(sweep: str) -> dict[str, Arm]:
    """The arms of a sweep's file by their noise; the second one with dropout is the control."""
    named = dict[str, Arm]()
    for arm in promised(sweep)[0].arms:
        named[SAME_RATES if arm["noise"] in named else arm["noise"]] = arm
    return named


def draw(facts: ContestFacts) -> dict[str, Figure]:
    if not facts.primary:
        return {}
    beside = [r for r in facts.beside((measures.TEST_LOSS,)) if r.contrast.b == DROPOUT]
    return {"differences": figures.forest([*facts.primary, *beside], lambda r: named(r.contrast.a))}
