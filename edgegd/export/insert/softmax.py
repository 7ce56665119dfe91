"""A softmax that stays float is written in operations that onnxruntime computes alike on every CPU, to the last bit.

onnxruntime's Softmax and ReduceSum add in as many lanes as the CPU has, and a last bit decides the code of a value next
to a half-way one. Exp, Sub and Div are elementwise, and MatMul adds in the order of its inner dimension, so that

    E = exp(max(x - max x, -60))    softmax = E / (E 1)

with a product with ones as the sum (measured on AVX512, AVX2 and NEON: docs/emulation.md). exp(-60) is 1e-26, nothing
beside the largest, which is 1; smaller exponents would give denormal numbers, with which x86 multiplies a hundred times
slower. A softmax along another axis than the last is left as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.insert.addressed_graph import add_constant, make_node, nodes_by_address, readers_outside, redirect
from edgegd.export.insert.base import PORTABLE_SOFTMAX, InsertionPass
from edgegd.plan.profiles.table import EXACT

SMALLEST_EXPONENT = -60.0


class PortableSoftmax(InsertionPass):
    """Replaces every planned Softmax over the last axis that is no part of an exact attention."""

    name = "portable-softmax"
    makes = (PORTABLE_SOFTMAX,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses a softmax that the exporter wrote otherwise than as one Softmax."""
        nodes, changed = nodes_by_address(graph, self.plan), False
        for op in self.plan.ops:
            if op.operation != "softmax" or op.decision == EXACT:
                continue
            found = [node for node in nodes.get(op.address, []) if node.op_type == "Softmax"]
            if len(found) != 1 or found[0].inputs[0] is None:
                raise self.refuse(op.address, f"the operation must be one Softmax, and is {len(found)}")
            shape = self.insertion.traced(op.address, self.name).shape
            if found[0].attributes.get_int("axis", -1) in (-1, len(shape) - 1):
                self._replace(graph, found[0], found[0].inputs[0], op.address, shape[-1])
                changed = True
        return changed

    def _replace(self, graph: ir.Graph, node: ir.Node, x: ir.Value, address: str, size: int) -> None:
        largest = reduce_max(graph, x, -1, f"{address}/ReduceMax")
        below = make_node("Sub", [x, largest.outputs[0]], f"{address}/Sub")
        lowest = add_constant(graph, np.array(SMALLEST_EXPONENT, np.float32), f"{address}/smallest_exponent")
        clipped = make_node("Clip", [below.outputs[0], lowest], f"{address}/Clip")
        exponential = make_node("Exp", [clipped.outputs[0]], f"{address}/Exp")
        ones = add_constant(graph, np.ones((size, 1), np.float32), f"{address}/ones")
        total = make_node("MatMul", [exponential.outputs[0], ones], f"{address}/MatMul")
        quotient = make_node("Div", [exponential.outputs[0], total.outputs[0]], f"{address}/Div")
        graph.insert_before(node, [largest, below, clipped, exponential, total, quotient])
        redirect(node.outputs[0], quotient.outputs[0], readers_outside(node.outputs[0]))
        graph.remove(node, safe=True)


def reduce_max(graph: ir.Graph, x: ir.Value, axis: int, name: str) -> ir.Node:
    """ReduceMax along one axis, which stays with length 1; the axis is an attribute before opset 18."""
    if graph.opset_imports[""] < 18:
        return make_node("ReduceMax", [x], name, axes=[axis], keepdims=1)
    axes = add_constant(graph, np.array([axis], np.int64), f"{name}/axes")
    return make_node("ReduceMax", [x, axes], name, keepdims=1)
