"""Multilayer perceptrons with two hidden layers, R of them at once, with hand-written gradients.

Autograd allocates each intermediate anew, and on a CPU core those cold writes cost as much as a third of the
matrix products; here every intermediate has one buffer that stays in the cache. A noise's own gradient is
still autograd's, unless the noise is a plain factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from src.kernels import compiled, gpu, multiply, sum_rows
from src.noise import HOOKS, Backward, Site, _trial, pair
from src.stacks import PLACES, DrawsAt, Stack, learned_views, views
from src.stacks.objective import gradient_at_logits, repeated
from src.stacks.workspace import Workspace
from src.streams import Rate

_threshold_backward = torch.ops.aten.threshold_backward.grad_input


class MLP(Stack):
    """R nets features-hidden1-hidden2-classes with ReLU; a net is three `nn.Linear` in order, and is copied.

    The noise acts after each activation (place 1, 2), on the input (place 0), or in the hidden layers' products.
    """

    places = PLACES - 1
    """Hidden layers, at which the noise may act."""

    def _take(self, nets: Sequence[nn.Module], device: torch.device) -> None:
        self._shapes = [parameter.shape for parameter in nets[0].parameters()]
        first = 0 if self.noise.reads else 1
        self._sites = [Site(place, first=place == first) for place in range(PLACES)]
        self._hooks = {hook for hook in HOOKS if self.noise.has(hook)}
        self.autograd = not _trial.by_hand(self.noise, *self._shapes[0])
        # nothing here requires a gradient unless autograd computes some; to say so costs 2 µs a step
        self._untracked = torch.no_grad if self.autograd else nullcontext
        self._scale: Rate = 1.0
        self._descending = self._reaches_input = False
        self._fused = gpu.fused(device)
        self._passes = compiled.passes() if device.type == "cpu" and len(nets) == 1 else None
        # a batch is the run's own, a probe's images are not; in place takes 7 % of an epoch less than by factors
        self._drops_input = self.noise.drops_input and self._passes is not None

    def _hold(self, parameters: Tensor) -> None:
        self.parameters, self.gradients = parameters, torch.empty_like(parameters)
        tensors, gradients = views(self.parameters, self._shapes), views(self.gradients, self._shapes)
        self.weights, self.biases = tensors[0::2], tensors[1::2]
        self._transposed = [W.mT for W in self.weights]
        self.weight_gradients, self.bias_gradients = gradients[0::2], gradients[1::2]
        self._learned_gradients = learned_views(self.gradients, self._learned)
        self._learned_tail = self.gradients[..., sum(shape.numel() for shape in self._shapes) :]
        for place, values in learned_views(self.parameters, self._learned).items():
            # of the same memory, but of no history: a step by hand is none that autograd should know of
            self._sites[place].parameters = {name: v.data.requires_grad_() for name, v in values.items()}
        self._workspaces: dict[int, Workspace] = {}

    def keep_runs(self, runs: Sequence[int]) -> None:
        for site in self._sites:
            site.keep_runs(runs, len(self.parameters))
        super().keep_runs(runs)

    def differentiate(self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt) -> Tensor:
        self._descending = False
        with self._untracked():
            return self._backpropagate(x, y, rates, draws, 1.0)

    def descend(
        self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt, lr: float | Tensor
    ) -> Tensor:
        # what flows back is scaled once, so that a product adds to the weights what it would store as gradients:
        # writing those and reading them again was 3 % of an epoch
        self._descending = True
        scale = -lr if isinstance(lr, float) else -lr.unsqueeze(-1)
        with self._untracked():
            return self._backpropagate(x, y, rates, draws, scale)

    def _backpropagate(
        self, x: Tensor, y: Tensor, rates: Sequence[Rate], draws: DrawsAt, scale: Rate
    ) -> Tensor:
        """Log-probabilities; what flows back is the gradient of the mean loss times `scale`, a number a run."""
        self._scale = scale
        if self.noise.learns:
            self._learned_tail.zero_()
        workspace = self._workspace(x, masks := self.noise.masks)
        if masks > 1:
            shape = (*x.shape[:-2], masks * x.shape[-2], x.shape[-1])
            x = repeated(x, masks, self._sites[0].workspace("repeated", x, shape))
        h, into_input = self._noised(0, x, rates, draws)
        self._reaches_input = self.noise.learns and callable(into_input)
        tape = []  # of each layer its input, its own backward pass, and those of the noise and the ReLU before it
        active: Tensor | None = None
        into_noise: Backward | Rate | None = None
        for layer in (1, 2, 3):
            z, into_product = self._layer(layer, h, rates, draws)
            tape.append((layer, h, into_product, into_noise, active))
            if layer < 3:
                active = z
                h, into_noise = self._noised(layer, z, rates, draws)
        sums = self.bias_gradients[2]
        log_p, delta = gradient_at_logits(
            z, y, self.noise, self._objective, workspace, scale, sums, self._passes
        )
        for layer, h, into_product, into_noise, active in reversed(tape):
            if into_product:
                delta = into_product(delta)
            else:
                factor = into_noise if isinstance(into_noise, float) else 1.0
                delta = self._affine_backward(layer, h, delta, factor)
            if active is None:  # the input
                continue
            if callable(into_noise):
                delta = into_noise(delta)
            scales = into_noise if isinstance(into_noise, Tensor) else None
            self._relu_backward(layer - 1, delta, active, scales)
        if self._reaches_input and callable(into_input):
            into_input(delta)
        return log_p

    def logits(self, x: Tensor, rates: Sequence[Rate] = (), draws: DrawsAt | None = None) -> Tensor:
        h = self.hidden(x, rates, draws)[1]
        if draws is None:
            return self._evaluate(3, h)
        with torch.no_grad(), self._probing():
            return self._layer(3, h, rates, draws)[0].clone()

    def hidden(self, x: Tensor, rates: Sequence[Rate] = (), draws: DrawsAt | None = None) -> list[Tensor]:
        with torch.no_grad(), self._probing():
            if draws is None:
                first = self._evaluate(1, x)
                return [first, self._evaluate(2, first)]
            x = x.expand(*self.parameters.shape[:-1], *x.shape[-2:])
            h, layers = self._noised(0, x, rates, draws)[0], []
            for layer in (1, 2):
                z = self._layer(layer, h, rates, draws)[0]
                h = self._noised(layer, z, rates, draws)[0].clone()
                layers.append(h)
            return layers

    def sites(self) -> list[Mapping[int, Site]]:
        return [dict(enumerate(self._sites))]

    @contextmanager
    def _probing(self) -> Iterator[None]:
        for site in self._sites:
            site.learning = False
        try:
            yield
        finally:
            for site in self._sites:
                site.learning = True

    def _evaluate(self, layer: int, x: Tensor) -> Tensor:
        """What `_affine` gives, in a new tensor; x may be shared by all runs."""
        W = self._transposed[layer - 1]
        x = x.expand(*W.shape[:-2], *x.shape[-2:])
        return self._activate(layer, multiply(x.new_empty(*x.shape[:-1], W.shape[-1]), x, W))

    def _affine(self, layer: int, x: Tensor, transposed: Tensor | None = None) -> Tensor:
        """The activations x Wᵀ + b of a layer, a hidden one's after ReLU."""
        W = self._transposed[layer - 1] if transposed is None else transposed
        return self._activate(layer, multiply(self._workspace(x).outputs[layer - 1], x, W))

    def _activate(self, layer: int, z: Tensor) -> Tensor:
        """z ← z + b, of a hidden layer ReLU(z + b), in place."""
        b = self.biases[layer - 1]
        if layer < 3 and self._fused:
            self._fused.add_relu_(z, b)
        elif layer < 3 and self._passes:
            self._passes.add_relu_(z, b)
        else:
            _activated(layer, z.add_(b.unsqueeze(-2)))
        return z

    def _relu_backward(self, layer: int, delta: Tensor, active: Tensor, scales: Tensor | None) -> None:
        """delta ← delta · scales where a unit is active, else 0, in place; stores the gradient at the biases."""
        db = self.bias_gradients[layer - 1]
        if self._fused and scales is not None:
            torch.sum(self._fused.relu_backward_(delta, active, scales), -2, out=db)
            return
        if scales is not None:
            delta.mul_(scales)
        if self._passes and delta.is_contiguous():
            self._passes.relu_backward_(delta, active, db)
            return
        _threshold_backward(delta, active, 0, grad_input=delta)
        sum_rows(delta, db)

    def _affine_backward(self, layer: int, x: Tensor, delta: Tensor, factor: float = 1.0) -> Tensor:
        """Learns from delta, the gradient at the layer's output; returns `factor` times that at its input."""
        W = self.weights[layer - 1]
        into = self._into(layer, delta, W, factor)
        if self._descending:
            multiply(W, delta.mT, x, beta=1)
            self.biases[layer - 1].add_(self.bias_gradients[layer - 1])
        else:
            multiply(self.weight_gradients[layer - 1], delta.mT, x)
        return into

    def _into(self, layer: int, delta: Tensor, W: Tensor, factor: float = 1.0) -> Tensor:
        """`factor` times the gradient at a layer's input; at layer 1, where it is of no use, delta itself."""
        if layer > 1:
            return multiply(self._workspace(delta).into[layer - 1], delta, W, alpha=factor)
        if self._reaches_input:
            return multiply(delta.new_empty((*delta.shape[:-1], W.shape[-1])), delta, W, alpha=factor)
        return delta

    def _learn(self, layer: int, dW: Tensor, db: Tensor) -> None:
        """Stores a layer's gradients, or adds them to its parameters."""
        for parameter, gradient, product in (
            (self.weights[layer - 1], self.weight_gradients[layer - 1], dW),
            (self.biases[layer - 1], self.bias_gradients[layer - 1], db),
        ):
            if self._descending:
                parameter.add_(product)
            elif product is not gradient:
                gradient.copy_(product)

    def _noised(
        self, place: int, h: Tensor, rates: Sequence[Rate], draws: DrawsAt
    ) -> tuple[Tensor, Backward | Rate | None]:
        """h with the noise of this place, and its backward pass.

        None for the identity; a constant where the noise worked in place: h is then what was kept times it.
        """
        rate = rates[place]
        if isinstance(rate, float) and rate == 0:
            return h, None
        site = self._sites[place].at(draws(place))
        if "drop" in self._hooks and (place > 0 or (self._drops_input and site.learning)):
            return h, self.noise.drop(h, rate, site)
        if "factor" in self._hooks:
            factor = self.noise.factor(h, rate, site)
            if factor is None:
                return h, None
            return torch.mul(h, factor, out=site.workspace("h * factor", h)), factor.contiguous().mul_
        if "activation" in self._hooks:
            if not self.autograd:
                return pair(self.noise.activation(h, rate, site), "activation")
            with torch.enable_grad():
                leaf = h.detach().requires_grad_()
                noised = self.noise.activation(leaf, rate, site)
                penalty = self._penalty(None, rate, site)

            def backward(delta: Tensor) -> Tensor:
                return self._differentiated(site, noised, delta, penalty, [leaf])[0]

            return noised.detach(), backward
        return h, None

    def _layer(
        self, layer: int, x: Tensor, rates: Sequence[Rate], draws: DrawsAt
    ) -> tuple[Tensor, Backward | None]:
        """A layer's activations; from the gradient before ReLU back where the noise acts inside the product."""
        W, b = self.weights[layer - 1], self.biases[layer - 1]
        place = layer - 1 if self.noise.reads else layer
        on_weight = "weight" in self._hooks
        acts = place < PLACES and (on_weight or "product" in self._hooks)
        rate = rates[place] if acts else 0.0
        if isinstance(rate, float) and rate == 0:
            return self._affine(layer, x), None
        site = self._sites[place].at(draws(place))
        if not self.autograd:
            if on_weight:
                noisy, to_weight = pair(self.noise.weight(W, rate, site), "weight")

                def through_weights(delta: Tensor) -> Tensor:
                    into = self._into(layer, delta, noisy)
                    dW = multiply(self.weight_gradients[layer - 1], delta.mT, x)
                    db = self.bias_gradients[layer - 1]
                    self._learn(layer, to_weight(dW) if to_weight else dW, db)
                    return into

                return self._affine(layer, x, noisy.mT), through_weights
            z, gradients = pair(self.noise.product(x, W, b, rate, site), "product")
            assert gradients is not None

            def by_hand(delta: Tensor) -> Tensor:
                dx, dW, db = gradients(delta)
                self._learn(layer, dW, db)
                return delta if dx is None else dx

            return _activated(layer, z), by_hand
        with torch.enable_grad():
            # at layer 1 the gradient at the input would be a product that nobody reads
            X = x.detach().requires_grad_(layer > 1)
            # not `detach`: autograd would object to the step that the layers behind have taken by its backward pass
            weight, bias = W.data.requires_grad_(), b.data.requires_grad_()
            leaves = [X, weight, bias] if layer > 1 else [weight, bias]
            if on_weight:
                noisy = self.noise.weight(weight, rate, site)
                z = torch.matmul(X, noisy.mT) + bias.unsqueeze(-2)
            else:
                z = self.noise.product(X, weight, bias, rate, site)
            penalty = self._penalty(weight, rate, site)

        def backward(delta: Tensor) -> Tensor:
            *dx, dW, db = self._differentiated(site, z, delta, penalty, leaves)
            self._learn(layer, dW, db)
            return dx[0] if dx else delta

        return _activated(layer, z.detach()), backward

    def _penalty(self, W: Tensor | None, rate: Rate, site: Site) -> Tensor | None:
        """What the noise adds to the mean loss, (R,) or a scalar; None where nothing is learned from it."""
        if not self.noise.has("penalty") or not site.learning:
            return None
        return self.noise.penalty(W, rate, site) / self._objective.images

    def _differentiated(
        self, site: Site, value: Tensor, delta: Tensor, penalty: Tensor | None, leaves: list[Tensor]
    ) -> list[Tensor]:
        """Gradients at the leaves; from those at the site's parameters the noise learns."""
        outputs, deltas = [value], [delta]
        if penalty is not None:
            scale = self._scale if isinstance(self._scale, float) else self._scale.reshape(-1)
            outputs.append(penalty)
            deltas.append(torch.ones_like(penalty) * scale)
        inputs = [*leaves, *site.parameters.values()]
        gradients = torch.autograd.grad(outputs, inputs, deltas, materialize_grads=True)
        for name, gradient in zip(site.parameters, gradients[len(leaves) :], strict=True):
            if self._descending:
                site.parameters[name].data.add_(gradient)
            else:
                self._learned_gradients[site.place][name].copy_(gradient)
        return list(gradients[: len(leaves)])

    def _workspace(self, like: Tensor, times: int = 1) -> Workspace:
        """The memory for batches of this size, or so many times as large."""
        n = times * like.shape[-2]
        if n not in self._workspaces:
            self._workspaces[n] = Workspace(n, self.weights)
        return self._workspaces[n]


def _activated(layer: int, z: Tensor) -> Tensor:
    return z.relu_() if layer < 3 else z
