"""Properties of the statistics, known truths, and how often an interval holds the truth."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import ttest_ind

from src import stats
from src.stats import (
    LARGEST_BOOTSTRAP,
    Interval,
    Verdict,
    binomial_se,
    common_seeds,
    correlation,
    judge,
    mean_interval,
    paired,
    paired_p_value,
    pooled_half_width,
    sign_flip,
    summarise,
    t_interval,
)
from src.stats.seeds import needed_seeds, powered_seeds

MARGIN = 0.002

# Accuracies as they come: ten thousandths.
accuracies = some.integers(0, 10_000).map(lambda count: count / 10_000)
samples = some.lists(accuracies, min_size=2, max_size=12)
pairs = some.lists(some.tuples(accuracies, accuracies), min_size=2, max_size=12)
quick = settings(max_examples=40, deadline=None)


@quick
@given(samples)
def test_interval_holds_the_mean(values: list[float]) -> None:
    found = summarise(values)
    assert found.interval is not None
    assert found.interval.lower <= found.mean <= found.interval.upper
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))


@quick
@given(pairs, some.randoms(use_true_random=False))
def test_order_of_the_seeds_is_nothing(values: list[tuple[float, float]], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(values)
    random.shuffle(shuffled)
    assert paired(*zip(*values, strict=True)) == paired(*zip(*shuffled, strict=True))


@quick
@given(pairs)
def test_exchanging_the_arms_turns_the_sign(values: list[tuple[float, float]]) -> None:
    a, b = zip(*values, strict=True)
    one, other = paired(a, b), paired(b, a)
    assert one.difference == -other.difference
    assert one.interval is not None
    assert other.interval is not None
    assert (one.interval.lower, one.interval.upper) == (-other.interval.upper, -other.interval.lower)
    assert one.superiority == pytest.approx(1 - other.superiority)
    assert one.p == pytest.approx(other.p)
    if one.effect is not None:
        assert one.effect == pytest.approx(-other.effect)
    turned = {"better": "worse", "worse": "better"}
    word = judge(one.interval, one.p, MARGIN).word
    assert judge(other.interval, other.p, MARGIN).word == turned.get(word, word)
    assert judge(one.interval, one.p, MARGIN, higher_is_better=False).word == turned.get(word, word)


@quick
@given(pairs)
def test_ranges(values: list[tuple[float, float]]) -> None:
    found = paired(*zip(*values, strict=True))
    assert found.interval is not None
    assert found.interval.lower <= found.difference <= found.interval.upper
    assert 0 <= found.superiority <= 1
    assert found.p is not None
    assert 0 <= found.p <= 1


def test_few_and_equal_values() -> None:
    assert summarise([0.8]).interval is None
    assert summarise([0.8]).sd is None
    for values in ([0.8, 0.9], [0.8, 0.9, 0.85], [0.8, 0.81, 0.82, 0.83]):
        found = mean_interval(values)
        assert found is not None
        assert found.method == "t"
    assert mean_interval([0.8 + i / 100 for i in range(20)]).method == "BCa"  # type: ignore[union-attr]
    equal = mean_interval([0.8] * 5)
    assert equal is not None
    assert (equal.lower, equal.upper, equal.method) == (0.8, 0.8, "constant")


def test_t_interval_by_hand() -> None:
    # t(0.975, 1) = 12.706; the standard error of 1 and 3 is 1.
    found = mean_interval([1.0, 3.0])
    assert found is not None and found == t_interval([1.0, 3.0])
    assert (found.lower, found.upper) == (
        pytest.approx(2 - 12.7062, abs=1e-4),
        pytest.approx(2 + 12.7062, abs=1e-4),
    )


def test_paired_by_hand() -> None:
    found = paired([3.0, 5.0, 4.0], [1.0, 2.0, 4.0])  # differences 2, 3, 0
    assert found.n == 3
    assert found.difference == pytest.approx(5 / 3)
    assert found.effect == pytest.approx((5 / 3) / math.sqrt(7 / 3))
    assert found.superiority == pytest.approx(2.5 / 3)
    t = (5 / 3) / math.sqrt(7 / 9)
    # Student's t with 2 degrees of freedom has this closed form.
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_equal_differences_are_no_proof() -> None:
    # A difference that is equal but for its last digit must not pass for a precise one.
    found = paired([0.8712, 0.8614], [0.87, 0.8602])
    assert found.p == 0.5
    assert found.effect is None
    assert paired([0.1] * 3, [0.0] * 3).effect is None, "whose mean is another number than 0.1"
    assert paired_p_value([0.0, 0.0, 0.0]) == 1
    assert paired_p_value([0.1]) is None
    assert paired([0.1], [0.0]).effect is None


def test_no_common_seed() -> None:
    found = paired([], [])
    assert found.n == 0
    assert found.interval is None
    assert found.p is None
    assert math.isnan(found.difference)
    assert math.isnan(found.superiority)
    with pytest.raises(ValueError, match="common seed"):
        paired([1.0], [1.0, 2.0])


def test_common_seeds_pairs_by_seed_not_by_position() -> None:
    a, b = common_seeds({0: 1.0, 1: 2.0, 5: 3.0}, {5: 30.0, 1: 20.0, 7: 40.0})
    assert sorted(zip(a, b, strict=True)) == [(2.0, 20.0), (3.0, 30.0)]


def test_known_difference_is_found_through_the_noise_of_the_seeds() -> None:
    rng = np.random.default_rng(0)
    seeds, a, b = rng.normal(0, 1, 10), rng.normal(0, 0.1, 10), rng.normal(0, 0.1, 10)
    first, second = seeds + a + 0.3, seeds + b
    found = paired(first, second)
    assert found.difference == pytest.approx(0.3, abs=0.1)
    assert judge(found.interval, found.p, MARGIN).word == "better"
    assert judge(found.interval, found.p, MARGIN, higher_is_better=False).word == "worse"
    assert found.correlation is not None and found.correlation > 0.9
    assert abs(np.mean(first) - np.mean(second)) < np.std(first) / 2  # unpaired, it would drown


@quick
@given(pairs, some.sampled_from([0.05, 0.05 / 3, 0.05 / 36]))
def test_interval_and_p_are_of_one_method(values: list[tuple[float, float]], alpha: float) -> None:
    found = paired(*zip(*values, strict=True), alpha=alpha)
    assert found.interval is not None and found.p is not None
    if found.interval.method == "t" and abs(found.p - alpha) > 1e-9:
        assert found.interval.excludes(0) == (found.p < alpha)


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.003, 0.005), Verdict("better", "more")),
        ((0.001, 0.005), Verdict("better", "")),
        ((0.0001, 0.0015), Verdict("better", "less")),
        ((-0.005, -0.003), Verdict("worse", "more")),
        ((-0.0015, 0.0015), Verdict("equivalent")),
        ((-0.003, 0.001), Verdict("undecided", excluded=("better",))),
        ((-0.001, 0.003), Verdict("undecided", excluded=("worse",))),
        ((-0.003, 0.003), Verdict("undecided")),
    ],
)
def test_a_verdict_is_where_the_interval_lies(ends: tuple[float, float], verdict: Verdict) -> None:
    interval = Interval(*ends, "t")
    assert judge(interval, 0.04, MARGIN) == verdict
    mirrored = judge(Interval(-ends[1], -ends[0], "t"), 0.04, MARGIN, higher_is_better=False)
    assert mirrored == verdict


def test_little_data_decides_nothing() -> None:
    assert judge(None, None, MARGIN).word == "not tested"
    for n, word in ((2, "undecided"), (5, "undecided"), (6, "better")):
        found = paired([0.5] * n, [0.4] * n)  # equal differences have no t interval
        assert judge(found.interval, found.p, MARGIN).word == word


@quick
@given(pairs)
def test_ties_are_ties_whatever_their_last_digit(values: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*values, strict=True))
    off = 7e-18 * (-1) ** np.arange(len(a))
    assert paired(a + off, b).superiority == paired(a, b).superiority
    assert paired([0.1 + 0.2] * 20, [0.3] * 20).superiority == 0.5


@quick
@given(some.lists(some.tuples(accuracies, accuracies), min_size=3, max_size=9))
def test_correlation_is_pearsons(values: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*values, strict=True))
    found = correlation(a, b)
    assert found == correlation(b, a) or found is None
    if found is not None:
        deviations = (a - a.mean()) @ (b - b.mean())
        assert found == pytest.approx(deviations / (len(a) * a.std() * b.std()), abs=1e-6)
    assert correlation(a[:2], b[:2]) is None


def test_sign_flips_by_hand() -> None:
    assert sign_flip([0.01] * 5, MARGIN) == "undecided"  # 1/32 is above 0.025
    assert sign_flip([0.01] * 6, MARGIN) == "better"
    assert sign_flip([-0.01] * 6, MARGIN) == "worse"
    assert sign_flip([-0.01] * 6, MARGIN, higher_is_better=False) == "better"
    assert sign_flip([0.0001, -0.0001, 0.0002, -0.0002, 0.0, 0.0], MARGIN) == "equivalent"
    many = np.random.default_rng(0).normal(0.01, 0.005, 30)
    assert sign_flip(many, MARGIN) == sign_flip(many, MARGIN) == "better"


def test_needed_seeds_are_the_fewest() -> None:
    for sd in (0.001, 0.01, 0.2):
        n = needed_seeds(sd, 0.005)
        halves = [stats.stats.t.ppf(0.975, m - 1) * sd / math.sqrt(m) for m in (max(2, n - 1), n)]
        assert halves[1] <= 0.005 and (n == 2 or halves[0] > 0.005)


def test_powered_seeds_are_the_fewest_of_the_tables() -> None:
    """Cohen 1988, table 2.4.1, and G*Power 3.1, by SDs of the differences."""
    assert [powered_seeds(1.0, effect) for effect in (0.2, 0.4, 0.5, 0.8, 1.0)] == [199, 52, 34, 15, 10]
    assert powered_seeds(0.5, 0.2) == powered_seeds(5.0, 2.0) == 52
    assert powered_seeds(0.001, 1.0) == 2


def test_null_gives_null_in_a_family() -> None:
    """Of 40 families of 3 pairs without a difference, about 2 decide one when intervals are simultaneous."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(40):
        arms = rng.normal(0, 1, (3, 5))
        pairs = [paired(arms[a], arms[b], alpha=0.05 / 3) for a, b in ((0, 1), (0, 2), (1, 2))]
        found += any(pair.interval is not None and pair.interval.excludes(0) for pair in pairs)
    assert found <= 6  # a binomial of 40 and 0.05 is above that less than once in 200


