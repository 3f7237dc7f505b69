"""A noise tried on random numbers: is its gradient by hand, and does it do anything at all?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor

from src import streams
from src.components import RAISED
from src.noise import HOOKS, Noise, Site, UndefinedError, initial_parameters
from src.streams import Draws

RATES = (0.25, 0.5, 0.1, 0.75, 0.01, 1.0)
"""The first of these that the noise's `RATE` takes is the one that is tried."""

STEPS = 16
"""Steps in at least one of which a noise must do something; there are noises that act now and then."""

OF_THE_RUN = "site.keep, uniform and normal give those of the run"

IMAGES = 8
"""In the batch that a product is tried on."""


def hook_of(noise: Noise) -> str | None:
    """The hook that says what the noise does; of `drop` and `factor` it is `factor`."""
    return next((hook for hook in HOOKS[1:] if noise.has(hook)), None)


def by_hand(noise: Noise, width: int, inputs: int) -> bool:
    """Whether the noise gives its gradient by hand: nothing needs autograd then.

    Args:
        width: units of a layer. inputs: units that it reads.
    """
    hook = hook_of(noise)
    if noise.learns:
        return False
    if hook is None or hook == "factor":
        return True
    shape = (IMAGES, width) if hook == "activation" else (width, inputs)
    try:
        return isinstance(_Trial(noise, hook, shape, _rates(noise)[0]).anew().given(0), tuple)
    except RAISED:
        return False  # the first step raises it, too, and the run keeps it


def problem(noise: Noise, shape: Sequence[int], place: int = 1) -> str | None:
    """Why the noise does nothing at a place, or something that cannot be right; None where all is well.

    An exception that the noise raises is no answer: the run that meets it keeps it.

    Args:
        shape: of the activations, (n, units), or of a layer's weights, (out, in), as the noise's hook has it.
        place: 0 is the input, where some noises do something else.
    """
    try:
        return _problem(_anew(noise), tuple(shape), min(place, 1))
    except UndefinedError as error:
        return str(error)
    except RAISED:
        return None


def problem_of_masks(noise: Noise) -> str | None:
    """What is wrong with how several masks of an image become one loss; None where all is well.

    Raises:
        Exception: that `masks`, `merge` or `shares` raises: it would be raised in every run.
    """
    masks: object = noise.masks
    if isinstance(masks, bool) or not isinstance(masks, int) or masks < 1:
        return f"masks gave {masks!r}; a whole number of at least 1 is right"
    if masks == 1:
        return None
    generator = torch.Generator().manual_seed(0)
    log_p = torch.randn(2, masks, 5, 4, generator=generator, dtype=torch.float64).log_softmax(-1)
    weights = torch.rand(2, 5, 4, generator=generator, dtype=torch.float64)
    with torch.enable_grad():
        merged: object = noise.merge(log_p.requires_grad_())
        if not isinstance(merged, Tensor) or merged.shape != weights.shape:
            given = tuple(merged.shape) if isinstance(merged, Tensor) else type(merged).__name__
            return f"merge gave {given} of log_p {tuple(log_p.shape)}; {tuple(weights.shape)} is right"
        slope = None
        if merged.requires_grad:
            (slope,) = torch.autograd.grad(merged, log_p, weights, allow_unused=True)
    if slope is None:
        return "merge gives no gradient; without detach and no_grad it does"
    shares: object = noise.shares(log_p.detach())
    is_derivative = isinstance(shares, Tensor) and shares.shape == log_p.shape
    if not is_derivative or not torch.allclose(
        cast(Tensor, shares) * weights.unsqueeze(-3), slope, rtol=1e-4, atol=1e-6
    ):
        return "shares is not the derivative of merge, class by class; who overrides one overrides both"
    return None


def _anew(noise: Noise) -> Noise:
    """Another one like it: whatever a trial does to a noise, the run's stays as it is."""
    return type(noise)(noise.options)


def _rates(noise: Noise) -> list[float]:
    """Rates that the noise takes; the first one where there is none of them."""
    check = getattr(sys.modules[type(noise).__module__], "RATE", float)
    rates = []
    for rate in RATES:
        with suppress(ValueError):
            rates.append(float(check(rate)))
    return rates or [RATES[0]]


