"""Fake quantizers. Oracles: numpy's formula, onnx.reference and onnxruntime's QuantizeLinear + DequantizeLinear."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgegd.plan.formats import INT7_WEIGHT, INT8_WEIGHT, SMALLEST_SCALE
from edgegd.quant.quantizers import ActivationQuantizer, WeightQuantizer, fake_quantize_bias


def _graph() -> onnx.ModelProto:
    scalar = [
        helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("z", TensorProto.UINT8, []),
    ]
    vector = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("x", "y")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "qdq", [vector[0], *scalar], [vector[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


@pytest.fixture(scope="module")
def qdq():
    """In onnxruntime: (x float32 (N,), scale, zero point) -> fake-quantized x."""
    session = onnxruntime.InferenceSession(_graph().SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x, s, z: session.run(None, {"x": x, "s": np.array(s, np.float32), "z": np.array(z, np.uint8)})[0]


def _in_numpy(x, scale, zero_point):
    codes = np.clip(np.rint(x / np.float32(scale)) + zero_point, 0, 255)
    return ((codes - zero_point) * np.float32(scale)).astype(np.float32)


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


def _in_torch(x, scale, zero_point, device="cpu"):
    quantizer = ActivationQuantizer().to(device)
    quantizer.set_range(scale, zero_point)
    return quantizer(torch.from_numpy(x).to(device)).detach().cpu().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("zero_point", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("scale", [0.5, 0.1, 1 / 255, 3e-5, 7.3], ids=lambda scale: f"scale {scale:.2g}")
def test_all_half_way_values_round_to_even_as_in_onnxruntime(qdq, scale, zero_point, device):
    halves = (np.arange(-300, 300) + 0.5).astype(np.float32) * np.float32(scale)
    x = np.concatenate([halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))])
    ours = _in_torch(x, scale, zero_point, device)
    np.testing.assert_array_equal(ours, _in_numpy(x, scale, zero_point))
    np.testing.assert_array_equal(ours, qdq(x, scale, zero_point))
    (reference,) = ReferenceEvaluator(_graph()).run(
        None, {"x": x, "s": np.array(scale, np.float32), "z": np.array(zero_point, np.uint8)}
    )
    np.testing.assert_array_equal(ours, reference)


@settings(max_examples=150, deadline=None)
@given(
    scale=st.floats(2.0**-30, 2.0**20, width=32),
    zero_point=st.integers(0, 255),
    values=st.lists(st.floats(-(2.0**30), 2.0**30, width=32), min_size=1, max_size=30),
)
def test_random_scales_zero_points_and_values_equal_onnxruntime(qdq, scale, zero_point, values):
    x = np.array(values, np.float32)
    x = np.concatenate([x, x * np.float32(scale)])  # both far outside and among the codes
    x = x[np.isfinite(x)]
    # onnxruntime converts through int32: what is larger in codes is outside its contract.
    x = x[np.abs(x / np.float32(scale)) < 2.0**30]
    ours = _in_torch(x, scale, zero_point)
    np.testing.assert_array_equal(ours, _in_numpy(x, scale, zero_point))
    np.testing.assert_array_equal(ours, qdq(x, scale, zero_point))


def test_the_gradient_passes_inside_the_range_and_nowhere_else():
    quantizer = ActivationQuantizer()
    quantizer.set_range(0.25, 100)  # codes reach -25.0 .. 38.75, and values half a code further still round into them
    x = torch.tensor([-100.0, -25.2, -25.1, -25.0, 0.0, 38.75, 38.8, 38.9, 100.0], requires_grad=True)
    quantizer(x).backward(torch.arange(1.0, 10.0))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 3, 4, 5, 6, 7, 0, 0]


def test_a_state_dict_restores_the_numbers_that_the_forward_pass_uses():
    one, other = ActivationQuantizer(), ActivationQuantizer()
    one.set_range(0.0371, 77)
    other.load_state_dict(one.state_dict())
    x = torch.linspace(-9, 9, 999, requires_grad=True)
    y = torch.linspace(-9, 9, 999, requires_grad=True)
    a, b = one(x), other(y)
    a.sum().backward()
    b.sum().backward()
    assert torch.equal(a, b) and torch.equal(x.grad, y.grad) and one.bounds == other.bounds == (-77, 178)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scale", "zero_point"),
    [(0.0, 0), (-1.0, 0), (float("nan"), 0), (float("inf"), 0), (SMALLEST_SCALE / 2, 0), (1.0, -1), (1.0, 256)],
)
def test_an_impossible_range_is_refused_and_changes_nothing(scale, zero_point):
    quantizer = ActivationQuantizer()
    with pytest.raises(ValueError, match="no range"):
        quantizer.set_range(scale, zero_point)
    assert float(quantizer.scale) == 1.0 and int(quantizer.zero_point) == 0


def _tied(weight, bias=None, input_scale=0.1, fmt=INT8_WEIGHT):
    quantizer = WeightQuantizer(fmt, len(weight))
    quantizer.tie(weight, bias, torch.tensor(input_scale))
    return quantizer


@pytest.mark.parametrize("fmt", [INT8_WEIGHT, INT7_WEIGHT], ids=lambda fmt: fmt.name)
def test_weights_equal_numpy_channel_by_channel(fmt):
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    weight *= torch.logspace(-6, 3, 16).view(-1, 1, 1, 1)
    quantizer = _tied(weight, fmt=fmt)
    for channel, (ours, theirs) in enumerate(zip(quantizer(weight).numpy(), weight.numpy(), strict=True)):
        scale = np.abs(theirs).max() / np.float32(fmt.qmax)
        assert np.float32(scale) == quantizer.scale[channel]
        codes = np.rint(theirs / scale)
        assert np.abs(codes).max() == fmt.qmax
        np.testing.assert_array_equal(ours, codes * scale)


def test_the_weight_gradient_passes_unchanged():
    weight = torch.randn(4, 2, 1, 1, requires_grad=True)
    gradient = torch.randn(4, 2, 1, 1)
    _tied(weight)(weight).backward(gradient)
    assert torch.equal(weight.grad, gradient)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [0.0, 1e-30, -3.0, 1e6])
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-20])
def test_a_dead_channel_keeps_a_usable_scale_and_a_bias_within_int32(size, bias):
    weight = torch.full((2, 3, 1, 1), size)
    weight[1] = 0.5
    biases = torch.tensor([bias, 0.1])
    input_scale = torch.tensor(1e-4)
    quantizer = WeightQuantizer(INT8_WEIGHT, 2)
    quantizer.tie(weight, biases, input_scale)
    assert torch.isfinite(quantizer.scale).all() and (quantizer.scale > 0).all()
    scale = input_scale * quantizer.scale
    assert (biases / scale).abs().max() <= 2**30 * 1.001  # the rest of int32 is for the products
    stored = fake_quantize_bias(biases, scale)
    np.testing.assert_allclose(stored.numpy(), biases.numpy(), rtol=1e-3, atol=float(scale.max()))
    assert torch.isfinite(quantizer(weight)).all()


def test_the_bias_is_rounded_to_its_int32_codes_with_a_straight_gradient():
    bias = torch.tensor([0.123, -0.26, 0.05], requires_grad=True)
    scale = torch.tensor([0.1, 0.1, 0.02])
    rounded = fake_quantize_bias(bias, scale)
    np.testing.assert_allclose(rounded.detach().numpy(), np.rint(bias.detach().numpy() / scale.numpy()) * scale.numpy())
    rounded.sum().backward()
    assert bias.grad.tolist() == [1, 1, 1]  # type: ignore[union-attr]
