"""The portable graph of whole detectors. Oracle: the operators that onnxruntime runs, against the plan."""

from __future__ import annotations

import onnx
import pytest

from edgegd.detectors.deployment import plan_detector
from edgegd.errors import InsertionError, MetadataError, PlanError
from edgegd.export.float_graph import float_graph
from edgegd.export.graph import build_graph, state_of
from edgegd.export.insert.quantized_graph import quantized_graph
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.verify.census import require_planned, take_census
from edgegd.verify.opened import OnnxFile


def test_attention_is_exported_without_sums_that_depend_on_the_cpu(exported):
    one = exported("yolo26n", True)
    nodes = onnx.load(one.ptq).graph.node
    kinds = [node.op_type for node in nodes]
    attentions = sum(op.operation == "attention_softmax" for op in one.plan.ops)
    assert kinds.count("Exp") == attentions > 0 and kinds.count("MatMulInteger") == 3 * attentions
    assert not {"Softmax", "ReduceSum", "MatMul"} & set(kinds)
    assert {node.name.removesuffix("/quantize") for node in nodes if node.op_type == "QuantizeLinear"} >= {
        tensor.address for tensor in one.plan.tensors
    }


def test_what_a_recipe_keeps_float_is_not_fused_by_onnxruntime(exported, images, tmp_path):
    """Without the barrier onnxruntime quantizes the weights of such convolutions itself."""
    model = exported("yolo26n", True).model
    floats = ["model.10.m.0.attn.proj.*", "model.8.cv1.*", "model.2.m.0:add:0"]
    plan = plan_detector(model, 96, "x86-vnni", float_patterns=floats)
    quantized = QuantizedModel(model, plan)
    calibrate(quantized, [images[:1]], "minmax")
    path = tmp_path / "model.onnx"
    onnx.save(build_graph(quantized.eval(), 96, 17), path)
    census = take_census(OnnxFile(path), plan)
    assert census.planned_float_convs == 5  # three of boxes, two of the recipe
    require_planned(census, plan, path.name)
    additions = [op for op in plan.ops if op.operation == "add" and op.decision == "integer"]
    assert census.operators["QLinearAdd"] == len(additions)


def test_a_float_graph_serves_any_weights_and_stays_as_it_is(exported):
    """Its own weights are those of before; the file has the state's, in float convolutions too."""
    one = exported("yolov8n")
    graph = float_graph(one.model, 96, 17)
    before, state = graph.SerializeToString(), state_of(one.quantized)
    shifted = {name: value + 1 if name.endswith("bias") else value for name, value in state.parameters.items()}
    written = quantized_graph(graph, one.plan, type(state)(shifted, state.ranges, state.weight_scales))
    assert graph.SerializeToString() == before
    (op, *_) = one.plan.convolutions("float")
    name = f"{op.address.split(':')[0]}.bias"
    (bias,) = [stored for stored in written.graph.initializer if stored.name == name]
    expected = one.model.get_parameter(name).detach().numpy() + 1
    assert onnx.numpy_helper.to_array(bias).tolist() == expected.tolist()


def test_a_graph_without_a_trace_is_refused(exported):
    one = exported("yolov8n")
    with pytest.raises(MetadataError, match="no trace") as caught:
        quantized_graph(onnx.load(one.ptq), one.plan, state_of(one.quantized))
    assert "edgegd export --force" in str(caught.value)


def test_a_plan_of_another_model_is_refused(exported):
    one, other = exported("yolov8n"), exported("yolo11n")
    with pytest.raises(PlanError):
        quantized_graph(onnx.load(other.fp32), one.plan, state_of(one.quantized))


def test_a_parameter_that_the_state_lacks_is_named(exported):
    one = exported("yolov8n")
    state = state_of(one.quantized)
    parameters = {name: value for name, value in state.parameters.items() if name != "model.22.cv3.0.2.bias"}
    with pytest.raises(InsertionError, match=r"model\.22\.cv3\.0\.2\.bias: the state does not have") as caught:
        quantized_graph(onnx.load(one.fp32), one.plan, type(state)(parameters, state.ranges, state.weight_scales))
    assert caught.value.pass_name == "trained-parameters" and caught.value.exit_code == 69
