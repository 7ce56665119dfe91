"""A whole detector under fake quantization. Oracle: its own parts, called by hand, and its float forward pass."""

from __future__ import annotations

import pytest
import torch

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate


@pytest.fixture
def quantized(deployed):
    one = deployed("yolo11n")
    quantized = QuantizedModel(one.model, one.plan)
    torch.manual_seed(0)
    calibrate(quantized, [torch.rand(2, 3, 64, 64)], "minmax")
    return quantized


def test_training_learns_what_the_plan_says_and_nothing_else(quantized):
    quantized.train()
    image = torch.rand(2, 3, 64, 64)
    sum(output.float().sum() for output in _tensors(quantized(image))).backward()
    for tensor in quantized.plan.tensors:
        quantizer = quantized.range_of(tensor.group)
        learned = (quantizer.log_scale.grad is not None, quantizer.shift.grad is not None)
        assert learned == {"range": (True, True), "scale": (True, False), "nothing": (False, False)}[tensor.learns]
    for op in quantized.plan.convolutions("integer"):
        assert quantized.model.get_submodule(op.weight).weight.grad.abs().sum() > 0, op.address
    quantized.zero_grad()


def test_frozen_ranges_get_no_gradient(quantized):
    quantized.train()
    quantized.learn_ranges(False)
    sum(output.float().sum() for output in _tensors(quantized(torch.rand(1, 3, 64, 64)))).backward()
    assert all(p.grad is None for parameters in quantized.range_parameters().values() for p in parameters)
    quantized.learn_ranges(True)
    assert all(p.requires_grad for parameters in quantized.range_parameters().values() for p in parameters)
    quantized.zero_grad()


def test_a_learned_logarithm_reaches_what_is_computed(quantized):
    image = torch.rand(1, 3, 64, 64)
    quantized.eval()
    with torch.no_grad():
        before = quantized(image)
        for parameter in quantized.range_parameters()["scales"]:
            parameter += 1.0
        assert torch.equal(quantized(image), before)  # only update_ranges makes a parameter count
        quantized.update_ranges()
        assert not torch.equal(quantized(image), before)
    group = quantized.plan.tensors[5].group
    quantizer = quantized.range_of(group)
    assert quantizer.scale_value == float(quantizer.scale) == pytest.approx(float(quantizer.log_scale.exp()), rel=1e-6)


def test_replace_sees_every_planned_tensor_and_decides_what_goes_on(quantized):
    quantized.eval()
    seen = []

    def keep(address, values):
        seen.append(address)
        return values

    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = quantized(image)
        quantized.replace = keep
        assert torch.equal(quantized(image), plain)
        quantized.replace = lambda address, values: torch.zeros_like(values)
        assert not torch.equal(quantized(image), plain)
    quantized.replace = None
    moved = {op.address for op in quantized.plan.ops if op.decision == "move" or op.operation == "cat"}
    assert set(seen) == {tensor.address for tensor in quantized.plan.tensors} - moved
    assert len(seen) == len(set(seen))


def test_training_and_evaluation_compute_the_same_codes_but_for_ties(quantized):
    """Training multiplies dequantized floats, evaluation whole codes: only sums next to a half-way value differ."""
    image = torch.rand(1, 3, 64, 64)
    codes = []
    first = quantized.plan.ops[0]
    with torch.no_grad():
        for mode in (True, False):
            quantized.train(mode)
            quantizer = quantized.range_of(quantized.plan.groups[first.address])
            kept = {}
            handle = quantized.model.get_submodule(first.weight).register_forward_hook(
                lambda module, args, result, kept=kept: kept.update(y=result)
            )
            quantized(image)
            handle.remove()
            codes.append(torch.div(kept["y"], quantizer.scale).round())
    distance = (codes[0] - codes[1]).abs()
    assert distance.max() <= 1 and (distance > 0).float().mean() < 1e-3


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [tensor for item in values for tensor in _tensors(item)]
