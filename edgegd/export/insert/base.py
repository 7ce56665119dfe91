"""What an insertion pass is: it needs facts about a graph, makes others true, and refuses what it does not know.

The passes rewrite the addressed float graph, in place, into the portable Q/DQ graph that a plan describes. Order is no
knowledge of the caller: it follows from `needs` and `makes` (`ordered`).
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

import onnx_ir as ir

from edgegd.errors import InsertionError
from edgegd.export.graph_pass import GraphPass, Property, fact, note
from edgegd.plan.quant_plan import QuantPlan
from edgegd.plan.quantized_state import QuantizedState
from edgegd.plan.traced_op import TracedOp

TRAINED_PARAMETERS = fact("weights and biases are those of the state")
PORTABLE_SOFTMAX = fact("every softmax that stays float is one for all CPUs")
FLOAT_BARRIERS = fact("barriers keep float operations float")
QUANTIZED_TENSORS = fact("every planned tensor is quantized")
EXACT_ATTENTION = fact("exact attentions run on codes")
INTEGER_WEIGHTS = fact("planned weights are integers")
INTEGER_BIASES = fact("biases of integer convolutions are integers")
FOLDED_PARAMETERS = fact("what depends on parameters alone is computed")


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


class InsertionPass(GraphPass):
    """One step from the addressed float graph to the portable Q/DQ graph.

    `name` is the word for it in messages. What it makes is a fact, which it notes. It raises InsertionError for a place
    that it cannot rewrite: a graph with half of its plan is worth nothing.
    """

    def __init__(self, insertion: Insertion) -> None:
        self.plan, self.state, self.insertion = insertion.plan, insertion.state, insertion

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrites the graph and notes the facts that hold now."""
        changed = self.rewrite(model.graph)
        note(model, *self.makes)
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


def ordered(kinds: Iterable[type[InsertionPass]], given: Collection[Property] = ()) -> list[type[InsertionPass]]:
    """The passes in an order in which each finds what it needs, beside facts that are given.

    ValueError where a fact is made by none.
    """
    kinds = list(kinds)
    makers: dict[Property, list[type[InsertionPass]]] = {}
    for kind in kinds:
        for made in kind.makes:
            makers.setdefault(made, []).append(kind)
    if unmade := {needed for kind in kinds for needed in kind.needs} - makers.keys() - set(given):
        raise ValueError(f"no pass makes a graph in which {' and '.join(sorted(one.text for one in unmade))}")
    before = {kind: [maker for needed in kind.needs for maker in makers.get(needed, [])] for kind in kinds}
    return list(TopologicalSorter(before).static_order())
