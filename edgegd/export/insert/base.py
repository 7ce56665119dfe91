"""What an insertion pass is: it needs facts about a graph, makes others true, and refuses what it does not know.

The passes rewrite the addressed float graph, in place, into the portable Q/DQ graph that a plan describes. Order is no
knowledge of the caller: it follows from `needs` and `makes` (`ordered`).
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgegd.errors import InsertionError
from edgegd.plan.quant_plan import PlannedOp, QuantPlan
from edgegd.plan.quantized_state import QuantizedState
from edgegd.plan.traced_op import TracedOp

_FACTS = "edgegd.facts"  # in the graph's `meta`, which no file holds


@dataclass(frozen=True)
class Insertion:
    """What is inserted: a plan, the weights and ranges of its model, and the trace (by address) of that model.

    `parameters` are the initializers that are the model's own parameters.
    """

    plan: QuantPlan
    state: QuantizedState
    trace: dict[str, TracedOp]
    parameters: tuple[str, ...] = ()

    def traced(self, address: str, by: str) -> TracedOp:
        """The traced operation of an address; InsertionError, in the name of the pass `by`, where there is none."""
        if address not in self.trace:
            raise refusal(by, address, "the float graph's trace does not have this operation")
        return self.trace[address]


class InsertionPass(ir.passes.InPlacePass):
    """One step from the addressed float graph to the portable Q/DQ graph.

    `name` is the word for it in messages. `needs` are facts that must hold before, `makes` those that hold after
    (onnx_ir's `requires` and `ensures` check both). A pass raises InsertionError for a place that it cannot rewrite:
    a graph with half of its plan is worth nothing.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]]

    def __init__(self, insertion: Insertion) -> None:
        self.plan, self.state, self.insertion = insertion.plan, insertion.state, insertion

    def requires(self, model: ir.Model) -> None:
        """PreconditionError where a fact that the pass needs does not hold."""
        if missing := self.needs - facts(model):
            raise ir.passes.PreconditionError(f"the pass {self.name} needs {', '.join(sorted(missing))} first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrites the graph and notes the facts that hold now."""
        changed = self.rewrite(model.graph)
        facts(model).update(self.makes)
        return ir.passes.PassResult(model, changed)

    @abc.abstractmethod
    def rewrite(self, graph: ir.Graph) -> bool:
        """Rewrites every place that the plan names; whether there was one. Raises InsertionError."""

    def refuse(self, where: str, reason: str, *, found: str = "") -> InsertionError:
        """The error that says that, and why, this pass cannot rewrite the place `where` (an address or a node)."""
        return refusal(self.name, where, reason, found=found)


def refusal(by: str, where: str, reason: str, *, found: str = "") -> InsertionError:
    """As InsertionPass.refuse, in the name of the pass `by`."""
    return InsertionError(by, where, reason, found=found)


def facts(model: ir.Model) -> set[str]:
    """The facts that passes have made true of a graph."""
    held: set[str] = model.meta.setdefault(_FACTS, set())
    return held


def ordered(kinds: Iterable[type[InsertionPass]], given: Collection[str] = ()) -> list[type[InsertionPass]]:
    """The passes in an order in which each finds what it needs, beside facts that are given.

    ValueError where a fact is made by none.
    """
    kinds = list(kinds)
    makers: dict[str, list[type[InsertionPass]]] = {}
    for kind in kinds:
        for fact in kind.makes:
            makers.setdefault(fact, []).append(kind)
    if unmade := {fact for kind in kinds for fact in kind.needs} - makers.keys() - set(given):
        raise ValueError(f"no pass makes {', '.join(sorted(unmade))}")
    before = {kind: [maker for fact in sorted(kind.needs) for maker in makers.get(fact, [])] for kind in kinds}
    return list(TopologicalSorter(before).static_order())


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