@dataclass(frozen=True)
class _Trial:
    """A noise's hook at one rate and place, on tensors of one shape."""

    noise: Noise
    hook: str
    shape: tuple[int, ...]
    rate: float
    place: int = 1

    def anew(self, rate: float | None = None) -> _Trial:
        """The same with another noise like it, which has met nothing yet; at another rate where one is given."""
        return replace(self, noise=_anew(self.noise), rate=self.rate if rate is None else rate)

    def tensors(self) -> list[Tensor]:
        """What the hook is handed, in new memory: h, or W, or x, W, b; positive numbers, as after a ReLU."""
        generator = torch.Generator().manual_seed(0)
        is_product = self.hook == "product"
        shapes = [(IMAGES, self.shape[-1]), self.shape, self.shape[:1]] if is_product else [self.shape]
        return [torch.rand(size, generator=generator) + 0.1 for size in shapes]

    def plain(self) -> Tensor:
        """What the hook would give without any noise."""
        first, *others = self.tensors()
        if self.hook == "factor":
            return torch.ones_like(first)
        return first if not others else torch.addmm(others[1], first, others[0].mT)

    def call(self, step: int, tensors: Sequence[Tensor]) -> Any:
        """What the hook gives in this step of the run."""
        site = Site(self.place, Draws([streams.key(0, "trial")], step, torch.device("cpu")))
        if self.noise.has("parameters"):
            site.parameters = initial_parameters(self.noise, self.shape, seed=0)
        return getattr(self.noise, self.hook)(*tensors, self.rate, site)

    def given(self, step: int, tensors: Sequence[Tensor] = ()) -> Any:
        """The same where nothing is differentiated."""
        # a run may be in inference mode: what a noise kept for others then, they could not write to
        with torch.inference_mode(False), torch.no_grad():
            return self.call(step, tensors or self.tensors())

    def value(self, step: int, tensors: Sequence[Tensor] = ()) -> Any:
        """The same without a gradient by hand."""
        given = self.given(step, tensors)
        return given[0] if isinstance(given, tuple) else given


def _problem(noise: Noise, shape: tuple[int, ...], place: int) -> str | None:
    hook, (rate, *others) = hook_of(noise), _rates(noise)
    if hook is None:
        return None
    trial = _Trial(noise, hook, shape, rate, place)
    untouched, plain = trial.tensors(), trial.plain()
    absent, idle = True, True
    state = torch.random.get_rng_state()
    for step in range(STEPS):
        output = trial.given(step, tensors := trial.tensors())
        if not all(map(torch.equal, tensors, untouched)):
            return f"{hook} changes what it is given, in place; it must give a new tensor"
        if isinstance(output, tuple) and len(output) == 2 and hook != "factor":
            if noise.learns:
                return f"{hook} gave a gradient by hand; with parameters it must give the tensor alone"
            output = output[0]
        if output is None:
            continue
        absent = False
        if not isinstance(output, Tensor):
            return (
                f"{hook} gave {type(output).__name__} at rate {rate:g}; it must give a tensor{_or_pair(hook)}"
            )
        if output.shape != plain.shape:
            right = "x Wᵀ + b's" if hook == "product" else {"weight": "W's"}.get(hook, "h's")
            return f"{hook} gave {tuple(output.shape)} and must give {right} shape, here {tuple(plain.shape)}"
        if (output.dtype, output.device) != (plain.dtype, plain.device):
            kinds = [f"{tensor.dtype} on {tensor.device}" for tensor in (output, plain)]
            return f"{hook} gave {kinds[0]} and must give {kinds[1]}"
        if not output.isfinite().all():
            return f"{hook} gave numbers that are not finite at rate {rate:g}"
        if hook == "product":
            idle &= torch.allclose(output, plain, rtol=1e-5, atol=1e-6)
        else:
            idle &= torch.equal(output, plain)
    if absent:
        return f"{hook} gave None at rate {rate:g}; it must return a tensor{_or_pair(hook)}"
    if idle:
        return f"{hook} changes nothing at rate {rate:g} in {STEPS} steps"
    if not _same(trial.anew(), trial.anew(), range(1)):
        return f"{hook} gives other values each time; {OF_THE_RUN}"
    if not torch.equal(state, torch.random.get_rng_state()):
        torch.random.set_rng_state(state)
        return f"{hook} sets or moves torch's generator; {OF_THE_RUN}"
    if not _same(trial, trial.anew(), range(STEPS - 1, STEPS)):
        return (
            f"{hook} gives other values after {STEPS} steps; what it keeps between them belongs in site.state"
        )
    if hook in ("factor", "activation") and _is_fixed(trial):
        return f"{hook} treats each image in another way, and in each step alike; {OF_THE_RUN}"
    if others and _same(trial.anew(), trial.anew(others[0]), range(STEPS)):
        return f"{hook} does the same at the rates {rate:g} and {others[0]:g}"
    return (
        _difference(trial)
        if noise.has("drop") and (place > 0 or noise.drops_input)
        else _problem_of_gradient(trial)
    )


