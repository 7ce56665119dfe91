"""Pairs at planned tensors, on the smallest graphs that show each. Oracle: who reads what, and numpy's arithmetic."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from edgegd.addresses import codes_name
from edgegd.errors import InsertionError
from edgegd.export.insert import QuantizedTensors

WEIGHT = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4, 1, 1)
SHAPE = (1, 4, 6, 6)


def _by_output(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def _codes_read_by(model: onnx.ModelProto, name: str) -> list[str]:
    """What each input of a node is dequantized from; its own name where it is not."""
    made_by = _by_output(model)
    (node,) = [node for node in model.graph.node if node.name == name]
    read = [made_by.get(source) for source in node.input]
    return [
        made.input[0] if made is not None and made.op_type == "DequantizeLinear" else source
        for made, source in zip(read, node.input, strict=True)
    ]


def _two_convolutions(small):
    first = small.convolution("a", "images", "input", WEIGHT)
    middle = small.silu("act", first, "a:conv2d:0", SHAPE)
    return small.convolution("b", middle, "act:silu:0", WEIGHT)


def test_every_reader_reads_the_pair_and_the_sigmoid_inside_has_its_own(float_graph, rewritten):
    small = float_graph()
    model = rewritten([QuantizedTensors], small, _two_convolutions(small), small.plan())
    assert _codes_read_by(model, "a:conv2d:0")[0] == codes_name("input")
    assert _codes_read_by(model, "act:silu:0/Sigmoid") == [codes_name("a:conv2d:0")]
    assert _codes_read_by(model, "act:silu:0/Mul") == [codes_name("a:conv2d:0"), codes_name("act:silu:0/sigmoid")]
    assert _codes_read_by(model, "b:conv2d:0")[0] == codes_name("act:silu:0")
    assert [node.op_type for node in model.graph.node].count("QuantizeLinear") == 5


@pytest.mark.parametrize("profile", ["x86-vnni", "arm64", "arm64-nodot"])
def test_a_quantized_output_keeps_its_name_and_has_the_values_of_numpy(float_graph, rewritten, outputs, profile):
    small = float_graph()
    result = small.convolution("a", "images", "input", np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1))
    plan = small.plan(profile)
    state = small.state(plan)
    model = rewritten([QuantizedTensors], small, result, plan, state)
    assert model.graph.output[0].name == "output0"
    x = np.random.default_rng(0).uniform(-1, 6, SHAPE).astype(np.float32)
    expected = x
    for address in ("input", "a:conv2d:0"):
        chosen = state.range_of(plan, address)
        codes = np.clip(np.rint(expected / chosen.scale) + chosen.zero_point, 0, 255)
        expected = (codes - chosen.zero_point) * chosen.scale
    np.testing.assert_array_equal(outputs(model, x, optimized=False)[0], expected.astype(np.float32))
    zero_points = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer if "zero_point" in i.name}
    assert {value.dtype for value in zero_points.values()} == {np.dtype("int8" if profile == "arm64" else "uint8")}
    assert int(zero_points["input/zero_point"]) == (-128 if profile == "arm64" else 0)


def test_the_results_of_a_split_are_numbered_and_sizes_are_no_results(float_graph, rewritten):
    """As torch writes a chunk: sizes are computed inside, two slices are read outside, and so is one size."""
    small = float_graph()
    first = small.convolution("a", "images", "input", WEIGHT)
    small.initializers |= {"at": np.array([0, 2, 4], np.int64)}
    small.add("m:split:0", "Split", [first], ("a:conv2d:0",), (1, 2, 6, 6), outputs=2, axis=1, num_outputs=2)
    small.opset = 18
    joined = small.add(
        "m:cat:0",
        "Concat",
        ["m:split:0/Split_output_1", "m:split:0/Split_output_0"],
        ("m:split:0", "m:split:0"),
        SHAPE,
        axis=1,
    )
    result = small.convolution("b", joined, "m:cat:0", WEIGHT)
    model = rewritten([QuantizedTensors], small, result, small.plan())
    assert _codes_read_by(model, "m:cat:0/Concat") == [codes_name("m:split:0#1"), codes_name("m:split:0")]
    assert _codes_read_by(model, "b:conv2d:0")[0] == codes_name("m:cat:0")


def test_a_convolution_that_absorbs_its_relu_has_no_pair_between_them(float_graph, rewritten):
    small = float_graph()
    first = small.convolution("a", "images", "input", WEIGHT)
    middle = small.add("act:relu:0", "Relu", [first], ("a:conv2d:0",), SHAPE)
    result = small.convolution("b", middle, "act:relu:0", WEIGHT)
    model = rewritten([QuantizedTensors], small, result, small.plan())
    assert _codes_read_by(model, "act:relu:0/Relu") == [first]
    assert _codes_read_by(model, "b:conv2d:0")[0] == codes_name("act:relu:0")


def test_an_operation_that_left_no_node_is_refused_by_name(float_graph, rewritten):
    small = float_graph()
    result = _two_convolutions(small)
    plan = small.plan()
    del small.nodes[-3:-1]  # the SiLU's
    small.nodes[-1].input[0] = "a:conv2d:0/Conv_output_0"
    with pytest.raises(InsertionError, match="act:silu:0/sigmoid: 0 nodes") as caught:
        rewritten([QuantizedTensors], small, result, plan)
    assert (caught.value.pass_name, caught.value.where) == ("quantized-tensors", "act:silu:0/sigmoid")


def test_a_tensor_inside_an_operation_that_is_not_known_is_refused(float_graph, rewritten):
    small = float_graph()
    result = _two_convolutions(small)
    plan = small.plan()
    renamed = [
        dataclasses.replace(tensor, address="act:silu:0/gate", group="act:silu:0/gate")
        if tensor.address == "act:silu:0/sigmoid"
        else tensor
        for tensor in plan.tensors
    ]
    with pytest.raises(InsertionError, match="act:silu:0/gate"):
        rewritten([QuantizedTensors], small, result, dataclasses.replace(plan, tensors=tuple(renamed)))


def test_a_float_operation_of_two_results_is_refused(float_graph, rewritten):
    """torch's side quantizes no result of such an operation: the file would compute other numbers."""
    small = float_graph()
    first = small.convolution("a", "images", "input", WEIGHT)
    small.opset = 18
    small.add("m:unbind:0", "Split", [first], ("a:conv2d:0",), (1, 2, 6, 6), outputs=2, axis=1, num_outputs=2)
    joined = small.add(
        "m:cat:0",
        "Concat",
        ["m:unbind:0/Split_output_0", "m:unbind:0/Split_output_1"],
        ("m:unbind:0", "a:conv2d:0"),
        SHAPE,
        axis=1,
    )
    result = small.convolution("b", joined, "m:cat:0", WEIGHT)
    with pytest.raises(InsertionError, match="m:unbind:0: a float operation of 2 results"):
        rewritten([QuantizedTensors], small, result, small.plan())
