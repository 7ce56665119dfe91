"""A float graph in which each unit of a plan can be switched to integers by itself.

The graph has a second input, `switches` (units,) bool, and in place of each unit an If:

    its switch is off    the float nodes as they were
    its switch is on     what the insertion passes make of them: pairs at what they read and make, integer weights, an
                         exact attention; what arrives is float, and so is what leaves

One session serves all units, and runs the same kernels that a file of the plan would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgegd.addresses import INPUT, owner_of
from edgegd.export.graph_forms import constants
from edgegd.export.graph_pass import note
from edgegd.export.insert import ExactAttention, IntegerBiases, IntegerWeights, QuantizedTensors
from edgegd.export.insert.base import FLOAT_BARRIERS, TRAINED_PARAMETERS, Insertion, ordered
from edgegd.plan.profiles.table import MOVE
from edgegd.plan.quant_plan import QuantPlan
from edgegd.precision.assembly import Addresses
from edgegd.runtime.contract import INPUT_NAME
from edgegd.verify.exact_session import exact_form

SWITCHES = "switches"
_PASSES = (QuantizedTensors, ExactAttention, IntegerWeights, IntegerBiases)
_ASSUMED = (FLOAT_BARRIERS, TRAINED_PARAMETERS)  # one operation has no float one beside it


def switched_graph(graph: onnx.ModelProto, insertion: Insertion, units: Sequence[Addresses]) -> onnx.ModelProto:
    """The graph with switches; values keep their names. `graph` is the addressed float graph, which stays as it is.

    Raises InsertionError for a unit that the passes cannot write.
    """
    switched = onnx.ModelProto()
    switched.CopyFrom(graph)
    nodes = _nodes_by_address(graph.graph, insertion.plan)
    made_by = {name: address for address, own in nodes.items() for node in own for name in node.output}
    made_by[INPUT_NAME] = INPUT
    replaced, written, values = {}, set(), constants(graph.graph)
    for index, unit in enumerate(units):
        own = [node for address in unit for node in nodes.get(address, [])]
        own.sort(key=list(graph.graph.node).index)
        branch = _Branch(graph, insertion, unit, own, made_by, values)
        replaced[own[-1].name] = [*_switch(index), branch.node(index)]
        written |= {node.name for node in own}
    kept = [new for node in graph.graph.node for new in replaced.get(node.name, [] if node.name in written else [node])]
    del switched.graph.node[:], switched.graph.value_info[:]
    switched.graph.node.extend(kept)
    switched.graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(units)]))
    return switched


def _nodes_by_address(graph: onnx.GraphProto, plan: QuantPlan) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in (node.name, node.name.rpartition("/")[0]):
            if name in plan.by_address and node.op_type != "Constant":
                found.setdefault(name, []).append(node)
                break
    return found


def _switch(index: int) -> list[onnx.NodeProto]:
    at = numpy_helper.from_array(np.array(index, np.int64))
    names = f"{SWITCHES}/{index}/at", f"{SWITCHES}/{index}"
    return [
        helper.make_node("Constant", [], [names[0]], names[0], value=at),
        helper.make_node("Gather", [SWITCHES, names[0]], [names[1]], names[1], axis=0),
    ]


class _Branch:
    """One unit's nodes in both forms."""

    def __init__(
        self,
        graph: onnx.ModelProto,
        insertion: Insertion,
        unit: Addresses,
        nodes: Sequence[onnx.NodeProto],
        made_by: dict[str, str],
        values: dict[str, np.ndarray],
    ) -> None:
        self._constants = values
        self._graph, self._insertion, self._unit, self._nodes, self._made_by = graph, insertion, unit, nodes, made_by
        own = {node.name for node in nodes}
        made = {name for node in nodes for name in node.output}
        read = {name for node in graph.graph.node if node.name not in own for name in node.input}
        read |= {output.name for output in graph.graph.output}
        self._results = [name for node in nodes for name in node.output if name in read]
        self._outside = list(dict.fromkeys(n for node in nodes for n in node.input if n and n not in made))

    def node(self, index: int) -> onnx.NodeProto:
        """The If, whose results are the unit's."""
        off = _graph_of(self._nodes, (), self._results, f"~off{index}", set(self._outside))
        mini = self._in_integers()
        on = _graph_of(mini.graph.node, mini.graph.initializer, self._results, f"~on{index}", set(self._outside))
        name = f"{self._unit[0]}/If"
        return helper.make_node("If", [f"{SWITCHES}/{index}"], self._results, name, then_branch=on, else_branch=off)

    def _in_integers(self) -> onnx.ModelProto:
        """The unit as a model of its own, quantized by the passes."""
        sources = [name for name in self._outside if self._made_by.get(name) in self._insertion.plan.groups]
        arrivals: list[onnx.NodeProto] = []
        renamed = {}
        for name in sources:  # an operation of the mini model that makes the source's value
            renamed[name] = name if name == INPUT_NAME else f"{name}~arrived"
            if name != INPUT_NAME:
                address = f"{self._made_by[name]}/Identity{len(arrivals)}"
                arrivals.append(helper.make_node("Identity", [name], [renamed[name]], address))
        nodes = []
        for node in self._nodes:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            copied.input[:] = [renamed.get(name, name) for name in node.input]
            nodes.append(copied)
        computed = [name for name in self._outside if name not in self._constants]
        computed.sort(key=lambda name: name != INPUT_NAME)  # the image is the first input
        mini = helper.make_graph(
            [*arrivals, *nodes],
            "unit",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in computed],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self._results],
            [numpy_helper.from_array(self._constants[n], n) for n in self._outside if n in self._constants],
        )
        model = ir.from_proto(helper.make_model(mini, opset_imports=self._graph.opset_import, ir_version=10))
        note(model, *_ASSUMED)
        insertion = dataclasses.replace(self._insertion, plan=self._own_plan({self._made_by[n] for n in sources}))
        for kind in ordered(_PASSES, given=_ASSUMED):
            kind(insertion)(model)
        return exact_form(ir.to_proto(model))  # in a branch, where a session's own exact form does not look

    def _own_plan(self, sources: set[str]) -> QuantPlan:
        """The plan of the mini model: the unit's operations, and what makes its sources as mere movements."""
        plan = self._insertion.plan
        known = {*self._unit, *sources}
        ops = [
            op
            if op.address in self._unit
            else dataclasses.replace(op, operation="arrival", decision=MOVE, weight="", result="", inputs=())
            for op in plan.ops
            if op.address in known
        ]
        tensors = [t for t in plan.tensors if owner_of(t.address) in self._unit or t.address in sources]
        return dataclasses.replace(plan, ops=tuple(ops), tensors=tuple(tensors))


def _graph_of(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto],
    results: Sequence[str],
    suffix: str,
    outside: set[str],
) -> onnx.GraphProto:
    """A branch: all names that are its own get the suffix, because scopes inside must not repeat names outside."""
    read = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in initializers if tensor.name in read]
    stored = {tensor.name for tensor in initializers}
    own = {name for node in nodes for name in node.output} | stored

    def renamed(name: str) -> str:
        return f"{name}{suffix}" if name in own and (name not in outside or name in stored) else name

    copies = []
    for node in nodes:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.name = f"{node.name}{suffix}"
        copied.input[:] = map(renamed, node.input)
        copied.output[:] = map(renamed, node.output)
        copies.append(copied)
    tensors = []
    for tensor in initializers:
        copied_tensor = onnx.TensorProto()
        copied_tensor.CopyFrom(tensor)
        copied_tensor.name = renamed(tensor.name)
        tensors.append(copied_tensor)
    outputs = [helper.make_tensor_value_info(renamed(name), TensorProto.FLOAT, None) for name in results]
    return helper.make_graph(copies, f"branch{suffix}", [], outputs, tensors)
