"""What a pass is: one exact rewrite of a graph, which tells what it rewrote and why it left the rest."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgegd.export.graph_pass import GraphPass

MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators


class Refusal(NamedTuple):
    """A place that a pass left as it is: the node's name (an address), or what else it is, and why."""

    place: str
    reason: str


class Unfit(NamedTuple):
    """Why a node does not fit a pass; not `notable` where it was never meant for it."""

    reason: str
    notable: bool = True


@dataclass(frozen=True)
class PassReport:
    """What a pass did: the addresses (node names) it rewrote, and the places that it left."""

    name: str
    text: str
    applied: tuple[str, ...]
    refused: tuple[Refusal, ...]


class ExactPass(GraphPass):
    """One rewrite after which onnxruntime computes the same bits, on every CPU of the profile.

    `name` is the word for it on the command line, `text` one line of what it does. A place that does not fit is refused
    with a reason, never rewritten in hope. `slower_on` has the profiles for which the pass is left out because it makes
    their files slower, each with the measurement that says so: time on x86, counted instructions on ARM.
    """

    text: ClassVar[str]
    slower_on: ClassVar[Mapping[str, str]] = {}

    def __init__(self, channels: int = 3, profile: str = "") -> None:
        """`channels` is how many the images have that the edge file reads, `profile` the one it is for ("": none)."""
        self.channels, self.profile = channels, profile
        self.applied: list[str] = []
        self.refused: list[Refusal] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrites, then drops what nothing reads any more."""
        self.rewrite(model.graph)
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, bool(self.applied))

    @abc.abstractmethod
    def rewrite(self, graph: ir.Graph) -> None:
        """Rewrites every place of the graph that fits; fills `applied` and `refused`."""

    def refuse(self, place: ir.Node | ir.Value, reason: str) -> None:
        """Notes that a place was left as it is."""
        self.refused.append(Refusal(place.name or "", reason))

    @property
    def report(self) -> PassReport:
        """What was done."""
        return PassReport(self.name, self.text, tuple(self.applied), tuple(self.refused))


def numbers(value: ir.Value | None) -> np.ndarray | None:
    """The elements of a constant, None for what is computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """An initializer of the graph; one that exists under the name must hold the same elements."""
    existing = graph.initializers.get(name)
    if existing is not None:
        if not np.array_equal(existing.const_value.numpy(), array):  # type: ignore[union-attr]
            raise ValueError(f"{name} exists with other elements")
        return existing
    value = ir.val(name, const_value=ir.tensor(np.array(array, order="C"), name=name))  # a scalar stays one
    graph.register_initializer(value)
    return value


def shape_of(value: ir.Value) -> tuple[int, ...] | None:
    """The static shape of a value, None where a dimension is not known."""
    if value.shape is None or not all(isinstance(side, int) for side in value.shape):
        return None
    return tuple(int(side) for side in value.shape)  # type: ignore[arg-type]


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, None where there are none or several, or where it is an output of the graph."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    return uses[0].node


def take_place(old: ir.Value, new: ir.Value) -> None:
    """Lets `new` be read wherever `old` was, under its name, with its type and shape where it has none of its own."""
    name = old.name
    new.type = new.type or old.type
    new.shape = new.shape if new.shape is not None else old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = f"{name}~", name
