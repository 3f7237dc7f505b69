"""Dropout with several masks of each image in a step, and the mean of their losses."""

from __future__ import annotations

from src.checks import integer, real
from src.noise.dropout import Dropout

OPTIONS = {"input_rate": real(0, 1), "masks": integer(1)}


class DropoutMasks(Dropout):
    """h' = h · Bernoulli(q)/q, K = `masks` draws for each image: the loss is (1/K) Σ_k -log p_k(y).

    Train: each mask is dropout's at rate p, the first one the very mask that dropout draws; the gradient has the
    same mean as dropout's and less variance, at K times the time. K = 1 is dropout. Test: the identity.

    Source: Noh et al. 2017, "Regularizing deep neural networks by noise: its interpretation and optimization",
    NIPS, where it is what importance weighting (`dropout_importance`) is compared with.
    """

    @property
    def masks(self) -> int:
        return int(self.options["masks"])
