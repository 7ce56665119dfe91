"""The signed-rank test against scipy.stats.wilcoxon, its bounds by inverting that test; ties by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from edgegd.latency.statistics.signed_rank import (
    hodges_lehmann,
    lower_bound,
    null_tail,
    p_faster,
    p_slower,
    statistic,
    upper_bound,
    walsh_averages,
)

# Multiples of 1/1024 and their averages are exact floats: ties and zeros are then real ones, and frequent.
GRID = st.integers(-12, 12).map(lambda i: i / 1024)
SAMPLES = st.lists(GRID, min_size=2, max_size=12).map(lambda values: np.array(values))
LEVELS = st.sampled_from([0.25, 0.1, 0.05, 0.01, 0.004])


def untied(launches: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_t(3, launches) * 0.01


@pytest.mark.parametrize("launches", [1, 2, 5, 8, 14, 20, 30])
def test_p_values_are_scipys_where_nothing_is_tied(launches: int) -> None:
    for seed in range(20):
        ratios = untied(launches, seed)
        for margin in (-0.01, 0.0, 0.004):
            slower = stats.wilcoxon(ratios - margin, alternative="greater", method="exact").pvalue
            faster = stats.wilcoxon(ratios - margin, alternative="less", method="exact").pvalue
            assert float(p_slower(ratios, margin)) == pytest.approx(slower, rel=1e-12)
            assert float(p_faster(ratios, margin)) == pytest.approx(faster, rel=1e-12)


@pytest.mark.parametrize("launches", [1, 3, 8, 10])
def test_the_null_distribution_is_that_of_all_signs(launches: int) -> None:
    ranks = np.arange(1, launches + 1)
    sums = np.array(list(itertools.product((0, 1), repeat=launches))) @ ranks
    expected = [(sums >= w).mean() for w in range(ranks.sum() + 1)]
    assert null_tail(launches) == pytest.approx(expected, rel=1e-12)
    assert null_tail(launches)[-1] == 2.0**-launches


@given(SAMPLES, GRID)
def test_the_statistic_counts_the_walsh_averages_above_the_margin(ratios: NDArray[np.float64], margin: float) -> None:
    assert int(statistic(ratios, margin)) == np.count_nonzero(walsh_averages(ratios) > margin)


@given(SAMPLES, GRID, LEVELS)
def test_a_bound_is_beyond_the_margin_exactly_when_the_test_rejects(
    ratios: NDArray[np.float64], margin: float, alpha: float
) -> None:
    assert (lower_bound(ratios, alpha) > margin) == (float(p_slower(ratios, margin)) <= alpha)
    assert (upper_bound(ratios, alpha) < margin) == (float(p_faster(ratios, margin)) <= alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.004])
def test_bounds_are_where_scipys_test_starts_to_reject(alpha: float) -> None:
    for seed in range(10):
        ratios = untied(12, seed)
        low, high = lower_bound(ratios, alpha), upper_bound(ratios, alpha)
        for margin, alternative, rejects in (
            (low - 1e-9, "greater", True),
            (low + 1e-9, "greater", False),
            (high + 1e-9, "less", True),
            (high - 1e-9, "less", False),
        ):
            p = stats.wilcoxon(ratios - margin, alternative=alternative, method="exact").pvalue
            assert (p <= alpha) == rejects
        assert low < hodges_lehmann(ratios) < high


@given(SAMPLES, LEVELS)
def test_ties_and_zeros_never_reject_more_often_than_any_way_of_breaking_them(
    ratios: NDArray[np.float64], alpha: float
) -> None:
    generator = np.random.default_rng(0)
    for _ in range(8):
        broken = ratios + generator.uniform(-1, 1, len(ratios)) * 1e-7
        assert float(p_slower(ratios, 0.0)) >= float(p_slower(broken, 0.0))


def test_equal_observations_reject_with_the_smallest_p_there_is() -> None:
    assert float(p_slower(np.full(8, 0.05), 0.03)) == 2.0**-8
    assert float(p_slower(np.full(8, 0.03), 0.03)) == 1.0
    assert lower_bound(np.full(8, 0.05), 0.004) == 0.05


def test_too_few_launches_bound_nothing() -> None:
    assert lower_bound(untied(7, 0), 0.004) == -np.inf and upper_bound(untied(7, 0), 0.004) == np.inf
    assert np.isfinite(lower_bound(untied(8, 0), 0.004))


@given(SAMPLES, GRID, LEVELS)
def test_a_constant_shift_moves_estimate_and_bounds_along_and_makes_p_no_larger(
    ratios: NDArray[np.float64], shift: float, alpha: float
) -> None:
    assert hodges_lehmann(ratios + shift) == hodges_lehmann(ratios) + shift
    assert lower_bound(ratios + shift, alpha) == lower_bound(ratios, alpha) + shift
    assert float(p_slower(ratios + abs(shift), 0.0)) <= float(p_slower(ratios, 0.0))


def test_many_samples_at_once_are_the_same_as_one_by_one() -> None:
    draws = np.stack([untied(9, seed) for seed in range(12)]).reshape(3, 4, 9)
    single = [float(p_slower(row, 0.002)) for row in draws.reshape(12, 9)]
    assert p_slower(draws, 0.002).reshape(12).tolist() == single
