"""What is looked at in a net beside its metrics: its activations, and dropout at test time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from src.stacks import DrawsAt, Stack
from src.streams import Rate
from src.training.evaluation import EVALUATION_BATCH, calibration_error, log_probabilities, mean_metrics

Probed = tuple[Sequence[int], dict[str, Any]]
"""Runs, and a row of them all, whose tensors are of shape () or (R,)."""

PASSES = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of noisy passes that the test-time evaluation averages over."""

TENTHS = 10
"""Parts of the test set, from the most certain prediction to the least, whose errors it counts apart."""


def layer_variances(stack: Stack, images: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> dict[str, Tensor]:
    """Columns of an epoch's metrics, each () or (R,): variances of the hidden layers, noise off and on."""
    layers = {"var": stack.hidden(images), "noisy_var": stack.hidden(images, rates, draws)}
    return {
        f"{name}{layer}": h.var((-2, -1), correction=0)
        for name, hidden in layers.items()
        for layer, h in enumerate(hidden, 1)
    }


def activations(
    stack: Stack, images: Tensor, rates: Sequence[Rate], draws: DrawsAt
) -> list[dict[str, Tensor]]:
    """Statistics of each hidden layer on the probe batch, each of shape () or (R,).

    `var` with the noise off; `masked_var` with the noise on at this layer alone, so that for dropout
    masked_var = var + α·E[h²]; `noisy_var` with it on everywhere. `unit_` before a name: the mean over units of
    the variance over images; without: pooled over both. `zeros`: share of activations that are 0 with the noise
    off; `dead`: share of units that are 0 for every image; `mean_square`: E[h²], pooled, with the noise off.
    """
    clean, noisy = stack.hidden(images), stack.hidden(images, rates, draws)
    layers = []
    for layer in range(1, len(clean) + 1):
        alone = [rate if place == layer else rate * 0 for place, rate in enumerate(rates)]
        masked = stack.hidden(images, alone, draws)[layer - 1]
        row: dict[str, Tensor] = {}
        for name, h in (("var", clean[layer - 1]), ("masked_var", masked), ("noisy_var", noisy[layer - 1])):
            row[name] = h.var((-2, -1), correction=0)
            row[f"unit_{name}"] = h.var(-2, correction=0).mean(-1)
        silent = clean[layer - 1] == 0
        row["zeros"] = silent.double().mean((-2, -1))
        row["dead"] = silent.all(-2).double().mean(-1)
        row["mean_square"] = clean[layer - 1].square().mean((-2, -1))
        layers.append(row)
    return layers


def evaluate_test_time(
    stack: Stack, images: Tensor, labels: Tensor, rates: Sequence[Rate], draws: Callable[[int], DrawsAt]
) -> list[dict[str, Any]]:
    """Predictions of the trained net with the noise off, and averaged over noisy passes.

    `weight_scaling`: one pass with the noise off, the usual way. `arithmetic`: mean of the passes' softmax, Monte
    Carlo dropout (Gal & Ghahramani 2016). `geometric`: mean of their log-probabilities, renormalised (Srivastava
    et al. 2014, section 7.5, for both against weight scaling).

    Args:
        images: test images (n, features). labels: (n,).
        rates: at each place; draws: random numbers by (pass, chunk of images).

    Returns:
        Rows with `method`, `passes`, and of shape () or (R,): `accuracy`, `cross_entropy` (nats), `ece`, `entropy`
        (mean entropy of the averaged prediction, nats), `disagreement` (probability that two of the passes
        predict different classes; None of one pass), `pass_sd` (SD of a single pass's accuracy over the passes;
        None of one), and `error1` to `error10`: share of errors in each tenth of the images, from the lowest
        entropy of the prediction to the highest.
    """
    off = log_probabilities(stack, images)
    rows = [_prediction("weight_scaling", 0, off, labels)]
    accuracies: list[Tensor] = []
    mean_p, mean_log_p, votes = (torch.zeros_like(off, dtype=torch.float64) for _ in range(3))
    chunks = -(-len(images) // EVALUATION_BATCH)
    for done in range(1, PASSES[-1] + 1):
        log_p = log_probabilities(stack, images, rates, draws, (done - 1) * chunks).double()
        mean_p += log_p.exp()
        mean_log_p += log_p
        votes.scatter_add_(-1, log_p.argmax(-1, keepdim=True), torch.ones_like(log_p[..., :1]))
        accuracies.append(mean_metrics(log_p, labels)[1])
        if done in PASSES:
            several = {}
            if done > 1:
                agree = (votes * (votes - 1)).sum(-1).mean(-1) / (done * (done - 1))
                several = {"disagreement": 1 - agree, "pass_sd": torch.stack(accuracies).std(0)}
            for method, average in ("arithmetic", (mean_p / done).log()), ("geometric", mean_log_p / done):
                rows.append(_prediction(method, done, torch.log_softmax(average, -1), labels, **several))
    return rows


def one_pass(table: Sequence[Probed], runs: Sequence[int]) -> dict[str, list[float | None]]:
    """Columns of an epoch's metrics, a number a run: of one noisy pass, None before the evaluation at test time.

    Args:
        table: what `evaluate_test_time` gave for these runs; empty before.
    """
    row = next((row for _, row in table if (row["method"], row["passes"]) == ("arithmetic", 1)), {})
    return {
        f"noisy_test_{short}": row[name].reshape(-1).tolist() if row else [None] * len(runs)
        for short, name in (("loss", "cross_entropy"), ("acc", "accuracy"), ("ece", "ece"))
    }


def _prediction(
    method: str, passes: int, log_p: Tensor, labels: Tensor, disagreement: Any = None, pass_sd: Any = None
) -> dict[str, Any]:
    loss, accuracy = mean_metrics(log_p, labels)
    entropy = -(log_p.exp() * log_p).sum(-1)
    wrong = (log_p.argmax(-1) != labels).double()
    by_certainty = wrong.gather(-1, entropy.sort(stable=True, dim=-1).indices).tensor_split(TENTHS, -1)
    return {
        "method": method,
        "passes": passes,
        "accuracy": accuracy,
        "cross_entropy": loss,
        "ece": calibration_error(log_p, labels),
        "entropy": entropy.mean(-1, dtype=torch.float64),
        "disagreement": disagreement,
        "pass_sd": pass_sd,
        **{f"error{tenth}": errors.mean(-1) for tenth, errors in enumerate(by_certainty, 1)},
    }


def of_run(table: Sequence[Probed], run: int) -> list[dict[str, Any]]:
    """One run's rows; none from the time on at which it was dropped."""
    return [
        {
            key: value.reshape(-1)[runs.index(run)].item() if isinstance(value, Tensor) else value
            for key, value in row.items()
        }
        for runs, row in table
        if run in runs
    ]
