"""Exercise 7: our tangent noise against tuned dropout on all images and on few, and a clone that must not win.

Settings are tuned on validation images (`analysis.race`, of all noises shown by `analysis.noises`); the sweeps take
the best to the test set, with fresh seeds. Their arms were frozen before any of their runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
from matplotlib.figure import Figure

from analysis import exercises, figures, measures, tables
from analysis.contrasts import Arm, Arms, Contrast, Result, by_seed, described, rows_of
from analysis.exercises import INPUT, NOT_DECIDED, Facts, Rule, decided, pick, promised, word
from analysis.measures import Measure
from analysis.phrases import named
from analysis.sensitivity import Sensitivity, sensitivity
from analysis.tables import Tables
from src.config import RATES
from src.stats import BETTER, EQUIVALENT, WORSE, common_seeds, judged_at

NUMBER = 7
SWEEPS = ALL, FEW, PARTNER, FEWEST, TIMED = (
    "new_noise",
    "new_noise_5000",
    "new_noise_partner",
    "new_noise_1000",
    "new_noise_time",
)
AGAIN = "new_noise_again"
BESIDE = (AGAIN,)
NONE, DROPOUT, CLONE = "none", "dropout", "dropout_clone"
TANGENT, ANY_PARTNER = "tangent", "tangent_any"
"""Our noise towards the nearest image, and towards any other."""
MASKS = "dropout_masks"
"""The mean loss of several masks, which was the best of the comparison of noises in as many epochs."""
MASKS_SETTING = "dropout_masks_setting"
"""Dropout with the setting of the mean loss."""
IN_TIME = "_in_time"
"""Ends the name of a noise in as many epochs as take as long as dropout's."""
TANGENT_IN_TIME, MASKS_IN_TIME = f"{TANGENT}{IN_TIME}", f"{MASKS}{IN_TIME}"
AGAIN_CONTROLS = {
    TANGENT: (),
    TANGENT_IN_TIME: (),
    MASKS: (MASKS_SETTING,),
    MASKS_IN_TIME: (MASKS_SETTING,),
    MASKS_SETTING: (),
}
"""Of what the second contest judges against dropout, and shows against the clone, the further controls."""
SAME_RATES = "dropout_same_rates"
"""Dropout with the settings of the noise that is judged: what is left is what the noise does beside."""
GUARDS = (NONE, CLONE, SAME_RATES)
RACE = "new_noise_race"
"""What chose the settings on validation images."""
CHOICES = {
    **{
        f"python -m analysis.race {race}": tables.NOISES / f"{race}.csv"
        for race in (RACE, "new_noise_masks", "new_noise_lr")
    },
    **{
        f"python -m src.train sweep={sweep}": tables.NOISES.parent / f"{sweep}.runs.csv.gz"
        for sweep in ("new_noise_1000_choice", "new_noise_partner_choice")
    },
}
"""The committed tables, by command, of sweeps that chose or checked the settings and that no exercise trains."""
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
        "another noise is better than dropout, and its interval against the clone lies above 0 at that level",
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


@dataclass(frozen=True)
class Further:
    """A contest in a sweep of its own."""

    epochs: Mapping[str, int]
    """By noise."""
    judged: Sequence[Result] = ()
    """By that sweep's own block."""
    beside: Sequence[Result] = ()
    """Not declared there, at the level of what was judged."""
    sensitivities: Mapping[str, Sensitivity | None] = field(default_factory=dict)
    """Of what is judged, by noise; None where nothing was tested."""

    def of(self, noise: str) -> Result | None:
        """Its judged difference to dropout."""
        return pick(self.judged, a=noise)


