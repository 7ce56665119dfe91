"""What every rule says of onnxruntime, on the smallest graph that shows it. Oracle: onnxruntime's optimized graph.

`fused` is the graph with Q/DQ pairs where the rule puts them; `left` is the counter-example: the same operation with a
pair too few, or an operation that the rule keeps float with every pair in place.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from edgegd.plan.profiles.placement import PLACEMENT_RULES

IMAGE, ROWS = [1, 8, 16, 16], [1, 4, 8, 8]
FUSED, LEFT = {}, {}


def _registering(cases):
    def register(rule, shape, **expected):
        """A graph of a rule for an input x of this shape, and how often a kernel is in the optimized graph."""
        return lambda build: cases.setdefault(f"{rule}-{build.__name__}", (build, shape, expected))

    return register


fused, left = _registering(FUSED), _registering(LEFT)


@fused("convolution", IMAGE, QLinearConv=1, Conv=0)
def conv(g):
    return g.qdq(g.conv(g.qdq("x")))


@left("convolution", IMAGE, QLinearConv=0, Conv=1)
def without_q(g):
    return g.conv(g.qdq("x"))


@left("convolution", IMAGE, QLinearConv=0, Conv=1)
def with_a_second_reader(g):
    y = g.conv(g.qdq("x"))
    return g.op("Add", g.qdq(y), y)


@left("convolution", IMAGE, QLinearConv=0, Conv=1)
def from_a_float_input(g):
    return g.qdq(g.conv("x"))


def float_conv(g):
    rng = np.random.default_rng(0)
    weight = g.constant(rng.normal(size=(16, 8, 3, 3)).astype(np.float32))
    return g.op("Conv", g.qdq("x"), weight, pads=[1] * 4)


@fused("convolution", IMAGE, QLinearConv=1, Conv=0)  # weight_bias_quantization.cc quantizes the weights itself
def of_float_weights_between_pairs(g):
    return g.qdq(float_conv(g))


@left("silu", IMAGE, QLinearConv=0, Conv=1)  # so a SiLU after a float convolution is float, and keeps Q away from it
def of_a_float_convolution(g):
    y = float_conv(g)
    return g.qdq(g.op("Mul", y, g.op("Sigmoid", y)))


@fused("silu", IMAGE, QLinearConv=1, QLinearSigmoid=1, QLinearMul=1)
def silu(g):
    y = g.qdq(g.conv(g.qdq("x")), zero_point=128)
    return g.qdq(g.op("Mul", y, g.qdq(g.op("Sigmoid", y), 1 / 255, 0)))


@left("silu", IMAGE, QLinearConv=0, QLinearSigmoid=0, QLinearMul=0, Conv=1)
def without_q_before_the_sigmoid(g):
    y = g.conv(g.qdq("x"))
    return g.qdq(g.op("Mul", y, g.qdq(g.op("Sigmoid", y), 1 / 255, 0)))


@left("silu", IMAGE, QLinearConv=1, QLinearSigmoid=0, QLinearMul=0, Sigmoid=1)
def without_q_after_the_sigmoid(g):
    y = g.qdq(g.conv(g.qdq("x")), zero_point=128)
    return g.qdq(g.op("Mul", y, g.op("Sigmoid", y)))


@fused("absorbed-relu", IMAGE, QLinearConv=1, Relu=0)
def relu(g):
    return g.qdq(g.op("Relu", g.conv(g.qdq("x"))), zero_point=0)


@left("absorbed-relu", IMAGE, QLinearConv=0, FusedConv=1)
def with_another_zero_point(g):
    return g.qdq(g.op("Relu", g.conv(g.qdq("x"))), zero_point=7)


@left("absorbed-relu", IMAGE, QLinearConv=0)
def with_two_readers_of_the_convolution(g):
    y = g.conv(g.qdq("x"))
    return g.op("Add", g.qdq(g.op("Relu", y), zero_point=0), y)


@left("relu", IMAGE, QLinearConv=1, Relu=0, QuantizeLinear=2)  # what is left of the ReLU is a DQ and a Q
def of_codes(g):
    y = g.qdq(g.conv(g.qdq("x")), zero_point=128)
    return g.op("Add", g.qdq(g.op("Relu", y), zero_point=0), g.op("Softmax", y))


@fused("leaky-relu", IMAGE, QLinearLeakyRelu=1)
def leaky_relu(g):
    return g.qdq(g.op("LeakyRelu", g.qdq("x"), alpha=0.1))


@fused("sigmoid", IMAGE, QLinearSigmoid=1)
def sigmoid(g):
    return g.qdq(g.op("Sigmoid", g.qdq("x")), 1 / 255, 0)


@fused("add", IMAGE, QLinearAdd=1)
def add(g):
    return g.qdq(g.op("Add", g.qdq("x"), g.qdq("x", 0.07, 20)))


@left("add", IMAGE, QLinearAdd=0, Add=1)
def of_one_float(g):
    return g.qdq(g.op("Add", g.qdq("x"), "x"))


@fused("multiply", IMAGE, QLinearMul=1)
def multiply(g):
    return g.qdq(g.op("Mul", g.qdq("x"), g.qdq("x", 0.07, 20)))


@left("constant-operand", IMAGE, QLinearMul=0, QLinearAdd=0, Mul=1, Add=1)
def constant(g):
    y = g.qdq(g.op("Mul", g.qdq("x"), g.constant(np.float32(0.3))))
    return g.qdq(g.op("Add", y, g.constant(np.ones((8, 1, 1), np.float32))))


@fused("concat", IMAGE, QLinearConcat=1, Concat=0)
def concat(g):
    return g.qdq(g.op("Concat", g.qdq("x", 0.05, 0), g.qdq("x", 0.06, 9), axis=1), 0.07, 3)


@left("concat", IMAGE, QLinearConcat=0, Concat=1)
def without_q_after(g):
    return g.op("Concat", g.qdq("x"), g.qdq("x", 0.06), axis=1)


@fused("average-pool", IMAGE, QLinearAveragePool=1, QLinearGlobalAveragePool=1)
def pools(g):
    return g.qdq(g.op("GlobalAveragePool", g.qdq(g.op("AveragePool", g.qdq("x"), kernel_shape=[2, 2]))))


@fused(
    "movement",
    IMAGE,
    MaxPool=1,
    Resize=1,
    Split=1,
    Reshape=1,
    Transpose=1,
    Slice=1,
    Expand=1,
    QuantizeLinear=1,
    DequantizeLinear=1,
)
def moves(g):
    y = g.qdq(g.op("MaxPool", g.qdq("x"), kernel_shape=[3, 3], strides=[1, 1]))  # (1, 8, 14, 14)
    y = g.qdq(
        g.op(
            "Resize",
            y,
            "",
            g.constant(np.array([1, 1, 2, 2], np.float32)),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    )
    y = g.qdq(g.op("Split", y, num_outputs=1, axis=1))
    y = g.qdq(g.op("Reshape", y, g.constant(np.array([1, 8, 784]))))
    y = g.qdq(g.op("Transpose", y, perm=[0, 2, 1]))
    y = g.qdq(g.op("Slice", y, *(g.constant(np.array([v])) for v in (0, 700, 1))))
    return g.qdq(g.op("Expand", y, g.constant(np.array([2, 700, 8]))))


@left("movement", IMAGE, MaxPool=1, QuantizeLinear=2, DequantizeLinear=2)
def with_two_ranges(g):
    return g.qdq(g.op("MaxPool", g.qdq("x", 0.05), kernel_shape=[3, 3]), 0.06)


@left("padding", IMAGE, Pad=1, QuantizeLinear=2, DequantizeLinear=2)
def pad(g):
    return g.qdq(g.op("Pad", g.qdq("x"), g.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]))))


def codes(g, x, scale=0.05, zero_point=10):
    return g.op("QuantizeLinear", x, g.constant(np.float32(scale)), g.constant(np.uint8(zero_point)))


def product(g, a, b, a_zero=10, b_zero=10):
    return g.op("Cast", g.op("MatMulInteger", a, b, g.constant(np.uint8(a_zero)), g.constant(np.uint8(b_zero))), to=1)


@fused("exact-attention", ROWS, MatMulInteger=1, Cast=1, MatMul=0)
def of_codes_alone(g):
    return product(g, g.op("Transpose", codes(g, "x"), perm=[0, 1, 3, 2]), codes(g, "x"))


@left("exact-attention", ROWS, MatMulIntegerToFloat=0, FusedMatMul=1)
def of_a_scaled_query(g):  # products of scaled codes, rounded as they add up
    q = g.op("Mul", g.qdq("x"), g.constant(np.float32(0.3)))
    return g.op("MatMul", g.op("Transpose", q, perm=[0, 1, 3, 2]), g.qdq("x"))


@fused("exact-softmax", ROWS, QuantizeLinear=2, DequantizeLinear=2, Exp=1, Sub=1, QLinearSoftmax=0)
def of_two_scales(g):
    below = g.op("Sub", "x", g.op("ReduceMax", "x", g.constant(np.array([2])), keepdims=1))
    exponents = g.op(
        "DequantizeLinear", codes(g, below, 30.0, 255), g.constant(np.float32(0.02)), g.constant(np.uint8(255))
    )
    return g.qdq(g.op("Exp", exponents), 1 / 255, 0)


@left("exact-softmax", ROWS, QLinearSoftmax=1, Exp=0)  # normalized codes: few of 400 keys would have any weight
def as_a_softmax(g):
    return g.qdq(g.op("Softmax", g.qdq("x")), 1 / 255, 0)


@fused("exact-values", ROWS, MatMulInteger=2, Cast=2, Div=1, Mul=1, MatMulIntegerToFloat=0)
def of_two_sums(g):
    weights = codes(g, "x", 1 / 255, 0)
    total = product(g, g.constant(np.ones((1, 8), np.uint8)), weights, 0, 0)
    mean = g.op("Div", product(g, codes(g, "x"), weights, 10, 0), total)
    return g.qdq(g.op("Mul", mean, g.constant(np.float32(0.05))))


@left("exact-values", ROWS, QLinearMatMul=1)  # one scale for all queries: no division by each one's sum
def of_one_scale(g):
    return g.qdq(g.op("MatMul", g.qdq("x"), g.qdq("x", 1 / 255, 0)))


@left("softmax", ROWS, QLinearSoftmax=0, Softmax=1)
def with_dq_only(g):
    return g.op("Softmax", g.qdq("x"))


@fused("softmax", ROWS, QLinearSoftmax=1, Softmax=0)  # so a quantized result would run in integers against the plan
def with_q(g):
    return g.qdq(g.op("Softmax", g.qdq("x")))


@left("attention", ROWS, QLinearMatMul=0, MatMulIntegerToFloat=1, MatMul=1)
def as_planned(g):  # the products of codes are exact; only the second product sees what is no code
    scores = g.op("Softmax", g.op("MatMul", g.qdq("x"), g.qdq("x")))
    return g.qdq(g.op("MatMul", g.qdq("x"), scores))


@left("linear", ROWS, QGemm=0, MatMul=1, LayerNormalization=2)
def between_normalizations(g):
    ones = g.constant(np.ones(8, np.float32))
    y = g.op("MatMul", g.op("LayerNormalization", g.qdq("x"), ones), g.constant(np.eye(8, dtype=np.float32)))
    return g.qdq(g.op("LayerNormalization", y, ones))


@left("no-integer-kernel", ROWS, LayerNormalization=1, Gelu=1, HardSigmoid=2, Clip=1)
def functions(g):
    ones = g.constant(np.ones(8, np.float32))
    y = g.qdq(g.op("Gelu", g.qdq(g.op("LayerNormalization", g.qdq("x"), ones))))
    y = g.qdq(g.op("HardSigmoid", g.qdq(g.op("HardSwish", y))))
    return g.qdq(g.op("Clip", y, g.constant(np.float32(0)), g.constant(np.float32(6))))


# Before 1.27 onnxruntime drops the pairs around a linear Resize as around one that copies codes, and truncates.
_PAIRS = 4 if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 27) else 3


@left(
    "no-integer-kernel",
    IMAGE,
    ConvTranspose=1,
    GridSample=1,
    Resize=1,
    QuantizeLinear=_PAIRS,
    DequantizeLinear=_PAIRS + 1,
)
def images(g):
    weight = g.op("DequantizeLinear", g.constant(np.ones((8, 8, 2, 2), np.int8)), g.constant(np.float32(0.1)))
    y = g.qdq(g.op("ConvTranspose", g.qdq("x"), weight, strides=[2, 2]))
    y = g.qdq(g.op("GridSample", y, g.constant(np.zeros((1, 4, 4, 2), np.float32))))
    return g.qdq(g.op("Resize", y, "", g.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear"))


@pytest.mark.parametrize("name", [*FUSED, *LEFT])
def test_the_optimized_graph_has_the_kernels_that_the_rule_says(qdq_graph, name):
    build, shape, expected = (FUSED | LEFT)[name]
    graph = qdq_graph(x=shape)
    _, kernels = graph.session(build(graph))
    assert {kernel: kernels[kernel] for kernel in expected} == expected, kernels


def test_every_rule_that_mirrors_onnxruntime_is_shown():
    shown = {rule.name for rule in PLACEMENT_RULES for name in (*FUSED, *LEFT) if name.startswith(f"{rule.name}-")}
    assert shown == {rule.name for rule in PLACEMENT_RULES} - {
        "box-convolution",
        "decoding",
        "query-decoder",
        "no-rule",  # these are choices, not onnxruntime's
    }
