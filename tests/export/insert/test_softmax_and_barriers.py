"""What stays float: a softmax that is one on every CPU, and a fence. Oracles: numpy in float64, onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.errors import InsertionError
from edgegd.export.insert import FloatBarriers, PortableSoftmax, QuantizedTensors

WEIGHT = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
SHAPE = (1, 4, 6, 6)


def _softmax(small, axis):
    return small.add("m:softmax:0", "Softmax", ["images"], ("input",), small.shape, (axis,), axis=axis)


def _reference(x, axis):
    exponentials = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("axis", [-1, 3])
def test_the_portable_softmax_is_a_softmax(float_graph, rewritten, outputs, axis, opset):
    small = float_graph((1, 3, 50, 40), opset)
    model = rewritten([PortableSoftmax], small, _softmax(small, axis), small.plan())
    x = np.random.default_rng(0).normal(0, 30, small.shape).astype(np.float32)
    kinds = [node.op_type for node in model.graph.node]
    assert "Softmax" not in kinds and "ReduceSum" not in kinds
    for optimized in (True, False):
        np.testing.assert_allclose(outputs(model, x, optimized)[0], _reference(x, -1), atol=1e-6, rtol=1e-5)


def test_the_portable_softmax_has_no_denormal_numbers(float_graph, rewritten, outputs):
    """Logits as wide as random attention's; with denormal numbers the file ran a hundred times slower."""
    small = float_graph((1, 1, 1, 2000))
    model = rewritten([PortableSoftmax], small, _softmax(small, -1), small.plan())
    x = np.linspace(0, -500, 2000, dtype=np.float32).reshape(small.shape)
    assert (_reference(x, -1) < np.finfo(np.float32).tiny).any()
    assert (outputs(model, x)[0] >= np.finfo(np.float32).tiny).all()


def test_a_softmax_along_another_axis_stays(float_graph, rewritten):
    small = float_graph()
    model = rewritten([PortableSoftmax], small, _softmax(small, 1), small.plan())
    assert [node.op_type for node in model.graph.node] == ["Softmax"]


def test_a_softmax_that_is_no_softmax_node_is_refused(float_graph, rewritten):
    small = float_graph()
    result = small.add("m:softmax:0", "Exp", ["images"], ("input",), SHAPE, (-1,))
    with pytest.raises(InsertionError, match="m:softmax:0: the operation must be one Softmax, and is 0"):
        rewritten([PortableSoftmax], small, result, small.plan())


def _float_between_codes(small):
    first = small.convolution("a", "images", "input", WEIGHT)
    middle = small.convolution("b", first, "a:conv2d:0", WEIGHT)
    return small.convolution("c", middle, "b:conv2d:0", WEIGHT)


def test_a_float_operation_between_codes_is_fenced(float_graph, rewritten):
    small = float_graph()
    result = _float_between_codes(small)
    model = rewritten([FloatBarriers, QuantizedTensors], small, result, small.plan(float_patterns=["b:*"]))
    made_by = {name: node for node in model.graph.node for name in node.output}
    (fence,) = [node for node in model.graph.node if node.op_type == "Max"]
    assert fence.name == "b:conv2d:0/Max" and made_by[fence.input[0]].name == "b:conv2d:0"
    (quantize,) = [node for node in model.graph.node if node.name == "b:conv2d:0/quantize"]
    assert quantize.input[0] == fence.output[0]
    readers = [node.op_type for node in model.graph.node if fence.input[0] in node.input]
    assert readers == ["Max"]


def test_nothing_is_fenced_where_no_operation_stays_float_between_codes(float_graph, rewritten):
    small = float_graph()
    result = _float_between_codes(small)
    for patterns in ([], ["c:*"], ["a:*", "b:*", "c:*"]):
        model = rewritten([FloatBarriers], small, result, small.plan(float_patterns=patterns))
        assert "Max" not in {node.op_type for node in model.graph.node}, patterns
