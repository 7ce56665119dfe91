"""The exact attention of edgegd.plan.attention in ONNX operators: whole numbers between codes, keys as rows.

    Mul(q, c), Transpose, MatMul(., k)    becomes    MatMulInteger(codes of k, transposed, codes of q), Cast
    Softmax                               becomes    ReduceMax over keys, Sub, pair of the exponents, Exp, pair
    Transpose, MatMul(v, .)               becomes    MatMulInteger(codes of v, codes of weights), Cast, Div by
                                                     MatMulInteger(ones, codes of weights), Cast, Mul by the scale of v

The constant c is part of the scale of the exponents' codes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgegd.export.insert.addressed_graph import add_constant, make_node, nodes_by_address, redirect
from edgegd.export.insert.base import EXACT_ATTENTION, QUANTIZED_TENSORS, InsertionPass
from edgegd.export.insert.pairs import make_pair
from edgegd.export.insert.softmax import reduce_max
from edgegd.plan.attention import EXPONENT, Attention, code_scale, planned_attentions

Operand = tuple[ir.Value, ir.Value]
"""Codes and their zero point."""


class ExactAttention(InsertionPass):
    """Rewrites every attention that the plan makes exact."""

    name = "exact-attention"
    needs = (QUANTIZED_TENSORS,)  # the codes that it reads
    makes = (EXACT_ATTENTION,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses a step that is not one node of its operator, and an operand that is no quantized tensor."""
        attentions = planned_attentions(self.plan)
        for attention in attentions:
            nodes = nodes_by_address(graph, self.plan)
            operators = {
                attention.scale: "Mul",
                attention.query_transpose: "Transpose",
                attention.scores: "MatMul",
                attention.softmax: "Softmax",
                attention.weight_transpose: "Transpose",
                attention.values: "MatMul",
            }
            steps = {address: self._step(nodes, address, kind) for address, kind in operators.items()}
            self._write(graph, attention, steps)
            for node in reversed(steps.values()):
                graph.remove(node, safe=True)
        return bool(attentions)

    def _step(self, nodes: dict[str, list[ir.Node]], address: str, operator: str) -> ir.Node:
        found = [node for node in nodes.get(address, []) if node.op_type == operator]
        if len(found) != 1:
            raise self.refuse(address, f"the step must be one {operator} in the float graph, and is {len(found)}")
        return found[0]

    def _codes(self, node: ir.Node, position: int) -> Operand:
        """Codes and zero point of an operand."""
        value = node.inputs[position]
        made_by = value.producer() if value is not None else None
        if made_by is None or made_by.op_type != "DequantizeLinear":
            raise self.refuse(str(node.name), f"its operand {position} is no quantized tensor")
        codes, _, zero_point = made_by.inputs
        if codes is None or zero_point is None:
            raise self.refuse(str(node.name), f"its operand {position} has no zero point")
        return codes, zero_point

    def _write(self, graph: ir.Graph, attention: Attention, steps: dict[str, ir.Node]) -> None:
        scale, scores, values = (steps[a] for a in (attention.scale, attention.scores, attention.values))
        constant_at = next((at for at in (0, 1) if _is_constant(scale.inputs[at])), None)
        if constant_at is None:
            raise self.refuse(attention.scale, "it does not multiply by a constant")
        query, key, value = self._codes(scale, 1 - constant_at), self._codes(scores, 1), self._codes(values, 0)
        made = self.steps(graph, attention, query, key, value)
        graph.insert_before(values, made)
        result = values.outputs[0]
        redirect(result, made[-1].outputs[0], [(use.node, use.idx) for use in result.uses()])

    def steps(
        self, graph: ir.Graph, attention: Attention, query: Operand, key: Operand, value: Operand
    ) -> list[ir.Node]:
        """The nodes, not yet in the graph, of an attention that reads these codes; the last makes its float result."""
        shape = self.insertion.traced(attention.softmax, self.name).shape  # (..., queries, keys)
        made = self._scores(attention, query, key, len(shape))
        weights = self._weights(graph, attention, made[-1].outputs[0])
        made += weights
        codes, zero_point = weights[-1].inputs[0], weights[-1].inputs[2]
        assert codes is not None and zero_point is not None  # of the pair that was just made
        return made + self._values(graph, attention, value, (codes, zero_point), shape[-1])

    def _scores(self, attention: Attention, query: Operand, key: Operand, rank: int) -> list[ir.Node]:
        swapped = [*range(rank - 2), rank - 1, rank - 2]
        rows = make_node("Transpose", [key[0]], f"{attention.scores}/Transpose", perm=swapped)
        return [rows, *_product((rows.outputs[0], key[1]), query, attention.scores)]

    def _weights(self, graph: ir.Graph, attention: Attention, scores: ir.Value) -> list[ir.Node]:
        address, numbers = attention.softmax, self.insertion.traced(attention.scale, self.name).numbers
        if len(numbers) != 1:
            raise self.refuse(attention.scale, "the trace does not say by which constant it multiplies")
        of_query, of_key = (self.state.range_of(self.plan, a).scale for a in (attention.query, attention.key))
        coarse = code_scale(numbers[0], float(of_query), float(of_key))
        largest = reduce_max(graph, scores, -2, f"{address}/ReduceMax")
        below = make_node("Sub", [scores, largest.outputs[0]], f"{address}/Sub")
        inner = f"{address}/{EXPONENT}"
        exponents = make_pair(graph, self.insertion, below.outputs[0], inner, inner, coarse)
        exponential = make_node("Exp", [exponents[1].outputs[0]], f"{address}/Exp")
        weights = make_pair(graph, self.insertion, exponential.outputs[0], address, address)
        return [largest, below, *exponents, exponential, *weights]

    def _values(
        self,
        graph: ir.Graph,
        attention: Attention,
        value: Operand,
        weights: Operand,
        keys: int,
    ) -> list[ir.Node]:
        address = attention.values
        ones = add_constant(graph, np.ones((1, keys), np.uint8), f"{address}/ones")
        zero = add_constant(graph, np.array(0, np.uint8), f"{address}/zero")
        scale = self.state.range_of(self.plan, attention.value).scale
        factor = add_constant(graph, np.array(scale, np.float32), f"{address}/value_scale")
        sums, totals = _product(value, weights, address), _product((ones, zero), weights, address, "_1")
        mean = make_node("Div", [sums[-1].outputs[0], totals[-1].outputs[0]], f"{address}/Div")
        return [*sums, *totals, mean, make_node("Mul", [mean.outputs[0], factor], f"{address}/Mul")]


def _is_constant(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return value is not None and (value.const_value is not None or (producer and producer.op_type == "Constant"))  # type: ignore[return-value]


def _product(a: Operand, b: Operand, address: str, suffix: str = "") -> list[ir.Node]:
    """a b of codes less zero points, as whole numbers in float32."""
    product = make_node("MatMulInteger", [a[0], b[0], a[1], b[1]], f"{address}/MatMulInteger{suffix}")
    cast = make_node("Cast", [product.outputs[0]], f"{address}/Cast{suffix}", to=int(ir.DataType.FLOAT))
    return [product, cast]
