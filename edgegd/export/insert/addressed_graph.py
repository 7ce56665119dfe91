"""The addressed float graph as passes see it: nodes and results of an operation, and small edits of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from edgegd.export.insert.base import refusal
from edgegd.plan.quant_plan import PlannedOp, QuantPlan


def nodes_by_address(graph: ir.Graph, plan: QuantPlan) -> dict[str, list[ir.Node]]:
    """The nodes of every planned operation, in running order: named `ADDRESS` or `ADDRESS/...`, constants aside."""
    found: dict[str, list[ir.Node]] = {}
    for node in graph:
        address = address_of(node, plan)
        if address and node.op_type != "Constant":
            found.setdefault(address, []).append(node)
    return found


def address_of(node: ir.Node, plan: QuantPlan) -> str:
    """The address of the planned operation that a node belongs to; empty where it belongs to none."""
    name = node.name or ""
    if name in plan.by_address:
        return name
    stem = name.rpartition("/")[0]
    return stem if stem in plan.by_address else ""


def results(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    """What one operation's nodes make for others: values that are read outside of them, or are outputs of the graph.

    Whole numbers are no results: they are sizes that the exporter computes.
    """
    inside = set(nodes)
    found = []
    for node in nodes:
        for value in node.outputs:
            is_read = value.is_graph_output() or any(use.node not in inside for use in value.uses())
            if is_read and value.dtype in (None, ir.DataType.FLOAT):
                found.append(value)
    return found


def only_result(nodes: Sequence[ir.Node], by: str, op: PlannedOp) -> ir.Value:
    """The one result of an operation; InsertionError where it has none or several."""
    found = results(nodes)
    if len(found) != 1:
        raise refusal(by, op.address, f"the operation must have one result in the float graph, and has {len(found)}")
    return found[0]


def redirect(old: ir.Value, new: ir.Value, readers: Iterable[tuple[ir.Node, int]]) -> None:
    """Lets the `readers` (node, position) of `old`, and the graph's outputs, read `new`.

    An output of the graph keeps its name, type and shape.
    """
    for node, position in list(readers):
        node.replace_input_with(position, new)
    graph = old.graph
    if graph is None or not old.is_graph_output():
        return
    name = old.name
    new.type, new.shape = old.type, old.shape
    for position, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[position] = new
    old.name, new.name = f"{name}~", name


def readers_outside(value: ir.Value, nodes: Iterable[ir.Node] = ()) -> list[tuple[ir.Node, int]]:
    """The readers (node, position) of a value that are none of `nodes`."""
    inside = set(nodes)
    return [(use.node, use.idx) for use in value.uses() if use.node not in inside]


def make_node(
    operator: str, inputs: Sequence[ir.Value | None], name: str, *, output: str = "", **attributes: int | list[int]
) -> ir.Node:
    """A node with one output, which is called `{name}_output_0` where `output` gives it no name."""
    made = ir.node(operator, inputs, attributes or None, name=name)
    made.outputs[0].name = output or f"{name}_output_0"
    return made


def add_constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """A new initializer; ValueError where the graph has one of this name."""
    if name in graph.initializers:
        raise ValueError(f"the graph has an initializer {name} already")
    value = ir.val(name, const_value=ir.tensor(np.array(array, order="C"), name=name))  # a scalar stays one
    graph.register_initializer(value)
    return value
