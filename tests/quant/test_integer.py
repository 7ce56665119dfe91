"""Evaluation in integers. Oracle: onnxruntime's own QLinearConv, QLinearMul and QLinearAdd in exact sessions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgegd.plan.formats import INT8_WEIGHT
from edgegd.quant import integer
from edgegd.quant.quantizers import ActivationQuantizer, WeightQuantizer
from edgegd.verify.exact_session import load_exact


def _range(scale, zero_point):
    quantizer = ActivationQuantizer()
    quantizer.set_range(float(np.float32(scale)), zero_point)
    return quantizer


def _dequantized(codes, quantizer):
    return torch.from_numpy(codes.astype(np.float32) - int(quantizer.zero_point)).mul(quantizer.scale)


def _codes(x, quantizer):
    return np.rint(x.numpy() / quantizer.scale.numpy()).astype(np.int64) + int(quantizer.zero_point)


def _run(node, constants, inputs, output_shape):
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, value.shape) for name, value in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, output_shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return load_exact(model).run(None, inputs)[0]


def _constants(**ranges):
    return {f"{name}s": r.scale.numpy() for name, r in ranges.items()} | {
        f"{name}z": np.uint8(int(r.zero_point)) for name, r in ranges.items()
    }


def _random_range(random):
    return _range(10 ** random.uniform(-3, 0), int(random.integers(0, 256)))


# kernel, stride, groups, padding, input channels; the wide one has sums beyond 2^24
CONVOLUTIONS = {
    "1x1": (1, 1, 1, 0, 16),
    "3x3": (3, 1, 1, 1, 16),
    "3x3-stride-2": (3, 2, 1, 1, 16),
    "depthwise": (3, 1, 16, 1, 16),
    "wide": (3, 1, 1, 1, 512),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolution_equals_qlinearconv(kind, bias):
    kernel, stride, groups, padding, channels = CONVOLUTIONS[kind]
    random = np.random.default_rng(len(kind))
    for _ in range(5):
        source, result = _random_range(random), _range(10 ** random.uniform(-2, 0), int(random.integers(0, 256)))
        x = random.integers(0, 256, (1, channels, 12, 12), dtype=np.uint8)
        weight_codes = random.integers(-127, 128, (32, channels // groups, kernel, kernel)).astype(np.int8)
        if groups > 1:
            weight_codes = weight_codes[:16]
        fan_in = weight_codes[0].size
        # Weight scales for which most results fall among the codes of the result.
        weight_scale = np.float32(random.uniform(0.3, 1.5, len(weight_codes))) * np.float32(
            float(result.scale) / float(source.scale) / (80 * fan_in**0.5)
        )
        bias_scale = source.scale.numpy() * weight_scale
        bias_codes = random.integers(-5000, 5000, len(weight_codes)).astype(np.int32)
        weight = torch.from_numpy(weight_codes.astype(np.float32) * weight_scale.reshape(-1, 1, 1, 1))
        with torch.no_grad():
            weights = WeightQuantizer(INT8_WEIGHT, len(weight))
            weights.scale.copy_(torch.from_numpy(weight_scale))
            ours = integer.convolution(
                _dequantized(x, source),
                source,
                weights,
                result,
                weight,
                torch.from_numpy(np.float32(bias_codes) * bias_scale) if bias else None,
                stride=stride,
                padding=padding,
                groups=groups,
            )
        constants = _constants(x=source, y=result) | {
            "w": weight_codes,
            "ws": weight_scale,
            "wz": np.zeros(len(weight_codes), np.int8),
            "b": bias_codes,
        }
        node = helper.make_node(
            "QLinearConv",
            ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", *(["b"] if bias else [])],
            ["y"],
            strides=[stride] * 2,
            pads=[padding] * 4,
            group=groups,
        )
        if not bias:
            constants.pop("b")
        theirs = _run(node, constants, {"x": x}, ours.shape)
        assert len(np.unique(theirs)) > 100  # not all saturated
        np.testing.assert_array_equal(_codes(ours, result), theirs)


ELEMENTWISE = {"mul": ("QLinearMul", integer.multiply), "add": ("QLinearAdd", integer.add)}


@pytest.mark.parametrize("operation", ELEMENTWISE)
def test_every_pair_of_codes_equals_onnxruntime(operation):
    name, ours_of = ELEMENTWISE[operation]
    random = np.random.default_rng(5)
    a, b = (c.astype(np.uint8).ravel() for c in np.meshgrid(np.arange(256), np.arange(256)))
    for _ in range(20):
        ra, rb = _random_range(random), _random_range(random)
        spread = float(ra.scale * rb.scale) * 200 if operation == "mul" else float(ra.scale + rb.scale)
        result = _range(spread * random.uniform(0.3, 2), int(random.integers(0, 256)))
        ours = ours_of(_dequantized(a, ra), ra, _dequantized(b, rb), rb, result)
        node = helper.make_node(name, ["a", "as", "az", "b", "bs", "bz", "ys", "yz"], ["y"], domain="com.microsoft")
        theirs = _run(node, _constants(a=ra, b=rb, y=result), {"a": a, "b": b}, a.shape)
        assert len(np.unique(theirs)) > 20
        np.testing.assert_array_equal(_codes(ours, result), theirs)


def test_codes_survive_the_way_through_float32():
    random = np.random.default_rng(1)
    codes = np.arange(-255, 256).astype(np.float32)
    for scale in np.float32(10 ** random.uniform(-11, 5, 300)):
        found = integer.codes_of(torch.from_numpy(codes * scale), torch.tensor(scale))
        np.testing.assert_array_equal(found.numpy(), codes)
