"""What integer kernels compute besides convolution, SiLU and add. Oracle: the float operation in numpy, between codes.

The scales are in no simple ratio: where results lie half-way between codes, kernels round them either way.
"""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = [1, 8, 16, 16]


def quantized(x, scale, zero_point):
    return np.clip(np.rint(x / np.float32(scale)) + zero_point, 0, 255)


def dequantized(x, scale=0.0513, zero_point=10):
    return ((quantized(x, scale, zero_point) - zero_point) * np.float32(scale)).astype(np.float32)


def averages(x):
    return (x[..., :-1, :-1] + x[..., :-1, 1:] + x[..., 1:, :-1] + x[..., 1:, 1:]) / np.float32(4)


# operation -> its graph up to the last QuantizeLinear, the same in numpy
CASES = {
    "Concat": (
        lambda g: g.op("Concat", g.qdq("x", 0.0513, 0), g.qdq("x", 0.0619, 9), axis=1),
        lambda x: np.concatenate((dequantized(x, 0.0513, 0), dequantized(x, 0.0619, 9)), 1),
    ),
    "Mul": (
        lambda g: g.op("Mul", g.qdq("x", 0.0513), g.qdq("x", 0.0731, 20)),
        lambda x: dequantized(x) * dequantized(x, 0.0731, 20),
    ),
    "LeakyRelu": (
        lambda g: g.op("LeakyRelu", g.qdq("x", 0.0513), alpha=0.1),
        lambda x: np.where(dequantized(x) < 0, np.float32(0.1) * dequantized(x), dequantized(x)),
    ),
    "Sigmoid": (lambda g: g.op("Sigmoid", g.qdq("x", 0.0513)), lambda x: 1 / (1 + np.exp(-dequantized(x)))),
    "AveragePool": (
        lambda g: g.op("AveragePool", g.qdq("x", 0.0513), kernel_shape=[2, 2]),
        lambda x: averages(dequantized(x)),
    ),
    "GlobalAveragePool": (
        lambda g: g.op("GlobalAveragePool", g.qdq("x", 0.0513)),
        lambda x: dequantized(x).mean((2, 3), keepdims=True),
    ),
}


@pytest.mark.parametrize("operation", CASES)
def test_the_kernel_rounds_the_float_operation_on_dequantized_codes(qdq_graph, operation):
    build, reference = CASES[operation]
    graph = qdq_graph(x=SHAPE)
    session, kernels = graph.session(graph.qdq(build(graph), 0.0317, 7))
    assert kernels[f"QLinear{operation}"] == 1
    x = np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)
    codes = np.rint(session.run(None, {"x": x})[0] / np.float32(0.0317)) + 7
    distance = np.abs(codes - quantized(reference(x), 0.0317, 7))
    assert distance.max() <= 1 and (distance == 0).mean() > 0.999
