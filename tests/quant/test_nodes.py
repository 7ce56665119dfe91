"""What stands in an exported graph. Oracle: torch's own softmax; the operators that onnxruntime runs."""

from __future__ import annotations

import onnx
import pytest
import torch

from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.export.graph import build_graph
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.nodes import portable_softmax
from edgegd.verify.census import require_planned, take_census
from edgegd.verify.opened import OnnxFile


@pytest.mark.parametrize("dim", [-1, 2, 1])
def test_the_portable_softmax_is_a_softmax(dim):
    torch.manual_seed(0)
    x = torch.randn(3, 50, 40) * 30
    torch.testing.assert_close(portable_softmax(x, dim), torch.softmax(x, dim), atol=1e-6, rtol=1e-5)


def test_the_portable_softmax_has_no_denormal_numbers():
    """Logits as wide as random attention's; with denormal numbers the file ran a hundred times slower."""
    x = torch.linspace(0, -500, 2000).view(1, 1, -1)
    assert (torch.softmax(x, -1) < torch.finfo(torch.float32).tiny).any()
    assert (portable_softmax(x, -1) >= torch.finfo(torch.float32).tiny).all()


def test_attention_is_exported_without_sums_that_depend_on_the_cpu(deployed):
    one = deployed("yolo26n")
    quantized = QuantizedModel(one.model, one.plan)
    calibrate(quantized, [torch.rand(1, 3, 64, 64)], "minmax")
    nodes = build_graph(quantized, one.plan, 64, 17).graph.node
    kinds = [node.op_type for node in nodes]
    attentions = sum(op.operation == "attention_softmax" for op in one.plan.ops)
    assert kinds.count("Exp") == attentions > 0 and kinds.count("MatMulInteger") == 3 * attentions
    assert not {"Softmax", "ReduceSum", "MatMul"} & set(kinds)
    assert {node.name.removesuffix("/quantize") for node in nodes if node.op_type == "QuantizeLinear"} >= {
        tensor.address for tensor in one.plan.tensors
    }


def test_what_a_recipe_keeps_float_is_not_fused_by_onnxruntime(random_detector, tmp_path):
    """Without the barrier onnxruntime quantizes the weights of such convolutions itself."""
    model = deploy(random_detector("yolo26n"))
    floats = ["model.10.m.0.attn.proj.*", "model.8.cv1.*", "model.2.m.0:add:0"]
    plan = plan_detector(model, 64, "x86-vnni", float_patterns=floats)
    quantized = QuantizedModel(model, plan)
    calibrate(quantized, [torch.rand(1, 3, 64, 64)], "minmax")
    path = tmp_path / "model.onnx"
    onnx.save(build_graph(quantized, plan, 64, 17), path)
    census = take_census(OnnxFile(path), plan)
    assert census.planned_float_convs == 5  # three of boxes, two of the recipe
    require_planned(census, plan, path.name)
    additions = [op for op in plan.ops if op.operation == "add" and op.decision == "integer"]
    assert census.operators["QLinearAdd"] == len(additions)
