"""Calibration of whole models. Oracle: hooks on the float model, and numpy on what they saw."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgegd.detectors.deployment import plan_detector
from edgegd.errors import CalibrationError
from edgegd.plan.formats import SMALLEST_SCALE
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate, collect
from edgegd.quant.code_errors import affine_range
from edgegd.quant.ranges import choose_ranges
from edgegd.recipe.schema import AUTO_OBSERVER, OBSERVERS

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def _sqnr_db(values, scale, zero_point, seen=lambda values: values):
    codes = np.clip(np.rint(values / np.float32(scale)), -zero_point, 255 - zero_point)
    values = values.astype(np.float64)
    error = np.square(seen((codes * np.float32(scale)).astype(np.float64)) - seen(values)).sum()
    return 10 * math.log10(np.square(seen(values)).sum() / error)


def _seen(model, path, images):
    """What a module of the float model returns for the images."""
    kept = []
    handle = model.get_submodule(path).register_forward_hook(lambda module, args, result: kept.append(result))
    with torch.no_grad():
        model(images)
    handle.remove()
    return torch.cat([k.flatten() for k in kept]).numpy()


def test_calibrating_a_model_sets_every_range_to_what_was_seen(deployed):
    one = deployed("yolov8n")
    quantized = QuantizedModel(one.model, one.plan)
    quantized.train()
    seen: list[int] = []
    ranges = calibrate(quantized, IMAGES.split(2), "minmax", seen.append)
    one.model.eval()
    assert quantized.observe is None and seen == [2, 3] and ranges.keys() == set(one.plan.groups.values())
    assert (ranges["input"].scale, ranges["input"].zero_point) == (np.float32(1 / 255), 0)
    stem = _seen(one.model, "model.0.conv", IMAGES)
    chosen = ranges["model.0.conv:conv2d:0"]
    assert (chosen.scale, chosen.zero_point) == affine_range(float(stem.min()), float(stem.max()))
    through_silu = _sqnr_db(stem, chosen.scale, chosen.zero_point, lambda x: x / (1 + np.exp(-x)))
    assert chosen.reader == "silu" and chosen.sqnr_db == pytest.approx(through_silu, abs=0.05)
    for group, chosen in ranges.items():
        quantizer = quantized.range_of(group)
        assert (float(quantizer.scale), int(quantizer.zero_point)) == (np.float32(chosen.scale), chosen.zero_point)
    for op in one.plan.convolutions("integer"):
        weight = one.model.get_submodule(op.weight).weight
        scale = quantized.weight_quantizer(op).scale
        assert torch.equal(scale, (weight.detach().abs().amax((1, 2, 3)) / 127).clamp(min=SMALLEST_SCALE))


def test_members_of_a_group_have_one_range_and_each_its_own_ratio(deployed):
    """The concat of the first C2f ties the halves of a SiLU's result and a residual sum."""
    one = deployed("yolov8n")
    ranges = calibrate(QuantizedModel(one.model, one.plan).eval(), [IMAGES], "mse")
    tensors = {address: ratio for chosen in ranges.values() for address, ratio in chosen.tensors.items()}
    assert tensors.keys() == one.plan.groups.keys()
    group = ranges[one.plan.groups["model.2.cv1.act:silu:0"]]
    added = _seen(one.model, "model.2.m.0", IMAGES)
    address = "model.2.m.0:add:0"
    assert address in group.tensors and len(group.tensors) > 3
    assert tensors[address] == pytest.approx(_sqnr_db(added, group.scale, group.zero_point), abs=0.05)
    split = tensors["model.2:split:0"]
    assert split == tensors["model.2.cv1.act:silu:0"] != tensors[address]


def test_one_pass_serves_all_observers(deployed):
    one = deployed("yolov8n")
    quantized = QuantizedModel(one.model, one.plan).eval()
    passes = []
    histograms = collect(quantized, [IMAGES], passes.append)
    assert passes == [3]
    errors = {o: choose_ranges(one.plan, histograms, o) for o in (*OBSERVERS, AUTO_OBSERVER)}
    for group, chosen in errors["auto"].items():
        assert chosen.sqnr_db >= max(errors[o][group].sqnr_db for o in OBSERVERS) - 1e-9
        if chosen.observer not in ("pixels", "known", "constant"):
            assert chosen.sqnr_db == errors[chosen.observer][group].sqnr_db
    assert errors["percentile"] != choose_ranges(one.plan, histograms, "percentile", 90.0)


def test_a_relu_has_zero_point_zero(deployed):
    """Of every group that may learn its scale only, because no value of it is negative."""
    one = deployed("yolov8n")
    model = copy.deepcopy(one.model)
    for module in model.modules():
        if isinstance(getattr(module, "act", None), nn.SiLU):
            module.act = nn.ReLU()
    plan = plan_detector(model, 64, "x86-vnni")
    ranges = calibrate(QuantizedModel(model, plan), [IMAGES], "auto")
    only_scale = {tensor.group for tensor in plan.tensors if tensor.learns == "scale"}
    assert len(only_scale) > 20 and {ranges[group].zero_point for group in only_scale} == {0}


def _broken(one, path, value):
    model = copy.deepcopy(one.model)
    with torch.no_grad():
        model.get_submodule(path).weight[0, 0, 0, 0] = value
    return QuantizedModel(model, one.plan)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_tensor_that_is_not_finite_is_named(deployed, value):
    quantized = _broken(deployed("yolov8n"), "model.2.cv1.conv", value)
    with pytest.raises(CalibrationError, match=r"not finite in model\.2\.cv1\.conv:conv2d:0") as caught:
        calibrate(quantized, [IMAGES], "mse")
    assert caught.value.exit_code == 63 and quantized.observe is None


def test_no_image_is_refused(deployed):
    one = deployed("yolov8n")
    with pytest.raises(CalibrationError, match="no image"):
        calibrate(QuantizedModel(one.model, one.plan), [], "mse")


def test_dead_weights_and_constant_activations_calibrate(deployed):
    """A channel of zeros, and a whole layer of zeros: its result is its bias, everything after it is constant."""
    one = deployed("yolov8n")
    model = copy.deepcopy(one.model)
    with torch.no_grad():
        model.get_submodule("model.0.conv").weight[3] = 0
        dead = model.get_submodule("model.1.conv")
        dead.weight.zero_()
        dead.bias.fill_(0.75)
    quantized = QuantizedModel(model, one.plan)
    ranges = calibrate(quantized, [IMAGES], "auto")
    assert ranges["model.1.conv:conv2d:0"].observer == "constant"
    assert ranges["model.1.conv:conv2d:0"].sqnr_db == 999.0
    with torch.no_grad():
        found, expected = quantized.eval()(IMAGES), model(IMAGES)
        model.eval()
    assert found.isfinite().all() and torch.isfinite(expected).all()
    for op in one.plan.convolutions("integer"):
        scale = quantized.weight_quantizer(op).scale
        assert scale.isfinite().all() and (scale > 0).all()
