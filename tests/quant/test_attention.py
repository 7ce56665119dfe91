"""Exact attention. Oracles: onnxruntime with and without optimizations, code by code; Python's integers; torch."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from edgegd.errors import PlanError
from edgegd.export.graph import build_graph
from edgegd.export.graph_forms import with_unsigned_activations
from edgegd.export.profile import for_profile
from edgegd.plan.attention import EXPONENT_SCALE, fixed_ranges, planned_attentions
from edgegd.plan.quant_plan import QuantPlan
from edgegd.quant import integer
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.plan_module import plan_module
from edgegd.quant.quantizers import ActivationQuantizer
from edgegd.verify.inner_tensors import run_exposed
from edgegd.verify.open_model import OpenModel
from edgegd.verify.opened import OnnxFile

PARTS = [
    "attention_scale",
    "attention_transpose",
    "attention_scores",
    "attention_softmax",
    "attention_transpose",
    "attention_values",
]


class Attention(nn.Module):
    """Two convolutions around attention: q, k, v from one (`areas`: as YOLO12 cuts the image), the second reads it."""

    def __init__(self, heads=2, key=8, value=16, areas=0, *, constant=0.3, dim=-1, second_reader=False):
        super().__init__()
        self.heads, self.sizes, self.areas = heads, [key, key, value], areas
        self.constant, self.dim, self.second_reader = constant, dim, second_reader
        self.qkv, self.proj = nn.Conv2d(3, heads * sum(self.sizes), 1), nn.Conv2d(heads * value, 4, 1)

    def forward(self, image):
        y = self.qkv(image)
        batch, _, height, width = y.shape
        if self.areas:
            y = y.flatten(2).transpose(1, 2).reshape(batch * self.areas, height * width // self.areas, -1)
            y = y.view(*y.shape[:2], self.heads, -1).permute(0, 2, 3, 1)  # (B areas, heads, channels, N)
        else:
            y = y.view(batch, self.heads, -1, height * width)
        q, k, v = y.split(self.sizes, dim=2)
        scores = (q * self.constant).transpose(-2, -1) @ k
        y = v @ scores.softmax(dim=self.dim).transpose(-2, -1)
        if self.second_reader:
            y = y + scores.sum() * 0
        if self.areas:
            y = y.permute(0, 3, 1, 2).reshape(batch, height * width, -1).permute(0, 2, 1)
        return self.proj(y.reshape(batch, -1, height, width))


def _quantized(size, profile="x86-vnni", wide=1.0, **changes):
    torch.manual_seed(size)
    model = Attention(**changes).eval()
    with torch.no_grad():
        model.qkv.weight.mul_(8 * wide)
    images = torch.rand(4, 3, size, size)
    quantized = QuantizedModel(model, plan_module(model, images[:1], profile)).eval()
    calibrate(quantized, [images], "minmax")
    return quantized, images


def _file(quantized, size, path, *, form=lambda graph: graph):
    onnx.save(form(build_graph(quantized, size, 17)), path)
    return path


# image side, heads, channels of a key, of a value, areas; 20 x 20 sums leave float32's whole numbers
SHAPES = {
    "6x6": (6, {}),
    "one-head": (8, {"heads": 1, "key": 4, "value": 4}),
    "20x20": (20, {"key": 32, "value": 64}),
    "areas": (8, {"areas": 4}),
    "keys-as-positions": (4, {"key": 16, "value": 16}),
    "wide-keys": (6, {"heads": 1, "key": 300}),
}


@pytest.mark.parametrize("profile", ["x86-vnni", "arm64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_and_onnxruntime_make_the_same_codes(shape, profile, tmp_path):
    size, changes = SHAPES[shape]
    trained, images = _quantized(size, **changes)
    quantized = for_profile(trained, profile)
    assert [op.operation for op in quantized.plan.ops if op.decision == "exact"] == PARTS
    path = _file(quantized, size, tmp_path / "model.onnx", form=with_unsigned_activations)
    (attention,) = planned_attentions(quantized.plan)
    compared = [attention.values, *fixed_ranges([attention])]
    for optimization in ("all", "disabled"):
        session = OnnxFile(path).with_codes(optimization)
        for image in images.split(1):
            _, theirs = run_exposed(session, image.numpy())
            _, ours = OpenModel(quantized).one_operation(image.numpy(), theirs)
            for address in compared:
                np.testing.assert_array_equal(ours[address], theirs[address], err_msg=address)
                assert len(np.unique(theirs[address])) > 15, address


def test_the_int8_form_has_the_same_codes_less_128(tmp_path):
    quantized, images = _quantized(8)
    signed = _file(for_profile(quantized, "arm64"), 8, tmp_path / "signed.onnx")
    unsigned = _file(quantized, 8, tmp_path / "unsigned.onnx")
    types = {node.op_type for node in onnx.load(signed).graph.node}
    assert "MatMulInteger" in types
    for one, other in zip(
        *(
            run_exposed(OnnxFile(path).with_codes("disabled"), images[:1].numpy())[1].items()
            for path in (signed, unsigned)
        ),
        strict=True,
    ):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1], err_msg=one[0])


def test_no_exponential_lies_near_a_half_way_value():
    """0.0047 of a code is 150 times what a float32 exponential of three last bits' error is off by."""
    codes = np.arange(256)
    exact = np.exp((codes - 255) * EXPONENT_SCALE) * 255
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 0.0045
    assert np.rint(exact)[[0, 255]].tolist() == [0, 255]
    nodes = [helper.make_node("Exp", ["x"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [256]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "one", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = ((codes - 255) * np.float32(EXPONENT_SCALE)).astype(np.float32)
    assert np.abs(session.run(None, {"x": x})[0] * 255.0 - exact).max() < 1e-4
    assert np.abs(torch.from_numpy(x).exp().numpy() * 255.0 - exact).max() < 1e-4


@pytest.mark.parametrize("terms", [258, 259, 2000])
def test_sums_are_exact_and_rounded_once(terms):
    """Beyond 258 products of 255 x 255 float32 has not every whole number."""
    random = np.random.default_rng(terms)
    a, b = (random.integers(200, 256, (terms, n)) for n in (5, 7))
    one = ActivationQuantizer()
    found = integer.attention_scores(*(x for m in (b, a) for x in (torch.from_numpy(m).float(), one)))
    np.testing.assert_array_equal(found.numpy(), (a.T @ b).astype(np.float32))


def test_training_sees_the_weights_that_run_and_the_gradient_of_the_float_softmax():
    quantized, images = _quantized(6)
    with torch.no_grad():
        evaluated = quantized(images)
        trained = quantized.train()(images)
        scale = quantized.range_of("proj:conv2d:0").scale
    assert (trained - evaluated).abs().max() <= 2.01 * scale  # ties in the scores, which training does not make exactly
    (op,) = (op for op in quantized.plan.ops if op.operation == "attention_softmax")
    scores, float_scores = (torch.randn(2, 5, 5).mul_(3).requires_grad_() for _ in range(2))
    float_scores.data.copy_(scores.data)
    weights = quantized._attention.run(op, torch.softmax, (scores, -1), {})
    codes = (
        torch.exp(
            torch.round((scores - scores.amax(-1, keepdim=True)) / EXPONENT_SCALE).clamp(-255, 0) * EXPONENT_SCALE
        )
        .mul(255)
        .round()
    )
    torch.testing.assert_close(weights, codes / codes.sum(-1, keepdim=True))
    gradient = torch.randn_like(scores)
    weights.backward(gradient)
    torch.softmax(float_scores, -1).backward(gradient)
    torch.testing.assert_close(scores.grad, float_scores.grad)
    quantized(images).square().sum().backward()
    assert quantized.model.qkv.weight.grad.abs().sum() > 0
    assert quantized.range_of("qkv:conv2d:0").log_scale.grad.abs() > 0


def test_calibration_is_of_the_float_attention():
    quantized, images = _quantized(6)
    seen = {}
    quantized.observe = lambda address, value: seen.update({address: value})
    with torch.no_grad():
        assert torch.equal(quantized(images), quantized.model(images))
    weights = seen[":softmax:0"] / seen[":softmax:0"].sum(-2, keepdim=True)
    assert weights.amax() <= 1 and seen[":softmax:0/exponent"].min() >= -6.25
    assert seen[":softmax:0"].amax(-2).unique().tolist() == [1.0]


@pytest.mark.parametrize("changes", [{"dim": -2}, {"constant": -0.3}, {"second_reader": True}], ids=str)
def test_attention_of_another_form_stays_float(changes):
    plan = plan_module(Attention(**changes), torch.rand(1, 3, 6, 6), "x86-vnni")
    assert not any(op.decision == "exact" for op in plan.ops)
    assert {op.decision for op in plan.ops if op.operation in ("softmax", "matmul")} == {"float"}


@pytest.mark.parametrize(
    "recipe",
    [
        {"float_patterns": [":transpose:1"]},
        {"float_patterns": ["qkv:*"]},
        {"rules": {"exact-values": "float"}},
    ],
    ids=str,
)
def test_an_attention_is_float_as_a_whole_where_a_recipe_objects_to_a_part(recipe):
    plan = plan_module(Attention(), torch.rand(1, 3, 6, 6), "x86-vnni", **recipe)
    assert not any(op.decision == "exact" for op in plan.ops) and ":softmax:0" not in plan.groups


@pytest.mark.parametrize(
    ("address", "key", "value", "message"),
    [
        (":matmul:0", "decision", "float", "not every operation of its attention is"),
        (":matmul:1", "operation", "matmul", "not every operation of its attention is"),
        (":softmax:0/exponent", "address", ":softmax:0/sum", "an exact attention needs :softmax:0/exponent quantized"),
    ],
    ids=["decision", "operation", "tensor"],
)
def test_an_edited_plan_with_half_an_attention_is_refused(address, key, value, message):
    plan = json.loads(plan_module(Attention(), torch.rand(1, 3, 6, 6), "x86-vnni").to_json())
    QuantPlan.from_json(json.dumps(plan))
    for item in [item for item in plan["ops"] + plan["tensors"] if item["address"] == address and key in item]:
        item[key] = value
        if "group" in item:
            item["group"] = value
    with pytest.raises(PlanError, match=message):
        QuantPlan.from_json(json.dumps(plan))
