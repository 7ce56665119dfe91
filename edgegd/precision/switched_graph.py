"""A float graph in which each unit of a plan can be switched to integers by itself.

The graph has a second input, `switches` (units,) bool. Where a unit's switch is on, its operations read codes made of
what arrives in float, their weights and biases are those of codes, and their results are codes; where it is off, all is
float. Every choice is a Where of both values, so one session serves all units:

    x, switch -> Where(switch, DequantizeLinear(QuantizeLinear(x)), x) -> operation -> Where(switch, its pair, result)

An exact attention is written beside the float one, from the codes that it reads, and its result is chosen likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgegd.addresses import INPUT, inner_of, owner_of
from edgegd.export.insert.base import (
    Insertion,
    add_constant,
    make_node,
    nodes_by_address,
    readers_outside,
    refusal,
    results,
)
from edgegd.export.insert.exact_attention import ExactAttention, Operand
from edgegd.export.insert.pairs import make_pair
from edgegd.plan.attention import Attention, planned_attentions
from edgegd.plan.profiles.table import EXACT
from edgegd.plan.quant_plan import PlannedOp
from edgegd.precision.assembly import Addresses

SWITCHES = "switches"
_NAME = "switched graph"


@dataclass(frozen=True)
class Switched:
    """The graph with switches; `chosen` maps the address of a switched result to the name of the value that is read."""

    graph: onnx.ModelProto
    chosen: dict[str, str]


def switched_graph(graph: onnx.ModelProto, insertion: Insertion, units: Sequence[Addresses]) -> Switched:
    """Writes the switches; `graph` is the addressed float graph, which stays as it is.

    Raises InsertionError for an operation that the float graph does not have as planned.
    """
    model = ir.from_proto(graph)
    ShapeInferencePass(check_type=False, strict_mode=False)(model)
    writer = _Writer(model.graph, insertion, units)
    writer.write()
    written = ir.to_proto(model)
    del written.graph.value_info[:]
    return Switched(written, writer.chosen)


class _Writer:
    def __init__(self, graph: ir.Graph, insertion: Insertion, units: Sequence[Addresses]) -> None:
        self._graph, self._insertion, self._plan, self._units = graph, insertion, insertion.plan, units
        self._nodes = nodes_by_address(graph, self._plan)
        made = {value: address for address, nodes in self._nodes.items() for value in results(nodes)}
        self._made_by: dict[ir.Value, str] = made | {graph.inputs[0]: INPUT}
        self._attentions = {attention.values: attention for attention in planned_attentions(self._plan)}
        self._pairs = 0
        self.chosen: dict[str, str] = {}

    def write(self) -> None:
        """Writes all units; what a unit reads is what the float graph computes, whatever the others do."""
        switches = ir.val(SWITCHES, ir.DataType.BOOL, ir.Shape([len(self._units)]))
        self._graph.inputs.append(switches)
        for index, unit in enumerate(self._units):
            at = add_constant(self._graph, np.array(index, np.int64), f"{SWITCHES}/{index}")
            gather = make_node("Gather", [switches, at], f"{SWITCHES}/{index}/Gather", axis=0)
            self._graph.insert_before(self._graph[0], gather)
            on = gather.outputs[0]
            for address in unit:
                op = self._plan.by_address[address]
                if address in self._attentions:
                    self._switch_attention(self._attentions[address], on)
                elif op.decision != EXACT:
                    self._switch(op, unit, on)

    def _switch(self, op: PlannedOp, unit: Addresses, on: ir.Value) -> None:
        nodes = self._nodes.get(op.address, [])
        found = results(nodes)
        for node in list(nodes):
            for position, value in enumerate(node.inputs):
                source = self._made_by.get(value) if value is not None else None
                if value is not None and source in self._plan.groups and source not in (*unit, op.address):
                    self._choose(value, str(source), on, [(node, position)], before=node)
        if op.weight:
            self._switch_weights(op, on)
        for tensor in self._plan.tensors:
            if owner_of(tensor.address) == op.address and inner_of(tensor.address):
                (gate,) = [node for node in nodes if node.op_type == "Sigmoid"]
                self._choose(gate.outputs[0], tensor.address, on, readers_outside(gate.outputs[0]), after=gate)
        if op.result in ("", op.address):
            for value in found:
                producer = value.producer()
                if producer is not None:
                    readers = readers_outside(value, nodes)
                    self._note(op.address, self._choose(value, op.address, on, readers, after=producer))

    def _switch_weights(self, op: PlannedOp, on: ir.Value) -> None:
        state, (node,) = self._insertion.state, [n for n in self._nodes[op.address] if n.op_type == "Conv"]
        qmax, scale = self._plan.weight_format.qmax, np.asarray(state.weight_scales[op.weight], np.float32)
        weight, bias = state.parameters[f"{op.weight}.weight"], state.parameters.get(f"{op.weight}.bias")
        per_channel = scale.reshape(-1, *[1] * (weight.ndim - 1))  # (C_out,) -> (C_out, 1, 1, 1)
        coarse = [np.rint(weight / per_channel).clip(-qmax, qmax) * per_channel]
        if bias is not None:
            of_bias = state.range_of(self._plan, op.inputs[0]).scale * scale
            coarse.append(np.rint(bias / of_bias) * of_bias)
        for position, values in enumerate(coarse, 1):
            own = node.inputs[position]
            constant = add_constant(self._graph, values.astype(np.float32), f"{op.address}/{SWITCHES}/{position}")
            chosen = make_node("Where", [on, constant, own], f"{op.address}/{SWITCHES}/Where{position}")
            self._graph.insert_before(node, chosen)
            node.replace_input_with(position, chosen.outputs[0])

    def _switch_attention(self, attention: Attention, on: ir.Value) -> None:
        (scale,), (scores,), (values,) = (
            [node for node in self._nodes.get(address, []) if node.op_type == operator]
            for address, operator in (
                (attention.scale, "Mul"),
                (attention.scores, "MatMul"),
                (attention.values, "MatMul"),
            )
        )
        query = next((value for value in scale.inputs if self._made_by.get(value) == attention.query), None)  # type: ignore[arg-type]
        if query is None:
            raise refusal(_NAME, attention.scale, "it does not read what the plan says")
        read = (query, attention.query), (scores.inputs[1], attention.key), (values.inputs[0], attention.value)
        operands = [self._codes(value, address, values) for value, address in read]
        steps = ExactAttention(self._insertion).steps(self._graph, attention, *operands)
        pair = self._pair(steps[-1].outputs[0], attention.values)
        self._graph.insert_before(values, [*steps, *pair])
        result = values.outputs[0]
        readers = readers_outside(result)
        chosen = make_node("Where", [on, pair[1].outputs[0], result], f"{attention.values}/{SWITCHES}/Where")
        self._graph.insert_after(values, chosen)
        for node, position in readers:
            node.replace_input_with(position, chosen.outputs[0])
        self._note(attention.values, chosen.outputs[0])

    def _note(self, address: str, value: ir.Value) -> None:
        self.chosen[address], self._made_by[value] = str(value.name), address

    def _codes(self, value: ir.Value | None, address: str, before: ir.Node) -> Operand:
        if value is None:
            raise refusal(_NAME, address, "the attention does not read it")
        pair = self._pair(value, address)
        self._graph.insert_before(before, pair)
        zero_point = pair[0].inputs[2]
        assert zero_point is not None  # make_pair gives it
        return pair[0].outputs[0], zero_point

    def _choose(
        self,
        value: ir.Value,
        address: str,
        on: ir.Value,
        readers: Sequence[tuple[ir.Node, int]],
        *,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
    ) -> ir.Value:
        pair = self._pair(value, address)
        chosen = make_node("Where", [on, pair[1].outputs[0], value], f"{pair[1].name}/Where")
        if before is not None:
            self._graph.insert_before(before, [*pair, chosen])
        elif after is not None:
            self._graph.insert_after(after, [*pair, chosen])
        for node, position in readers:
            node.replace_input_with(position, chosen.outputs[0])
        return chosen.outputs[0]

    def _pair(self, value: ir.Value, address: str) -> list[ir.Node]:
        self._pairs += 1  # one tensor has a pair for each unit that reads it
        return make_pair(self._graph, self._insertion, value, address, f"{SWITCHES}/{address}/{self._pairs}")
