"""Exercise 6: weights dropped instead of activations, by DropConnect and its Gaussian form."""

from __future__ import annotations

from analysis.exercises import decided, word
from analysis.exercises._noises import NoiseFacts, read
from analysis.exercises._noises import choose as choose
from analysis.exercises._noises import draw as draw
from analysis.tables import Tables
from analysis.verdicts import Rule
from src.stats import BETTER, EQUIVALENT, WORSE

NUMBER = 6
SWEEPS = ("drop_weights", "drop_weights_test")
FORMS = ("dropconnect", "dropconnect_gaussian")
"""The noises that act on weights."""

RULES = (
    Rule("not decided", "there are no two common seeds", lambda e: not e.tested),
    Rule(
        "better", "the interval of DropConnect minus dropout lies above 0", lambda e: word(e.first) == BETTER
    ),
    Rule("worse", "it lies below 0", lambda e: word(e.first) == WORSE),
    Rule("equivalent", "it is inside the margin", lambda e: word(e.first) == EQUIVALENT),
    Rule("undecided", "otherwise", lambda e: True),
)


def analyse(tables: Tables) -> NoiseFacts:
    """DropConnect minus dropout in test accuracy, each at its chosen rates, judged; all else described."""
    return decided(RULES, read(tables, SWEEPS, NoiseFacts))
