"""A run's random numbers: numpy's own Philox, everywhere alike, and of the distributions they are said to be."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from src import streams
from src.kernels import gpu
from src.streams import LEVELS, Draws, memory, philox
from src.streams.memory import AT_ONCE

CPU = torch.device("cpu")
KEYS = st.integers(0, 2**128 - 1)
STEPS = st.integers(0, 2**40)
RATES = st.floats(0, 1)


def numpys(key: int, step: int, start: int, words: int) -> np.ndarray:
    """What numpy's Philox yields after `start` blocks of four words of this step: (words,) uint64."""
    return np.random.Philox(key=key, counter=start + (step << 64)).random_raw(words)


def levels(key: int, step: int, start: int, count: int) -> np.ndarray:
    """The same as 16-bit numbers: (count,)."""
    return numpys(key, step, start, -(-count // 4)).view(np.uint16)[:count]


class AllLevels(Draws):
    """Draws each of the 65,536 levels once: what is computed from them is exact."""

    def __init__(self) -> None:
        super().__init__([0], 0, CPU)

        self._is_fast = False

    def _levels(self, shape: object) -> torch.Tensor:
        return torch.arange(LEVELS, dtype=torch.int32)


ALL = (LEVELS,)


# Bits


@given(st.lists(KEYS, min_size=1, max_size=3), STEPS, st.integers(0, 2**40), st.integers(1, 640))
def test_philox_in_torch_is_numpys(keys: list[int], step: int, start: int, count: int) -> None:
    ours = philox.levels(philox.key_words(tuple(keys), CPU), step, start, count)
    assert ours.dtype == torch.int32
    words = -(-count // 4)
    assert np.array_equal(ours, [numpys(key, step, start, words).view(np.uint16)[:count] for key in keys])


@given(KEYS, STEPS, st.integers(0, 2**40), st.integers(1, 30))
def test_reset_generator_is_a_new_one(key: int, step: int, start: int, blocks: int) -> None:
    ours = memory.philox_at((key, step, start)).random_raw(4 * blocks)
    assert np.array_equal(ours, numpys(key, step, start, 4 * blocks))


@given(st.lists(KEYS, min_size=2, max_size=4), STEPS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_stack_draws_what_each_run_draws_alone(
    keys: list[int], step: int, n: int, units: int, more: int
) -> None:
    stack, alone = Draws(keys, step, CPU), [Draws([key], step, CPU) for key in keys]
    for width in (units, more):  # the second call goes on behind the first
        together = stack._levels((len(keys), n, width))
        for run, own in enumerate(alone):
            assert torch.equal(together[run], own._levels((n, width)))
    fresh = Draws(keys, step, CPU)
    for run, key in enumerate(keys):
        assert torch.equal(fresh.of(run)._levels((n, units)), Draws([key], step, CPU)._levels((n, units)))


def test_of_one_run_is_itself() -> None:
    draws = Draws([7], 0, CPU)
    assert draws.of(0) is draws


@given(KEYS, STEPS, st.lists(st.integers(1, 70), min_size=2, max_size=5))
def test_calls_go_on_and_never_repeat(key: int, step: int, counts: list[int]) -> None:
    draws, block = Draws([key], step, CPU), 0
    for count in counts:
        assert np.array_equal(draws._levels((count,)), levels(key, step, block, count))
        block += -(-count // 16)  # a call begins a new block: no number is used twice


@pytest.mark.parametrize("other", [(1, "noise1", 0), (0, "noise2", 0), (0, "noise1", 1), (0, "probe1", 0)])
def test_another_seed_purpose_or_step_gives_other_bits(other: tuple[int, str, int]) -> None:
    def bits(seed: int, purpose: str, step: int) -> np.ndarray:
        return Draws([streams.key(seed, purpose)], step, CPU)._levels((4096,)).numpy()

    assert np.array_equal(bits(0, "noise1", 0), bits(0, "noise1", 0))
    equal = float((bits(0, "noise1", 0) == bits(*other)).mean())
    assert equal < 0.005  # 1/65536 by chance


def test_a_steps_numbers_do_not_run_into_the_next_ones() -> None:
    first, second = (Draws([3], step, CPU)._levels((1 << 16,)).numpy().tobytes() for step in (0, 1))
    assert second[:64] not in first


def test_generators_and_seeds_depend_on_all_they_are_given() -> None:
    orders = [streams.generator(*arguments).permutation(50).tolist() for arguments in [(0, "order", 1)] * 2]
    assert orders[0] == orders[1]
    assert orders[0] != streams.generator(0, "order", 2).permutation(50).tolist()
    asked = [(seed, purpose, step) for seed in (0, 1) for purpose in ("a", "b") for step in (0, 1)]
    assert len({streams.torch_seed(*arguments) for arguments in asked}) == len(asked)


def test_seeding_torch_depends_on_run_and_step() -> None:
    def drawn(key: int, step: int) -> float:
        with torch.random.fork_rng(devices=[]):
            Draws([key], step, CPU).seed_torch()
            return float(torch.rand(()))

    assert drawn(5, 0) == drawn(5, 0)
    assert len({drawn(5, 0), drawn(6 << 40, 0), drawn(5, 1)}) == 3


# Distributions


@given(RATES)
def test_keep_has_the_rounded_probability_exactly(rate: float) -> None:
    kept = AllLevels().keep(ALL, rate)
    assert kept.dtype == torch.float32
    assert set(kept.tolist()) <= {0.0, 1.0}
    probability = float(kept.double().mean())
    assert probability == streams.keep_threshold(rate) / LEVELS
    if rate <= 1 - 1 / LEVELS:
        assert abs(probability - (1 - rate)) <= 0.5 / LEVELS + 1e-12


@pytest.mark.parametrize(
    ("rate", "levels_kept"), [(0, LEVELS), (1e-9, LEVELS), (0.5, LEVELS // 2), (1 - 1e-9, 1), (1, 0)]
)
def test_edges_of_keep(rate: float, levels_kept: int) -> None:
    assert int(AllLevels().keep(ALL, float(rate)).sum()) == levels_kept
    as_tensor = torch.tensor(rate, dtype=torch.float64).reshape(1, 1)
    assert int(AllLevels().keep(ALL, as_tensor).sum()) == levels_kept


@given(RATES)
def test_a_unit_is_kept_now_and_then_while_the_rate_is_below_one(rate: float) -> None:
    assert (streams.keep_threshold(rate) > 0) == (rate < 1)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=4), st.integers(1, 40))
def test_a_stacks_rates_equal_each_runs_own(rates: list[float], n: int) -> None:
    keys = list(range(len(rates)))
    stacked = torch.tensor(rates).reshape(-1, 1, 1)
    together = Draws(keys, 3, CPU).keep((len(rates), n, 5), stacked)
    for run, rate in enumerate(rates):
        assert torch.equal(together[run], Draws([run], 3, CPU).keep((n, 5), rate))


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.5, 1.0])
def test_what_follows_a_mask_is_the_same_alone_and_in_a_stack(rate: float) -> None:
    stack, alone = Draws([1, 2], 0, CPU), Draws([1], 0, CPU)
    stack.keep((2, 30, 5), torch.tensor([rate, 0.5]).reshape(2, 1, 1))
    alone.keep((30, 5), rate)
    assert torch.equal(stack.normal((2, 3, 3))[0], alone.normal((3, 3)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_keep_keeps_a_share_within_monte_carlo_error(rate: float) -> None:
    n = 400_000
    kept = Draws([streams.key(1, "noise1")], 7, CPU).keep((n,), rate).double()
    assert abs(float(kept.mean()) - (1 - rate)) < 4 * (rate * (1 - rate) / n) ** 0.5


def test_uniform_is_exact_over_all_levels() -> None:
    u = AllLevels().uniform(ALL).double()
    assert float(u.mean()) == 0.5
    assert float(u.var(correction=0)) == pytest.approx((1 - 2.0**-32) / 12, rel=1e-12)
    assert (float(u.min()), float(u.max())) == (0.5 / LEVELS, 1 - 0.5 / LEVELS)
    assert len(u.unique()) == LEVELS


def test_normal_is_exact_over_all_levels() -> None:
    z = AllLevels().normal(ALL).double()
    assert float(z.mean()) == pytest.approx(0, abs=1e-12)
    assert float(z.var(correction=0)) == pytest.approx(1, abs=1e-7)
    assert torch.equal(z, -z.flip(0))
    assert (z.diff() >= 0).all()
    assert float(z.max()) == pytest.approx(4.33, abs=0.01)
    for moment, right in ((4, 3), (6, 15)):
        assert float((z**moment).mean()) == pytest.approx(right, rel=0.005)


@pytest.mark.parametrize(("name", "distribution"), [("uniform", stats.uniform), ("normal", stats.norm)])
def test_draws_follow_their_distribution(name: str, distribution: object) -> None:
    drawn = getattr(Draws([streams.key(2, "test")], 0, CPU), name)((200, 100))
    assert drawn.shape == (200, 100)
    assert drawn.dtype == torch.float32
    assert stats.kstest(drawn.double().flatten().numpy(), distribution.cdf).pvalue > 1e-3  # type: ignore[attr-defined]


@given(KEYS, STEPS, st.integers(1, 3 * AT_ONCE), st.sampled_from([1e-9, 0.2, 0.5, 0.9]))
def test_the_fast_way_draws_the_same_numbers(key: int, step: int, count: int, rate: float) -> None:
    fast, plain, dropping, small = (Draws([key], step, CPU) for _ in range(4))
    plain._is_fast = False
    for _ in range(2):
        kept = plain.keep((count, 1), rate)
        assert torch.equal(fast.keep((count, 1), rate), kept)
        in_bytes = small.keep_bytes((count, 1), rate)
        assert in_bytes.dtype == torch.uint8 and torch.equal(in_bytes, kept.to(torch.uint8))
        h = torch.full((count, 1), 3.0)
        scale = dropping.drop_(h, rate)
        assert torch.equal(h, 3 * (kept * scale))
        assert scale == LEVELS / streams.keep_threshold(rate)


def _columns(h: torch.Tensor) -> torch.Tensor:
    return torch.cat([h, h], 1)[:, : h.shape[1]]


@pytest.mark.parametrize(
    "kind",
    [_columns, lambda h: h.mT.contiguous().mT, torch.Tensor.double],
    ids=["columns", "turned", "float64"],
)
def test_dropping_in_any_tensor(kind: Callable[[torch.Tensor], torch.Tensor]) -> None:
    plain = torch.linspace(-2, 2, 12 * 7).view(12, 7)
    given = kind(plain)
    for h in (plain, given):
        Draws([streams.key(3, "test")], 5, CPU).drop_(h, 0.5)
    assert torch.equal(given.float(), plain)


def test_autograd_sees_what_is_dropped() -> None:
    leaf = torch.linspace(0.1, 2, 40).view(5, 8).requires_grad_()
    h = leaf.clone()
    scale = Draws([streams.key(3, "test")], 5, CPU).drop_(h, 0.4)
    h.sum().backward()
    assert isinstance(scale, float) and leaf.grad is not None
    assert torch.equal(leaf.grad, (h != 0) * torch.tensor(scale))


# The path of a GPU


@pytest.fixture(scope="module")
def as_on_a_gpu() -> object:
    """Lets `Draws` take the path of a GPU without Triton, computed on the CPU."""
    table, key_words = streams._normal_quantiles(CPU), philox.key_words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(philox, "key_words", lambda keys, device: key_words(keys, CPU))
        patch.setattr(streams, "_normal_quantiles", lambda device: table)
        patch.setattr(gpu, "fused", lambda device: None)
        yield SimpleNamespace(type="cuda")


@settings(max_examples=40)
@given(
    st.lists(KEYS, min_size=1, max_size=3), STEPS, st.lists(st.integers(1, 40), min_size=1, max_size=3), RATES
)
def test_a_gpus_path_gives_the_same_numbers(
    as_on_a_gpu: torch.device, keys: list[int], step: int, units: list[int], rate: float
) -> None:
    there, cpu = Draws(keys, step, as_on_a_gpu), Draws(keys, step, CPU)
    lead = (len(keys),) if len(keys) > 1 else ()
    for width in units:
        shape = (*lead, 3, width)
        assert torch.equal(there.keep(shape, rate), cpu.keep(shape, rate))
        assert torch.equal(there.keep_bytes(shape, rate), cpu.keep_bytes(shape, rate).float())
        assert torch.equal(there.uniform(shape), cpu.uniform(shape))
        assert torch.equal(there.normal(shape), cpu.normal(shape))
