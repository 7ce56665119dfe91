"""Passes on the smallest graphs that show them, and what they refuse. Oracle: the session of the graph as it was."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgegd.export.passes import ChannelsLast, FoldColumns, NearestResize, SplitConcat, Uint8Input

RANGE = ("s", "z")


def _applied(kind, model):
    """The model after a pass, and the pass."""
    graph = ir.from_proto(model)
    ir.passes.common.ShapeInferencePass()(graph)
    done = kind()
    done(graph)
    return ir.to_proto(graph), done


def _image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _convolution(small_graph, shape, after, weight, strides, pads, group=1):
    random = np.random.default_rng(1)
    out = weight.shape[0]
    node = helper.make_node(
        "QLinearConv",
        ["x", *RANGE, "w", "ws", "wz", "ys", "yz", "b"],
        ["y"],
        "conv",
        domain="com.microsoft",
        channels_last=1,
        kernel_shape=weight.shape[2:],
        strides=strides,
        pads=pads,
        group=group,
    )
    model = small_graph(
        [node],
        shape,
        s=np.float32(0.02),
        z=np.uint8(7),
        w=weight,
        ws=random.uniform(0.001, 0.01, out).astype(np.float32),
        wz=np.zeros(out, np.int8),
        ys=np.float32(0.3),
        yz=np.uint8(100),
        b=random.integers(-900, 900, out).astype(np.int32),
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.UINT8, after))
    return model


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 16),
    st.integers(1, 16),
    st.sampled_from([3, 5]),
    st.sampled_from([1, 2]),
    st.integers(1, 5),
    st.sampled_from([8, 16, 32, 64]),
)
def test_folded_columns_are_the_same_convolution(small_graph, run, channels, out, kernel, stride, height, width):
    left = kernel // 2
    rows = (height + 2 * left - kernel) // stride + 1
    assume(rows > 0 and width % stride == 0)
    weight = np.random.default_rng(out).integers(-127, 128, (out, channels, kernel, kernel)).astype(np.int8)
    shape, after = (1, height, width, channels), (1, rows, width // stride, out)
    model = _convolution(small_graph, shape, after, weight, [stride, stride], [left] * 4)
    folded, done = _applied(FoldColumns, model)
    columns = (64 if channels <= 4 else 32) // out
    assert bool(done.applied) == (columns > 1 and width % (columns * stride) == 0)
    image = _image(shape)
    np.testing.assert_array_equal(run(model, {"x": image}), run(folded, {"x": image}))
    if done.applied:
        (conv,) = [node for node in folded.graph.node if node.op_type == "QLinearConv"]
        stored = {t.name: t.dims for t in folded.graph.initializer}[conv.input[3]]
        assert stored[0] == columns * out and stored[1] == columns * stride * channels


@pytest.mark.parametrize(
    ("weight_shape", "group", "width", "reason"),
    [((8, 1, 3, 3), 8, 16, "it has groups or dilations"), ((8, 8, 3, 3), 1, 18, "18 columns are no whole number of 4")],
)
def test_what_is_not_folded(small_graph, weight_shape, group, width, reason):
    weight = np.ones(weight_shape, np.int8)
    model = _convolution(small_graph, (1, 4, width, 8), (1, 4, width, 8), weight, [1, 1], [1] * 4, group)
    same, done = _applied(FoldColumns, model)
    assert done.refused == [("conv", reason)] and not done.applied
    assert [node.op_type for node in same.graph.node] == ["QLinearConv"]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from([("half_pixel", "round_prefer_floor"), ("asymmetric", "floor")]),
)
def test_enlargement_by_whole_factors_is_repetition(small_graph, run, down, right, height, width, channels, modes):
    node = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        "resize",
        mode="nearest",
        coordinate_transformation_mode=modes[0],
        nearest_mode=modes[1],
    )
    shape = (1, height, width, channels)
    model = small_graph([node], shape, scales=np.array([1, down, right, 1], np.float32))
    copied, done = _applied(NearestResize, model)
    image = _image(shape)
    expected = run(model, {"x": image})
    if done.applied:
        assert not any(n.op_type == "Resize" for n in copied.graph.node)
        np.testing.assert_array_equal(image.repeat(down, 1).repeat(right, 2), expected)
    np.testing.assert_array_equal(expected, run(copied, {"x": image}))
    assert done.applied or done.refused == [("resize", "its nearest pixels are not those of repetition")]


@pytest.mark.parametrize(
    ("mode", "scale", "reason"),
    [("linear", 2.0, "it interpolates"), ("nearest", 1.5, "it does not repeat whole pixels")],
)
def test_other_enlargements_are_left(small_graph, mode, scale, reason):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "resize", mode=mode)
    _, done = _applied(NearestResize, small_graph([node], (1, 4, 4, 2), scales=np.array([1, scale, scale, 1], "f4")))
    assert done.refused == [("resize", reason)]


@pytest.mark.parametrize("kind", ["split", "slices"])
def test_parts_in_their_order_are_the_whole(small_graph, run, kind):
    parts = (
        [helper.make_node("Split", ["x", "sizes"], ["a", "b"], "split", axis=3)]
        if kind == "split"
        else [
            helper.make_node("Slice", ["x", "zero", "two", "axis"], ["a"], "a"),
            helper.make_node("Slice", ["x", "two", "many", "axis"], ["b"], "b"),
        ]
    )
    join = helper.make_node("Concat", ["b", "a", "b", "b"], ["y"], "join", axis=3)
    model = small_graph(
        [*parts, join],
        (1, 3, 3, 5),
        sizes=np.array([2, 3]),
        zero=np.array([0]),
        two=np.array([2]),
        many=np.array([2**31 - 1]),
        axis=np.array([3]),
    )
    joined, done = _applied(SplitConcat, model)
    (concat,) = [node for node in joined.graph.node if node.op_type == "Concat"]
    assert done.applied == ["join"] and list(concat.input) == ["b", "x", "b"]
    image = _image((1, 3, 3, 5))
    np.testing.assert_array_equal(run(model, {"x": image}), run(joined, {"x": image}))


def test_parts_in_another_order_stay_parts(small_graph):
    split = helper.make_node("Split", ["x", "sizes"], ["a", "b"], "split", axis=3)
    join = helper.make_node("Concat", ["b", "a"], ["y"], "join", axis=3)
    _, done = _applied(SplitConcat, small_graph([split, join], (1, 3, 3, 4), sizes=np.array([2, 2])))
    assert not done.applied


def test_movements_along_channels_become_last(small_graph, run):
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], "split", axis=1),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["a", "c"], ["y"], "join", axis=1),
    ]
    model = small_graph(nodes, (1, 6, 4, 5), sizes=np.array([2, 4]))
    last, done = _applied(ChannelsLast, model)
    assert done.applied == ["split", "pool", "join"]
    kinds = [node.op_type for node in last.graph.node]
    assert kinds.count("Transpose") == 2 and "NhwcMaxPool" in kinds  # one into the region, one out of it
    image = _image((1, 6, 4, 5))
    last.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    np.testing.assert_array_equal(run(model, {"x": image}), run(last, {"x": image}))


def test_an_image_that_is_also_read_as_floats_stays_floats():
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["images", "s", "z"], ["codes"]),
            helper.make_node("Relu", ["images"], ["y"]),
        ],
        "two",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 8, 8))],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("codes", TensorProto.UINT8, None),
        ],
        [
            helper.make_tensor("s", TensorProto.FLOAT, (), [1 / 255]),
            helper.make_tensor("z", TensorProto.UINT8, (), [0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    same, done = _applied(Uint8Input, model)
    assert done.refused == [("images", "something else than one quantized convolution reads the image")]
    assert same.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_a_pass_checks_what_it_needs_and_what_it_promises(small_graph) -> None:
    from onnx_ir.passes import PostconditionError, PreconditionError

    class Disorder(ChannelsLast):
        def rewrite(self, graph):
            first, last = graph
            graph.remove(first)
            graph.insert_after(last, first)

    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0]))
    add = helper.make_node("Add", ["x", "c"], ["y"])
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, [1])]
    model = helper.make_model(helper.make_graph([constant, add], "g", *ends))
    with pytest.raises(PreconditionError, match="every constant is an initializer"):
        ChannelsLast()(ir.from_proto(model))
    twice = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    with pytest.raises(PostconditionError, match="made before it is read"):
        Disorder()(ir.from_proto(helper.make_model(helper.make_graph(twice, "g", *ends))))