def test_coverage() -> None:
    """The interval of 20 normal values holds the true mean in about 92% of samples, as its docstring says."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        found = mean_interval(rng.normal(1.0, 2.0, 20), resamples=499)
        assert found is not None
        held += not found.excludes(1.0)
    assert 0.87 < held / 300 < 0.97


def test_binomial_se() -> None:
    assert binomial_se(0.89, 10_000) == pytest.approx(0.0031, abs=5e-5)


# Many seeds


def test_an_interval_is_the_same_however_many_resamples_are_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = np.random.default_rng(1).exponential(size=200)
    whole = mean_interval(sample)
    assert whole is not None and whole.method == "BCa"
    for at_once in (1, 200 * 77, 200 * 9_998):
        monkeypatch.setattr("src.stats.RESAMPLED_AT_ONCE", at_once)
        assert mean_interval(sample) == whole


def test_past_the_largest_bootstrap_the_interval_goes_on_as_it_was() -> None:
    """Exponential values, skewed as no metric of ours is: the ends of both intervals, in widths."""
    sample = np.random.default_rng(1).exponential(size=LARGEST_BOOTSTRAP + 1)
    last, first = mean_interval(sample[:-1]), mean_interval(sample)
    assert last is not None and first is not None
    assert (last.method, first.method) == ("BCa", "t")
    width = first.upper - first.lower
    assert abs(last.lower - first.lower) < width / 30
    assert abs(last.upper - first.upper) < width / 30


def test_an_interval_of_many_seeds_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """All resamples of 1,000 values, 80 MB, and their indices would be in memory at once."""
    monkeypatch.setattr("src.stats.RESAMPLED_AT_ONCE", 2**18)  # 2 MB
    sample = np.random.default_rng(1).normal(size=1_000)
    tracemalloc.start()
    try:
        mean_interval(sample)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6


def test_a_spread_pooled_over_two_arms_gives_students_interval() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(0.87, 0.01, 8), rng.normal(0.88, 0.02, 8), rng.normal(0.86, 0.01, 8)
    interval = ttest_ind(a, b).confidence_interval(0.95)
    assert pooled_half_width([summarise(a), summarise(b)]) == (
        pytest.approx((interval.high - interval.low) / 2),
        14,
    )
    # a sum of four means has twice the variance of a difference; further arms tell more of the spread
    two, four = (pooled_half_width([*map(summarise, (a, b, c))], arms) for arms in (2, 4))
    assert two is not None and four is not None and two[1] == 21
    assert four[0] == pytest.approx(two[0] * 2**0.5)
    assert pooled_half_width([summarise([0.5])]) is None
