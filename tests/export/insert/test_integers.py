"""Integer weights and biases, trained parameters, folding. Oracle: Python's integers and numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgegd.errors import InsertionError
from edgegd.export.insert import (
    FoldedParameters,
    IntegerBiases,
    IntegerWeights,
    QuantizedTensors,
    TrainedParameters,
)

SHAPE = (1, 4, 6, 6)
# In units of the scale: ties to even, the largest code, one beyond it.
ROW = np.array([0.5, 1.5, -2.5, 127.0], np.float32)
WEIGHT = np.stack([ROW, -ROW, ROW / 4, np.array([200, -200, 0, 63.5], np.float32)]).reshape(4, 4, 1, 1)
BIAS = np.array([1.0, -2.5, 0.0, 1e9], np.float32)


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {stored.name: numpy_helper.to_array(stored) for stored in model.graph.initializer}


def _one(small, bias=BIAS):
    return small.convolution("a", "images", "input", WEIGHT, bias)


def _state(small, plan, scale):
    return dataclasses.replace(small.state(plan), weight_scales={"a": np.array(scale, np.float32)})


@pytest.mark.parametrize(
    ("profile", "largest"), [("x86-vnni", 127), ("x86-avx2", 63), ("arm64", 127), ("arm64-nodot", 127)]
)
def test_codes_of_weights_round_ties_to_even_and_stay_in_their_format(float_graph, rewritten, profile, largest):
    small = float_graph()
    plan = small.plan(profile) if _one(small) else None
    model = rewritten([IntegerWeights], small, "a:conv2d:0/Conv_output_0", plan, _state(small, plan, [1, 1, 0.25, 1]))
    codes = _constants(model)["a:conv2d:0/weight_int8"].reshape(4, 4)
    expected = [[0, 2, -2, 127], [0, -2, 2, -127], [0, 2, -2, 127], [200, -200, 0, 64]]
    assert codes.dtype == np.int8 and codes.tolist() == np.clip(expected, -largest, largest).tolist()
    (dequantize,) = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert helper.get_attribute_value(dequantize.attribute[0]) == 0  # one scale per output channel


def test_biases_have_the_scale_of_the_products_and_saturate(float_graph, rewritten):
    small = float_graph()
    result = _one(small)
    plan = small.plan()
    state = _state(small, plan, [0.5, 0.25, 1, 1e-3])
    model = rewritten([QuantizedTensors, IntegerWeights, IntegerBiases], small, result, plan, state)
    of_input = float(state.range_of(plan, "input").scale)
    stored = _constants(model)
    np.testing.assert_array_equal(stored["a:conv2d:0/bias_scale"], np.float32(of_input) * state.weight_scales["a"])
    expected = [round(1.0 / (of_input * 0.5)), round(-2.5 / (of_input * 0.25)), 0, 2**31 - 1]
    assert stored["a:conv2d:0/bias_int32"].dtype == np.int32 and stored["a:conv2d:0/bias_int32"].tolist() == expected


def test_a_convolution_without_a_bias_gets_none(float_graph, rewritten):
    small = float_graph()
    result = _one(small, None)
    model = rewritten([QuantizedTensors, IntegerWeights, IntegerBiases], small, result, small.plan())
    (node,) = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(node.input) == 2 and not [name for name in _constants(model) if "bias" in name]


def test_a_weight_that_is_computed_is_refused(float_graph, rewritten):
    small = float_graph()
    result = _one(small)
    plan = small.plan()
    small.nodes.insert(0, helper.make_node("Neg", ["a.weight"], ["negated"], "negated"))
    small.nodes[1].input[1] = "negated"
    with pytest.raises(InsertionError, match=r"its weight must be the parameter a\.weight") as caught:
        rewritten([IntegerWeights], small, result, plan)
    assert "negated" in str(caught.value)


def test_integer_weights_with_a_float_input_are_refused(float_graph, rewritten):
    small = float_graph()
    result = _one(small)
    with pytest.raises(InsertionError, match="a:conv2d:0: it has integer weights but a float input"):
        rewritten([IntegerWeights, IntegerBiases], small, result, small.plan())


def test_parameters_become_the_trained_ones_and_constants_stay(float_graph, rewritten):
    small = float_graph()
    first = _one(small)
    small.initializers["anchors"] = np.ones((1, 4, 1, 1), np.float32)
    result = small.add("m:add:0", "Add", [first, "anchors"], ("a:conv2d:0",), SHAPE)
    plan = small.plan()
    state = small.state(plan)
    trained = dataclasses.replace(state, parameters={"a.weight": WEIGHT * 2, "a.bias": BIAS + 1, "anchors": BIAS})
    stored = _constants(rewritten([TrainedParameters], small, result, plan, trained))
    np.testing.assert_array_equal(stored["a.weight"], WEIGHT * 2)
    np.testing.assert_array_equal(stored["a.bias"], BIAS + 1)
    assert stored["anchors"].tolist() == np.ones((1, 4, 1, 1)).tolist()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a.weight": WEIGHT}, r"a\.bias: the state does not have this parameter"),
        ({"a.weight": WEIGHT[:2], "a.bias": BIAS}, r"a\.weight: the trained parameter has shape \(2, 4, 1, 1\)"),
    ],
)
def test_parameters_of_another_model_are_refused(float_graph, rewritten, parameters, message):
    small = float_graph()
    result = _one(small)
    plan = small.plan()
    state = dataclasses.replace(small.state(plan), parameters=parameters)
    with pytest.raises(InsertionError, match=message):
        rewritten([TrainedParameters], small, result, plan, state)


def test_what_depends_on_parameters_alone_is_folded_and_a_sine_is_not(float_graph, rewritten):
    """Every machine transposes alike; sines are onnxruntime's own, whose last bit numpy need not have."""
    small = float_graph((1, 4, 6, 4))
    small.initializers |= {"fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "phase": np.ones(3, np.float32)}
    small.parameters.append("fc.weight")
    small.nodes += [
        helper.make_node("Transpose", ["fc.weight"], ["transposed"], "fc:linear:0/Transpose", perm=[1, 0]),
        helper.make_node("Sin", ["phase"], ["sine"], "m:sin:0/Sin"),
    ]
    product = small.add("fc:linear:0", "MatMul", ["images", "transposed"], ("input",), (1, 4, 6, 3))
    result = small.add("m:add:0", "Add", [product, "sine"], ("fc:linear:0",), (1, 4, 6, 3))
    model = rewritten([FoldedParameters], small, result, small.plan())
    read = {node.op_type: list(node.input) for node in model.graph.node}
    assert read["Add"][1] == "sine" and "Sin" in read
    np.testing.assert_array_equal(_constants(model)[read["MatMul"][1]], np.arange(12).reshape(3, 4).T)
