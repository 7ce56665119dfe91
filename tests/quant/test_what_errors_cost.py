"""Histograms weighted by what errors cost at the head. Oracles: numpy's histogram, and the divergence itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from edgegd.addresses import INPUT
from edgegd.detectors.curvature import Curvature
from edgegd.detectors.families.head_difference import (
    sigmoid_curvature,
    sigmoid_difference,
    softmax_curvature,
    softmax_difference,
)
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate, collect
from edgegd.quant.histogram import HALF_BINS, Histogram
from edgegd.quant.ranges import choose_ranges
from edgegd.quant.readers import SCORE, readers_of_groups
from edgegd.quant.sensitivity import collect_sensitivities, emphasised

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_weighted_histogram_is_numpys():
    generator = np.random.default_rng(0)
    values, weights = generator.normal(size=200_000).astype(np.float32), generator.random(200_000)
    histogram = Histogram()
    for part in (slice(0, 70_000), slice(70_000, None)):  # across blocks, and over a widening
        histogram.add(torch.from_numpy(values[part]), torch.from_numpy(weights[part]))
    edges = np.arange(-HALF_BINS, HALF_BINS + 1) * histogram.width
    expected, _ = np.histogram(values, edges, weights=weights)
    np.testing.assert_allclose(histogram.counts, expected, rtol=1e-9, atol=1e-9)
    assert histogram.total == pytest.approx(weights.sum())
    means, counts = histogram.bins()
    assert (means * histogram.width) @ counts == pytest.approx((values * weights).sum(), abs=0.5)
    twice = histogram.times(2)
    assert twice.total == pytest.approx(2 * weights.sum()) and (twice.low, twice.high) == (values.min(), values.max())


@pytest.mark.parametrize(
    ("curvature", "difference", "shapes"),
    [
        (sigmoid_curvature, sigmoid_difference, {"scores": (1, 3, 6), "boxes": (1, 16, 6)}),
        (sigmoid_curvature, sigmoid_difference, {"scores": (1, 3, 6), "boxes": (1, 4, 6)}),
        (softmax_curvature, softmax_difference, {"logits": (1, 4, 6), "offsets": (1, 4, 6)}),
    ],
    ids=["distributions", "distances", "softmax"],
)
def test_curvatures_are_those_of_the_differences(curvature, difference, shapes):
    """An error of one prediction at a time."""
    generator, error = torch.Generator().manual_seed(0), 1e-3
    target = {key: torch.randn(shape, generator=generator).double() for key, shape in shapes.items()}
    for key, (own, found) in zip(shapes, curvature(target), strict=True):
        assert own is target[key] and found.shape == own.shape
        for place in range(own.numel()):
            changed = own.flatten().clone()
            changed[place] += error
            lost, _ = difference({**target, key: changed.view_as(own)}, target)
            assert float(lost) / error**2 == pytest.approx(float(found.flatten()[place]), rel=2e-3)


def predictions(model: Any, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the end-to-end head of a QuantizedModel's model returns before decoding."""
    model.model.model[-1].training = True
    try:
        return model(images)["one2one"]
    finally:
        model.model.model[-1].training = False


@pytest.fixture(scope="module")
def end2end(deployed) -> QuantizedModel:
    one = deployed("yolo26n")
    quantized = QuantizedModel(copy.deepcopy(one.model), one.plan)
    calibrate(quantized, [IMAGES], "mse")
    return quantized.eval()


@pytest.mark.parametrize("place", ["model.4.cv2.act:silu:0", "model.22.cv2.conv:conv2d:0"])
def test_the_weights_foretell_the_divergence_that_random_errors_make(end2end, place):
    """An error of each value of one tensor, too small for the divergence to be anything but quadratic."""
    image, step = IMAGES[:1], 1e-2
    curvature = Curvature(end2end.model, 0)
    found = [collect_sensitivities(end2end, [image.clone()], curvature)[place].total for _ in range(24)]
    readers = {op.inputs[0]: op.address for op in end2end.plan.ops if op.operation == "silu"}
    changed = readers.get(place, place)  # what a SiLU reads counts by the SiLU's result
    end2end.observe = lambda address, x: None
    generator, lost = torch.Generator().manual_seed(1), []
    try:
        with torch.no_grad():
            target = predictions(end2end, image)
            belief = float(target["scores"].sigmoid().amax(1).sum())

            def disturb(address: str, x: torch.Tensor) -> None:
                if address == changed:
                    x += step * (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1)

            end2end.observe = disturb
            for _ in range(24):
                own = predictions(end2end, image)
                exact = {key: own[key].double() for key in ("scores", "boxes")}
                wanted = {key: target[key].double() for key in ("scores", "boxes")}
                lost.append(float(sigmoid_difference(exact, wanted)[0]) * max(belief, 1) / belief)
    finally:
        end2end.observe = None
    assert sum(found) * step**2 == pytest.approx(sum(lost), rel=0.25)


def test_a_family_without_comparable_heads_is_weighed_by_what_enters_the_head(deployed):
    one = deployed("rtdetr-l")
    quantized = QuantizedModel(copy.deepcopy(one.model), one.plan)
    found = collect_sensitivities(quantized, [IMAGES[:1].clone()], Curvature(quantized.model, 0))
    assert found and all(np.isfinite(histogram.total) for histogram in found.values())
    assert sum(histogram.total > 0 for histogram in found.values()) > len(found) / 2


def test_every_planned_tensor_but_scores_is_weighed_and_the_model_stays_as_it_was(end2end):
    before = {name: (value.clone(), value.requires_grad) for name, value in end2end.named_parameters()}
    steps: list[int] = []
    found = collect_sensitivities(end2end, IMAGES.split(1), Curvature(end2end.model, 0), steps.append)
    plain, readers = collect(end2end, [IMAGES]), readers_of_groups(end2end.plan)
    assert steps == [1, 2] and INPUT not in found
    deployed_only = {a for a in plain if ".cv2." not in a.replace("one2one_cv2", "") or "one2one" in a}
    expected = {a for a in deployed_only if readers[end2end.plan.groups[a]] is not SCORE and "/" not in a}
    expected = {a for a in expected if ":softmax:" not in a}  # its range is known
    assert expected - found.keys() == set() and all(readers[end2end.plan.groups[a]] is not SCORE for a in found)
    weighted = emphasised(plain, found)
    for address, histogram in found.items():
        if address in plain:
            extremes = pytest.approx((plain[address].low, plain[address].high), rel=1e-4, abs=1e-5)
            assert (weighted[address].low, weighted[address].high) == extremes
            assert weighted[address].total == pytest.approx(1.03 * histogram.total)
    ranges = choose_ranges(end2end.plan, plain, "mse"), choose_ranges(end2end.plan, plain, "mse", emphasised=weighted)
    assert sum(ranges[0][group].scale != ranges[1][group].scale for group in ranges[0]) > len(ranges[0]) / 4
    for name, value in end2end.named_parameters():
        assert torch.equal(value, before[name][0]) and value.requires_grad == before[name][1] and value.grad is None
    assert end2end.observe is None and not end2end.training and not end2end.model.model[-1].training
