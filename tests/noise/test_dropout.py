"""Dropout, the book's function and the noise: every output is 0 or x/q, the mean stays, masks are a run's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src import noise, streams
from src.noise.dropout import dropout_layer
from src.streams import LEVELS, Draws

CPU = torch.device("cpu")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
INNER = st.floats(0.01, 0.99)


def ones_to(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(shape).to(dtype)


# The book's function


@given(SHAPES, INNER, st.sampled_from(DTYPES))
def test_every_output_is_zero_or_x_over_q(shape: tuple[int, ...], p: float, dtype: torch.dtype) -> None:
    X = ones_to(shape, dtype)
    out = dropout_layer(X, p)
    assert (out.shape, out.dtype, out.device) == (X.shape, X.dtype, X.device)
    assert ((out == 0) | (out == X / (1.0 - p))).all()


@given(SHAPES, st.sampled_from(DTYPES))
def test_identity_at_zero_and_zeros_at_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    X = ones_to(shape, dtype)
    assert torch.equal(dropout_layer(X, 0), X)
    out = dropout_layer(X, 1)
    assert torch.equal(out, torch.zeros(shape, dtype=dtype))


@given(st.floats().filter(lambda p: not 0 <= p <= 1))
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"probability from 0 to 1, not (-|\d|nan|inf)"):
        dropout_layer(torch.ones(2), p)


@given(INNER, st.lists(st.floats(0, 1, width=32, exclude_max=True), min_size=1, max_size=30))
def test_keeps_where_u_exceeds_p(p: float, u: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda shape, device: torch.tensor(u).reshape(shape))
        out = dropout_layer(torch.ones(len(u)), p)
    assert torch.equal(out != 0, torch.tensor(u) > p)


def test_a_number_equal_to_p_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.tensor([0.25, 0.5, 0.75]))
    assert dropout_layer(torch.ones(3), 0.5).tolist() == [0, 0, 2]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_layer_is_unbiased(p: float) -> None:
    torch.manual_seed(0)
    n = 200_000
    out = dropout_layer(torch.ones(n), p)
    assert abs(float(out.double().mean()) - 1) < 4 * math.sqrt(p / (1 - p) / n)
    assert float(out.double().var()) == pytest.approx(p / (1 - p), rel=0.03)


@given(INNER)
def test_gradient_is_the_mask_over_q(p: float) -> None:
    X = ones_to((6, 7)).requires_grad_()
    out = dropout_layer(X, p)
    out.sum().backward()
    assert X.grad is not None
    torch.testing.assert_close(X.grad, (out != 0) / (1 - p))


# The noise


def factor(rate: float | torch.Tensor, draws: Draws, shape: tuple[int, ...]) -> torch.Tensor | None:
    return noise.make({"name": "dropout", "input_rate": 0.0}).factor(torch.ones(shape), rate, draws)


def draws(seed: int = 0, place: int = 1, step: int = 0) -> Draws:
    return Draws([streams.key(seed, f"noise{place}")], step, CPU)


@given(INNER)
def test_factor_is_zero_or_one_over_q(p: float) -> None:
    drawn = factor(p, draws(), (20, 30))
    assert drawn is not None
    rounded = streams.keep_threshold(p) / LEVELS
    assert ((drawn == 0) | ((drawn - 1 / rounded).abs() < 1e-6 / rounded)).all()
    assert abs(rounded - (1 - p)) <= 0.5 / LEVELS


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
def test_factor_has_mean_one_and_variance_alpha(p: float) -> None:
    n, alpha = 400 * 1000, p / (1 - p)
    drawn = factor(p, draws(seed=3), (400, 1000))
    assert drawn is not None
    assert abs(float(drawn.double().mean()) - 1) < 4 * math.sqrt(alpha / n)
    # the variance of a sample variance: (m4 - alpha²)/n, with m4 the factor's fourth central moment
    m4 = p + (1 - p) * (p / (1 - p)) ** 4
    assert abs(float(drawn.double().var()) - alpha) < 4 * math.sqrt((m4 - alpha**2) / n) + alpha / LEVELS


@pytest.mark.parametrize("p", [1e-9, 1 - 1e-9, 1 / 3, 0.99999])
def test_the_mean_is_one_however_the_rate_is_rounded(p: float) -> None:
    threshold = streams.keep_threshold(p)
    kept = threshold / LEVELS
    assert kept > 0
    drawn = factor(p, draws(), (64, 64))
    assert drawn is not None
    values = set(drawn.unique().tolist()) - {0.0}
    assert all(kept * value == pytest.approx(1, rel=1e-6) for value in values)


def test_edges_of_the_factor() -> None:
    assert factor(0.0, draws(), (3, 4)) is None
    dropped = factor(1.0, draws(), (3, 4))
    assert dropped is not None
    assert torch.equal(dropped, torch.zeros(3, 4))


@given(st.lists(st.sampled_from([0.0, 1e-9, 0.2, 0.5, 1 - 1e-7, 1.0]), min_size=2, max_size=4))
def test_a_runs_rate_in_a_stack_touches_no_other_run(rates: list[float]) -> None:
    """ModelBatch lets the first run's rate stand for all; HFTA has one rate for a stack."""
    keys = [streams.key(seed, "noise1") for seed in range(len(rates))]
    shape = (len(rates), 12, 9)
    together = factor(torch.tensor(rates).reshape(-1, 1, 1), Draws(keys, 5, CPU), shape)
    assert together is not None
    assert together.isfinite().all()
    for run, key in enumerate(keys):
        rate = float(torch.tensor(rates[run]))
        alone = factor(rate, Draws([key], 5, CPU), shape[1:])
        expected = torch.ones(shape[1:]) if alone is None else alone
        torch.testing.assert_close(together[run], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("other", [{"step": 1}, {"place": 2}, {"seed": 1}])
def test_masks_never_repeat(other: dict[str, int]) -> None:
    first, same, different = (factor(0.5, d, (50, 50)) for d in (draws(), draws(), draws(**other)))
    assert first is not None and same is not None and different is not None
    assert torch.equal(first, same)
    equal = float((first == different).double().mean())
    assert equal == pytest.approx(0.5, abs=0.05)  # as often as chance has it


def test_runs_of_one_seed_share_the_mask_of_the_units_they_both_keep() -> None:
    """With a common seed a higher rate drops what a lower one drops, and more."""
    low, high = (factor(p, draws(), (40, 40)) for p in (0.2, 0.6))
    assert low is not None and high is not None
    assert not ((high > 0) & (low == 0)).any()
