"""Order follows from what passes need; a graph carries its trace. Oracle: the declarations; what was written."""

from __future__ import annotations

import json

import onnx
import onnx_ir as ir
import pytest

from edgegd.errors import MetadataError
from edgegd.export.graph_pass import Property
from edgegd.export.insert import PASSES, IntegerBiases
from edgegd.export.insert.base import Insertion, InsertionPass, ordered
from edgegd.export.traced_graph import TRACE_KEY, Traced, read_trace, write_trace
from edgegd.plan.profiles.table import HeadPaths
from edgegd.plan.traced_op import TracedOp


@pytest.mark.parametrize("given", [PASSES, PASSES[::-1], PASSES[3:] + PASSES[:3]])
def test_whatever_the_order_of_the_list_each_pass_comes_after_what_it_needs(given):
    held: set[Property] = set()
    for kind in ordered(given):
        assert held.issuperset(kind.needs), kind.name
        held.update(kind.makes)
    assert len({kind.name for kind in PASSES}) == len(PASSES)


def test_a_fact_that_no_pass_makes_is_an_error():
    with pytest.raises(
        ValueError,
        match="no pass makes a graph in which every planned tensor is quantized and",
    ):
        ordered([IntegerBiases])


def test_a_pass_does_not_run_before_what_it_needs(float_graph):
    small = float_graph()
    result = small.add("m:relu:0", "Relu", ["images"], ("input",), small.shape)
    plan = small.plan()
    model = ir.from_proto(small.model(result))
    with pytest.raises(
        ir.passes.PreconditionError,
        match="integer-biases needs a graph in which every planned",
    ):
        IntegerBiases(Insertion(plan, small.state(plan), {}))(model)


def test_every_pass_is_documented_and_named():
    for kind in PASSES:
        assert issubclass(kind, InsertionPass) and kind.__doc__ and kind.rewrite.__doc__


def _graph() -> onnx.ModelProto:
    return onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))


TRACED = Traced(
    (TracedOp("m.0:mul:0", "mul", "m.0", ("input",), (1, 4, 6, 6), (32**-0.5,)),),
    HeadPaths("model.23", frozenset({"model.23.cv2.0.2", "model.23.cv2.1.2"}), ("model.23.decoder",)),
    ("m.0.weight",),
)


def test_a_trace_is_read_as_it_was_written_beside_other_keys():
    graph = _graph()
    onnx.helper.set_model_props(graph, {"names": "{0: 'ant'}"})
    write_trace(graph, TRACED)
    write_trace(graph, TRACED)
    assert read_trace(graph) == TRACED  # the constant too, to the last of its 53 bits
    assert sorted(entry.key for entry in graph.metadata_props) == [TRACE_KEY, "names"]


def _text(**changes):
    graph = _graph()
    write_trace(graph, TRACED)
    return json.dumps(json.loads(graph.metadata_props[0].value) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        _text(schema=2),
        _text(head=[1, [], []]),
        _text(head=["model.23"]),
        _text(parameters=[3]),
        _text(ops=[["m:add:0", "add", "m", ["input"], [1, "4"], []]]),
        _text(ops=[["m:add:0", "add", "m", ["input"], [1, 4]]]),
        _text(ops=[[0, "add", "m", ["input"], [1, 4], []]]),
        _text(ops=3),
    ],
)
def test_a_malformed_trace_is_one_clear_error(text):
    graph = _graph()
    onnx.helper.set_model_props(graph, {TRACE_KEY: text})
    with pytest.raises(MetadataError, match="trace that the float graph carries is malformed"):
        read_trace(graph)
