"""What an insertion pass is: it needs facts about a graph, makes others true, and refuses what it does not know.

The passes rewrite the addressed float graph, in place, into the portable Q/DQ graph that a plan describes. Order is no
knowledge of the caller: it follows from `needs` and `makes` (`ordered`).
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import ClassVar

import onnx_ir as ir

from edgegd.errors import InsertionError
from edgegd.plan.quant_plan import QuantPlan
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