@dataclass(frozen=True, kw_only=True)
class ContestFacts(Facts):
    few: Sequence[Result] = ()
    """The same contrasts on a small training set, judged by that sweep's own block."""
    images: int = 0
    """In the small training set."""
    partners: Sequence[Result] = ()
    """Tangent noise towards the nearest image, and dropout, minus tangent noise towards any other, judged by that
    sweep's own block: its reasoning says what would speak against it."""
    fewest: Sequence[Result] = ()
    """Tangent noise minus dropout on the smallest training set, which its reasoning names, too."""
    timed: Further
    """Tangent noise minus dropout where both train for as long; beside it the same in cross-entropy and
    calibration."""
    again: Further
    """The contest once more, with the mean loss of several masks and both noises at another machine's equal time;
    beside it all measures, minus the clone and, of the mean loss, minus dropout with its setting, too."""
    input_alone: bool = False
    """Whether all arms have their noise on the input and none in the hidden layers."""
    lower_rate: bool = False
    """Whether tangent noise's best rate at the input is below dropout's, as its reasoning predicts."""
    undeclared: Sequence[Result] = ()
    """What the sweep's block does not declare, judged as the noise was against dropout, see `_undeclared`."""

    def judged(self, noise: str) -> Result | None:
        return pick(self.primary, a=noise)

    @property
    def control(self) -> Result | None:
        """The clone's difference to dropout."""
        return self.judged(CLONE)

    @property
    def beyond_rates(self) -> Result | None:
        """Of the best noise: its difference to dropout with its own settings."""
        return self._against(SAME_RATES, self.others[0].contrast.a) if self.others else None

    def _against(self, reference: str, noise: str, measure: Measure = JUDGED[0]) -> Result | None:
        """What the block does not declare of these two arms, on all runs."""
        return pick(self.undeclared, a=noise, b=reference, measure=measure, setting=("test",))

    @property
    def others(self) -> Sequence[Result]:
        """Of every noise but the guards, the highest first."""
        return _contestants(self.primary)

    @property
    def leading(self) -> Sequence[Result]:
        return self.others

    @property
    def partner(self) -> Result | None:
        """The nearest image minus any other."""
        return pick(self.partners, a=TANGENT)

    @property
    def again_others(self) -> Sequence[Result]:
        """Of every noise in the second contest but the guards."""
        return [r for r in self.again.judged if r.contrast.a not in (*GUARDS, MASKS_SETTING)]

    @property
    def in_time(self) -> Sequence[Result]:
        """Tangent noise minus dropout at equal time, on each machine."""
        return [*self.timed.judged, *filter(None, [self.again.of(TANGENT_IN_TIME)])]

    @property
    def only_by_steps(self) -> bool:
        """Whether the gain at equal epochs is shown not to be there, or not shown, at equal time."""
        return any(r.gain <= 0 for r in self.in_time)

    @property
    def contradicted(self) -> bool:
        """Whether any other image is shown to serve as well as the nearest, or better."""
        return self.partner is not None and word(self.partner) in (EQUIVALENT, WORSE)

    @property
    def others_on_few(self) -> Sequence[Result]:
        return _contestants(self.few)

    @property
    def winners(self) -> Sequence[Result]:
        """Better than dropout, and than its clone at the same level."""
        better = [r for r in self.others if word(r) == BETTER]
        clones = [self._against(CLONE, r.contrast.a) for r in better]
        return [r for r, clone in zip(better, clones, strict=True) if clone is not None and clone.gain > 0]

    @property
    def helps(self) -> bool:
        """The positive control: whether dropout is shown to be better than no noise, which has its own settings."""
        without = self.judged(NONE)
        return without is not None and word(without) == WORSE

    def differs(self, noise: str, measure: Measure) -> Result | None:
        """Its described difference to dropout."""
        return pick(self.described, a=noise, b=DROPOUT, measure=measure, setting=("test",))

    def better_in(self, measure: Measure) -> Sequence[str]:
        """Noises that are better in this measure than dropout and its clone, by what the block does not declare."""
        noises = [r.contrast.a for r in self.others]
        results = {noise: [self._against(of, noise, measure) for of in (DROPOUT, CLONE)] for noise in noises}
        return [noise for noise, of in results.items() if all(r is not None and r.gain > 0 for r in of)]


def analyse(tables: Tables) -> ContestFacts:
    """Every other arm minus dropout in test accuracy, one family a training set; all else described."""
    arms, primary = exercises.judged(tables[ALL], _named(ALL), "test")
    few, partners, fewest = (
        exercises.judged(tables[sweep], _named(sweep), "test")[1] if sweep in tables else []
        for sweep in (FEW, PARTNER, FEWEST)
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
        input_alone=not any(_setting(name).get(rate) for name in arms.named for rate in RATES),
        lower_rate=_setting(TANGENT)[INPUT] < _setting(DROPOUT)[INPUT],
        partners=partners,
        fewest=fewest,
        timed=_further(tables, TIMED, {TANGENT: [(DROPOUT, measure) for measure in JUDGED[1:]]}),
        again=_further(
            tables,
            AGAIN,
            {
                noise: [
                    *((of, JUDGED[0]) for of in (CLONE, *others)),
                    *((of, measure) for measure in JUDGED[1:] for of in (DROPOUT, CLONE, *others)),
                ]
                for noise, others in AGAIN_CONTROLS.items()
            },
        ),
        undeclared=[r for result in _contestants(primary) for r in _undeclared(arms, result)],
    )
    return decided(RULES, facts, arms, _on_splits(facts.others))


