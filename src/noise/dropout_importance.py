"""Dropout with several masks of each image in a step, and the logarithm of their mean likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from src.checks import integer, real
from src.noise.dropout import Dropout

OPTIONS = {"input_rate": real(0, 1), "masks": integer(1)}


class DropoutImportance(Dropout):
    """h' = h · Bernoulli(q)/q, K = `masks` draws for each image: the loss is -log (1/K) Σ_k p_k(y).

    A tighter lower bound of the log-likelihood of dropout's mixture than the mean of the logarithms, by Jensen's
    inequality: at most as large as `dropout_masks`' loss. In the gradient mask k has the weight p_k(y)/Σ_j p_j(y),
    so that the masks that serve an image best learn most from it. K = 1 is dropout. Test: the identity.

    Source: Noh et al. 2017, "Regularizing deep neural networks by noise: its interpretation and optimization",
    NIPS, section 3.3 (importance weighted stochastic gradient descent).
    """

    @property
    def masks(self) -> int:
        return int(self.options["masks"])

    def merge(self, log_p: Tensor) -> Tensor:
        """log (1/K) Σ_k p_k of each class.

        >>> noise = DropoutImportance({"masks": 2})
        >>> log_p = torch.tensor([[0.5, 0.5], [0.1, 0.9]]).log().unsqueeze(1)  # two masks of one image
        >>> noise.merge(log_p).exp(), noise.shares(log_p)[:, 0, 0]
        (tensor([[0.3000, 0.7000]]), tensor([0.8333, 0.1667]))
        """
        return torch.logsumexp(log_p, -3) - math.log(log_p.shape[-3])

    def shares(self, log_p: Tensor) -> Tensor:
        return torch.softmax(log_p, -3)
