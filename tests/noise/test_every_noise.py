"""What every noise owes: its moments, the identity where it is none, and a gradient that is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs import DIGITS, documented, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src import components
from src.noise import Noise, Site, initial_parameters, make
from src.streams import Draws, key
from src.training.images import Images
from src.training.trainer import train

CPU = torch.device("cpu")
YAML = Path(__file__).resolve().parents[2] / "conf" / "noise"
DEFAULTS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((YAML / f"{name}.yaml").read_text()) for name in sorted(documented("noise"))
}
ON_ACTIVATIONS = [
    name for name in DEFAULTS if make(DEFAULTS[name]).has("factor") or make(DEFAULTS[name]).has("activation")
]
UNBIASED = ["dropout", "dropout_clone", "gaussian", "uniform", "additive", "balanced", "random_rate"]


def site(seed: int = 0, step: int = 0, runs: int = 1, *, first: bool = False) -> Site:
    return Site(1, Draws([key(seed + run, "noise1") for run in range(runs)], step, CPU), first=first)


def noised(name: str, h: Tensor, rate: Any, random: Site, **options: Any) -> Tensor:
    """Activations after the noise, whichever hook it has."""
    noise = make({**DEFAULTS[name], **options})
    if noise.has("parameters"):
        own = initial_parameters(noise, h.shape, seed=0)
        random.parameters = {key: value.expand(*h.shape[:-2], -1, -1) for key, value in own.items()}
    if noise.has("factor"):
        factor = noise.factor(h, rate, random)
        return h if factor is None else h * factor
    return result(noise.activation(h, rate, random))


def result(given: Any) -> Tensor:
    """What a hook gave, without the gradient that it may give beside it; no memory of the noise's own."""
    return (given[0] if isinstance(given, tuple) else given).clone()


def test_every_noise_has_its_yaml_and_its_checked_options() -> None:
    for name, options in DEFAULTS.items():
        assert dict(components.check_options("noise", options)) == options
        assert options["name"] == name


def alpha(p: float) -> float:
    return p / (1 - p)


MASKS = ("dropout", "dropout_clone", "balanced")

VARIANCE: dict[str, Callable[[float], float]] = {
    "dropout": alpha,
    "dropout_clone": alpha,
    "gaussian": alpha,
    "uniform": alpha,
    "balanced": alpha,
    "random_rate": lambda p: -math.log1p(-p) / p - 1,
}


@pytest.mark.parametrize("name", UNBIASED)
@settings(max_examples=12, deadline=None)
@given(rate=st.sampled_from([1e-4, 0.1, 0.2, 0.25, 0.5, 0.8, 0.95]), seed=st.integers(0, 10**6))
def test_mean_and_variance_are_the_formulas(name: str, rate: float, seed: int) -> None:
    n, units = 4000, 24
    h = torch.linspace(0.5, 3, units).expand(n, units).contiguous()
    if name == "additive":  # its variance is relative to the unit's own spread
        h = h + torch.randn(n, units, generator=torch.Generator().manual_seed(seed))
    noise = (noised(name, h, rate, site(seed)) - h).double()
    if name == "additive":
        expected = rate**2 * h.double().var(0, correction=0)
    else:
        expected = VARIANCE[name](rate) * h[0].double().square()
    error = (expected / n).sqrt()
    assert ((noise.mean(0) / error).abs() < 5.5).all()
    kurtosis = (1 - 3 * rate * (1 - rate)) / (rate * (1 - rate)) if name in MASKS else 3.0
    tolerance = 6 * math.sqrt(max(kurtosis - 1, 2) / n)
    if tolerance < 0.5 and name != "random_rate":  # rates near p = 1 are seldom, and their variance is large
        torch.testing.assert_close(noise.var(0), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ON_ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32])
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 20), units=st.integers(1, 17), seed=st.integers(0, 10**6))
def test_rate_zero_is_the_identity_of_any_shape(
    name: str, dtype: torch.dtype, rows: int, units: int, seed: int
) -> None:
    h = torch.randn(rows, units, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(noised(name, h, 0.0, site(seed)), h)
    stacked = h.expand(2, rows, units)
    rates = torch.zeros(2, 1, 1)
    torch.testing.assert_close(noised(name, stacked, rates, site(seed, runs=2)), stacked)


@pytest.mark.parametrize("name", ON_ACTIVATIONS)
def test_one_runs_rate_does_not_touch_another(name: str) -> None:
    h = torch.rand(3, 40, 16)
    first = noised(name, h, torch.tensor([0.2, 0.5, 0.7]).reshape(3, 1, 1), site(runs=3))
    second = noised(name, h, torch.tensor([0.2, 0.1, 0.3]).reshape(3, 1, 1), site(runs=3))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])


