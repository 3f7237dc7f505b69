"""Noises that follow what they see: moments in closed form, and the gradients that they take for theirs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import yaml
from configs import REPOSITORY, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.data import Dataset
from src.errors import InputError
from src.noise import Site, make
from src.noise.tangent import _any, _nearest
from src.streams import Draws

CPU = torch.device("cpu")


def site(step: int = 0, runs: int = 1) -> Site:
    return Site(1, Draws(list(range(runs)), step, CPU))


def standout(h: Tensor, rate: Any, slope: float, where: Site) -> tuple[Tensor, Any]:
    value, backward = make({"name": "standout", "input_rate": 0.0, "slope": slope}).activation(h, rate, where)
    return value.clone(), backward


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from([0.1, 0.5, 0.8]), slope=st.sampled_from([-0.5, 0.0, 1.0]), seed=st.integers(0, 99)
)
def test_standout_keeps_by_the_papers_probability_and_keeps_the_mean(
    rate: float, slope: float, seed: int
) -> None:
    n = 20_000
    h = torch.linspace(0.1, 3, 8).expand(n, 8).contiguous()
    noised, backward = standout(h, rate, slope, site(seed))
    q = torch.sigmoid(slope * h[0] + math.log((1 - rate) / rate)).double()
    kept = (noised != 0).double().mean(0)
    assert ((kept - q).abs() < 5 * (q * (1 - q) / n).sqrt() + 1e-4).all()
    torch.testing.assert_close(noised[noised != 0], (h / q.float())[noised != 0])
    torch.testing.assert_close(backward(torch.ones_like(h)), noised / h)


def test_standout_without_slope_is_dropout_and_drops_what_is_zero_as_often() -> None:
    h = torch.zeros(4000, 5)
    h[0] = 1
    noised, backward = standout(h, 0.25, 0.0, site())
    factor = backward(torch.ones_like(h))
    torch.testing.assert_close(factor.unique(), torch.tensor([0.0, 4 / 3]))
    assert float((factor == 0).double().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(noised[1:], torch.zeros(3999, 5))


def test_correlated_noise_has_the_units_covariance() -> None:
    n, rate = 200, 0.5
    mix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    h = torch.randn(n, 4, generator=torch.Generator().manual_seed(1)) @ mix
    noise = make({"name": "correlated", "input_rate": 0.0})
    draws = torch.cat([noise.factor(h, rate, site(step)) - 1 for step in range(300)]).double()
    wanted = torch.cov(h.T.double(), correction=0) * rate / (1 - rate)
    size = wanted.diagonal().sqrt()
    found = torch.cov(draws.T)
    torch.testing.assert_close(found / size / size[:, None], wanted / size / size[:, None], rtol=0, atol=0.03)
    assert ((draws.mean(0) / size).abs() < 5 / math.sqrt(len(draws))).all()
    same = torch.ones(3, 1) @ h[:1]
    assert torch.equal(noise.factor(same, rate, site()), torch.ones(3, 4)), "what does not vary gets no noise"


def dynamic(gradient_rate: float = 0.5) -> Any:
    return make({"name": "dropconnect_dynamic", "gradient_rate": gradient_rate})


def test_dynamic_dropconnect_is_dropconnect_at_first_and_by_the_share_kept() -> None:
    W, here = torch.rand(200, 300) + 0.5, site()
    noisy, backward = dynamic().weight(W, 0.25, here)
    kept = (noisy != 0).float().mean()
    assert float(kept) == pytest.approx(0.75, abs=0.01)
    torch.testing.assert_close(noisy[noisy != 0], (W / kept)[noisy != 0])
    gradient = torch.randn(200, 300)
    assert torch.equal(backward(gradient.clone()), gradient), (
        "all weights learn, also those that were dropped"
    )


def test_dynamic_dropconnects_rates_are_the_authors() -> None:
    W, here, p, r = torch.ones(2, 40), site(), 0.2, 0.5
    gradient = torch.linspace(-3, 3, 80).view(2, 40)
    counts = torch.zeros(2, 40)
    noise, steps = dynamic(r), 3000
    here.state["gradient"] = gradient
    for step in range(steps):
        noisy, _ = noise.weight(W, p, here.at(Draws([0], step, CPU)))
        counts += noisy == 0
    size = gradient.abs()
    q = 1 - torch.sigmoid((size - size.mean()) / size.std())
    expected = p + r * q * (q > 0.5)
    torch.testing.assert_close(counts / steps, expected, rtol=0, atol=0.05)


def test_dynamic_dropconnect_remembers_gradients_up_to_scale_and_no_probes() -> None:
    W, noise, here = torch.rand(6, 5), dynamic(), site()
    _, backward = noise.weight(W, 0.3, here)
    gradient = torch.randn(6, 5)
    backward(gradient * -0.1)  # a plain step of SGD hands it the gradient times -lr
    first = noise.weight(W, 0.3, here.at(site(1).draws))[0].clone()
    here.learning = False
    noise.weight(W, 0.3, here.at(site(2).draws))[1](torch.randn(6, 5))
    here.learning = True
    here.state["gradient"] = gradient
    assert torch.equal(noise.weight(W, 0.3, here.at(site(1).draws))[0], first)


def tangent(
    h: Tensor, rate: Any, where: Site, stretch: float = 0.4, partner: str = "nearest"
) -> tuple[Tensor, Any]:
    noise = make({"name": "tangent", "input_rate": 0.0, "stretch": stretch, "partner": partner})
    value, backward = noise.activation(h, rate, where)
    return value.clone(), backward


def test_tangent_moves_each_image_along_the_line_to_its_nearest() -> None:
    h = torch.tensor([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [6.0, 5.0]])
    least = 1e-9  # it moves, and nothing is dropped
    moves = torch.stack([tangent(h, least, site(step))[0] - h for step in range(3000)]).double()
    direction = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    along = (moves * direction).sum(-1)
    torch.testing.assert_close(moves, along.unsqueeze(-1) * direction, rtol=0, atol=1e-3)
    torch.testing.assert_close(along.mean(0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=0.03)
    torch.testing.assert_close(along.std(0), torch.full((4,), 0.4, dtype=torch.float64), rtol=0.06, atol=0)


def test_tangent_without_stretch_is_dropout_and_a_rate_of_zero_is_nothing() -> None:
    h = torch.rand(3, 9, 7)
    rates = torch.tensor([0.5, 0.0, 0.5]).reshape(3, 1, 1)
    noised, _ = tangent(h, rates, site(runs=3))
    assert torch.equal(noised[1], h[1]) and not torch.equal(noised[0], h[0])
    plain = make({"name": "dropout", "input_rate": 0.0}).factor(h, rates, site(runs=3))
    torch.testing.assert_close(tangent(h, rates, site(runs=3), stretch=0.0)[0], h * plain)
    one = make({"name": "dropout", "input_rate": 0.0}).factor(h[0, :1], 0.5, site())
    torch.testing.assert_close(tangent(h[0, :1], 0.5, site())[0], h[0, :1] * one)


def test_tangent_with_any_partner_goes_towards_each_other_image_alike() -> None:
    h, least = torch.eye(4), 1e-9  # it moves, and nothing is dropped
    moves = [tangent(h, least, site(step), partner="any")[0] - h for step in range(4000)]
    share = torch.stack([(move.abs() > 1e-6) & ~torch.eye(4, dtype=torch.bool) for move in moves])
    assert bool((share.sum(-1) <= 1).all())  # one partner, never the image itself
    right = (1 - torch.eye(4)) / 3
    torch.testing.assert_close(share.float().mean(0), right, rtol=0, atol=0.04)


@pytest.mark.parametrize("n", [2, 3, 256])
def test_any_partner_is_another_image(n: int) -> None:
    others = torch.stack([_any(torch.empty(n, 1), site(step)).squeeze(-1) for step in range(300)])
    assert int(others.min()) >= 0 and int(others.max()) < n
    assert not bool((others == torch.arange(n)).any())


def test_any_partner_comes_with_the_masks_and_the_ways_of_the_nearest() -> None:
    h = torch.tensor([[0.0, 1.0], [3.0, 1.0]])  # each has one other image
    nearest, backward = tangent(h, 0.5, site())
    other, backward_to_any = tangent(h, 0.5, site(), partner="any")
    assert torch.equal(nearest, other)
    assert torch.equal(backward(torch.ones(2, 2)).clone(), backward_to_any(torch.ones(2, 2)))
    assert torch.equal(*(tangent(h[:1], 0.5, site(), partner=partner)[0] for partner in ("nearest", "any")))


def test_the_share_of_neighbours_of_the_same_class_is_the_one_that_its_reasoning_names(
    fashion: Dataset,
) -> None:
    pixels, same = fashion.train_images.flatten(1), []
    for start in range(0, 12_800, 256):
        part = slice(start, start + 256)
        other = _nearest(pixels[part].float() / fashion.scale).squeeze(-1)
        same.append((fashion.train_labels[part][other] == fashion.train_labels[part]).double().mean())
    assert float(torch.stack(same).mean()) == pytest.approx(0.69, abs=0.02)


def defaults(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / "conf" / "noise" / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    "name",
    [
        *("gaussian", "uniform", "dropconnect_gaussian", "dropconnect_example", "shakeout", "random_rate"),
        *("standout", "balanced", "correlated", "advanced", "concrete", "dropconnect_dynamic"),
    ],
)
def test_an_infinite_variance_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"dropout2=1.0: .*below 1"):
        make_run(noise=defaults(name), dropout2=1.0)


def test_variationals_noise_is_at_most_as_large_as_the_weights() -> None:
    with pytest.raises(InputError, match=r"dropout2=0.6: .*from 0 to 0.5"):
        make_run(noise=defaults("variational"), dropout2=0.6)
