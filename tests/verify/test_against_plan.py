"""A plan against files. Oracles: files changed by hand in one place, and one that onnxruntime's own tool quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgegd.errors import OnnxUnreadableError, PlanError
from edgegd.verify.against_plan import AS_PLANNED, compare_with_plan

SPLIT, ADD = "model.2:split:0", "model.2.m.0:add:0"


def _shapes(one):
    return {name.removesuffix(".weight"): tuple(p.shape) for name, p in one.model.named_parameters()}


def _node(graph, output):
    return next(node for node in graph.graph.node if output in node.output)


def _give_constant(graph, node, index, value):
    """Replaces a constant input of one node."""
    name = f"{node.name}/changed{index}"
    graph.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[index] = name


def test_our_own_file_does_what_the_plan_says(exported):
    one = exported("yolov8n")
    found = compare_with_plan(one.ptq, one.plan, _shapes(one))
    assert {c.address: c.runs_in for c in found.convolutions} == {
        op.address: op.decision for op in one.plan.convolutions("integer", "float")
    }
    assert {t.address for t in found.tensors} == one.plan.groups.keys() and not found.unplanned
    for tensor in found.tensors:
        quantizer = one.quantized.range_of(one.plan.groups[tensor.address])
        assert tensor.finding == AS_PLANNED and tensor.type == "uint8"
        assert (tensor.scale, tensor.zero_point) == (float(quantizer.scale), int(quantizer.zero_point))


def test_a_float_file_runs_all_in_float(exported):
    one = exported("yolov8n")
    found = compare_with_plan(one.fp32, one.plan, _shapes(one))
    assert {c.runs_in for c in found.convolutions} == {"float"}
    assert {t.finding for t in found.tensors} == {"not quantized in the file"} and not found.unplanned


def test_a_range_of_its_own_in_a_group_and_another_type_are_found(exported, tmp_path):
    one = exported("yolov8n")
    graph = onnx.load(one.ptq)
    for node in graph.graph.node:  # both nodes of the pair, or onnxruntime would compute something else
        if f"{ADD}/codes" in (*node.input, *node.output):
            _give_constant(graph, node, 1, np.float32(0.5))
        if "model.0.conv:conv2d:0/codes" in (*node.input, *node.output):
            _give_constant(graph, node, 2, np.int8(-3))
    onnx.save(graph, tmp_path / "changed.onnx")
    found = compare_with_plan(tmp_path / "changed.onnx", one.plan, _shapes(one))
    of = {tensor.address: tensor for tensor in found.tensors}
    assert of[ADD].scale == 0.5 and of[ADD].finding == of[SPLIT].finding
    assert of[ADD].finding == f"2 different ranges in the scale group of {one.plan.groups[ADD]}"
    assert (of["model.0.conv:conv2d:0"].type, of["model.0.conv:conv2d:0"].zero_point) == ("int8", -3)
    assert of["model.0.conv:conv2d:0"].finding == "codes are int8, planned uint8"
    assert of["model.1.conv:conv2d:0"].finding == AS_PLANNED


def test_a_convolution_without_its_quantizer_is_found_to_run_in_float(exported, tmp_path):
    one = exported("yolov8n")
    graph = onnx.load(one.ptq)
    quantize = _node(graph, "model.1.conv:conv2d:0/codes")
    dequantize = next(node for node in graph.graph.node if quantize.output[0] in node.input)
    for node in graph.graph.node:
        node.input[:] = [quantize.input[0] if name == dequantize.output[0] else name for name in node.input]
    graph.graph.node.remove(dequantize)
    graph.graph.node.remove(quantize)
    onnx.save(graph, tmp_path / "changed.onnx")
    found = compare_with_plan(tmp_path / "changed.onnx", one.plan, _shapes(one))
    otherwise = [c.address for c in found.convolutions if c.planned != c.runs_in]
    assert otherwise == ["model.1.conv:conv2d:0"]
    assert [t.address for t in found.tensors if t.finding != AS_PLANNED] == ["model.1.conv:conv2d:0"]


def test_a_file_of_onnxruntimes_own_tool(exported, images, tmp_path):
    """Its convolutions are recognized by their weights; its quantized tensors have names of their own."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class OneImage(CalibrationDataReader):
        def __init__(self):
            self.left = [{"images": images[:1].numpy()}]

        def get_next(self):
            return self.left.pop() if self.left else None

    one = exported("yolov8n")
    quantize_static(
        one.fp32,
        tmp_path / "static.onnx",
        OneImage(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )
    found = compare_with_plan(tmp_path / "static.onnx", one.plan, _shapes(one))
    # The tool quantizes the result of every convolution too: those of the boxes, which the plan keeps float, as well.
    assert {(c.planned, c.runs_in) for c in found.convolutions} == {("integer", "integer"), ("float", "integer")}
    assert {t.finding for t in found.tensors} == {"not quantized in the file"} and len(found.unplanned) > 50


def test_a_file_of_another_model_is_refused(exported):
    one, other = exported("yolov8n"), exported("yolo11n")
    with pytest.raises(PlanError, match="another model") as caught:
        compare_with_plan(one.ptq, other.plan, _shapes(other))
    assert "of them are missing, first" in caught.value.found and caught.value.exit_code == 62


def test_a_larger_model_of_the_same_family_is_refused(exported):
    one = exported("yolov8n")
    shapes = {path: (2 * shape[0], *shape[1:]) for path, shape in _shapes(one).items()}
    with pytest.raises(PlanError, match="another model") as caught:
        compare_with_plan(one.ptq, one.plan, shapes)
    assert "model.0.conv:conv2d:0 has a weight of (16, 3, 3, 3) instead of (32, 3, 3, 3)" in caught.value.found


def test_what_is_no_model_is_refused(exported, tmp_path):
    one = exported("yolov8n")
    with pytest.raises(OnnxUnreadableError, match="no ONNX file"):
        compare_with_plan(Path("missing.onnx"), one.plan, {})
    (tmp_path / "cut.onnx").write_bytes(one.ptq.read_bytes()[:1000])
    with pytest.raises(OnnxUnreadableError):
        compare_with_plan(tmp_path / "cut.onnx", one.plan, {})
