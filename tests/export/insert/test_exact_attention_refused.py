"""What the pass of the exact attention refuses; what it writes is compared in tests/quant/test_attention.py."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgegd.errors import InsertionError
from edgegd.export.insert import ExactAttention, QuantizedTensors

SIDE, KEYS = 4, 16
SIX = np.linspace(-1, 1, 4 * 4, dtype=np.float32).reshape(4, 4, 1, 1)


def _attention(small):
    """q, k and v are one convolution each, of four channels; (1, 4, 4, 4) -> (1, 4, 16 positions)."""
    small.initializers |= {"rows": np.array([1, 4, KEYS], np.int64), "square": np.array([1, 4, SIDE, SIDE], np.int64)}
    small.initializers["constant"] = np.array(0.5, np.float32)
    of = {}
    for name in "qkv":
        made = small.convolution(name, "images", "input", SIX)
        of[name] = small.add(f"m{name}:reshape:0", "Reshape", [made, "rows"], (f"{name}:conv2d:0",), (1, 4, KEYS))
    steps = (1, KEYS, KEYS)
    scaled = small.add("m:mul:0", "Mul", [of["q"], "constant"], ("mq:reshape:0",), (1, 4, KEYS), (0.5,))
    turned = small.add("m:transpose:0", "Transpose", [scaled], ("m:mul:0",), (1, KEYS, 4), (-2, -1), perm=[0, 2, 1])
    scores = small.add("m:matmul:0", "MatMul", [turned, of["k"]], ("m:transpose:0", "mk:reshape:0"), steps)
    weights = small.add("m:softmax:0", "Softmax", [scores], ("m:matmul:0",), steps, (-1,), axis=-1)
    back = small.add("m:transpose:1", "Transpose", [weights], ("m:softmax:0",), steps, (-2, -1), perm=[0, 2, 1])
    mean = small.add("m:matmul:1", "MatMul", [of["v"], back], ("mv:reshape:0", "m:transpose:1"), (1, 4, KEYS))
    image = small.add("m:reshape:0", "Reshape", [mean, "square"], ("m:matmul:1",), small.shape)
    return small.convolution("out", image, "m:reshape:0", SIX)


def test_the_small_attention_is_planned_and_written(float_graph, rewritten):
    small = float_graph((1, 4, SIDE, SIDE))
    result = _attention(small)
    model = rewritten([QuantizedTensors, ExactAttention], small, result, small.plan())
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MatMulInteger") == 3 and not {"Softmax", "MatMul"} & set(kinds)


def test_a_step_of_another_operator_is_refused(float_graph, rewritten):
    small = float_graph((1, 4, SIDE, SIDE))
    result = _attention(small)
    (node,) = [node for node in small.nodes if node.op_type == "Softmax"]
    node.op_type = "LogSoftmax"
    with pytest.raises(InsertionError, match="m:softmax:0: the step must be one Softmax in the float graph, and is 0"):
        rewritten([QuantizedTensors, ExactAttention], small, result, small.plan())


def test_an_operand_that_is_not_quantized_is_refused(float_graph, rewritten):
    small = float_graph((1, 4, SIDE, SIDE))
    result = _attention(small)
    with pytest.raises(InsertionError, match="operand 0 is no quantized tensor") as caught:
        rewritten([ExactAttention], small, result, small.plan())
    assert caught.value.pass_name == "exact-attention"


def test_a_factor_that_is_no_constant_is_refused(float_graph, rewritten):
    small = float_graph((1, 4, SIDE, SIDE))
    result = _attention(small)
    (node,) = [node for node in small.nodes if node.name == "m:mul:0/Mul"]
    node.input[1] = node.input[0]
    with pytest.raises(InsertionError, match="m:mul:0: it does not multiply by a constant"):
        rewritten([QuantizedTensors, ExactAttention], small, result, small.plan())


def test_a_trace_without_the_constant_is_refused(float_graph, rewritten):
    """The graph has it in float32, which is not the number that torch's side computes with."""
    small = float_graph((1, 4, SIDE, SIDE))
    result = _attention(small)
    trace = [dataclasses.replace(op, numbers=()) if op.address == "m:mul:0" else op for op in small.ops]
    with pytest.raises(InsertionError, match="m:mul:0: the trace does not say by which constant"):
        rewritten([QuantizedTensors, ExactAttention], small, result, small.plan(), trace=trace)
