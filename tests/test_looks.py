"""Levels of repeated looks: known constants, and how often the intervals miss, by simulations of another seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from scipy import stats

from src.stats import looks, t_interval
from src.stats.looks import OBRIEN_FLEMING, POCOCK, SPENDING, Looks

PLAN = (10, 20, 30, 45, 60)
PATHS = 40_000
few = settings(max_examples=15, deadline=None)


@pytest.fixture(scope="module")
def p_values() -> NDArray[np.float64]:
    """Of t-tests of mean 0 on standard normal values, shape (61, PATHS): row n after n of them."""
    values = np.random.default_rng(99).standard_normal((60, PATHS))
    n = np.arange(1, 61)[:, None]
    total, squares = values.cumsum(0), (values**2).cumsum(0)
    with np.errstate(all="ignore"):
        t = total / np.sqrt(n * (squares - total**2 / n) / (n - 1))
    p = np.ones((61, PATHS))
    p[2:] = 2 * stats.t.sf(np.abs(t[1:]), n[1:] - 1)
    return p


def missed(p_values: NDArray[np.float64], plan: Looks, usable: tuple[int, ...]) -> float:
    """Share of the paths on which any of the intervals misses the mean."""
    levels = np.array(plan.levels(usable))[:, None]
    return float((p_values[list(usable)] < levels).any(0).mean())


def bound(alpha: float) -> float:
    """That share at most: alpha, and three standard errors of both simulations."""
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) * (1 / PATHS + 1 / looks.PATHS))


def test_known_constants_for_many_pairs() -> None:
    # Jennison & Turnbull 2000, tables 2.1 and 2.3: of five looks at 0.05 Pocock's nominal level is 0.0158,
    # O'Brien & Fleming's bounds are 2.040 times the root of 5 / k
    planned = (40, 80, 120, 160, 200)
    assert Looks(planned).levels(planned) == pytest.approx((0.0158,) * 5, rel=0.04)
    expected = [2 * stats.norm.sf(2.040 * math.sqrt(5 / look)) for look in range(1, 6)]
    assert Looks(planned, 0.05, OBRIEN_FLEMING).levels(planned) == pytest.approx(expected, rel=0.08)


def test_a_single_look_is_the_t_test() -> None:
    for alpha in (0.3, 0.05, 0.0001):
        for spending in SPENDING:
            assert Looks((12,), alpha, spending).levels((12,)) == pytest.approx((alpha,), rel=0.03)


def test_normal_bounds_let_too_much_through_and_ours_do_not(p_values: NDArray[np.float64]) -> None:
    normal = (0.0158,) * 5  # for five equally spaced looks; a little less than these would need
    assert (p_values[list(PLAN)] < np.array(normal)[:, None]).any(0).mean() > 0.0525
    for spending in SPENDING:
        share = missed(p_values, Looks(PLAN, 0.05, spending), PLAN)
        assert 0.047 < share <= bound(0.05)


@few
@given(
    some.lists(some.integers(2, 59), max_size=5, unique=True).map(lambda looks: [*sorted(looks), 60]),
    some.sampled_from([0.05, 0.01]),
    some.sampled_from(SPENDING),
    some.data(),
)
def test_whatever_pairs_are_lost_the_intervals_miss_no_more_than_alpha(
    p_values: NDArray[np.float64], planned: list[int], alpha: float, spending: str, data: some.DataObject
) -> None:
    usable: list[int] = []
    for new in np.diff([0, *planned]):
        usable.append((usable[-1] if usable else 0) + data.draw(some.integers(0, int(new))))
    plan = Looks(tuple(planned), alpha, spending)
    levels = plan.levels(usable)
    assert len(levels) == len(planned)
    assert all(0 <= level <= alpha for level in levels)
    assert all((level == 0) == (n < 2) for level, n in zip(levels[-1:], usable[-1:], strict=True))
    assert missed(p_values, plan, tuple(usable)) <= bound(alpha)
    # what is to come does not change what was said
    assert all(plan.levels(usable[:look]) == levels[:look] for look in range(1, len(usable)))


def test_a_small_alpha_is_shared_between_the_looks() -> None:
    assert Looks(PLAN, 0.001).levels(PLAN) == pytest.approx([0.0002] * 5)
    late = Looks(PLAN, 0.001, OBRIEN_FLEMING).levels(PLAN)
    assert sum(late) == pytest.approx(0.001)
    assert list(late) == sorted(late)
    lost = Looks(PLAN, 0.001).levels((9, 9, 20, 30, 50))
    assert lost[1] == lost[0]  # no new pair, nothing spent
    assert sum(lost) - lost[1] <= 0.001 + 1e-12


def test_levels_are_the_same_each_time() -> None:
    before = Looks(PLAN).levels((10, 19, 27))
    for cached in (looks._plan, looks._levels, looks._tails):
        cached.cache_clear()
    assert Looks(PLAN).levels((10, 19, 27)) == before


def test_an_interval_is_students_at_the_level() -> None:
    values = np.random.default_rng(1).normal(0.1, 1, 10)
    plan = Looks(PLAN)
    assert plan.interval(values, (10,)) == t_interval(values, plan.levels((10,))[0])
    assert plan.interval([1.0], (1,)) is None
    assert plan.verdict(None, (1,), 0.2).word == "not tested"


def test_equal_differences_decide_only_where_their_number_would_be_rare() -> None:
    plan = Looks((4, 10), 0.05, POCOCK)
    for value, word in ((0.5, "better"), (-0.5, "worse"), (0.0, "equivalent")):
        few, many = plan.interval([value] * 4, (4,)), plan.interval([value] * 10, (4, 10))
        assert plan.verdict(few, (4,), 0.2).word == "undecided"
        assert plan.verdict(many, (4, 10), 0.2).word == word
        turned = {"better": "worse", "worse": "better"}.get(word, word)
        assert plan.verdict(many, (4, 10), 0.2, higher_is_better=False).word == turned
