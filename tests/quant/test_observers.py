"""Histograms and observers. Oracle: numpy on all values at once."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgegd.plan.formats import LARGEST_SCALE, SMALLEST_SCALE
from edgegd.quant.code_errors import CodeErrors, affine_range, sqnr_db
from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import PERCENTILE, choose_range
from edgegd.quant.quantizers import ActivationQuantizer
from edgegd.recipe.schema import AUTO_OBSERVER, OBSERVERS, QuantSection

ALL = (*OBSERVERS, AUTO_OBSERVER)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)  # denormals and 3.4e38 too


def _histogram(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(torch.as_tensor(np.asarray(batch, np.float32)))
    return histogram


def _codes(values, scale, zero_point):
    """What QuantizeLinear makes of values, less the zero point: a float32 division, half to even, saturated."""
    return np.clip(np.rint(np.float32(values) / np.float32(scale)), -zero_point, 255 - zero_point)


def _error(values, scale, zero_point):
    back = _codes(values, scale, zero_point) * np.float32(scale)
    return float(np.square(back.astype(np.float64) - values).sum())


def _values(kind, seed=0, count=40000):
    normal = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    return {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "silu": (3 * normal / (1 + np.exp(-3 * normal))),
        "heavy": normal**3,
        "outlier": np.append(normal, np.float32(40)),
        "negative": -np.abs(normal) - 1,
    }[kind]


KINDS = ("normal", "relu", "silu", "heavy", "outlier", "negative")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 14), st.integers(1, 300), st.integers(0, 2**31)), min_size=1, max_size=6))
def test_no_value_is_lost_or_moved_when_the_bins_double(batches):
    drawn = [
        np.float32(2.0**power) * np.random.default_rng(seed).standard_normal(count, np.float32)
        for power, count, seed in batches
    ]
    histogram, values = _histogram(*drawn), np.concatenate(drawn).astype(np.float64)
    edges = (np.arange(8193) - 4096) * histogram.width
    expected, _ = np.histogram(values, edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    sums, _ = np.histogram(values, edges, weights=values / histogram.width)
    means, counts = histogram.bins()
    np.testing.assert_allclose(means, sums[expected > 0] / counts, atol=1e-4)
    assert math.log2(histogram.width) == int(math.log2(histogram.width))


def test_values_on_the_outermost_edge_count():
    assert _histogram([4096.0, -4096.0]).counts.sum() == 2
    assert _histogram([1.0], [1.0 - 2**-24, -1.0], [2.0]).counts.sum() == 4


def test_memory_does_not_grow_with_what_is_counted():
    histogram = _histogram(*(np.random.default_rng(i).standard_normal(1000) * 2.0**i for i in range(30)))
    assert {name: len(held) for name, held in vars(histogram).items() if isinstance(held, np.ndarray)} == {
        "counts": 8192,
        "residuals": 8192,
    }


def test_arrays_are_counted_as_tensors_are():
    batches = [_values("heavy", 1) * 50, _values("relu", 2), _values("negative", 3) * 1e-3]
    ours, theirs = Histogram(), _histogram(*batches)
    for values in batches:
        ours.add_array(np.asarray(values, np.float32).reshape(2, -1))
    np.testing.assert_array_equal(ours.counts, theirs.counts)
    np.testing.assert_allclose(ours.residuals, theirs.residuals, rtol=1e-3)  # sums of float32
    assert (ours.low, ours.high, ours.width) == (theirs.low, theirs.high, theirs.width)
    with pytest.raises(ValueError, match="nan"):
        ours.add_array(np.array([1, np.nan], np.float32))


def test_merged_histograms_are_the_histogram_of_all_values():
    parts = [_values("heavy", 1) * 50, _values("relu", 2), _values("negative", 3) * 1e-3]
    merged, whole = Histogram.merged(map(_histogram, parts)), _histogram(*parts)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_allclose(merged.residuals, whole.residuals, rtol=1e-3)  # sums of float32
    assert (merged.low, merged.high, merged.width) == (whole.low, whole.high, whole.width)


@given(FINITE, FINITE)
def test_every_affine_range_is_one_that_can_be_computed_with(low, high):
    low, high = min(low, high), max(low, high)
    scale, zero_point = affine_range(low, high)
    ActivationQuantizer().set_range(scale, zero_point)  # refuses what is no range
    stored = np.float32(scale)
    assert np.isfinite(stored) and stored >= np.finfo(np.float32).smallest_normal and np.isfinite(1 / stored)
    assert isinstance(zero_point, int) and 0 <= zero_point <= 255  # exactly 0.0 has a code
    assert zero_point == 0 if low >= 0 else True
    codes = _codes([low, 0.0, high], scale, zero_point) + zero_point
    assert ((codes >= 0) & (codes <= 255)).all() and codes[1] == zero_point
    if SMALLEST_SCALE < scale < LARGEST_SCALE:
        assert -zero_point * scale <= min(low, 0) + 0.51 * scale
        assert (255 - zero_point) * scale >= max(high, 0) - 0.51 * scale


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("observer", OBSERVERS)
def test_the_ratio_of_signal_to_noise_is_that_of_the_values_codes(kind, observer):
    values, histogram = _values(kind), _histogram(_values(kind))
    scale, zero_point, winner = choose_range(histogram, observer)
    signal = float(np.square(values, dtype=np.float64).sum())
    expected = 10 * math.log10(signal / _error(values, scale, zero_point))
    assert winner == observer
    assert sqnr_db(histogram, scale, zero_point) == pytest.approx(expected, abs=0.05)


def test_codes_of_half_way_values_round_to_even():
    histogram = _histogram([0.5, 1.5, 2.5, -0.5, -1.5, 300.0])
    codes = CodeErrors.of(histogram).codes(1.0, 10)
    np.testing.assert_array_equal(codes, [-2, 0, 0, 2, 2, 245])


def test_minmax_is_the_true_extremes():
    for low, high in ((-0.278, 12.5), (0.5, 3.0), (-7.0, -2.0), (-1e-6, 1e-6), (-3e4, 1e4)):
        values = np.random.default_rng(0).uniform(low, high, 5000).astype(np.float32)
        values[:2] = low, high
        scale, zero_point, _ = choose_range(_histogram(values[:100], values[100:]), "minmax")
        assert scale == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-6)
        assert zero_point == round(-min(low, 0) / scale)


@pytest.mark.parametrize("share", [99.0, 99.9, 100.0])
def test_percentile_cuts_half_of_the_share_at_each_end(share):
    values = _values("normal")
    scale, zero_point, _ = choose_range(_histogram(values), "percentile", share)
    low, high = np.percentile(values, [(100 - share) / 2, (100 + share) / 2])
    assert -zero_point * scale == pytest.approx(low, abs=scale)
    assert (255 - zero_point) * scale == pytest.approx(high, abs=scale)


@pytest.mark.parametrize("kind", KINDS)
def test_mse_is_as_good_as_an_exhaustive_search(kind):
    values = _values(kind, count=4000)
    scale, zero_point, _ = choose_range(_histogram(values), "mse")
    whole, _ = affine_range(values.min(), values.max())
    one_sided = 0 if values.min() >= 0 else 255 if values.max() <= 0 else None
    shifts = {zero_point, *range(0, 256, 2)} if one_sided is None else {one_sided}
    best = min(_error(values, s, z) for s in whole * np.linspace(0.05, 1.05, 60) for z in shifts)
    assert _error(values, scale, zero_point) <= 1.03 * best


def test_entropy_cuts_an_outlier_off_but_not_what_is_dense():
    scale, zero_point, _ = choose_range(_histogram(_values("outlier")), "entropy")
    assert 2.5 < (255 - zero_point) * scale < 10  # of 40; the others end at 4.2
    scale, zero_point, _ = choose_range(_histogram(np.random.default_rng(0).uniform(-1, 1, 40000)), "entropy")
    assert (255 - zero_point) * scale > 0.9
    scale, zero_point, _ = choose_range(_histogram(_values("relu")), "entropy")
    assert 255 * scale > 2.5  # as many zeros as other values say nothing of the range


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_the_candidate_of_the_least_error(kind):
    values, histogram = _values(kind), _histogram(_values(kind))
    errors = {o: _error(values, *choose_range(histogram, o)[:2]) for o in OBSERVERS}
    scale, zero_point, winner = choose_range(histogram, "auto")
    assert _error(values, scale, zero_point) == errors[winner] <= 1.001 * min(errors.values())


@pytest.mark.parametrize("observer", ALL)
def test_values_without_a_negative_one_have_zero_point_zero(observer):
    assert choose_range(_histogram(_values("relu")), observer)[1] == 0
    assert choose_range(_histogram(_values("negative")), observer)[1] == 255


@pytest.mark.parametrize("observer", ALL)
def test_the_order_and_the_size_of_batches_do_not_matter(observer):
    values = _values("heavy", count=4000)
    one = choose_range(_histogram(values), observer)
    assert one == choose_range(_histogram(*np.array_split(values, 7)), observer)
    assert one == choose_range(_histogram(*np.array_split(values[::-1].copy(), 3)), observer)


@pytest.mark.parametrize("value", [3.5, -2.0, 0.1, -1e-5, 1e20], ids=str)
@pytest.mark.parametrize("observer", ALL)
def test_a_constant_tensor_keeps_its_value_exactly(value, observer):
    scale, zero_point, winner = choose_range(_histogram(np.full(100, value)), observer)
    assert _codes(value, scale, zero_point) * np.float32(scale) == np.float32(value)
    assert winner == "constant" and 0 <= zero_point <= 255


def test_a_tensor_of_zeros_keeps_room_for_other_values():
    assert choose_range(_histogram(np.zeros(9)), "auto") == (np.float32(1 / 255), 0, "constant")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="values from"):
        _histogram([0.0, bad, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=20), st.sampled_from(ALL))
@example([0.0, 3e38], "mse")  # scales at the upper bound
def test_any_finite_values_have_a_range(values, observer):
    histogram = _histogram(values)
    scale, zero_point, _ = choose_range(histogram, observer)
    ActivationQuantizer().set_range(scale, zero_point)
    assert not math.isnan(sqnr_db(histogram, scale, zero_point))


def test_a_recipe_offers_these_observers():
    of = {field.name: field for field in dataclasses.fields(QuantSection)}
    assert set(of["observer"].metadata["choices"]) == set(ALL)
    assert of["percentile"].default == PERCENTILE
