"""The summary's four statements, on tables of known truth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configs import REPOSITORY
from tables import made

from analysis import exercises
from analysis.exercises import Answer
from analysis.statements import against_overfitting, everywhere, in_training, statements, unbiased
from analysis.tables import Table

SEEDS = range(5)
RATES = [{"dropout1": 0.0, "dropout2": 0.0}, {"dropout1": 0.2, "dropout2": 0.5}]


def nothing(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
    return {}


def noise(*of: int) -> float:
    """Of mean 0 over the seeds, up to chance."""
    return float(np.random.default_rng(of).normal(0, 0.001))


def probed(factor: Callable[[int], float], bias: float = 0.0) -> Table:
    """The masked variance of a layer is `factor` times the clean one; the identity is missed by `bias`."""
    rows = [
        {
            "id": f"{position:06x}{seed:06x}",
            **arm,
            "seed": seed,
            "epoch": step,
            "step": step,
            "layer": layer,
            "var": 2.0,
            "masked_var": 2.0 * masked,
            "mean_square": (2.0 * masked / (1 + bias + noise(layer, seed, step)) - 2.0) * (1 - p) / p
            if p
            else 3.0,
        }
        for position, arm in enumerate(RATES)
        for seed in SEEDS
        for step in (1, 2)
        for layer in (1, 2)
        for p in [arm[f"dropout{layer}"]]
        for masked in [(factor(layer) if step == 2 else 9.0) + noise(layer, seed) if p else 1.0]
    ]
    extras = {"probe": pd.DataFrame(rows)}
    return made("activation_variance", RATES, SEEDS, nothing, extras=extras)


def test_every_named_test_and_exercise_exists() -> None:
    found = statements({}, {})
    assert len(found) == 4
    assert {name for statement in found for name in statement.exercises} <= set(exercises.names())
    names = [name for statement in found for name in statement.tests]
    assert names
    for name in names:
        path, function = name.split("::")
        assert re.search(rf"^def {function}\(", (REPOSITORY / path).read_text(), re.M), name


def test_without_tables_nothing_is_claimed() -> None:
    for statement in statements({}, {}):
        assert any("not run yet" in text for text in statement.found)
        assert not re.search(r"is shown|shown in|smaller|better", " ".join(statement.found))


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (lambda layer: 1.5, "shown in both"),
        (lambda layer: 1.5 if layer == 2 else 0.999, "shown in layer 2 only"),
        (lambda layer: 0.9, "not shown"),
    ],
)
def test_every_hidden_layer(factor: Callable[[int], float], verdict: str) -> None:
    (text,) = everywhere({"activation_variance": probed(factor)}).found
    assert f": {verdict}." in text
    assert f"{factor(1):.2f} times" in text
    assert text.endswith("Without dropout it is exactly 1 in every run.")


def test_bias_of_the_mask_is_found() -> None:
    for bias, verdict in ((0.0, "no bias is shown"), (0.05, "a bias is shown")):
        texts = unbiased({"activation_variance": probed(lambda layer: 1.5, bias)}).found
        (text,) = [text for text in texts if verdict in text]
        assert "Over 20 masks" in text


def lengths(gap: float, loss: float) -> Table:
    """Runs of 1 and 3 epochs; on the longer ones dropout changes the gap and the loss by so much."""
    arms = [
        {**rates, "optimizer.decay": d, "epochs": e}
        for rates in RATES
        for d in ("constant", "cosine")
        for e in (1, 3)
    ]

    def truth(arm: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        counts = arm["dropout1"] > 0 and arm["epochs"] == 3 and arm["optimizer.decay"] == "constant"
        own = noise(seed, int(counts))
        return {
            "eval_train_acc": 0.95 + counts * gap + own,
            "test_acc": 0.87,
            "test_loss": 0.4 + counts * loss + own,
        }

    return made("more_epochs", arms, SEEDS, truth, epochs=lambda arm: arm["epochs"])


@pytest.mark.parametrize(
    ("gap", "loss", "words"),
    [
        (-0.05, -0.1, ("is smaller (−", "is smaller (−0.", "so some overfitting remains")),
        (0.05, 0.1, ("is larger (+", "is larger (+0.", "so some overfitting remains")),
        (
            0.0,
            0.0,
            ("shows no difference (", "cross-entropy shows no difference (", "so some overfitting remains"),
        ),
        (-0.081, 0.0, ("is smaller (−", "shows no difference", "no overfitting is shown to remain")),
    ],
)
def test_overfitting(gap: float, loss: float, words: tuple[str, ...]) -> None:
    answer = Answer("Both together gain 1 pp.", "n", [])
    text, cosine, family, decay = against_overfitting(
        {"more_epochs": lengths(gap, loss)}, {"weight_decay": answer}
    ).found
    assert text.startswith("Constant lr, 3 epochs, ")
    assert cosine.startswith("Cosine lr, 3 epochs, ")
    assert cosine.count("shows no difference") == 2
    assert "5 common seeds" in text
    assert family.startswith("These 4 comparisons are a family of their own")
    assert decay == "Together with weight decay: Both together gain 1 pp."
    for each in words:
        assert each in text


def passes(off: float) -> Table:
    """A pass with dropout off is better than the noisy ones by `off`, in accuracy and in nats."""
    rows = [
        {
            "id": f"{1:06x}{seed:06x}",
            **RATES[1],
            "seed": seed,
            "method": method,
            "passes": number,
            "accuracy": 0.87 + (off if method == "weight_scaling" else 0) + noise(seed, number),
            "cross_entropy": 0.4 - (off if method == "weight_scaling" else 0) + noise(seed, number),
        }
        for seed in SEEDS
        for method, number in (
            ("weight_scaling", 0),
            ("arithmetic", 1),
            ("geometric", 1),
            ("arithmetic", 100),
        )
    ]
    return made("test_time_dropout", RATES, SEEDS, nothing, extras={"test_time": pd.DataFrame(rows)})


@pytest.mark.parametrize(("off", "word"), [(0.02, "better"), (-0.02, "worse"), (0.0, "not shown to differ")])
def test_only_in_training(off: float, word: str) -> None:
    given = {"test_time_dropout": passes(off)}
    (text,) = in_training(given).found
    assert "dropout off against one noisy pass" in text
    assert f"{word} in test accuracy (" in text
    assert f"{word} in test cross-entropy (" in text
    assert any("mean prediction of 100 noisy passes" in text for text in unbiased(given).found)


def test_small_tables_claim_only_what_they_hold() -> None:
    bare = {
        name: made(name, RATES[:1], [0], nothing)
        for name in ("activation_variance", "more_epochs", "test_time_dropout")
    }
    for statement in statements(bare, {}):
        text = " ".join(statement.found)
        assert re.search("has no|is right", text)
        assert not re.search(r"is shown|shown in|smaller|better", text)
