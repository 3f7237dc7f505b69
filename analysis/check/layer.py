"""Checks of a learner's `dropout_layer` alone: edges, zeros, masks, scale, mean and variance, gradient.

Chance has a bound in every check. The number of zeros among N independent units is binomial; a share is called
wrong beyond the quantile of LEVEL on either side, and TESTS such tests are made. So a right dropout is called wrong
with a probability of at most TESTS · LEVEL = FALSE_ALARM. What is compared beside that are values, where chance has
no part, and whole masks of 400 units, which are equal by chance with a probability below 1e-30.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from analysis.check.learner import Learner, Mistake, one_line

RATES = (0.2, 0.5, 0.8)
CALLS, IMAGES, UNITS = 4, 250, 400
"""At each rate `dropout_layer` is called so often, with a matrix of so many rows and columns."""

FALSE_ALARM = 1e-6
TESTS = 2 * len(RATES) + 3 + 1
"""Shares of zeros to both sides, three kinds of neighbours, zeros at rate 0."""
LEVEL = FALSE_ALARM / TESTS


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


AT_RATES = f"at dropout = {_listed(map(str, RATES))}"


class _Stopped(Exception):
    """A call gave nothing that numbers can be read from."""

    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake


class LayerCheck:
    """The checks of `dropout_layer` alone."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.report = learner, learner.report
        self.layer: Callable[[Any, float], Any] = learner.module.dropout_layer
        # from a seed that no learner takes: a mask of the same numbers would look as if it were made of X
        stream = np.random.default_rng(903_417_258)
        sign = np.where(stream.random((IMAGES, UNITS)) < 0.5, -1.0, 1.0)
        self.X = torch.tensor(sign * (0.5 + stream.random((IMAGES, UNITS))), dtype=torch.float32)
        self.on_arrays = self.changes_argument = False

    def call(self, rate: float) -> np.ndarray:
        """The outputs at a rate, (IMAGES, UNITS) float64.

        Raises:
            _Stopped: if there is none that numbers can be read from.
        """
        x = self.X.clone()
        try:
            y = self.layer(x.numpy() if self.on_arrays else x, rate)
        except (Exception, SystemExit) as error:
            seen = f"dropout_layer(X, {rate}) stops with {one_line(error)}"
            raise _Stopped(Mistake("stops", seen, self.learner.line_of(error))) from None
        if not isinstance(y, Tensor | np.ndarray):
            raise _Stopped(Mistake("no_result", f"dropout_layer(X, {rate}) returns {type(y).__name__}"))
        if tuple(y.shape) != tuple(x.shape):
            seen = f"X has the shape {tuple(x.shape)}, the output {tuple(y.shape)}"
            raise _Stopped(Mistake("shape", seen))
        self.changes_argument |= not torch.equal(x, self.X)
        values: np.ndarray = torch.as_tensor(y).detach().double().numpy()
        return values

    def check(self) -> bool:
        """Whether the layer does something that a net can be checked with."""
        self.on_arrays = self._is_for_arrays()
        try:
            outputs = {rate: np.stack([self.call(rate) for _ in range(CALLS)]) for rate in RATES}
        except _Stopped as stopped:
            self.report.mistakes.append(stopped.mistake)
            return False
        if not all(np.isfinite(y).all() for y in outputs.values()):
            self.report.add("not_finite", "some outputs at a rate between 0 and 1 are NaN or infinite")
            return False
        zeros = {rate: y == 0 for rate, y in outputs.items()}
        ratios = {rate: y / self.X.double().numpy() for rate, y in outputs.items()}
        before = len(self.report.mistakes)
        swapped = self._check_masks(zeros)
        self._check_scale(ratios, zeros, swapped)
        if len(self.report.mistakes) == before:
            self._describe(ratios[0.5])
        for edge in (0.0, 1.0):
            self._check_edge(edge)
        if not self.on_arrays:
            self._check_gradient()
        if self.changes_argument:
            self.report.notes.append(
                "dropout_layer changes X itself; work on a copy, as others may use X again."
            )
        return self.report.has_net or not self.on_arrays

    def _is_for_arrays(self) -> bool:
        """Whether it is written for NumPy arrays: with a tensor it stops, with an array it does not."""
        with contextlib.suppress(Exception, SystemExit):
            self.layer(self.X.clone(), 0.5)
            return False
        with contextlib.suppress(Exception, SystemExit):
            if isinstance(self.layer(self.X.clone().numpy(), 0.5), np.ndarray):
                self.report.notes.append(
                    "dropout_layer works on NumPy arrays, not on tensors: no net can use it."
                )
                return True
        return False

    def _check_masks(self, zeros: dict[float, np.ndarray]) -> bool:
        """Zeros of each rate, (CALLS, IMAGES, UNITS); returns whether dropping and keeping are swapped."""
        report = self.report
        if not any(z.any() for z in zeros.values()):
            report.add("nothing_dropped", "no number became 0, at any rate")
            return False
        if all(call.all() or not call.any() for z in zeros.values() for call in z):
            report.add("one_number", "in each call either every number became 0 or none")
            return False
        before = len(report.mistakes)
        # at 0.5, but where that drops all or nothing
        half = next(z for z in (zeros[0.5], *zeros.values()) if z.any() and not z.all())
        reused = bool((half == half[:1]).all())
        shared = bool((half == half[:, :1]).all())
        per_image = bool((half == half[:, :, :1]).all())
        if reused and self.X[half[0]].max() < self.X[~half[0]].min():
            report.add("by_value", "all numbers below a limit became 0, the same ones in each call")
        elif reused:
            report.add("mask_reused", f"{CALLS} calls one after the other dropped exactly the same units")
        if shared:
            report.add("mask_shared", f"all {IMAGES} images of a batch lost exactly the same units")
        elif per_image:
            report.add("mask_per_image", "each image lost either all of its units or none")
        elif not reused and len(np.unique(half.reshape(-1, UNITS), axis=0)) < CALLS * IMAGES:
            report.add(
                "mask_repeats", f"some of {CALLS * IMAGES} images lost exactly the same units as others"
            )
        drawn = np.s_[: 1 if reused else CALLS, : 1 if shared else IMAGES, : 1 if per_image else UNITS]
        wrong = self._wrong_share({rate: z[drawn] for rate, z in zeros.items()})
        if wrong:
            report.add(wrong, self._shares(zeros))
        elif len(report.mistakes) == before:
            report.right.append(f"Zeros: {self._shares(zeros)}.")
            self._check_neighbours(half)
        return wrong == "swapped"

    @staticmethod
    def _shares(zeros: dict[float, np.ndarray]) -> str:
        return f"{_listed(f'{100 * z.mean():.1f} %' for z in zeros.values())} of the numbers became 0, {AT_RATES}"

    @staticmethod
    def _wrong_share(zeros: dict[float, np.ndarray]) -> str | None:
        """Name of the mistake that the numbers of zeros, among those drawn one by one, show."""

        def fits(share: Callable[[float], float]) -> bool:
            return all(
                stats.binom.ppf(LEVEL, z.size, share(rate))
                <= z.sum()
                <= stats.binom.isf(LEVEL, z.size, share(rate))
                for rate, z in zeros.items()
            )

        pooled = float(np.mean(list(zeros.values())))
        shares: list[tuple[str | None, Callable[[float], float]]] = [
            (None, lambda rate: rate),
            ("swapped", lambda rate: 1 - rate),
            ("randn", stats.norm.cdf),
            ("randn", stats.norm.sf),
            ("fixed_rate", lambda rate: pooled),
        ]
        return next((name for name, share in shares if fits(share)), "wrong_rate")

    def _check_neighbours(self, zeros: np.ndarray) -> None:
        """At rate 0.5 two independent units share their fate with probability 1/2, and so do all pairs in a row."""
        axes = {"calls one after the other": 0, "images beside each other": 1, "units beside each other": 2}
        for name, axis in axes.items():
            alike = ~np.diff(zeros, axis=axis)
            if alike.sum() > stats.binom.isf(LEVEL, alike.size, 0.5):
                seen = f"of {name}, {alike.mean():.1%} of the masks' entries are alike, not 50 %"
                self.report.add("mask_repeats", seen)
                return
        self.report.right.append("Masks: another one for each call, and for each image of a batch.")

    def _check_scale(
        self, ratios: dict[float, np.ndarray], zeros: dict[float, np.ndarray], swapped: bool
    ) -> None:
        """Ratios of output to input, (CALLS, IMAGES, UNITS) for each rate."""
        kept = {rate: ratio[~zeros[rate]] for rate, ratio in ratios.items() if not zeros[rate].all()}
        if not kept:
            return
        by_kept = all(
            np.allclose(ratio[~z], 1 / (1 - z.mean()), rtol=1e-3)
            for rate in kept
            for ratio, z in zip(ratios[rate], zeros[rate], strict=True)
            if not z.all()
        )
        if any(np.ptp(r) > 2e-3 * abs(np.median(r)) for r in kept.values()) and not by_kept:
            no_mask = not any(z.any() for z in zeros.values())
            self.report.mistakes[:] = [m for m in self.report.mistakes if m.name != "nothing_dropped"]
            rate = 0.5 if 0.5 in kept else min(kept)
            low, high = kept[rate].min(), kept[rate].max()
            seen = f"at dropout = {rate} the numbers that are kept are multiplied by {low:.2f} to {high:.2f}"
            self.report.add("no_threshold" if no_mask else "kept_values_vary", seen)
            return
        factors: dict[str | None, Callable[[float], float]] = {
            None: lambda p: 1 / (1 - p),
            "no_rescaling": lambda p: 1,
            "divided_by_dropout": lambda p: 1 / p,
            "multiplied": lambda p: 1 - p,
            "multiplied_by_dropout": lambda p: p,
            "rescaled_twice": lambda p: 1 / (1 - p) ** 2,
        }

        def fits(factor: Callable[[float], float]) -> bool:
            return all(np.allclose(r, factor(rate), rtol=2e-3) for rate, r in kept.items())

        name = next((name for name, factor in factors.items() if fits(factor)), "wrong_scale")
        means = (
            f"{_listed(f'{np.median(r):.3g}' for r in kept.values())}, at dropout = {_listed(map(str, kept))}"
        )
        names = {mistake.name for mistake in self.report.mistakes}
        if name is None:
            self.report.right.append(f"Scale: what is kept is multiplied by {means}.")
        elif by_kept:
            self.report.notes.append(
                "Kept numbers are divided by the share that was kept, not by 1 - dropout."
            )
        elif not (swapped and name == "divided_by_dropout") and "nothing_dropped" not in names:
            self.report.add(name, f"what is kept is multiplied by {means}")

    def _describe(self, ratio: np.ndarray) -> None:
        """Mean and variance follow from zeros and scale; here they are in numbers, at 0.5."""
        low, high = (2 * n / ratio.size for n in stats.binom.interval(1 - 2 * LEVEL, ratio.size, 0.5))
        self.report.right.append(
            f"Mean, at dropout = 0.5: {ratio.mean():.3f} times X (from {low:.3f} to {high:.3f} is right); "
            f"variance: {ratio.var():.3f} times X² (1 is right)."
        )

    def _check_edge(self, rate: float) -> None:
        """At 0 a number may be dropped by an exact 0 of a generator of 24 bits, at most a few times."""
        name = "edge_one" if rate else "edge_zero"
        try:
            y = self.call(rate)
        except _Stopped as stopped:
            self.report.mistakes.append(replace(stopped.mistake, name=name))
            return
        share = "NaN" if np.isnan(y).any() else f"{(y == 0).mean():.0%} zeros"
        changed = ~np.isclose(y, 0.0 if rate else self.X.double().numpy(), rtol=1e-5, atol=0)
        tolerated = 0 if rate else stats.binom.isf(LEVEL, y.size, 2.0**-24)
        if (changed & (y != 0)).any() or changed.sum() > tolerated:
            self.report.add(name, f"dropout_layer(X, {rate}) gives {share}")
        else:
            self.report.right.append(f"Edge: dropout = {rate:g} gives {'zeros' if rate else 'X back'}.")

    def _check_gradient(self) -> None:
        """The output is X times a factor, so the gradient at X is that factor."""
        x = self.X.clone().requires_grad_()
        try:
            y = self.layer(x * 1.0, 0.5)
            if y.requires_grad:
                y.sum().backward()
        except (Exception, SystemExit) as error:
            self.report.add(
                "no_gradient", f"backward() stops with {one_line(error)}", self.learner.line_of(error)
            )
            return
        if x.grad is None:
            self.report.add("no_gradient", "the output knows nothing of X: there is no gradient")
        elif not torch.allclose(x.grad, (y / self.X).detach().to(x.grad.dtype), rtol=1e-3, atol=1e-5):
            self.report.add("wrong_gradient", "the gradient at X is not the factor that X was multiplied by")
        else:
            self.report.right.append("Gradient: it is the mask, divided by 1 - dropout.")
