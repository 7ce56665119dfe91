"""Codes alike on every CPU. Oracles: qladd.cpp's fixed point in Python's own integers; onnxruntime's Sigmoid."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.consistent_ranges import (
    differing_pairs,
    distance_from_ties,
    fixed_point_add,
    settle_additions,
    settle_sigmoids,
)
from edgegd.quant.quantizers import ActivationQuantizer


def _range(scale, zero_point):
    quantizer = ActivationQuantizer()
    quantizer.set_range(float(np.float32(scale)), zero_point)
    return quantizer


def _by_hand(a, b, ra, rb, rc):
    ratio_a, ratio_b = (np.float32(r.scale.numpy() / rc.scale.numpy()) for r in (ra, rb))
    exponent = int(np.floor(np.log2(max(ratio_a, ratio_b))))
    ma, mb = (int(np.rint(np.float64(ratio) * 2.0 ** (21 - exponent))) for ratio in (ratio_a, ratio_b))
    total = (a - int(ra.zero_point)) * ma + (b - int(rb.zero_point)) * mb
    half = 1 << (20 - exponent)
    rounded = (abs(total) + half) // (2 * half) * (1 if total >= 0 else -1)  # half away from zero
    return min(max(rounded + int(rc.zero_point), 0), 255)


@pytest.mark.parametrize("scales", [(0.02, 0.05, 0.06), (0.1, 0.001, 0.1), (3e-4, 4e-4, 2e-4)], ids=str)
def test_fixed_point_is_half_away_from_zero_in_22_bits(scales):
    ranges = [_range(scale, zero) for scale, zero in zip(scales, (3, 200, 128), strict=True)]
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 2000))
    ours = fixed_point_add(torch.from_numpy(a), ranges[0], torch.from_numpy(b), ranges[1], ranges[2])
    assert ours is not None
    expected = [_by_hand(int(x), int(y), *ranges) for x, y in zip(a, b, strict=True)]
    assert ours.tolist() == expected and len(set(expected)) > 20


def test_equal_scales_differ_at_every_tie():
    """(a + b) / 2: x86 rounds halves to even, ARM away from zero."""
    assert differing_pairs(_range(0.5, 0), _range(0.5, 0), _range(1.0, 0)) > 10_000


def test_scales_beyond_fixed_point_count_as_differing():
    assert (
        fixed_point_add(torch.zeros(1).long(), _range(1e-6, 0), torch.zeros(1).long(), _range(1.0, 0), _range(1.0, 0))
        is None
    )
    assert differing_pairs(_range(1e-6, 0), _range(1.0, 0), _range(1.0, 0)) == 65536


def test_a_model_is_settled_by_tiny_changes_that_training_does_not_see(deployed):
    one = deployed("yolo11n")
    quantized = QuantizedModel(one.model, one.plan).eval()
    torch.manual_seed(0)
    calibrate(quantized, [torch.rand(2, 3, 64, 64)], "minmax")
    additions = [op for op in quantized.plan.ops if op.operation == "add" and op.decision == "integer"]
    groups = quantized.plan.groups

    def differing():
        return sum(
            differing_pairs(*(quantized.range_of(groups[i]) for i in op.inputs), quantized.range_of(groups[op.result]))
            for op in additions
        )

    first = quantized.range_of(groups[additions[0].result])
    first.set_range(2 * float(quantized.range_of(groups[additions[0].inputs[0]]).scale), 100)  # ties: ratio 1/2
    learned = {name: value.clone() for name, value in quantized.named_parameters()}
    assert differing() > 0
    changes = settle_additions(quantized)
    assert differing() == 0
    assert changes and all(0 < abs(factor - 1) < 0.01 for factor in changes.values())
    assert all(torch.equal(value, learned[name]) for name, value in quantized.named_parameters())
    assert settle_additions(quantized) == {}


def test_onnxruntimes_sigmoid_is_nearer_to_the_exact_one_than_the_margin_that_is_kept():
    node = helper.make_node("Sigmoid", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy"]
    graph = helper.make_graph([node], "one", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-25, 25, 400_001).astype(np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(session.run(None, {"x": x})[0] - exact).max() < 5e-7
    assert np.abs(torch.sigmoid(torch.from_numpy(x)).numpy() - exact).max() < 5e-7


def test_sigmoids_are_settled_from_their_calibrated_range(deployed):
    one = deployed("yolo11n")
    quantized = QuantizedModel(one.model, one.plan).eval()
    torch.manual_seed(0)
    calibrate(quantized, [torch.rand(2, 3, 64, 64)], "minmax")
    op = next(op for op in quantized.plan.ops if op.operation == "silu")
    source = quantized.range_of(quantized.plan.groups[op.inputs[0]])
    gate = quantized.range_of(quantized.plan.groups[f"{op.address}/sigmoid"])
    source.set_range(0.05, 128)
    gate.set_range(float(torch.sigmoid(torch.tensor(1.0)) / 200.5), 0)  # the sigmoid of code 148 is a tie
    assert distance_from_ties(source, gate) < 1e-7
    changed = settle_sigmoids(quantized)
    assert quantized.plan.groups[f"{op.address}/sigmoid"] in changed
    for other in (op for op in quantized.plan.ops if op.operation == "silu" and op.decision == "integer"):
        groups = quantized.plan.groups
        ranges = quantized.range_of(groups[other.inputs[0]]), quantized.range_of(groups[f"{other.address}/sigmoid"])
        assert distance_from_ties(*ranges) > 9e-7
        assert float(ranges[1].scale) == pytest.approx(float(ranges[1].log_scale.exp()), rel=0.01)
    assert settle_sigmoids(quantized) == []