@pytest.mark.parametrize("name", ON_ACTIVATIONS)
def test_a_stack_draws_what_its_runs_draw_alone(name: str) -> None:
    h = torch.rand(3, 40, 16)
    rates = torch.tensor([0.2, 0.5, 0.7]).reshape(3, 1, 1)
    stacked = noised(name, h, rates, site(seed=5, runs=3))
    for run in range(3):
        alone = noised(name, h[run], float(rates[run]), site(seed=5 + run))
        torch.testing.assert_close(stacked[run], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ON_ACTIVATIONS if name != "none"])
def test_noise_never_repeats_between_steps_and_runs(name: str) -> None:
    h = torch.rand(40, 16)
    results = [noised(name, h, 0.4, site(seed, step)) for seed in range(3) for step in range(4)]
    for i, result in enumerate(results):
        assert all(not torch.equal(result, other) for other in results[:i])


@pytest.mark.parametrize(
    "name", [name for name in ON_ACTIVATIONS if name not in ("standout", "correlated", "advanced")]
)
def test_gradient_against_finite_differences(name: str) -> None:
    # no image is between two neighbours within a step: there `tangent` has no gradient
    h = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) + 0.1
    direction = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))

    def at(h: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of what the noise gives, and its gradient."""
        noise, here = make(DEFAULTS[name]), site()
        if name == "additive":  # its SD is a constant in the gradient: hold it still here too
            here.state["variance"] = torch.full((1, 5), 0.3)
            here.learning = False
        if noise.has("factor"):
            factor = noise.factor(h, 0.4, here)
            factor = torch.ones_like(h) if factor is None else factor
            return (h * factor * weight).sum(), factor * weight
        noised_h, backward = noise.activation(h, 0.4, here)
        return (noised_h * weight).sum(), backward(weight.clone()) if backward else weight

    gradient = at(h)[1]
    assert torch.isfinite(gradient).all()
    step = 1e-2
    difference = (at(h + step * direction)[0] - at(h - step * direction)[0]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=2e-3, abs=2e-3)


def test_additive_follows_the_running_sd_and_stands_still_for_a_probe() -> None:
    noise, here = make({**DEFAULTS["additive"], "momentum": 0.5}), site()
    h = torch.randn(5000, 3) * torch.tensor([0.0, 1.0, 3.0])
    noise.activation(h, 0.5, here)
    wide = (result(noise.activation(10 * h, 0.5, here.at(site(step=1).draws))) - 10 * h).var(0)
    # half way from the variance 1 and 9 of the first batch to 100 and 900
    torch.testing.assert_close(wide, 0.25 * torch.tensor([0.0, 50.5, 454.5]), rtol=0.1, atol=1e-6)
    known = here.state["variance"].clone()
    here.learning = False
    noise.activation(100 * h, 0.5, here.at(site(step=2).draws))
    assert torch.equal(here.state["variance"], known)


def product(name: str, x: Tensor, W: Tensor, b: Tensor, rate: Any, random: Site, **options: Any) -> Tensor:
    noise: Noise = make({**DEFAULTS[name], **options})
    if noise.has("weight"):
        return torch.matmul(x, result(noise.weight(W, rate, random)).mT) + b.unsqueeze(-2)
    return result(noise.product(x, W, b, rate, random))


ON_PRODUCTS = ["dropconnect", "dropconnect_gaussian", "dropconnect_example", "shakeout"]


def product_case(n: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 12, generator=generator).expand(n, 12)
    return x, torch.randn(4, 12, generator=generator), torch.randn(4, generator=generator)


@pytest.mark.parametrize("name", ON_PRODUCTS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_products_mean_and_variance(name: str, rate: float) -> None:
    steps, c = 4000, 0.3
    options = {"strength": c} if name == "shakeout" else {}
    x, W, b = product_case(steps)
    if name == "dropconnect":  # one mask for a batch: so many batches of one image
        z = torch.cat([product(name, x[:1], W, b, rate, site(step=step)) for step in range(steps)])
    else:
        z = product(name, x, W, b, rate, site(), **options)
    z = z.double()
    spread = (W.abs() + c).square() if name == "shakeout" else W.square()
    variance = alpha(rate) * (x[0].square() @ spread.T).double()
    assert (((z.mean(0) - (x[0] @ W.T + b)) / (variance / steps).sqrt()).abs() < 5).all()
    torch.testing.assert_close(z.var(0), variance, rtol=0.2, atol=0)


@pytest.mark.parametrize("name", ON_PRODUCTS)
def test_products_at_rate_zero_are_plain(name: str) -> None:
    x, W, b = product_case(7)
    torch.testing.assert_close(product(name, x, W, b, 0.0, site()), x @ W.T + b, rtol=1e-4, atol=1e-5)


def test_shakeouts_weights_are_the_papers() -> None:
    """Kang 2018, eq. 1, weight by weight: -c·sgn(w) if dropped, else (w + c·p·sgn(w))/(1 - p)."""
    rate, c = 0.25, 0.4  # exactly representable in 16 bits
    x, W, b = product_case(50)
    z = product("shakeout", x, W, b, rate, site(), strength=c)
    kept = site().keep(x.shape, rate) > 0
    for image in range(50):
        shaken = torch.where(kept[image], (W + c * rate * W.sign()) / (1 - rate), -c * W.sign())
        torch.testing.assert_close(z[image], shaken @ x[image] + b, rtol=1e-4, atol=1e-5)


def test_shakeout_without_strength_is_dropout() -> None:
    x, W, b = product_case(50)
    z = product("shakeout", x, W, b, 0.5, site(), strength=0.0)
    torch.testing.assert_close(z, noised("dropout", x, 0.5, site()) @ W.T + b)


def test_dropconnect_drops_weights_and_divides_the_rest() -> None:
    W = torch.randn(50, 80)
    noise = make(DEFAULTS["dropconnect"])
    masked = result(noise.weight(W, 0.25, site()))
    torch.testing.assert_close((masked / W).round(decimals=4).unique(), torch.tensor([0.0, 1.3333]))


def test_gaussian_dropconnect_has_the_moments_of_a_mask_per_example() -> None:
    x, W, b = product_case(20000)
    rate = 0.5
    drawn = product("dropconnect_gaussian", x, W, b, rate, site()).double()
    masks = torch.rand(20000, 4, 12, generator=torch.Generator().manual_seed(1)) >= rate
    masked = ((masks * W / (1 - rate)) @ x[0] + b).double()
    torch.testing.assert_close(drawn.mean(0), masked.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.var(0), masked.var(0), rtol=0.06, atol=0)


@pytest.mark.parametrize("name", ON_PRODUCTS)
@pytest.mark.parametrize("first", [False, True])
def test_products_gradients_against_finite_differences(name: str, first: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    given = [torch.rand(shape, generator=generator) + 0.1 for shape in ((6, 5), (4, 5), (4,))]
    weight = torch.randn(6, 4, generator=generator)

    def at(*leaves: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        noise, here = make(DEFAULTS[name]), site(first=first)
        by_autograd = name == "shakeout"
        x, W, b = leaves = tuple(leaf.clone().requires_grad_(by_autograd) for leaf in leaves)
        if noise.has("weight"):
            noisy, to_weight = noise.weight(W, 0.4, here)
            value = ((x @ noisy.mT + b) * weight).sum()
            return value, [weight @ noisy, to_weight(weight.mT @ x), weight.sum(0)]
        if not by_autograd:
            z, backward = noise.product(x, W, b, 0.4, here)
            return (z * weight).sum(), list(backward(weight))
        value = (noise.product(x, W, b, 0.4, here) * weight).sum()
        return value, list(torch.autograd.grad(value, leaves))

    gradients = at(*given)[1]
    for i, gradient in enumerate(gradients):
        if gradient is None:
            assert first and i == 0, "only the first layer's input needs none"
            continue
        direction = torch.randn(given[i].shape, generator=generator)
        moved = [
            [g + sign * 1e-2 * direction if i == j else g for j, g in enumerate(given)] for sign in (1, -1)
        ]
        difference = (at(*moved[0])[0] - at(*moved[1])[0]) / 2e-2
        assert float((gradient * direction).sum()) == pytest.approx(
            float(difference.detach()), rel=3e-3, abs=3e-3
        )


def test_gaussian_dropconnect_has_a_gradient_where_nothing_comes_in() -> None:
    noise = make(DEFAULTS["dropconnect_gaussian"])
    _, backward = noise.product(torch.zeros(5, 12), torch.randn(4, 12), torch.zeros(4), 0.5, site())
    assert all(torch.isfinite(gradient).all() for gradient in backward(torch.ones(5, 4)))


def test_blend_takes_one_other_image_and_a_share_of_each_unit() -> None:
    n, units, rate = 64, 32, 0.6
    h = torch.arange(n, dtype=torch.float32).unsqueeze(-1).expand(n, units) * 1000
    moved = (noised("blend", h, rate, site()) - h) / 1000
    # every unit of an image moves towards the same other image: all in one direction, by no more than the share
    assert ((moved > 0).all(-1) | (moved < 0).all(-1)).all()
    assert (moved.abs().amax(-1) <= rate * n).all()
    assert torch.equal(noised("blend", h[:1], rate, site()), h[:1])


def test_blends_mean_is_the_documented_bias() -> None:
    h = torch.rand(8, 2)
    mean = torch.stack([noised("blend", h, 0.5, site(step=step)) for step in range(6000)]).mean(0)
    others = (h.sum(0) - h) / 7
    torch.testing.assert_close(mean, h + 0.25 * (others - h), rtol=0, atol=0.015)


@pytest.mark.parametrize("power, share", [(1.0, 1.0), (0.75, None)])
def test_jumpouts_mean(power: float, share: float | None) -> None:
    h = torch.ones(64, 64)
    options = {"power": power, "highest": 0.9}
    means = torch.stack([noised("jumpout", h, 0.2, site(step=step), **options).mean() for step in range(800)])
    if share is not None:
        assert float(means.mean()) == pytest.approx(share, abs=0.005)
    else:
        # E (1 - r)^(1/4) for r half normal with scale 0.2, by numbers
        r = torch.linspace(0, 0.9, 200001, dtype=torch.float64)
        density = torch.exp(-((r / 0.2) ** 2) / 2)
        expected = float((density * (1 - r) ** 0.25).sum() / density.sum())
        assert float(means.mean()) == pytest.approx(expected, abs=0.005)


def test_jumpout_drops_the_same_share_of_active_units() -> None:
    h = torch.ones(400, 200)
    sparse = h.clone()
    sparse[:, 50:] = 0  # a quarter is active
    dropped = [
        float((noised("jumpout", h_, 0.05, site(step=3)) == 0)[:, :50].float().mean()) for h_ in (h, sparse)
    ]
    assert dropped[1] == pytest.approx(4 * dropped[0], rel=0.15)


WITH_INPUT = [name for name, options in DEFAULTS.items() if "input_rate" in options]


@pytest.mark.parametrize("name", WITH_INPUT)
def test_a_stack_of_differing_input_rates_equals_its_runs_alone(name: str, digit_images: Images) -> None:
    """Two steps from the same weights, so that rounding has no time to grow."""
    noise, shape = {**DEFAULTS[name], "name": name}, {"batch_size": 720, "epochs": 1}
    model = {"name": "scratch", "hidden1": 16, "hidden2": 12}
    runs = [
        make_run(
            data=DIGITS, model=model, **shape, noise={**noise, "input_rate": rate}, dropout1=0.1, seed=seed
        )
        for seed, rate in enumerate((0.0, 0.3, 0.1))
    ]
    stack = train(runs, digit_images, 10, lambda rows: None)
    for number, run in enumerate(runs):
        alone = train([run], digit_images, 10, lambda rows: None).state(0)
        for tensor, weights in stack.state(number).items():
            torch.testing.assert_close(weights, alone[tensor], rtol=1e-4, atol=1e-6)


def test_balanced_masks_at_rate_0_keep_the_whole_batch_whatever_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """256 images and the highest of the random numbers round to 257 in float32."""
    random = site(runs=2)
    highest = (2**16 - 0.5) / 2**16
    monkeypatch.setattr(random, "uniform", lambda shape: torch.full(shape, highest))
    rates = torch.tensor([0.0, 0.5]).view(2, 1, 1)
    factor = make(DEFAULTS["balanced"]).factor(torch.ones(2, 256, 3), rates, random)
    assert factor is not None and torch.equal(factor[0], torch.ones(256, 3))
