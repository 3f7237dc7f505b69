"""The simulation judges as a sweep does."""

from __future__ import annotations

import numpy as np
import pytest

from src.stats import BETTER, EQUIVALENT, WORSE
from src.stats.looks import OBRIEN_FLEMING, Looks
from src.sweeping.decisions import worded
from tests.benchmarks import looks
from tests.benchmarks.looks import KINDS, MARGIN, PLAN, Samples

WORDS = ("open", BETTER, WORSE, EQUIVALENT)


@pytest.mark.parametrize("kind", KINDS)
def test_each_sample_is_judged_as_a_sweep_would(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "SAMPLES", 30)
    monkeypatch.setattr(looks, "SAMPLES_WITH_LOSSES", 30)
    plan = Looks(PLAN, 0.05, OBRIEN_FLEMING if kind == "ties" else "pocock")
    for sd, difference in ((0.25, 0.1), (1.1, 0.3)):
        samples = looks.draw(kind, sd, difference)
        words, seeds = looks.judged(samples, PLAN, looks.levels_of(plan))
        for i in range(30):
            of = Samples(samples.differences[[i]], (samples.diverged[0][[i]], samples.diverged[1][[i]]))
            assert (WORDS[words[i]], seeds[i]) == one_by_one(of, plan)


def one_by_one(sample: Samples, plan: Looks) -> tuple[str, int]:
    usable: list[int] = []
    lost = [of[0] for of in sample.diverged]
    for n in PLAN:
        kept = ~(lost[0] | lost[1])[:n]
        usable.append(int(kept.sum()))
        interval = plan.interval(np.round(sample.differences[0, :n][kept], 12), usable)
        verdict = plan.verdict(interval, usable, MARGIN)
        word = worded(verdict, [int(of[:n].sum()) for of in lost], n, is_last=False)
        if word != "open":
            return word, n
    return "open", PLAN[-1]