def _same(trial: _Trial, other: _Trial, steps: Sequence[int]) -> bool:
    """Whether two trials give the same in each of these steps."""
    for step in steps:
        values = [tried.value(step) for tried in (trial, other)]
        first, second = (torch.empty(0) if value is None else value.nan_to_num() for value in values)
        if not torch.equal(first, second):
            return False
    return True


def _is_fixed(trial: _Trial) -> bool:
    """Whether it gives images that are all alike what differs between them, in each step the same: random numbers
    that are none of the run's."""

    def is_first(step: int) -> bool:
        value = trial.anew().value(step, [torch.ones(trial.shape)])
        return value is not None and torch.equal(value, first)

    first = trial.anew().value(0, [torch.ones(trial.shape)])
    differs = first is not None and not torch.allclose(first, first[:1])
    return differs and all(map(is_first, range(1, STEPS)))


NAMES = {"factor": "", "activation": ("h",), "weight": ("W",), "product": ("x", "W", "b")}
"""Of what a hook is given and must be differentiable in."""


def _problem_of_gradient(trial: _Trial) -> str | None:
    """What is wrong with a hook's gradient, whoever computes it; whether it is that of the value it need not be."""
    hook = trial.hook
    given = trial.anew().given(0)
    if hook == "factor" or given is None:
        return None
    if isinstance(given, Tensor):
        leaves = [tensor.requires_grad_() for tensor in trial.tensors()]
        with torch.inference_mode(False), torch.enable_grad():
            total = trial.anew().call(0, leaves).sum()
            gradients = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else ()
        lost = [name for name, gradient in zip_longest(NAMES[hook], gradients) if gradient is None]
        return f"{hook} gives {lost[0]} no gradient; it must be differentiable in it" if lost else None
    if given[1] is None and hook != "product":
        return None
    if not callable(given[1]):
        return f"{hook} gave {type(given[1]).__name__} beside its tensor, and must give a function of the gradient"
    shapes, results = [tensor.shape for tensor in trial.tensors()], []
    for scale in (1.0, -0.5):  # a plain step of SGD hands on the gradient times -lr
        value, backward = trial.anew().given(0)
        with torch.inference_mode(False), torch.no_grad():
            gradients = backward(torch.linspace(-1, 1, value.numel()).reshape(value.shape) * scale)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        if [getattr(gradient, "shape", None) for gradient in gradients] != shapes:
            return (
                f"{hook}'s gradient by hand must be of the shape of {' and '.join(NAMES[hook])}, and is not"
            )
        results.append(gradients)
    if not all(torch.allclose(b, -0.5 * a, rtol=1e-3, atol=1e-6) for a, b in zip(*results, strict=True)):
        return f"{hook}'s gradient by hand must be linear: a step of SGD hands it the gradient times -lr"
    return None


def _or_pair(hook: str) -> str:
    return "" if hook == "factor" else " or a pair, a tensor and the gradient by hand"


def _difference(trial: _Trial) -> str | None:
    """Where `drop` does something else than `factor`."""
    for step in range(STEPS):
        (h,), (dropped,) = trial.tensors(), trial.tensors()
        scale = replace(trial, hook="drop").given(step, [dropped])
        factor = trial.given(step, [h])
        if not isinstance(scale, float | Tensor):
            return f"drop gave {scale}; it must give the number by which it multiplied what it kept"
        expected = h if factor is None else h * factor
        if not torch.allclose(dropped, expected, rtol=1e-4, atol=1e-6):
            return "drop and factor must do the same with the same random numbers, and do not"
        if not torch.allclose(dropped, (dropped != 0) * h * scale, rtol=1e-4, atol=1e-6):
            return "drop must give the number by which it multiplied what it kept, and gave another"
    return None
