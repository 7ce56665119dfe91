"""Q/DQ to integer operators: what onnxruntime's optimizer would do when it loads the portable file.

1. Conv, Add, Mul, Sigmoid, LeakyRelu, AveragePool, GlobalAveragePool and Concat that read DequantizeLinear and are
   read by one QuantizeLinear alone become QLinearConv, QLinearAdd and so on. A Relu before a QuantizeLinear whose
   zero point is its smallest code changes nothing and goes.
2. Concat of one range, MaxPool, Resize, Split, Slice, Reshape, Transpose and the like between equal ranges move codes.
3. Everything else stays float, between its DequantizeLinear and QuantizeLinear.

Source: core/optimizer/qdq_transformer/selectors_actions/qdq_selectors.cc, qdq_actions.cc. The kernels are those that
onnxruntime itself would use, so the bits are the same; passes after this one can see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgegd.addresses import address_of_codes
from edgegd.export.graph_pass import LIFTED_CONSTANTS
from edgegd.export.passes.base import MICROSOFT, ExactPass, numbers, sole_reader, take_place

_ARITHMETIC = {
    "Add": "QLinearAdd",
    "Mul": "QLinearMul",
    "Sigmoid": "QLinearSigmoid",
    "LeakyRelu": "QLinearLeakyRelu",
    "AveragePool": "QLinearAveragePool",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
}
MOVES = ("MaxPool", "Resize", "Split", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Flatten")


class Codes(NamedTuple):
    """A quantized tensor: its codes, scale and zero point."""

    codes: ir.Value
    scale: ir.Value
    zero_point: ir.Value | None  # None for an int32 bias

    def same_range(self, other: Codes) -> bool:
        """Whether equal codes of the two are equal numbers."""
        return all(np.array_equal(numbers(a), numbers(b)) for a, b in zip(self[1:], other[1:], strict=True))  # type: ignore[arg-type]


class IntegerKernels(ExactPass):
    """Replaces DequantizeLinear - operation - QuantizeLinear by the operation on codes."""

    name = "integer-kernels"
    text = "integer operators instead of Q/DQ around float ones"
    needs = (LIFTED_CONSTANTS,)

    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites in running order."""
        for node in list(graph):
            results = [_quantized(output) for output in node.outputs]
            if not results or any(result is None for result in results):
                continue
            new = _on_codes(node, [result for result in results if result is not None])
            if new is None:
                if all(_dequantized(value) for value in node.inputs if value is not None and numbers(value) is None):
                    self.refuse(node, f"onnxruntime has no integer kernel for {node.op_type} here")
                continue
            graph.insert_before(node, new)
            for result, output in zip(results, new.outputs, strict=True):
                take_place(result.codes, output)  # type: ignore[union-attr]
            self.applied.append(new.name or "")


def _quantized(value: ir.Value) -> Codes | None:
    """What quantizes a float value, and nothing else reads it."""
    reader = sole_reader(value)
    if reader is not None and reader.op_type == "Relu":
        quantized = _quantized(reader.outputs[0])
        if quantized is None or numbers(quantized.zero_point) != np.iinfo(numbers(quantized.zero_point).dtype).min:  # type: ignore[union-attr]
            return None
        return quantized
    if reader is None or reader.op_type != "QuantizeLinear" or len(reader.inputs) != 3:
        return None
    scale, zero_point = reader.inputs[1:]
    if scale is None or zero_point is None or numbers(scale) is None or numbers(zero_point) is None:
        return None
    return Codes(reader.outputs[0], scale, zero_point)


def _dequantized(value: ir.Value | None) -> Codes | None:
    node = None if value is None else value.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return None
    return Codes(node.inputs[0], node.inputs[1], node.inputs[2] if len(node.inputs) == 3 else None)  # type: ignore[arg-type]


def _on_codes(node: ir.Node, results: Sequence[Codes]) -> ir.Node | None:
    made = results[0].codes.name or ""
    name = address_of_codes(made) or made
    data = [value for value in node.inputs if value is not None and numbers(value) is None]
    operands = [_dequantized(value) for value in data]
    known = [operand for operand in operands if operand is not None]
    if len(known) != len(operands) or not known:
        return None
    if node.op_type in MOVES:
        return _moved(node, known, results, name)
    if len(results) != 1:
        return None
    result = results[0]
    if node.op_type == "Conv":
        return _convolution(node, known, result, name)
    attributes = dict(node.attributes)
    if node.op_type == "Concat":
        if all(operand.same_range(result) for operand in known):
            return ir.node("Concat", [o.codes for o in known], attributes, name=name)
        inputs = [result.scale, result.zero_point, *(value for operand in known for value in operand)]
        return ir.node("QLinearConcat", inputs, attributes, domain=MICROSOFT, name=name)
    if node.op_type in _ARITHMETIC and len(data) == len(node.inputs):
        inputs = [*(value for operand in known for value in operand), result.scale, result.zero_point]
        return ir.node(_ARITHMETIC[node.op_type], inputs, attributes, domain=MICROSOFT, name=name)
    return None


def _moved(node: ir.Node, operands: list[Codes], results: Sequence[Codes], name: str) -> ir.Node | None:
    if len(operands) != 1 or not all(operands[0].same_range(result) for result in results):
        return None
    return ir.node(
        node.op_type,
        [operands[0].codes, *node.inputs[1:]],
        dict(node.attributes),
        name=name,
        num_outputs=len(results),
        version=node.version,
    )


def _convolution(node: ir.Node, operands: list[Codes], result: Codes, name: str) -> ir.Node | None:
    if len(operands) not in (2, 3) or operands[0].codes.const_value is not None:
        return None
    source, weight = operands[:2]
    if numbers(weight.codes) is None:
        return None
    inputs = [*source, *weight, result.scale, result.zero_point, *(bias.codes for bias in operands[2:])]
    return ir.node("QLinearConv", inputs, dict(node.attributes), domain=MICROSOFT, name=node.name or name)
