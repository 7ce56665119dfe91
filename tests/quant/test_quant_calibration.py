"""Calibration. Oracle: numpy on all values at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegd.errors import UnsupportedModelError
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import Histogram, affine_range, calibrate, choose_range, quantization_error
from edgegd.quant.formats import UINT8_ACTIVATION


def _histogram(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(torch.as_tensor(np.asarray(batch, np.float32)))
    return histogram


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 14), st.integers(1, 300), st.integers(0, 2**31)), min_size=1, max_size=6))
def test_no_value_is_lost_or_moved_when_the_bins_double(batches):
    drawn = [np.float32(2.0**power) * np.random.default_rng(seed).standard_normal(count, np.float32)
             for power, count, seed in batches]  # fmt: skip
    histogram, values = _histogram(*drawn), np.concatenate(drawn).astype(np.float64)
    edges = (np.arange(8193) - 4096) * histogram.width
    expected, _ = np.histogram(values, edges)
    np.testing.assert_array_equal(histogram.counts.numpy(), expected)
    assert histogram.counts.sum() == len(values)
    assert math.log2(histogram.width) == int(math.log2(histogram.width))


def test_values_on_the_outermost_edge_count():
    assert _histogram([4096.0, -4096.0]).counts.sum() == 2
    assert _histogram([1.0], [1.0 - 2**-24, -1.0], [2.0]).counts.sum() == 4


@pytest.mark.parametrize(("low", "high"), [(-0.278, 12.5), (0.5, 3.0), (-7.0, -2.0), (-1e-6, 1e-6), (-3e4, 1e4)])
def test_minmax_covers_the_true_extremes_and_zero_has_a_code(low, high):
    values = np.random.default_rng(0).uniform(low, high, 5000)
    values[:2] = low, high
    chosen = choose_range(_histogram(values[:100], values[100:]), UINT8_ACTIVATION, "minmax")
    scale = chosen.scale
    assert scale == np.float32((np.float32(max(high, 0)) - np.float32(min(low, 0))) / 255) or math.isclose(
        scale, (max(high, 0) - min(low, 0)) / 255, rel_tol=1e-6
    )
    assert (0 - chosen.zero_point) * scale <= min(low, 0) + 0.51 * scale
    assert (255 - chosen.zero_point) * scale >= max(high, 0) - 0.51 * scale
    assert 0 <= chosen.zero_point <= 255  # the code of exactly 0.0


def test_the_order_and_the_size_of_batches_do_not_matter():
    values = np.random.default_rng(0).standard_normal(4000).astype(np.float32) ** 3
    for observer in ("minmax", "mse"):
        one = choose_range(_histogram(values), UINT8_ACTIVATION, observer)
        parts = choose_range(_histogram(*np.array_split(values, 7)), UINT8_ACTIVATION, observer)
        back = choose_range(_histogram(*np.array_split(values[::-1].copy(), 3)), UINT8_ACTIVATION, observer)
        assert one == parts == back


@pytest.mark.parametrize("seed", range(6))
def test_mse_is_never_worse_than_minmax_and_better_on_outliers(seed):
    values = np.random.default_rng(seed).standard_normal(20000).astype(np.float32)
    if seed % 2:
        values = np.concatenate([values, np.float32([8.0])])
    histogram = _histogram(values)
    errors = {}
    for observer in ("minmax", "mse"):
        chosen = choose_range(histogram, UINT8_ACTIVATION, observer)
        codes = np.clip(np.rint(values / np.float32(chosen.scale)), -chosen.zero_point, 255 - chosen.zero_point)
        errors[observer] = float(np.square(codes * np.float32(chosen.scale) - values).sum())
    assert errors["mse"] <= errors["minmax"] * 1.001  # the search sees bins, not values
    if seed % 2:
        assert errors["mse"] < 0.98 * errors["minmax"]


def test_the_ratio_of_signal_to_noise_is_that_of_the_values():
    values = np.random.default_rng(3).standard_normal(50000).astype(np.float32)
    chosen = choose_range(_histogram(values), UINT8_ACTIVATION, "minmax")
    error = quantization_error(values, np.ones_like(values), chosen.scale, chosen.zero_point, UINT8_ACTIVATION)
    signal = float(np.square(values, dtype=np.float64).sum())
    assert chosen.sqnr_db == pytest.approx(10 * math.log10(signal / error), abs=0.2)


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0, 1e-20, 1e20], ids=str)
@pytest.mark.parametrize("observer", ["minmax", "mse"])
def test_a_constant_tensor_keeps_its_value(value, observer):
    chosen = choose_range(_histogram(np.full(100, value)), UINT8_ACTIVATION, observer)
    code = np.clip(np.rint(value / chosen.scale) + chosen.zero_point, 0, 255)
    assert 0 < chosen.scale < math.inf and 0 <= chosen.zero_point <= 255
    assert (code - chosen.zero_point) * chosen.scale == pytest.approx(value, rel=0.01, abs=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(UnsupportedModelError, match="not finite") as caught:
        _histogram([0.0, bad, 1.0])
    assert caught.value.exit_code == 61


@given(low=st.floats(-1e6, 0), high=st.floats(0, 1e6))
def test_zero_is_a_code_of_every_affine_range(low, high):
    scale, zero_point = affine_range(low, high, UINT8_ACTIVATION)
    assert isinstance(zero_point, int) and 0 <= zero_point <= 255 and scale > 0
    assert -zero_point * scale <= low + 0.51 * scale and (255 - zero_point) * scale >= high - 0.51 * scale


def test_calibrating_a_model_sets_every_range_to_what_was_seen(deployed):
    one = deployed("yolov8n")
    quantized = QuantizedModel(one.model, one.plan)
    quantized.train()
    seen: list[int] = []
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ranges = calibrate(quantized, images.split(2), "minmax", seen.append)
    assert quantized.training and seen == [2, 3] and ranges.keys() == set(one.plan.groups.values())
    assert (ranges["input"].scale, ranges["input"].zero_point) == (np.float32(1 / 255), 0)
    first = "model.0.conv:conv2d:0"
    with torch.no_grad():
        stem = one.model.model[0].conv(images)
    expected = affine_range(float(stem.min()), float(stem.max()), UINT8_ACTIVATION)
    assert ranges[first].scale == pytest.approx(expected[0], rel=1e-5)
    for group, chosen in ranges.items():
        quantizer = quantized.range_of(group)
        assert (float(quantizer.scale), int(quantizer.zero_point)) == (np.float32(chosen.scale), chosen.zero_point)
    for op in one.plan.convolutions("integer"):
        weight = one.model.get_submodule(op.weight).weight
        scale = quantized.weights[op.weight.replace(".", "/")].scale
        assert torch.equal(scale, (weight.detach().abs().amax((1, 2, 3)) / 127).clamp(min=1e-12))
    one.model.eval()


def test_broken_weights_are_named_and_the_model_is_left_as_it_was(deployed):
    one = deployed("yolov8n")
    quantized = QuantizedModel(one.model, one.plan)
    with pytest.raises(UnsupportedModelError):
        calibrate(quantized, [torch.full((1, 3, 64, 64), math.nan)], "mse")
    assert quantized.observe is None
    one.model.eval()
