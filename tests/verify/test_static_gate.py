"""The gate without timing on files that were really changed. Oracle: the change made here by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.statistics.verdict import StaticGate
from edgegd.verdict import Verdict
from edgegd.verify.optimized_graph import element_types, load_with_graph
from edgegd.verify.static_gate import facts_of, static_facts, static_gate

CHANNELS, SIDE, CONVOLUTIONS = 32, 16, 3
Change = Callable[[onnx.GraphProto], None]


def build(convolutions: int = CONVOLUTIONS) -> onnx.ModelProto:
    """A chain of Q/DQ convolutions conv0, conv1, ... of uint8 activations and int8 weights."""
    random, shape = np.random.default_rng(0), (1, CHANNELS, SIDE, SIDE)
    constants = {
        "scale": np.float32(0.02),
        "zero": np.uint8(128),
        "weight_scale": np.float32(0.01),
        "weight_zero": np.int8(0),
    }
    nodes = []

    def pair(tensor: str) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [tensor, "scale", "zero"], [f"{tensor}/codes"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{tensor}/codes", "scale", "zero"], [f"{tensor}/values"]))
        return f"{tensor}/values"

    tensor = pair("images")
    for index in range(convolutions):
        constants[f"w{index}"] = random.integers(-127, 128, (CHANNELS, CHANNELS, 3, 3), dtype=np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [f"w{index}", "weight_scale", "weight_zero"], [f"f{index}"]))
        nodes.append(
            helper.make_node("Conv", [tensor, f"f{index}"], [f"c{index}"], name=f"conv{index}", pads=[1, 1, 1, 1])
        )
        tensor = pair(f"c{index}")
    nodes[-1].output[0] = "output0"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "output0")]
    graph = helper.make_graph(
        nodes,
        "chain",
        values[:1],
        values[1:],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """save(change, convolutions): the chain, changed, as a file."""

    def write(change: Change = lambda graph: None, convolutions: int = CONVOLUTIONS) -> Path:
        model = build(convolutions)
        change(model.graph)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
        onnx.save(model, path)
        return path

    return write


def without_pair(graph: onnx.GraphProto) -> None:
    """Removes the Q/DQ pair between conv0 and conv1, so that neither has integers on both sides."""
    removed = [node for node in graph.node if node.output[0] in ("c0/codes", "c0/values")]
    for node in removed:
        graph.node.remove(node)
    (reader,) = [node for node in graph.node if "c0/values" in node.input]
    reader.input[0] = "c0"


def padded(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.zeros(4000, np.int8), "padding"))


def negated(graph: onnx.GraphProto) -> None:
    graph.node[-1].output[0] = "positive"
    graph.node.append(helper.make_node("Neg", ["positive"], ["output0"]))


def codes_pooled(graph: onnx.GraphProto) -> None:
    graph.node[-1].input[0] = "pooled"
    graph.node.insert(
        len(graph.node) - 1,
        helper.make_node("MaxPool", ["c2/codes"], ["pooled"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    )


def failed(gate: StaticGate) -> dict[str, str]:
    return {finding.name: finding.reason for finding in gate.findings if not finding.passed}


def test_a_model_against_itself_passes_with_all_its_convolutions_in_integers(save: Callable[..., Path]) -> None:
    path = save()
    facts = static_facts(path)
    assert facts["integer_convolutions"] == ["conv0", "conv1", "conv2"] and facts["float_convolutions"] == []
    assert facts["nodes"]["QLinearConv"] == 3
    assert facts["float_nodes"] == {"QuantizeLinear": 1, "DequantizeLinear": 1}
    gate = static_gate(path, facts, peak_bytes=10**8, baseline_peak_bytes=10**8)
    assert gate.verdict is Verdict.PASS and failed(gate) == {}
    assert {"convolutions", "nodes: QLinearConv", "model bytes", "peak memory bytes"} <= {f.name for f in gate.findings}


def test_convolutions_that_fell_to_float_are_named(save: Callable[..., Path]) -> None:
    gate = static_gate(save(without_pair), static_facts(save()))
    assert gate.verdict is Verdict.REGRESSED
    (census,) = [finding for finding in gate.findings if finding.name == "convolutions"]
    assert (census.reference, census.candidate) == ("3 integer, 0 float", "1 integer, 2 float")
    assert census.reason == "in integers before, in float now: conv0, conv1"
    assert any(name.startswith("nodes in float: ") and "Conv" in name for name in failed(gate))


def test_a_float_convolution_that_is_new_fails_without_names(save: Callable[..., Path]) -> None:
    def nameless(graph: onnx.GraphProto) -> None:
        without_pair(graph)
        for node in graph.node:
            node.name = ""

    gate = static_gate(save(nameless), static_facts(save()))
    assert failed(gate)["convolutions"] == "2 more convolutions in float"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (padded, {"model bytes"}),
        (negated, {"nodes: Neg", "nodes in float: Neg"}),
        (codes_pooled, {"nodes: NhwcMaxPool"}),
    ],
    ids=["initializer padded", "node in float added", "node on codes added"],
)
def test_each_change_fails_its_own_findings(save: Callable[..., Path], change: Change, expected: set[str]) -> None:
    gate = static_gate(save(change), static_facts(save()))
    assert gate.verdict is Verdict.REGRESSED and set(failed(gate)) == expected


def test_fewer_nodes_and_fewer_bytes_are_fine(save: Callable[..., Path]) -> None:
    assert static_gate(save(convolutions=2), static_facts(save())).verdict is Verdict.PASS
    grown = static_gate(save(), static_facts(save(convolutions=2)))
    assert failed(grown).keys() == {"nodes: QLinearConv", "model bytes"}


def test_an_allowance_lets_nodes_pass_but_not_in_float(save: Callable[..., Path]) -> None:
    facts = static_facts(save())
    assert static_gate(save(codes_pooled), facts, node_allowance=1).verdict is Verdict.PASS
    assert failed(static_gate(save(negated), facts, node_allowance=1)).keys() == {"nodes in float: Neg"}


@pytest.mark.parametrize(
    ("peak_bytes", "reason"),
    [
        (105_000_000, ""),
        (105_000_001, "grew by 5.0 %, 5 % allowed"),
        (130_000_000, "grew by 30.0 %, 5 % allowed"),
    ],
)
def test_peak_memory_may_grow_by_five_per_cent(save: Callable[..., Path], peak_bytes: int, reason: str) -> None:
    path = save()
    gate = static_gate(path, static_facts(path), peak_bytes=peak_bytes, baseline_peak_bytes=100_000_000)
    (finding,) = [finding for finding in gate.findings if finding.name == "peak memory bytes"]
    assert (finding.passed, finding.reason, finding.candidate) == (not reason, reason, f"{peak_bytes:,}")


def test_peak_memory_is_not_compared_where_one_is_unknown(save: Callable[..., Path]) -> None:
    path = save()
    gate = static_gate(path, static_facts(path), peak_bytes=10**9)
    assert not [finding for finding in gate.findings if finding.name.startswith("peak")]


def test_facts_of_another_onnxruntime_are_refused_and_taken_anew(save: Callable[..., Path], tmp_path: Path) -> None:
    path = save()
    facts = static_facts(path)
    stale = facts | {"made_by": facts["made_by"] | {"onnxruntime": "1.0.0"}, "nodes": {}}
    with pytest.raises(ValueError, match=r"1\.0\.0"):
        static_gate(path, stale)
    baseline = Baseline.set(path, "old", static=stale, root=tmp_path / "baselines")
    assert facts_of(baseline) == facts
    kept = facts | {"bytes": 1}
    assert facts_of(Baseline.set(path, "new", static=kept, root=tmp_path / "baselines")) == kept


def test_types_are_told_of_operators_that_onnx_does_not_know(save: Callable[..., Path]) -> None:
    _, model = load_with_graph(save())
    types = element_types(model)
    integers = [node.output[0] for node in model.graph.node if node.op_type == "QLinearConv"]
    assert [types[name] for name in integers] == 3 * ["tensor(uint8)"]
    assert types["images"] == types["output0"] == "tensor(float)"


def test_addresses_of_a_real_export_are_found_under_the_names_that_fusions_give(exported: Callable[..., Any]) -> None:
    one = exported("yolov8n")
    gate = static_gate(one.fp32, static_facts(one.ptq))
    facts = static_facts(one.ptq)
    assert set(facts["integer_convolutions"]) | set(facts["float_convolutions"]) == {
        op.address for op in one.plan.convolutions("integer") + one.plan.convolutions("float")
    }
    assert failed(gate)["convolutions"].startswith("in integers before, in float now: model.0.conv:conv2d:0, ")
    assert static_gate(one.ptq, facts).verdict is Verdict.PASS
