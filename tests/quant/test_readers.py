"""What reads a tensor decides which of its values need fine codes. Oracle: numpy and torch on all values at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgegd.quant.histogram import Histogram
from edgegd.quant.observers import choose_range
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.readers import SCORE, SILU, VALUE, readers_of_groups

NORMAL = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
BEFORE_SILU = 4 * NORMAL - 3  # as after a convolution: most values become next to nothing
LOGITS = 3 * NORMAL - 12  # of classes, most of which are certainly not there


def _histogram(values):
    histogram = Histogram()
    histogram.add(torch.from_numpy(values))
    return histogram


def _quantized(values, scale, zero_point):
    codes = np.clip(np.rint(values / np.float32(scale)), -zero_point, 255 - zero_point)
    return torch.from_numpy(codes * np.float32(scale)).double()


def _silu_error(values, scale, zero_point):
    made, wanted = F.silu(_quantized(values, scale, zero_point)), F.silu(torch.from_numpy(values).double())
    return float((made - wanted).square().sum())


def _score_error(values, scale, zero_point):
    expected = torch.from_numpy(values).double().sigmoid()
    entropy = F.binary_cross_entropy(expected, expected, reduction="sum")
    made = _quantized(values, scale, zero_point)
    return float(F.binary_cross_entropy_with_logits(made, expected, reduction="sum") - entropy)


@pytest.mark.parametrize(
    ("values", "reader", "error", "gain"),
    [
        (BEFORE_SILU, SILU, _silu_error, 2),
        (LOGITS, SCORE, _score_error, 4),
    ],
    ids=["silu", "score"],
)
def test_a_range_is_as_good_behind_its_reader_as_an_exhaustive_search(values, reader, error, gain):
    scale, zero_point, _ = choose_range(_histogram(values), "mse", reader=reader)
    whole = (float(values.max()) - float(values.min())) / 255
    best = min(error(values, s, z) for s in whole * np.linspace(0.1, 1.05, 40) for z in range(0, 256, 3))
    assert error(values, scale, zero_point) <= 1.05 * best
    assert gain * error(values, scale, zero_point) < error(values, *choose_range(_histogram(values), "mse")[:2])


def test_the_one_object_among_many_empty_places_keeps_its_score():
    values = np.append(NORMAL - 5, np.float32(5.3))
    scale, zero_point, _ = choose_range(_histogram(values), "mse", reader=SCORE)
    assert abs(float(_quantized(values, scale, zero_point)[-1]) - 5.3) <= 0.51 * scale
    cut_off = dataclasses.replace(SCORE, keeps_largest=False)  # by the sum of errors alone it would not
    scale, zero_point, _ = choose_range(_histogram(values), "mse", reader=cut_off)
    assert float(_quantized(values, scale, zero_point)[-1]) < 4.7


@pytest.mark.parametrize("reader", [VALUE, SILU, SCORE], ids=lambda reader: reader.name)
def test_no_finite_value_breaks_an_error(reader):
    values = np.array([-3.4e38, -1e4, -88.0, -1e-30, 0.0, 1e-30, 88.0, 1e4, 3.4e38])
    assert np.isfinite(reader.sees(values)).all() and (reader.error(values, values) == 0).all()
    assert np.isfinite(reader.error(values[::-1], values)).all() and (reader.error(values[::-1], values) >= 0).all()


@pytest.mark.parametrize(("architecture", "scores"), [("yolo11n", 3), ("yolo26n", 3), ("rtdetr-l", 0)])
def test_who_reads_each_tensor_of_a_detector(deployed, architecture, scores):
    one = deployed(architecture)
    readers = readers_of_groups(one.plan)
    assert readers.keys() == set(one.plan.groups.values())
    found = [group for group, reader in readers.items() if reader is SCORE]
    assert len(found) >= scores and all(".cv3." in group or "score" in group for group in found)
    for op in one.plan.ops:
        if op.operation == "silu":  # its result is read by convolutions; what it reads by nobody else
            assert readers[one.plan.groups[op.address]] is VALUE
            source = op.inputs[0]
            alone = [other for other in one.plan.ops if source in other.inputs] == [op]
            assert (readers[one.plan.groups[source]] is SILU) == alone


def test_a_range_says_through_whom_its_error_was_seen(deployed):
    one = deployed("yolo11n")
    histograms = {address: _histogram(BEFORE_SILU) for address in one.plan.groups}
    ranges = choose_ranges(one.plan, histograms, "mse")
    readers = readers_of_groups(one.plan)
    assert {group: chosen.reader for group, chosen in ranges.items()} == {g: r.name for g, r in readers.items()}
    low = {
        name: min(-r.zero_point * r.scale for g, r in ranges.items() if readers[g].name == name and g != "input")
        for name in ("value", "silu")
    }
    assert low["silu"] > low["value"] / 2  # what a SiLU makes zero has no codes
