"""Shakeout: dropout that also pushes weights by a constant, towards their sign or away from it."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import real
from src.noise import Noise, Site
from src.noise.dropout import dropout_factor
from src.streams import Rate

OPTIONS = {"input_rate": real(0, 1, below=True), "strength": real(0)}
RATE = real(0, 1, below=True)


class Shakeout(Noise):
    """The weights w that read a unit become -c·sgn(w) with probability p, else (w + c·p·sgn(w))/q; q = 1 - p.

    Drawn per example and unit; c is `strength`; c = 0 is dropout. With m = Bernoulli(q)/q it is
    z = W(h ⊙ m) + c·sgn(W)(h ⊙ (m - 1)) + b, one more product in the layer that reads the unit.
    Train: mean Wh + b; variance of one term α·(w + c·sgn(w))²h², α = p/q: dropout's, with |w| + c for |w|.
    Test: the identity. p = 1 is refused, as only c would be left.

    Source: Kang et al. 2018, "Shakeout: a new approach to regularized deep neural network training", IEEE TPAMI
    40(5), eq. 1. It smooths sgn for the gradient; here the gradient takes sgn for a constant.
    """

    reads = True

    def product(self, x: Tensor, W: Tensor, b: Tensor, rate: Rate, site: Site) -> Tensor:
        factor = dropout_factor(x, rate, site)
        if factor is None:
            return torch.matmul(x, W.mT) + b.unsqueeze(-2)
        kept = x * factor
        shaken = torch.matmul(kept - x, W.detach().sign().mT)
        return torch.matmul(kept, W.mT) + self.options["strength"] * shaken + b.unsqueeze(-2)
