"""Multilayer perceptrons with two hidden layers, R of them at once, with hand-written gradients.

Autograd allocates each intermediate anew, and on a CPU core those cold writes cost as much as a third of the
matrix products; here every intermediate has one buffer that stays in the cache. A noise's own gradient is
still autograd's, unless the noise is a plain factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from src.noise import HOOKS, Backward, Noise
from src.stacks import PLACES, DrawsAt, flatten, views
from src.streams import Rate


class MLP:
    """Stack of R nets features-hidden1-hidden2-classes with ReLU; a net is three `nn.Linear` in order.

    Args:
        nets: the R nets; their weights are copied.
        noise: acts after each activation (place 1, 2), on the input (place 0), or in the hidden layers' products.
        device: where to train.
    """

    noises: tuple[str, ...] | None = None
    """Noises that it can inject: all."""

    def __init__(self, nets: Sequence[nn.Module], noise: Noise, device: torch.device) -> None:
        shapes = [parameter.shape for parameter in nets[0].parameters()]
        self.parameters = flatten(nets, device)
        self.gradients = torch.empty_like(self.parameters)
        tensors, gradients = views(self.parameters, shapes), views(self.gradients, shapes)
        self.weights, self.biases = tensors[0::2], tensors[1::2]
        self._transposed = [W.mT for W in self.weights]
        self.weight_gradients, self.bias_gradients = gradients[0::2], gradients[1::2]
        self.noise = noise
        self._hooks = {hook for hook in HOOKS if noise.has(hook)}
        self._buffers: dict[tuple[str, int], Tensor] = {}

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        with torch.no_grad():
            return self._differentiate(x, y, rates, draws)

    def _differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        inputs = [self._noised(0, x, rates, draws)[0]]
        active: list[Tensor] = []
        into_noise: list[Backward | Rate | None] = []
        into_product: list[Backward | None] = []
        for layer in (1, 2, 3):
            z, backward = self._product(layer, inputs[-1], rates, draws)
            into_product.append(backward)
            if layer < 3:
                h, back = self._noised(layer, z.relu_(), rates, draws)
                active.append(z)
                into_noise.append(back)
                inputs.append(h)
        log_p = torch.log_softmax(z, -1)

        answer = y.unsqueeze(-1)
        delta = torch.exp(log_p, out=self._buffer("delta", z, z.shape[-1]))
        delta.scatter_add_(-1, answer, self._minus_one(answer)).div_(x.shape[-2])
        for layer in (3, 2, 1):
            backward = into_product[layer - 1]
            delta = backward(delta) if backward else self._affine_backward(layer, inputs[layer - 1], delta)
            if layer > 1:
                back = into_noise[layer - 2]
                if callable(back):
                    delta = back(delta)
                elif back is not None:
                    delta.mul_(back)
                torch.ops.aten.threshold_backward.grad_input(delta, active[layer - 2], 0, grad_input=delta)
        return log_p

    def logits(self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None) -> Tensor:
        h = self.hidden(x, rates, draws)[1]
        if rates is None or draws is None:
            return self._evaluate(3, h)
        with torch.no_grad(), self._probing():
            return self._product(3, h, rates, draws)[0].clone()

    def hidden(
        self, x: Tensor, rates: Sequence[Rate] | None = None, draws: DrawsAt | None = None
    ) -> list[Tensor]:
        with torch.no_grad(), self._probing():
            if rates is None or draws is None:
                first = self._evaluate(1, x).relu_()
                return [first, self._evaluate(2, first).relu_()]
            x = x.expand(*self.parameters.shape[:-1], *x.shape[-2:])
            h, found = self._noised(0, x, rates, draws)[0], []
            for layer in (1, 2):
                z = self._product(layer, h, rates, draws)[0].relu_()
                h = self._noised(layer, z, rates, draws)[0].clone()
                found.append(h)
            return found

    @contextmanager
    def _probing(self) -> Iterator[None]:
        self.noise.learning = False
        try:
            yield
        finally:
            self.noise.learning = True

    def _evaluate(self, layer: int, x: Tensor) -> Tensor:
        """x Wᵀ + b in a new tensor; x may be shared by all runs."""
        W, b = self.weights[layer - 1], self.biases[layer - 1]
        return nn.functional.linear(x, W, b) if W.dim() == 2 else torch.matmul(x, W.mT).add_(b.unsqueeze(-2))

    def _affine(self, layer: int, x: Tensor, out: Tensor, transposed: Tensor | None = None) -> Tensor:
        W, b = self._transposed[layer - 1] if transposed is None else transposed, self.biases[layer - 1]
        if W.dim() == 2:
            return torch.addmm(b, x, W, out=out)
        return torch.baddbmm(b.unsqueeze(1), x, W, out=out)

    def _affine_backward(self, layer: int, x: Tensor, delta: Tensor, W: Tensor | None = None) -> Tensor:
        """Stores the layer's gradients; returns the gradient at its input, or delta itself at layer 1."""
        product = torch.mm if delta.dim() == 2 else torch.bmm
        product(delta.mT, x, out=self.weight_gradients[layer - 1])
        torch.sum(delta, -2, out=self.bias_gradients[layer - 1])
        if layer == 1:
            return delta
        W = self.weights[layer - 1] if W is None else W
        return product(delta, W, out=self._buffer(f"delta{layer}", delta, W.shape[-1]))

    def _noised(
        self, place: int, h: Tensor, rates: Sequence[Rate], draws: DrawsAt
    ) -> tuple[Tensor, Backward | Rate | None]:
        """h with the noise of this place, and its backward pass.

        None for the identity; a constant where the noise worked in place: h is then what was kept times it.
        """
        rate = rates[place]
        if isinstance(rate, float) and rate == 0:
            return h, None
        self.noise.place = place
        if "drop" in self._hooks and place > 0:
            return h, self.noise.drop(h, rate, draws(place))
        if "factor" in self._hooks:
            factor = self.noise.factor(h, rate, draws(place))
            if factor is None:
                return h, None
            return torch.mul(h, factor, out=self._buffer(f"noised{place}", h, h.shape[-1])), factor.mul_
        if "activation" in self._hooks:
            if self.noise.by_hand:
                by_hand: tuple[Tensor, Backward | None] = self.noise.activation(h, rate, draws(place))
                return by_hand
            with torch.enable_grad():
                leaf = h.detach().requires_grad_()
                noised = self.noise.activation(leaf, rate, draws(place))
            return noised.detach(), lambda delta: torch.autograd.grad(noised, leaf, delta)[0]
        return h, None

    def _product(
        self, layer: int, x: Tensor, rates: Sequence[Rate], draws: DrawsAt
    ) -> tuple[Tensor, Backward | None]:
        """Pre-activations of a layer; a backward pass where the noise acts inside the product."""
        W, b = self.weights[layer - 1], self.biases[layer - 1]
        place = layer - 1 if self.noise.reads else layer
        on_weight = "weight" in self._hooks
        acts = place < PLACES and (on_weight or "product" in self._hooks)
        rate = rates[place] if acts else 0.0
        if isinstance(rate, float) and rate == 0:
            return self._affine(layer, x, self._buffer(f"layer{layer}", x, b.shape[-1])), None
        self.noise.place, self.noise.first = place, layer == 1
        if self.noise.by_hand:
            if on_weight:
                return self._product_of(layer, x, *self.noise.weight(W, rate, draws(place)))
            z, gradients = self.noise.product(x, W, b, rate, draws(place))
            return z, lambda delta: self._stored(layer, delta, *gradients(delta))
        with torch.enable_grad():
            # at layer 1 the gradient at the input would be a product that nobody reads
            X = x.detach().requires_grad_(layer > 1)
            weight, bias = W.detach().requires_grad_(), b.detach().requires_grad_()
            leaves = [X, weight, bias] if layer > 1 else [weight, bias]
            if on_weight:
                noisy = self.noise.weight(weight, rate, draws(place))
                z = torch.matmul(X, noisy.mT) + bias.unsqueeze(-2)
            else:
                z = self.noise.product(X, weight, bias, rate, draws(place))

        def backward(delta: Tensor) -> Tensor:
            *dx, dW, db = torch.autograd.grad(z, leaves, delta)
            return self._stored(layer, delta, dx[0] if dx else None, dW, db)

        return z.detach(), backward

    def _product_of(
        self, layer: int, x: Tensor, noisy: Tensor, to_weight: Backward
    ) -> tuple[Tensor, Backward]:
        """The layer's product with noisy weights; `to_weight` takes their gradient to that of the weights."""
        z = self._affine(layer, x, self._buffer(f"layer{layer}", x, noisy.shape[-2]), noisy.mT)

        def backward(delta: Tensor) -> Tensor:
            into = self._affine_backward(layer, x, delta, noisy)
            found = self.weight_gradients[layer - 1]
            if (own := to_weight(found)) is not found:
                found.copy_(own)
            return into

        return z, backward

    def _stored(self, layer: int, delta: Tensor, dx: Tensor | None, dW: Tensor, db: Tensor) -> Tensor:
        """Keeps a layer's gradients; returns that at its input, or delta at layer 1, where nobody reads it."""
        self.weight_gradients[layer - 1].copy_(dW)
        self.bias_gradients[layer - 1].copy_(db)
        return delta if dx is None or layer == 1 else dx

    def _buffer(self, name: str, like: Tensor, width: int) -> Tensor:
        """The one tensor of this name for batches of this size: (..., n, width)."""
        found = self._buffers.get((name, like.shape[-2]))
        if found is None:
            shape = (*self.parameters.shape[:-1], like.shape[-2], width)
            found = self._buffers[name, like.shape[-2]] = like.new_empty(shape)
        return found

    def _minus_one(self, answer: Tensor) -> Tensor:
        found = self._buffers.get(("minus one", answer.shape[-2]))
        if found is None:
            found = torch.full_like(answer, -1, dtype=torch.float32)
            self._buffers["minus one", answer.shape[-2]] = found
        return found
