"""What every pass over a graph has: properties that it needs and makes, checked before and after it.

Two kinds of passes build on it: those that insert a plan into the float graph (edgegd.export.insert), and those that
rewrite the portable file exactly (edgegd.export.passes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import onnx_ir as ir

_FACTS = "edgegd.facts"  # in the graph's `meta`, which no file holds


class Property(NamedTuple):
    """Something that holds of a graph, or does not; `text` completes "a graph in which ..."."""

    text: str
    holds: Callable[[ir.Model], bool]


class GraphPass(ir.passes.InPlacePass):
    """A pass with a `name`; onnx_ir checks what it `needs` before every call, and what it `makes` after it.

    RUNNING_ORDER holds after every pass.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[Property, ...]] = ()
    makes: ClassVar[tuple[Property, ...]] = ()

    def requires(self, model: ir.Model) -> None:
        """PreconditionError where something that the pass needs does not hold."""
        if missing := self.missing(model):
            raise ir.passes.PreconditionError(f"the pass {self.name} needs a graph in which {missing}")

    def missing(self, model: ir.Model) -> str:
        """What the pass needs and the graph does not have; empty where it may run."""
        return " and ".join(needed.text for needed in self.needs if not needed.holds(model))

    def ensures(self, model: ir.Model) -> None:
        """PostconditionError where something that the pass promises does not hold."""
        for made in (RUNNING_ORDER, *self.makes):
            if not made.holds(model):
                raise ir.passes.PostconditionError(f"after the pass {self.name} it must hold that {made.text}")


def fact(text: str) -> Property:
    """A property that no look at the graph shows: passes note it (`note`) when they have made it so."""
    return Property(text, lambda model: text in model.meta.get(_FACTS, ()))


def note(model: ir.Model, *facts: Property) -> None:
    """Notes that facts hold of a graph from now on."""
    model.meta.setdefault(_FACTS, set()).update(one.text for one in facts)


def _in_running_order(model: ir.Model) -> bool:
    made = {*model.graph.inputs, *model.graph.initializers.values()}
    for node in model.graph:
        if any(value is not None and value not in made for value in node.inputs):
            return False
        made.update(node.outputs)
    return all(output in made for output in model.graph.outputs)


def _lifted(model: ir.Model) -> bool:
    return all(node.op_type != "Constant" for node in model.graph)


RUNNING_ORDER = Property("every value is made before it is read", _in_running_order)
LIFTED_CONSTANTS = Property("every constant is an initializer", _lifted)
