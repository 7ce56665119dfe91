"""A QuantizeLinear and a DequantizeLinear at the value of every planned tensor.

1. The image: at the graph's input.
2. The result of an operation: what its nodes make for others. The results of a split are `ADDRESS`, `ADDRESS#1` ...
3. A tensor inside an operation: the sigmoid of a SiLU.
4. The exponents and weights of an exact attention are left to the pass that writes it.

All that read the value read the pair; codes are called `ADDRESS/codes`. int8 codes are uint8 codes less 128.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgegd.addresses import INPUT, codes_name, inner_of, owner_of
from edgegd.export.insert.addressed_graph import (
    add_constant,
    make_node,
    nodes_by_address,
    readers_outside,
    redirect,
    results,
)
from edgegd.export.insert.base import FLOAT_BARRIERS, QUANTIZED_TENSORS, Insertion, InsertionPass
from edgegd.plan.attention import SOFTMAX
from edgegd.plan.formats import UINT8_ACTIVATION, Format
from edgegd.plan.profiles.table import FLOAT

_INNER = {"sigmoid": "Sigmoid"}  # tensor inside an operation -> the operator that makes it


class QuantizedTensors(InsertionPass):
    """Inserts the pair at every planned tensor."""

    name = "quantized-tensors"
    needs = (FLOAT_BARRIERS,)
    makes = (QUANTIZED_TENSORS,)

    def rewrite(self, graph: ir.Graph) -> bool:
        """Refuses an address without a node, a float operation of several results, an unknown inner tensor."""
        self._nodes = nodes_by_address(graph, self.plan)
        for tensor in self.plan.tensors:
            owner, inner = owner_of(tensor.address), inner_of(tensor.address)
            if tensor.address == INPUT:
                self._quantize(graph, graph.inputs[0], INPUT, INPUT)
            elif self.plan.by_address[owner].operation == SOFTMAX:
                continue
            elif inner:
                self._quantize_inner(graph, owner, inner)
            else:
                self._quantize_results(graph, owner)
        return bool(self.plan.tensors)

    def _quantize_inner(self, graph: ir.Graph, owner: str, inner: str) -> None:
        made = [node for node in self._nodes.get(owner, []) if node.op_type == _INNER.get(inner)]
        if len(made) != 1:
            raise self.refuse(f"{owner}/{inner}", f"{len(made)} nodes of the float graph make this inner tensor, not 1")
        address = f"{owner}/{inner}"
        self._nodes[owner] += self._quantize(graph, made[0].outputs[0], address, address)  # no reader from outside

    def _quantize_results(self, graph: ir.Graph, address: str) -> None:
        nodes = self._nodes.get(address, [])
        found = results(nodes)
        if not found:
            raise self.refuse(address, "no node of the float graph makes a result of this operation")
        if len(found) > 1 and self.plan.by_address[address].decision == FLOAT:
            raise self.refuse(address, f"a float operation of {len(found)} results is quantized nowhere else")
        for index, value in enumerate(found):
            self._quantize(graph, value, address, f"{address}#{index}" if index else address, nodes)

    def _quantize(
        self, graph: ir.Graph, value: ir.Value, address: str, name: str, nodes: Sequence[ir.Node] = ()
    ) -> list[ir.Node]:
        readers = readers_outside(value, nodes)
        pair = make_pair(graph, self.insertion, value, address, name)
        producer = value.producer()
        if producer is None:
            graph.insert_before(graph[0], pair)
        else:
            graph.insert_after(producer, pair)
        redirect(value, pair[1].outputs[0], readers)
        return pair


def make_pair(
    graph: ir.Graph, insertion: Insertion, value: ir.Value, address: str, name: str, code_scale: float | None = None
) -> list[ir.Node]:
    """The QuantizeLinear and the DequantizeLinear, not yet in the graph, of `value` with the range of `address`.

    `code_scale` is the scale in the units of the value, where those are others than the result's.
    """
    chosen, fmt = insertion.state.range_of(insertion.plan, address), insertion.plan.activation_format
    zero_point = add_constant(graph, _zero_point(chosen.zero_point, fmt), f"{name}/zero_point")
    scale = coarse = add_constant(graph, np.array(chosen.scale, np.float32), f"{name}/scale")
    if code_scale is not None:
        coarse = add_constant(graph, np.array(code_scale, np.float32), f"{name}/code_scale")
    quantize = make_node("QuantizeLinear", [value, coarse, zero_point], f"{name}/quantize", output=codes_name(name))
    dequantize = make_node(
        "DequantizeLinear", [quantize.outputs[0], scale, zero_point], f"{name}/dequantize", output=f"{name}/dequantized"
    )
    return [quantize, dequantize]


def _zero_point(of_uint8: int, fmt: Format) -> np.ndarray:
    return np.array(of_uint8 + fmt.qmin - UINT8_ACTIVATION.qmin, np.int8 if fmt.signed else np.uint8)
