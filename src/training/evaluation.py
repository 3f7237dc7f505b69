"""Loss, accuracy and calibration of a stack of nets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from src.stacks import DrawsAt, Stack
from src.streams import Rate
from src.training.images import Images

EVALUATION_BATCH = 1000
BINS = 15
"""Equal-width confidence bins of the expected calibration error."""


def evaluate(stack: Stack, images: Images, shown: bool | int) -> dict[str, Tensor]:
    """Columns of an epoch's metrics, each () or (R,): test and validation set with the noise off.

    Args:
        shown: whether training images are evaluated, too, or how many of them.
    """
    columns = {}
    log_p = log_probabilities(stack, images.test)
    columns["test_loss"], columns["test_acc"] = mean_metrics(log_p, images.test_labels)
    if len(images.val):
        val_log_p = log_probabilities(stack, images.val)
        columns["val_loss"], columns["val_acc"] = mean_metrics(val_log_p, images.val_labels)
    if shown:
        x, labels = images.first_train(None if shown is True else shown)
        loss, accuracy = mean_metrics(log_probabilities(stack, x), labels)
        columns["eval_train_loss"], columns["eval_train_acc"] = loss, accuracy
    columns["test_ece"] = calibration_error(log_p, images.test_labels)
    return columns


def mean_metrics(log_p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (nats) and accuracy of log-probabilities.

    Args:
        log_p: (n, classes) or (R, n, classes); n may be 0.
        labels: (n,), or of a stack (R, n) or (n,) for all.

    Returns:
        Two tensors of shape () or (R,), float64; NaN where n is 0.
    """
    answer = labels.expand(log_p.shape[:-1])
    loss = -log_p.gather(-1, answer.unsqueeze(-1)).squeeze(-1).mean(-1, dtype=torch.float64)
    return loss, (log_p.max(-1).indices == answer).to(torch.float64).mean(-1)


def calibration_error(log_p: Tensor, labels: Tensor) -> Tensor:
    """Expected calibration error: mean over images of |accuracy - confidence| of their confidence bin.

    Args:
        log_p: log-probabilities, (n, classes) or (R, n, classes).
        labels: (n,).

    Returns:
        (), or (R,), float64, in [0, 1]. torchmetrics' `multiclass_calibration_error` (n_bins=15, l1) gives the
        same; it is not called because importing it takes as long as three epochs.

    Source: Guo et al. 2017, "On calibration of modern neural networks", eq. 3.
    """
    best, answer = log_p.max(-1)
    confidence, right = best.exp().double(), (answer == labels).double()
    # a diverged run's confidences are NaN, and so is what comes of them
    of_bin = (confidence * BINS).nan_to_num().long().clamp_(max=BINS - 1)
    gap = torch.zeros(*log_p.shape[:-2], BINS, dtype=torch.float64, device=log_p.device)
    return gap.scatter_add_(-1, of_bin, right - confidence).abs().sum(-1) / labels.shape[-1]


def log_probabilities(
    stack: Stack,
    images: Tensor,
    rates: Sequence[Rate] = (),
    draws: Callable[[int], DrawsAt] | None = None,
    first: int = 0,
) -> Tensor:
    """Log-probabilities of images (n, features), (..., n, classes); with the noise on where draws are given.

    `draws` gives the random numbers of each chunk of images, which are numbered from `first`.
    """
    chunks = enumerate(images.split(EVALUATION_BATCH), first)
    logits = [stack.logits(x, rates, draws and draws(chunk)) for chunk, x in chunks]
    # the images of each class side by side: see `stacks.workspace`
    return torch.log_softmax(torch.cat(logits, -2).mT, -2).mT.contiguous()
