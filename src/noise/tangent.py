"""Tangent noise: each image moves along the line to its nearest neighbour in the batch, then units are dropped."""

from __future__ import annotations

import torch
from torch import Tensor

from src.checks import one_of, real
from src.noise import Backward, Noise, Site
from src.noise.dropout import dropout_factor
from src.streams import Rate

NEAREST, ANY = "nearest", "any"
OPTIONS = {"input_rate": real(0, 1), "stretch": real(0), "partner": one_of(NEAREST, ANY)}


class Tangent(Noise):
    """h'_i = (h_i + λ_i(h_j - h_i)) ⊙ m/q, j the nearest other image of the batch at this place, λ_i ~ N(0,
    `stretch`²).

    λ drawn per example, m ~ Bernoulli(q) per example and unit, q = 1 - p. Nearest by Euclidean distance between the
    activations (the pixels, at the input). Train: mean h; the covariance of the first part is stretch²·(h_j -
    h_i)(h_j - h_i)ᵀ, that of the second dropout's. The gradient reaches both images, and takes the choice of j for
    a constant. It acts where the rate is above 0. stretch 0 is dropout; a batch of one image has dropout alone.
    Test: the identity. With `partner` any, a control, j is any other image of the batch with equal probability,
    drawn anew for each image; masks and λ are the same.

    Why it should do better than dropout, written down before it was tried. To second order noise of covariance Σ
    adds ½·tr(H·Σ) to the loss, H its Hessian at the activations (Bishop 1995, "Training with noise is equivalent to
    Tikhonov regularization"). Dropout's Σ = α·diag(h²) knows no directions: it flattens the net along those in
    which the images of a class differ, where flatness costs nothing, and as much along those that tell the classes
    apart, where it costs margin. Its rate is a compromise between the two, and all that can be tuned. The
    difference to the nearest neighbour is mostly of the first kind: in a batch of 256 of Fashion-MNIST's images 69
    % of the neighbours are of the same class by the pixels alone (10 % would be by chance), and the share rises
    from layer to layer as the net learns, so that the noise becomes purer as it is needed more. λ is as often below
    0 as above, so, unlike mixup or `blend`, it pulls nobody to the middle and leaves the mean alone. Dropout stays
    beside it, as it does something else: it keeps units from relying on each other.

    What must be seen if this is right: a lower test cross-entropy than dropout's at its best rate, with a best rate
    that is lower. What would speak against it: no gain where neighbours are far (1,000 training images), or the
    same gain from any image of the batch in place of the nearest. (As first written, 5d8d06f: 5,000 images, where
    it gains, sweeps/new_noise_5000.yaml. Tested later: it gains on 1,000, too, sweeps/new_noise_1000.yaml, and any
    image gains less than the nearest, sweeps/new_noise_partner.yaml. On all images the cross-entropy is lower, the
    best rate is dropout's own, sweeps/new_noise.yaml.) What it costs: n²·d products for the distances within a
    batch of n images, so that at the input an epoch takes 1.3 times dropout's in batches of 64, and 1.4 to 1.9
    times in batches of 256, by the machine; in as much time it is worse (sweeps/new_noise_time.yaml) or equivalent
    (sweeps/new_noise_again.yaml).

    Source: ours; kin to tangent propagation (Simard et al. 1992) and SMOTE (Chawla et al. 2002), which need known
    transformations, or labels.
    """

    def activation(self, h: Tensor, rate: Rate, site: Site) -> tuple[Tensor, Backward]:
        # first, so that it is the very mask that dropout draws
        kept = dropout_factor(h, rate, site)
        # a run of a stack whose rate is 0 is left alone, as it would be by itself
        way = site.normal((*h.shape[:-1], 1)).mul_(self.options["stretch"]).mul_(rate > 0)
        other = None
        if h.shape[-2] > 1:
            other = (_nearest(h) if self.options["partner"] == NEAREST else _any(h, site)).expand_as(h)
        noised = site.workspace("noised", h)
        if other is None:
            noised.copy_(h)
        else:
            torch.lerp(h, torch.gather(h, -2, other, out=noised), way, out=noised)
        if kept is not None:
            noised.mul_(kept)

        def backward(delta: Tensor) -> Tensor:
            if kept is not None:
                delta = delta.mul_(kept)
            if other is None:
                return delta
            passed = torch.mul(delta, way, out=site.workspace("passed", h))
            return delta.sub_(passed).scatter_add_(-2, other, passed)

        return noised, backward


def _nearest(h: Tensor) -> Tensor:
    """The number of each image's nearest other one: (..., n, 1) int64.

    >>> _nearest(torch.tensor([[0.0], [1.0], [5.0], [5.5]])).T
    tensor([[1, 0, 3, 2]])
    """
    squares = h.square().sum(-1)
    distance = torch.matmul(h, h.mT).mul_(-2).add_(squares.unsqueeze(-2))
    distance.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    return distance.argmin(-1, keepdim=True)


def _any(h: Tensor, site: Site) -> Tensor:
    """The number of another image for each, all with equal probability: (..., n, 1) int64."""
    n = h.shape[-2]
    steps = (site.uniform((*h.shape[:-1], 1)) * (n - 1)).long()  # 0 to n - 2
    return (torch.arange(1, n + 1, device=h.device).unsqueeze(-1) + steps) % n
