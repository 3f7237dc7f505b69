"""Puts a noise into a plain `nn.Module`: at each call of a dropout, or inside its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.noise import Backward, Noise, Site, _trial, pair
from src.streams import Draws

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
LAYERS = (nn.Linear, nn.Conv2d)


class WrongModelError(RuntimeError):
    """What is wrong with a model that can be run: the end of a sentence about its file."""


@dataclass(frozen=True)
class Call:
    """One call of a module at which the noise may act."""

    kind: type[nn.Module]
    """One of `DROPOUTS` or `LAYERS`."""
    shape: tuple[int, ...]
    """Of what a dropout is given, or of a layer's weights."""


class Injector:
    """Takes over the dropouts of one net; of a noise on weights or products its linear and convolutional layers.

    The author of the net writes no line for it. A place is a call, counted from 1 in the order of a forward pass,
    however many modules there are: one `nn.Dropout` called twice is two places, each with draws of its own. The
    rates are the config's; the `p` of the modules does not count. Of a noise on weights or products place k is the
    k-th call of an `nn.Linear` or `nn.Conv2d` (of one that `reads`: the k+1st), and dropouts are the identity.

    Args:
        net: is changed: its modules get another `forward`.
        noise: has state only in the sites, so that several nets may share it.
    """

    def __init__(self, net: nn.Module, noise: Noise) -> None:
        self.net, self.noise = net, noise
        self.in_layers = noise.in_layers
        self.tap: Callable[[Call, Tensor], Tensor] | None = None
        """Is told of each call at which the noise may act, and may change what it gives."""
        self.activations: list[Tensor] | None = None
        """What the dropouts give, (n, units), where it is asked for."""
        self.penalties: list[Tensor] = []
        """What the noise adds to the loss in a pass in training."""
        self._by_hand = _trial.by_hand(noise, 6, 5)
        self.sites: dict[int, Site] = {}
        """By place, where the noise has acted."""
        self._rates: Sequence[float] = ()
        self._draws: Callable[[int], Draws] | None = None
        self._learning = True
        self._inside = False
        self._calls: dict[str, int] = {}
        self._usual: dict[str, int] = {}
        # a transformer layer's fast path, taken in evaluation alone, goes past its dropouts
        torch.backends.mha.set_fastpath_enabled(False)
        for module in net.modules():
            kind: Any = next((kind for kind in DROPOUTS if type(module).forward is kind.forward), None)
            if kind is not None:
                module.forward = partial(self._dropout, module, kind)
            elif self.in_layers and any(type(module).forward is kind.forward for kind in LAYERS):
                module.forward = partial(self._layer, module)

    def learns(self, place: int, parameters: Mapping[str, Tensor]) -> None:
        """These are the noise's own parameters at a place, as autograd's leaves."""
        self.sites.setdefault(place, Site(place)).parameters = parameters

    def train_pass(self, x: Tensor, rates: Sequence[float], draws: Callable[[int], Draws]) -> Tensor:
        """What the net gives in training, with the noise on.

        Args:
            x: images, with n in front.
            rates: at each place, 0 being the input; further places have none.
            draws: the random numbers at each place.
        """
        self.net.train()
        draws(0).seed_torch()
        return self._pass(x, rates, draws)

    def eval_pass(
        self, x: Tensor, rates: Sequence[float] = (), draws: Callable[[int], Draws] | None = None
    ) -> Tensor:
        """What the net gives in evaluation, with the noise alone switched on where rates are given.

        Nothing is left changed: no buffer or attribute of the net, no state of the noise, no generator of random
        numbers.
        """
        owners: list[dict[str, Any]] = [
            owner for module in self.net.modules() for owner in (module._buffers, vars(module))
        ]
        before = [dict(owner) for owner in owners]
        tensors = [{key: t.clone() for key, t in owner.items() if torch.is_tensor(t)} for owner in owners]
        self._learning = False
        self.net.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                if draws is None:
                    torch.default_generator.manual_seed(0)
                else:
                    draws(0).seed_torch()
                return self._pass(x, rates, draws)
        finally:
            self._learning = True
            with torch.no_grad():
                for owner, values, clones in zip(owners, before, tensors, strict=True):
                    owner.clear()
                    owner.update({**values, **{key: values[key].copy_(t) for key, t in clones.items()}})

    def hidden(self, *arguments: Any) -> list[Tensor]:
        """What the dropouts give in `eval_pass`, each (n, units)."""
        self.activations = []
        try:
            self.eval_pass(*arguments)
            return self.activations
        finally:
            self.activations = None

    def _pass(self, x: Tensor, rates: Sequence[float], draws: Callable[[int], Draws] | None) -> Tensor:
        self._rates, self._draws = rates, draws
        self.penalties = []
        self._calls = {"dropouts": 0, "layers": 0}
        self._inside = True
        try:
            logits: Tensor = self.net(x)
        finally:
            self._inside = False
        usual = self._usual or self._calls
        differing = [name for name in usual if self._calls[name] != usual[name]]
        if differing:
            counts = [f"{self._calls[name]} {name} and in another {usual[name]}" for name in differing]
            raise WrongModelError(
                f"calls in one pass {', '.join(counts)}: a place in the net is such a call, so that their number "
                "must be the same in each pass, in training and evaluation"
            )
        self._usual = usual
        return logits

    def _rate(self, place: int) -> float:
        return self._rates[place] if place < len(self._rates) else 0.0

    def _site(self, place: int) -> Site:
        site = self.sites.setdefault(place, Site(place))
        site.learning = self._learning
        assert self._draws is not None
        return site.at(self._draws(place))

    def _dropout(self, module: nn.Module, kind: type[nn.Module], input: Tensor) -> Tensor:  # noqa: A002
        h = input  # as a call may name it
        if not self._inside:
            if module.training:
                raise RuntimeError(
                    "a dropout is called outside of a forward pass, where it has no place in it"
                )
            return h
        place = self._calls["dropouts"] = self._calls["dropouts"] + 1
        rate = 0.0 if self.in_layers else self._rate(place)
        out = self._noised(h, kind, rate, self._site(place)) if rate else h
        if self.activations is not None:
            self.activations.append(_rows(out.detach()).clone())
        return out if self.tap is None or self.in_layers else self.tap(Call(kind, tuple(h.shape)), out)

    def _noised(self, h: Tensor, kind: type[nn.Module], rate: float, site: Site) -> Tensor:
        if self.noise.has("factor"):
            with torch.no_grad():
                like = _rows(h) if kind is nn.Dropout else h.flatten(2).mean(-1)
                factor = self.noise.factor(like, rate, site)
            if factor is None:
                return h
            spread = h.shape if kind is nn.Dropout else (*like.shape, *(1 for _ in h.shape[2:]))
            return h * factor.reshape(spread)
        if self.noise.has("activation"):
            noised = self._call(self.noise.activation, rate, site, _rows(h)).reshape(h.shape)
            self._penalise(None, rate, site)
            return noised
        return h

    def _layer(self, module: Any, input: Tensor) -> Tensor:  # noqa: A002
        plain, x = type(module).forward, input
        if not self._inside:
            return plain(module, x)
        self._calls["layers"] += 1
        place = self._calls["layers"] - self.noise.reads
        rate = self._rate(place)
        z: Tensor = self._noisy(module, x, rate, self._site(place)) if rate else plain(module, x)
        kind = nn.Linear if isinstance(module, nn.Linear) else nn.Conv2d
        return z if self.tap is None else self.tap(Call(kind, tuple(module.weight.shape)), z)

    def _noisy(self, module: Any, x: Tensor, rate: float, site: Site) -> Tensor:
        W: Tensor = module.weight.flatten(1)
        self._penalise(W, rate, site)
        if self.noise.has("weight"):
            noisy = self._call(self.noise.weight, rate, site, W).view_as(module.weight)
            if isinstance(module, nn.Linear):
                return F.linear(x, noisy, module.bias)
            return module._conv_forward(x, noisy, module.bias)
        site.first = not x.requires_grad
        b = W.new_zeros(W.shape[0]) if module.bias is None else module.bias
        z = self._call(self.noise.product, rate, site, x.reshape(-1, x.shape[-1]), W, b)
        return z.reshape(*x.shape[:-1], W.shape[0])

    def _penalise(self, W: Tensor | None, rate: float, site: Site) -> None:
        if self.noise.has("penalty") and site.learning:
            self.penalties.append(self.noise.penalty(W, rate, site))

    def _call(self, hook: Callable[..., Any], rate: float, site: Site, *tensors: Tensor) -> Tensor:
        if self._by_hand:
            return _ByHand.apply(lambda *args: pair(hook(*args, rate, site), hook.__name__), *tensors)
        noised = hook(*tensors, rate, site)
        if not isinstance(noised, Tensor):
            raise TypeError(f"{hook.__name__} gave {type(noised).__name__} and must give a tensor")
        return noised


class _ByHand(torch.autograd.Function):
    """A hook that gives a pair, as autograd has it."""

    @staticmethod
    def forward(ctx: Any, hook: Callable[..., tuple[Tensor, Backward | None]], *tensors: Tensor) -> Tensor:
        value, ctx.by_hand = hook(*tensors)
        # not the very tensor: it may be the noise's workspace, which would get autograd's history
        return value.clone() if any(value is tensor for tensor in tensors) else value.detach()

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor | None, ...]:
        (delta,) = deltas
        if ctx.by_hand is None:
            return None, delta
        gradients = ctx.by_hand(delta.clone())  # which it may use as memory, and autograd may hand to others
        return None, *(gradients if isinstance(gradients, tuple) else (gradients,))


def _rows(h: Tensor) -> Tensor:
    """(n, units): all that an image has side by side."""
    return h if h.dim() == 2 else h.reshape(len(h), -1)
