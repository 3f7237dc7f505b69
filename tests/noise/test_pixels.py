"""Noises on the pixels of the input, and dropout whose masks are drawn in another way: moments in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from configs import DIGITS, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from src import components
from src.errors import InputError
from src.noise import Site, UndefinedError, make
from src.streams import Draws
from src.training import places

CPU = torch.device("cpu")


def site(place: int, step: int = 0, runs: int = 1) -> Site:
    return Site(place, Draws(list(range(runs)), step, CPU))


def dropblock(x: Tensor, rate: Any, block: int, where: Site) -> Tensor:
    factor = make({"name": "dropblock", "input_rate": 0.1, "block": block}).factor(x, rate, where)
    assert factor is not None
    return factor


@settings(max_examples=20, deadline=None)
@given(block=st.integers(1, 6), side=st.integers(6, 9), rate=st.sampled_from([0.05, 0.2, 0.5]))
def test_dropblock_drops_whole_squares_and_its_mean_is_one(block: int, side: int, rate: float) -> None:
    factor = dropblock(torch.ones(64, side * side), rate, block, site(0, step=block))
    assert float(factor.mean()) == pytest.approx(1, rel=1e-5)
    dropped = (factor == 0).float().view(-1, 1, side, side)
    # what is dropped is a union of squares: the squares that fit into it cover it
    fits = 1 - F.max_pool2d(1 - dropped, block, 1)
    covered = F.max_pool2d(F.pad(fits, [block - 1] * 4), block, 1)
    assert torch.equal(covered, dropped)
    kept = factor[factor > 0]
    torch.testing.assert_close(kept, kept[:1].expand_as(kept))


def test_dropblocks_squares_begin_with_the_papers_probability() -> None:
    n, side, block, rate = 4000, 7, 3, 0.2
    factor = dropblock(torch.ones(n, side * side), rate, block, site(0))
    gamma = rate / block**2 * side**2 / (side - block + 1) ** 2
    # in the middle a pixel is covered by block² squares, in a corner by one
    image = (factor == 0).double().view(n, side, side).mean(0)
    corner, middle = gamma, 1 - (1 - gamma) ** (block**2)
    assert float(image[0, 0]) == pytest.approx(corner, abs=5 * (corner / n) ** 0.5)
    assert float(image[3, 3]) == pytest.approx(middle, abs=5 * (middle / n) ** 0.5)


def test_dropblock_of_one_pixel_is_dropout_divided_by_the_share_kept() -> None:
    kept = site(0).keep((20, 49), 0.3)
    factor = dropblock(torch.ones(20, 49), 0.3, 1, site(0))
    torch.testing.assert_close(factor, kept / kept.mean())


@pytest.mark.parametrize("name", ["dropblock", "neighbours"])
def test_behind_the_input_it_is_dropout(name: str) -> None:
    options = {"dropblock": {"block": 5}, "neighbours": {"pixel_rate": 0.0}}[name]
    noise = make({"name": name, "input_rate": 0.1, **options})
    h = torch.rand(30, 7)
    expected = h * (site(2).keep((30, 7), 0.5) * 2)
    given_h = (
        h * noise.factor(h, 0.5, site(2)) if name == "dropblock" else noise.activation(h, 0.5, site(2))[0]
    )
    torch.testing.assert_close(given_h, expected)


def neighbours(x: Tensor, rate: Any, where: Site, pixel_rate: float = 0.0) -> tuple[Tensor, Any]:
    noise = make({"name": "neighbours", "input_rate": 0.1, "pixel_rate": pixel_rate})
    value, backward = noise.activation(x, rate, where)
    return value.clone(), backward


@settings(max_examples=8, deadline=None)
@given(rate=st.sampled_from([0.1, 0.5, 1.0]), seed=st.integers(0, 1000))
def test_neighbours_mean_is_the_formula(rate: float, seed: int) -> None:
    n, side = 6000, 4
    image = torch.rand(side, side, generator=torch.Generator().manual_seed(seed))
    noised, _ = neighbours(image.flatten().expand(n, -1).contiguous(), rate, site(0, step=seed))
    edged = F.pad(image[None, None], [1] * 4, mode="replicate")
    kernel = torch.ones(1, 1, 3, 3) / 8
    kernel[0, 0, 1, 1] = 0
    expected = (1 - rate) * image + rate * F.conv2d(edged, kernel)[0, 0]
    torch.testing.assert_close(noised.mean(0).view(side, side), expected, rtol=0, atol=0.03)
    values = set(image.flatten().tolist())
    assert set(noised.unique().tolist()) <= values


def test_neighbours_gradient_goes_to_where_the_values_came_from() -> None:
    x = torch.rand(5, 16, requires_grad=True)
    direction = torch.randn(5, 16)
    with torch.no_grad():
        _, backward = neighbours(x, 0.6, site(0), pixel_rate=0.25)
        gradient = backward(direction.clone())
    # linear in x: its gradient by differences is exact
    for pixel in range(0, 16, 5):
        moved = x.detach().clone()
        moved[2, pixel] += 1
        difference = neighbours(moved, 0.6, site(0), 0.25)[0] - neighbours(x.detach(), 0.6, site(0), 0.25)[0]
        assert float((difference * direction).sum()) == pytest.approx(float(gradient[2, pixel]), abs=1e-5)


def test_a_stack_of_pixels_draws_what_its_runs_draw_alone() -> None:
    x, rates = torch.rand(2, 6, 25), torch.tensor([0.3, 0.0]).reshape(2, 1, 1)
    moved, _ = neighbours(x, rates, site(0, runs=2))
    blocks = dropblock(x, rates, 2, site(0, runs=2))
    for run, rate in enumerate((0.3, 0.0)):
        alone = Site(0, Draws([run], 0, CPU))
        if rate:
            assert torch.equal(moved[run], neighbours(x[run], float(rates[run]), alone)[0])
            one = dropblock(x[run], float(rates[run]), 2, Site(0, Draws([run], 0, CPU)))
            torch.testing.assert_close(blocks[run], one)
        else:
            assert torch.equal(moved[run], x[run]) and torch.equal(blocks[run], torch.ones_like(x[run]))


@pytest.mark.parametrize("name", ["dropblock", "neighbours"])
def test_what_is_no_square_image_is_refused_in_one_line(name: str) -> None:
    options = {"dropblock": {"block": 2}, "neighbours": {"pixel_rate": 0.0}}[name]
    run = make_run(noise={"name": name, "input_rate": 0.1, **options}, data=DIGITS)
    places.check([run], (64,), 10)
    with pytest.raises(InputError, match=f"noise={name}: .*{name}.py: {name} needs square images with one"):
        places.check([run], (63,), 10)
    concise = make_run(
        noise={"name": name, "input_rate": 0.1, **options},
        model={"name": "concise", "hidden1": 4, "hidden2": 4},
        data=DIGITS,
    )
    with pytest.raises(InputError, match=r"noise\.input_rate=0\.1: a plain module has no place at its input"):
        places.check([concise], (64,), 10)


def test_a_block_larger_than_the_image_is_refused() -> None:
    with pytest.raises(UndefinedError, match="blocks of at most 3 pixels"):
        dropblock(torch.ones(2, 9), 0.1, 4, site(0))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 30), rate=st.sampled_from([0.1, 0.25, 0.5, 0.9]), step=st.integers(0, 50))
def test_balanced_keeps_each_unit_in_the_same_share(n: int, rate: float, step: int) -> None:
    noise = make({"name": "balanced", "input_rate": 0.0})
    factor = noise.factor(torch.ones(n, 12), rate, site(1, step))
    assert factor is not None
    kept = (factor > 0).sum(0)
    exact = (1 - rate) * n
    assert ((kept >= int(exact + 1e-4)) & (kept <= int(exact + 1))).all()
    torch.testing.assert_close(factor[factor > 0], torch.full((int(kept.sum()),), 1 / (1 - rate)))


def test_balanced_masks_have_the_mean_and_covariance_of_the_formula() -> None:
    noise, n, rate, steps = make({"name": "balanced", "input_rate": 0.0}), 8, 0.5, 1500
    masks = torch.stack(
        [noise.factor(torch.ones(n, 40), rate, site(1, step)) * (1 - rate) for step in range(steps)]
    )
    by_image = masks.movedim(1, 0).flatten(1).double()
    torch.testing.assert_close(
        by_image.mean(1), torch.full((n,), 0.5, dtype=torch.float64), rtol=0, atol=0.02
    )
    covariance = torch.cov(by_image)
    off = covariance[~torch.eye(n, dtype=torch.bool)]
    assert float(off.mean()) == pytest.approx(-rate * (1 - rate) / (n - 1), rel=0.02)
    assert float(off.std()) < 0.01


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_random_rates_moments_are_the_formulas(p: float) -> None:
    noise, n = make({"name": "random_rate", "input_rate": 0.0}), 20_000
    factor = noise.factor(torch.ones(n, 30), p, site(1)).double()
    variance = -math.log1p(-p) / p - 1
    assert float(factor.mean()) == pytest.approx(1, abs=5 * (variance / factor.numel()) ** 0.5 + 1e-4)
    assert float(factor.var()) == pytest.approx(variance, rel=0.03)
    # the share of units that an image loses is uniform up to p
    shares = (factor == 0).double().mean(-1)
    assert float(shares.mean()) == pytest.approx(p / 2, abs=0.01)
    assert float(shares.var()) > p**2 / 12


@pytest.mark.parametrize("cached", [1, 40, 1 << 17])
@pytest.mark.parametrize("runs", [1, 2])
def test_an_example_has_a_mask_of_its_own(monkeypatch: pytest.MonkeyPatch, cached: int, runs: int) -> None:
    """However many images are masked at once: one, two and then the ninth alone, all of them."""
    monkeypatch.setattr(components.find("noise", "dropconnect_example"), "CACHED", cached)
    generator, lead = torch.Generator().manual_seed(0), (runs,) if runs > 1 else ()
    shapes = ((9, 5), (4, 5), (4,), (9, 4))
    x, W, b, delta = (torch.rand(*lead, *shape, generator=generator) for shape in shapes)
    rate = torch.tensor([0.25, 0.5]).view(2, 1, 1) if lead else 0.25
    noise = make({"name": "dropconnect_example"})
    z, backward = noise.product(x, W, b, rate, site(1, runs=runs))
    dx, dW, db = backward(delta)
    per_weight = rate.unsqueeze(-1) if isinstance(rate, Tensor) else rate
    masks = site(1, runs=runs).keep((*lead, 9, 4, 5), per_weight) / (1 - per_weight)
    torch.testing.assert_close(z, torch.einsum("...noi,...oi,...ni->...no", masks, W, x) + b.unsqueeze(-2))
    torch.testing.assert_close(dx, torch.einsum("...noi,...oi,...no->...ni", masks, W, delta))
    torch.testing.assert_close(dW, torch.einsum("...noi,...no,...ni->...oi", masks, delta, x))
    torch.testing.assert_close(db, delta.sum(-2))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 40),
    units=st.integers(1, 20),
    features=st.integers(1, 40),
    kind=st.sampled_from([torch.float32, torch.float64]),
    first=st.booleans(),
)
def test_the_products_of_masks_of_each_example_and_their_gradients(
    n: int, units: int, features: int, kind: torch.dtype, first: bool
) -> None:
    """Beside autograd's of the formula, of layers that the compiled pass takes and of others."""
    generator, q = torch.Generator().manual_seed(n), 0.75
    shapes = ((n, features), (units, features), (units,), (n, units))
    x, W, b, delta = (torch.randn(shape, generator=generator).to(kind) for shape in shapes)
    here = site(1, step=3)
    here.first = first
    z, backward = make({"name": "dropconnect_example"}).product(x, W, b, 1 - q, here)
    z, (dx, dW, db) = z.clone(), backward(delta)
    masks = site(1, step=3).keep((n, units, features), 1 - q).double() / q
    leaves = [leaf.double().requires_grad_() for leaf in (x, W, b)]
    right = torch.einsum("noi,oi,ni->no", masks, leaves[1], leaves[0]) + leaves[2]
    right_dx, *others = torch.autograd.grad(right, leaves, delta.double())
    torch.testing.assert_close(z.double(), right, rtol=1e-4, atol=1e-4)
    for gradient, formula in zip((dW, db), others, strict=True):
        torch.testing.assert_close(gradient.double(), formula, rtol=1e-4, atol=1e-4)
    if first:
        assert dx is None
    else:
        torch.testing.assert_close(dx.double(), right_dx, rtol=1e-4, atol=1e-4)
