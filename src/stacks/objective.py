"""What a step minimises: the mean cross-entropy, over several masks of each image where the noise has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from src.kernels import sum_rows
from src.kernels.compiled import Passes
from src.noise import Noise
from src.stacks.workspace import Workspace
from src.streams import Rate


@dataclass(frozen=True)
class Objective:
    """What is the same in every step of a stack.

    With label smoothing ε the target is (1 - ε) on the label and ε/C more on each of the C classes (Szegedy et al.
    2016, "Rethinking the Inception architecture", section 7).
    """

    label_smoothing: float = 0.0
    """ε."""
    images: int = 1
    """N in the training set: what the noise asks for by `penalty` is divided by it."""

    def loss(self, log_p: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of log-probabilities (n, classes), for autograd."""
        loss = F.nll_loss(log_p, labels)
        if not self.label_smoothing:
            return loss
        return (1 - self.label_smoothing) * loss - self.label_smoothing * log_p.mean()

    def target(self, labels: Tensor, like: Tensor) -> Tensor:
        """Target probabilities of labels (..., n), of `like`'s shape (..., n, classes)."""
        smooth = torch.full_like(like, self.label_smoothing / like.shape[-1])
        return smooth.scatter_add_(
            -1, labels.unsqueeze(-1), torch.full_like(like[..., :1], 1 - self.label_smoothing)
        )


def repeated(x: Tensor, masks: int, out: Tensor | None = None) -> Tensor:
    """A batch (..., n, features) once for each mask, one copy behind the other: (..., masks · n, features)."""
    if masks == 1:
        return x
    shape = (*x.shape[:-2], masks, *x.shape[-2:])
    out = x.new_empty(shape) if out is None else out.view(shape)
    return out.copy_(x.unsqueeze(-3)).flatten(-3, -2)


def by_mask(log_p: Tensor, masks: int) -> Tensor:
    """Log-probabilities (..., masks · n, classes) as (..., masks, n, classes)."""
    return log_p.unflatten(-2, (masks, log_p.shape[-2] // masks))


def gradient_at_logits(
    z: Tensor,
    labels: Tensor,
    noise: Noise,
    objective: Objective,
    workspace: Workspace,
    scale: Rate,
    sums: Tensor,
    passes: Passes | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities, of several masks merged, and `scale` times the gradient of the mean loss at the logits.

    Args:
        z: logits (..., n, classes), of several masks (..., masks · n, classes).
        labels: (..., n).
        sums: stores the gradient's sum over the images and masks, (..., classes).
        passes: of one run on a CPU.
    """
    log_p = torch.log_softmax(z.mT, -2)
    if noise.masks > 1:
        merged, delta = merged_gradient(log_p.mT, labels, noise, objective, scale)
        sum_rows(delta, sums)
        return merged, delta
    columns, per_image = torch.exp(log_p, out=workspace.columns), scale / z.shape[-2]
    if passes and not objective.label_smoothing and isinstance(per_image, float):
        passes.at_labels_(columns, labels, sums, per_image)
        return log_p.mT, columns.mT
    on_label = workspace.minus_one
    if smoothing := objective.label_smoothing:
        columns.sub_(smoothing / columns.shape[-2])
        on_label = (1 - smoothing) * on_label
    columns.scatter_add_(-2, labels.unsqueeze(-2), on_label).mul_(per_image)
    sum_rows(columns.mT, sums)
    return log_p.mT, columns.mT


def merged_gradient(
    log_p: Tensor, labels: Tensor, noise: Noise, objective: Objective, scale: Rate
) -> tuple[Tensor, Tensor]:
    """Of several masks the merged log-probabilities, and `scale` times the gradient of the mean loss at the logits.

    With s = ∂ merged/∂ log_p, by `Noise.shares`, and target t the loss -Σ t·merged has at the logits of a mask the
    gradient softmax · Σ t·s - t·s, the sum over classes.

    Args:
        log_p: (..., masks · n, classes).
        labels: (..., n).

    Returns:
        (..., n, classes) and (..., masks · n, classes).
    """
    several, n = by_mask(log_p, noise.masks), labels.shape[-1]
    wanted = noise.shares(several) * objective.target(labels, log_p[..., :n, :]).unsqueeze(-3)
    at_logits = several.exp().mul_(wanted.sum(-1, keepdim=True)).sub_(wanted).flatten(-3, -2)
    return noise.merge(several), at_logits.mul_(scale / n)
