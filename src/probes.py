"""What is measured of a net beside its training: variance of the hidden activations, test metrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from src.stacks import DrawsAt, Stack
from src.streams import Rate

PROBE_IMAGES = 512
"""The fixed probe batch: the first 512 training images."""

EVALUATION_BATCH = 1000


def evaluate(stack: Stack, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (nats) and accuracy with the noise off.

    Args:
        images: (n, features) float32; n may be 0.
        labels: (n,) int64.

    Returns:
        Two tensors of shape () or (R,), float64; NaN where n is 0.
    """
    loss = stack.parameters.new_zeros(stack.parameters.shape[:-1], dtype=torch.float64)
    correct = torch.zeros_like(loss)
    for x, y in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
        output = stack.logits(x)
        log_p = torch.log_softmax(output, -1)
        answer = y.expand(output.shape[:-1])
        loss -= log_p.gather(-1, answer.unsqueeze(-1)).sum((-2, -1), dtype=torch.float64)
        correct += (output.argmax(-1) == answer).sum(-1)
    return loss / len(images), correct / len(images)


def activation_variances(
    stack: Stack, images: Tensor, rates: Sequence[Rate], draws: DrawsAt
) -> tuple[list[Tensor], list[Tensor]]:
    """Variance over units and images of each hidden layer, noise off and noise on.

    Args:
        images: the probe batch, (n, features).
        rates: rates of the noisy pass, one a place.
        draws: its random numbers.

    Returns:
        Two lists, an entry a hidden layer, of shape () or (R,).
    """
    clean = [h.var((-2, -1), correction=0) for h in stack.hidden(images)]
    noisy = [h.var((-2, -1), correction=0) for h in stack.hidden(images, rates, draws)]
    return clean, noisy
