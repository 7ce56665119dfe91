"""Bounds from few images. Oracles: scipy's Student distribution, and means of few numbers whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.small_samples import expanded_tail, one_sided_bounds, standard_error, student_quantile


@pytest.mark.parametrize("degrees", [5, 9, 19, 86, 1000])
@pytest.mark.parametrize("share", [0.9, 0.95])
def test_the_quantiles_are_students(share: float, degrees: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert student_quantile(share, degrees) == pytest.approx(stats.t.ppf(share, degrees), abs=1e-3)


def test_tails_are_smaller_with_few_images_and_alpha_with_many() -> None:
    tails = [expanded_tail(0.05, images) for images in (6, 10, 20, 100, 10_000)]
    assert tails == sorted(tails) and tails[0] < 0.015 and tails[-1] == pytest.approx(0.05, abs=1e-4)


def bounds_of_means(images: int, sets: int = 1500) -> tuple[float, float]:
    """How often the lower bound of the mean of normal numbers lies above their true mean: ours, and percentiles'."""
    random = np.random.default_rng(images)
    ours = plain = 0
    for _ in range(sets):
        values = random.normal(0, 1, images)
        means = values[random.integers(images, size=(400, images))].mean(axis=1)
        ours += one_sided_bounds(means, 0.05, images)[0] > 0
        plain += np.percentile(means, 5) > 0
    return ours / sets, plain / sets


def test_six_images_hold_what_plain_percentiles_do_not() -> None:
    ours, plain = bounds_of_means(6)
    assert 0.03 < ours < 0.065 and plain > 0.085


def test_draws_without_a_box_are_left_out_and_the_error_is_of_n_less_one() -> None:
    values = np.concatenate([np.arange(1001) / 1000, np.full(50, np.nan)])
    low, high = one_sided_bounds(values, 0.05, 10_000)
    assert (low, high) == pytest.approx((0.05, 0.95), abs=1e-3)
    assert standard_error(values, 2) == pytest.approx(np.std(values[:1001], ddof=1) * np.sqrt(2))
