"""Refinement on unlabelled images. Oracle: the float model's own results, and plain rounding."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.readers import RELU, SCORE, SILU, VALUE
from edgegd.quant.refine import bias_correction, correlations, patches, refine
from edgegd.quant.rounding import round_weights

IMAGES = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
OTHERS = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _correlated(count, inputs, seed=0):
    """Inputs (count, inputs) that share three causes, as features of one object do."""
    generator = torch.Generator().manual_seed(seed)
    causes = torch.randn(count, 3, generator=generator)
    mixing = torch.randn(3, inputs, generator=torch.Generator().manual_seed(9))
    return causes @ mixing + 0.3 * torch.randn(count, inputs, generator=generator)


def test_rounding_for_correlated_inputs_changes_sums_less_than_the_nearest_codes():
    weight = torch.randn(16, 40, generator=torch.Generator().manual_seed(2))
    scale = weight.abs().amax(1) / 15
    codes = round_weights(weight, torch.cov(_correlated(2000, 40).T), scale, 15)
    nearest = (weight / scale[:, None]).round()
    assert torch.equal(codes, codes.round()) and codes.abs().max() <= 15 and (codes - nearest).abs().max() >= 1
    unseen = _correlated(500, 40, seed=5)
    lost, lost_nearest = (((c * scale[:, None] - weight) @ unseen.T).square().mean() for c in (codes, nearest))
    assert lost < 0.5 * lost_nearest


def test_rounding_for_independent_inputs_is_rounding_to_the_nearest():
    weight = torch.randn(8, 30, generator=torch.Generator().manual_seed(3))
    scale = weight.abs().amax(1) / 127
    for power in (torch.eye(30), torch.zeros(30, 30)):  # zeros: a tensor that calibration saw as zero throughout
        assert torch.equal(round_weights(weight, power, scale, 127), (weight / scale[:, None]).round())


def test_weights_on_their_grid_stay():
    codes = torch.randint(-63, 64, (8, 30), generator=torch.Generator().manual_seed(4)).float()
    scale = torch.linspace(0.01, 1, 8)
    correlation = torch.cov(_correlated(200, 30).T)
    assert torch.equal(round_weights(codes * scale[:, None], correlation, scale, 63), codes)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, 1),
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2),
    ],
    ids=["3x3", "stride", "1x1", "depthwise", "dilated, grouped"],
)
def test_patches_times_weights_are_the_convolution(convolution):
    x = torch.randn(1, 4, 15, 13, generator=torch.Generator().manual_seed(0))  # few positions: all of them
    sample = patches(convolution, x)
    with torch.no_grad():
        expected = F.conv2d(
            x,
            convolution.weight,
            None,
            convolution.stride,
            convolution.padding,
            convolution.dilation,
            convolution.groups,
        )[0].flatten(1)
        made = (convolution.weight.reshape(len(sample), -1, sample.shape[1]) @ sample).flatten(0, 1)
    torch.testing.assert_close(made, expected)


def test_positions_of_a_large_map_are_spread_and_the_same_for_every_image():
    rows, columns = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    x = torch.stack((rows, columns))[None]
    sample = patches(nn.Conv2d(2, 1, 1), x)[0]
    assert sample.shape == (2, 1024) and torch.equal(sample, patches(nn.Conv2d(2, 1, 1), x)[0])
    for axis in sample:
        counts = torch.histc(axis, 8, 0, 160)
        assert counts.min() > 0.7 * 128 and counts.max() < 1.3 * 128


def test_correlations_are_those_of_all_positions_about_the_mean():
    samples = [torch.randn(2, 5, count, generator=torch.Generator().manual_seed(count)) + 3 for count in (40, 70)]
    for group, found in enumerate(correlations(samples)):
        expected = torch.cov(torch.cat(samples, 2)[group], correction=0)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("reader", [VALUE, SILU, SCORE, RELU], ids=lambda reader: reader.name)
def test_the_weight_of_an_error_is_the_curvature_of_the_readers_error(reader):
    x = torch.linspace(-8.1, 8, 33, dtype=torch.float64)
    step = 1e-3
    above, below = (reader.error((x + side * step).numpy(), x.numpy()) for side in (1, -1))
    curvature = torch.from_numpy(above + below) / step**2 / 2
    factor = 2 if reader is SCORE else 1  # a divergence is half the weighted square
    torch.testing.assert_close(factor * curvature, reader.weight(x), rtol=1e-2, atol=2e-6)


def test_a_systematic_error_is_taken_back_and_chance_is_not():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(12, 200, 3, generator=generator)
    noise = torch.randn(12, 1, 3, generator=generator)  # as much as differs between images
    made = wanted - torch.tensor([0.5, 0.0, 0.5]) + noise * torch.tensor([0.0, 1.0, 0.02])
    found = bias_correction(made, wanted, VALUE)
    assert found[0] == pytest.approx(0.5, abs=1e-5) and found[2] == pytest.approx(0.5, abs=0.03)
    assert abs(float(found[1])) < abs(float((wanted - made).mean((0, 1))[1]))
    assert torch.equal(bias_correction(made[:1], wanted[:1], VALUE), torch.zeros(3))  # one image proves nothing


def test_what_one_image_alone_shows_moves_no_bias():
    """A class that one image of eight holds: its score was too low there, which says nothing of other images."""
    wanted = torch.full((8, 100, 2), -12.0)
    wanted[3, :5, 0] = 1.0
    wanted[:4, :5, 1] = 1.0  # four images agree
    made = wanted - torch.where(wanted > 0, 10.0, 0.0)
    found = bias_correction(made, wanted, SCORE)
    assert found[0] == 0 and found[1] == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize(("value", "reader"), [(-200.0, SCORE), (-200.0, SILU)])
def test_nothing_that_counts_corrects_nothing(value, reader):
    wanted = torch.full((3, 10, 2), value)
    assert torch.equal(bias_correction(wanted + 1e-30, wanted, reader), torch.zeros(2))


def test_saturated_values_do_not_move_a_bias_before_a_silu():
    """Large values that a range cut off lower the mean; what the SiLU passes on is right as it is."""
    wanted = torch.linspace(-12, 4, 400).expand(8, 400)[..., None].clone()
    made = wanted.clamp(min=-6)  # its mean is 1.1 too high, the SiLU's at most 0.015
    assert float((wanted - made).mean()) < -1
    assert abs(float(bias_correction(made, wanted, SILU)[0])) < 0.03


def test_negative_results_do_not_move_a_bias_before_a_relu():
    wanted = torch.linspace(-4, 4, 81).expand(8, 81)[..., None].clone()
    made = torch.where(wanted < 0, wanted - 3, wanted - 0.25)
    assert float(bias_correction(made, wanted, RELU)[0]) == pytest.approx(0.25)


def test_a_refined_model_is_nearer_to_float_on_other_images(deployed):
    """7-bit weights, whose rounding is what this model loses most by."""
    one = deployed("yolo11n")
    plan = one.plan.for_profile("x86-avx2")
    model = copy.deepcopy(one.model)
    quantized = QuantizedModel(model, plan)
    calibrate(quantized, [IMAGES], "mse")
    quantized.eval()
    with torch.no_grad():
        expected, before = one.model.eval()(OTHERS), quantized(OTHERS)
        steps: list[tuple[int, int]] = []
        found = refine(quantized, IMAGES, lambda done, total: steps.append((done, total)))
        after = quantized(OTHERS)
    convolutions = [op for op in plan.ops if op.weight and op.decision == "integer"]
    assert steps == [(i + 1, len(convolutions)) for i in range(len(convolutions))]
    weights = [model.get_submodule(op.weight).weight for op in convolutions]
    assert found.images == 6 and found.codes == sum(weight.numel() for weight in weights)
    assert 0.01 < found.changed_codes / found.codes < 0.5 and math.isfinite(found.largest_bias_change)
    for part in (lambda y: y[:, :4], lambda y: y[:, 4:].logit()):  # boxes, scores
        lost, left = ((part(y) - part(expected)).square().mean() for y in (before, after))
        assert left < lost
    assert quantized.observe is None and quantized.before_convolution is None and not quantized.training


def test_refined_weights_are_codes_whose_scales_stay(deployed):
    one = deployed("yolo11n")
    quantized = QuantizedModel(copy.deepcopy(one.model), one.plan.for_profile("x86-avx2"))
    calibrate(quantized, [IMAGES], "mse")
    refine(quantized, IMAGES[:2])
    scales = {
        op.weight: quantized.weight_quantizer(op).scale.clone()
        for op in one.plan.ops
        if op.weight and op.decision == "integer"
    }
    stem, scale = "model.0.conv", scales["model.0.conv"].view(-1, 1, 1, 1)  # it reads the image: its nearest codes
    before, after = (model.get_submodule(stem).weight for model in (one.model, quantized.model))
    assert torch.equal((after / scale).round(), (before / scale).round())
    again = QuantizedModel(copy.deepcopy(one.model), quantized.plan)
    again.load_state_dict(quantized.state_dict())
    for held in (quantized, again):
        held.train()
        held.update_ranges()
        for op in (op for op in one.plan.ops if op.weight in scales):
            quantizer, weight = held.weight_quantizer(op), held.model.get_submodule(op.weight).weight
            assert torch.equal(quantizer.scale, scales[op.weight])
            codes = weight / quantizer.scale.view(-1, 1, 1, 1)
            torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)
    with torch.no_grad():
        for path in scales:
            again.model.get_submodule(path).weight.mul_(0.5)
    again.update_ranges()
    assert all(
        torch.equal(again.weight_quantizer(op).scale, scales[op.weight]) for op in one.plan.ops if op.weight in scales
    )
    again.follow_weights(tie=True)  # another calibration, or another profile's bits
    assert all(
        (again.weight_quantizer(op).scale < scales[op.weight]).all() for op in one.plan.ops if op.weight in scales
    )


def test_a_large_model_takes_fewer_images(deployed, monkeypatch):
    one = deployed("yolov8n")
    largest = max(math.prod(op.shape) for op in one.ops if op.operation == "conv2d")
    monkeypatch.setattr("edgegd.quant.refine._BYTES", 24 * 5 * largest)
    quantized = QuantizedModel(copy.deepcopy(one.model), one.plan)
    calibrate(quantized, [IMAGES], "mse")
    assert refine(quantized, IMAGES).images in (4, 5)
