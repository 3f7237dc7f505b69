"""Exercise 6: weights dropped instead of activations, by DropConnect and its Gaussian form."""

from __future__ import annotations

from analysis.exercises import NOT_DECIDED, NOT_SHOWN, Rule, decided, word
from analysis.exercises._noises import NoiseFacts, read
from analysis.exercises._noises import choose as choose
from analysis.exercises._noises import draw as draw
from analysis.tables import Tables
from src.stats import BETTER, WORSE

NUMBER = 6
SWEEPS = ("drop_weights", "drop_weights_test")

RULES = (
    NOT_DECIDED,
    Rule(
        "better", "the interval of DropConnect minus dropout lies above 0", lambda e: word(e.first) == BETTER
    ),
    Rule("worse", "it lies below 0", lambda e: word(e.first) == WORSE),
    *NOT_SHOWN,
)


def analyse(tables: Tables) -> NoiseFacts:
    """DropConnect minus dropout in test accuracy, each at its chosen rates, judged; all else described."""
    return decided(RULES, read(tables, SWEEPS, NoiseFacts))