def _further(tables: Tables, sweep: str, undeclared: Mapping[str, Sequence[tuple[str, Measure]]]) -> Further:
    """A contest by its own block, and by noise what else is shown of it: minus which arm, in which measure."""
    named = _named(sweep)
    epochs = {noise: int(arm["epochs"]) for noise, arm in named.items()}
    if sweep not in tables:
        return Further(epochs)
    arms, judged = exercises.judged(tables[sweep], named, "test")
    beside: list[Result] = []
    for result in judged:
        of_noise = undeclared.get(result.contrast.a, ())
        beside += _at_level(
            result, (arms.contrast(result.contrast.a, of, measure, "test") for of, measure in of_noise)
        )
    return Further(epochs, judged, beside, {r.contrast.a: sensitivity([r], arms) for r in judged})


def _undeclared(arms: Arms, result: Result) -> Iterator[Result]:
    """A noise against dropout, its clone and dropout with its settings, in cross-entropy and calibration, and on
    sound runs alone where some broke down: over the seeds and at the level of `result`, its declared difference to
    dropout. Only the declared measure has a margin."""
    noise = result.contrast.a
    contrasts = [
        *(arms.contrast(noise, of, result.measure, "test") for of in (CLONE, SAME_RATES)),
        *(arms.contrast(noise, of, measure, "test") for measure in JUDGED[1:] for of in (DROPOUT, CLONE)),
    ]
    if arms.broken:
        sound = Arms(arms.table.without(arms.broken), arms.named)
        contrasts += [
            sound.contrast(noise, of, result.measure, "test", "sound runs") for of in (DROPOUT, CLONE)
        ]
    yield from _at_level(result, contrasts)


def _at_level(result: Result, contrasts: Iterable[Contrast]) -> Iterator[Result]:
    """Contrasts over the seeds and at the level of a declared one."""
    for contrast in contrasts:
        measure = contrast.measure
        margin = result.margin if measure is result.measure else None
        # the look itself is left out: the sweep did not take it at this contrast
        contrast = replace(contrast.looked_at(result.contrast.look), look=None)
        samples = common_seeds(*contrast.sides)
        if len(samples[0]):
            comparison, verdict = judged_at(*samples, result.level, margin or 0.0, measure.sign > 0)
            yield Result(contrast, samples, comparison, comparison.p, 1, margin, verdict)


def _on_splits(others: Sequence[Result]) -> Contrast | None:
    """The first noise minus dropout in the race that chose both, a validation split a seed."""
    path = tables.NOISES / f"{RACE}.csv"
    if not others or not path.exists():
        return None
    raced = pd.read_csv(path)
    steps, measure = raced[raced["budget"] == "steps"], measures.VAL_ACC
    noise = others[0].contrast.a
    values = [by_seed(rows_of(steps, _setting(name)), measure) for name in (noise, DROPOUT)]
    return Contrast(noise, DROPOUT, ("validation",), measure, (values[0], values[1]))


def _setting(name: str) -> Arm:
    """An arm of the main sweep with what all of them share, which is not among their keys."""
    return {**promised(ALL)[0].fixed, **_named(ALL)[name]}


def _contestants(judged: Sequence[Result]) -> list[Result]:
    return sorted((r for r in judged if r.contrast.a not in GUARDS), key=lambda r: -r.paired.difference)


def _named(sweep: str) -> dict[str, Arm]:
    """The arms of a sweep's file by their noise; the second one with dropout is the control, and with another noise
    the one in as much time."""
    named = dict[str, Arm]()
    for arm in promised(sweep)[0].arms:
        noise = ANY_PARTNER if arm.get("noise.partner") == "any" else arm["noise"]
        control = MASKS_SETTING if sweep == AGAIN else SAME_RATES
        again = control if noise == DROPOUT else f"{noise}{IN_TIME}"
        named[again if noise in named else noise] = arm
    return named


def draw(facts: ContestFacts) -> dict[str, Figure]:
    if not facts.primary:
        return {}
    beside = [r for r in facts.beside((measures.TEST_LOSS,)) if r.contrast.b == DROPOUT]
    return {"differences": figures.forest([*facts.primary, *beside], lambda r: named(r.contrast.a))}
