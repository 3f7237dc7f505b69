"""Dropout: each activation is zero with probability p, else divided by 1 - p."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1)}


def dropout_layer(X: Tensor, dropout: float) -> Tensor:
    """The book's dropout, from scratch: keep where U[0, 1) > p, and divide by 1 - p.

    h' = 0 with probability p, h / (1 - p) otherwise, so that E[h'] = h. p = 0 is the identity, p = 1 gives
    zeros. Draws from torch's global generator of X's device.

    Args:
        X: activations, any shape, float dtype and device.
        dropout: p, the probability of dropping a unit, in [0, 1].

    Returns:
        Tensor of X's shape, dtype and device.

    Raises:
        ValueError: if `dropout` is not in [0, 1].

    Source: Zhang et al., Dive into Deep Learning, section "Dropout"; Srivastava et al. 2014, JMLR 15.
    """
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be a probability from 0 to 1, not {dropout}")
    if dropout == 0:
        return X
    if dropout == 1:
        return torch.zeros_like(X)
    keep = torch.rand(X.shape, device=X.device) > dropout
    return keep.to(X.dtype) * X / (1.0 - dropout)


class Dropout(Noise):
    """h' = h · Bernoulli(q) / q, drawn per example and unit; q = 1 - p.

    Train: mean h, variance α·h² with α = p/q. Test: the identity. p = 1 gives zeros. q is rounded to 1/65536
    (16 random bits a unit), and h is divided by the rounded q, so the mean stays h.

    Source: Srivastava et al. 2014, JMLR 15, section 4, scaled in training as in the book.
    """

    drops_input = True

    def drop(self, h: Tensor, rate: Rate, site: Site) -> Rate:
        return site.drop_(h, rate)

    def factor(self, h: Tensor, rate: Rate, site: Site) -> Tensor | None:
        return dropout_factor(h, rate, site)


def dropout_factor(like: Tensor, rate: Rate, site: Site) -> Tensor | None:
    """Bernoulli(q)/q of a tensor's shape, q = 1 - p rounded to 1/65536; None for the factor 1."""
    return None if isinstance(rate, float) and rate == 0 else site.factor(like.shape, rate)
