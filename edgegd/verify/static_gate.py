"""The gate that needs no timing: what onnxruntime makes of a candidate, beside what it makes of the baseline.

A fact that got worse has one cause, the file, on every run and every machine of a kind; so nothing here has an error
rate. Needs the onnx package, and no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgegd.device.fingerprint import fingerprint
from edgegd.export.load_onnx import load_onnx
from edgegd.latency.baseline.baseline import Baseline
from edgegd.latency.statistics.verdict import StaticFinding, StaticGate
from edgegd.verdict import Verdict
from edgegd.verify.optimized_graph import FLOAT_CONVOLUTIONS, INTEGER_CONVOLUTIONS, element_types, load_with_graph

BYTES_GROWTH = 0.02  # of the file: names and metadata may differ, weights of another type may not
PEAK_GROWTH = 0.05  # of resident memory, which is no constant of the file alone
NAMED = 3  # convolutions that a reason lists
_FLOATS = {"tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)"}
_OPTIMIZER = ("onnxruntime", "architecture", "instruction_sets")


def static_facts(path: Path) -> dict[str, Any]:
    """What the gate compares of one file, as a JSON-able dict.

    `bytes` is the file's size; `nodes` counts the operators of the graph that onnxruntime optimized for this machine
    by type, `float_nodes` those of them that read or write floats (scales and other constants aside); the two lists
    `integer_convolutions` and `float_convolutions` name the convolutions as the file does; `made_by` is what the
    optimized graph depends on besides the file. int8 activations are fused on every machine, as ARM fuses them.
    Raises OnnxUnreadableError.
    """
    _, model = load_with_graph(path, signed_activations=True)
    types, constants = element_types(model), {initializer.name for initializer in model.graph.initializer}
    nodes = model.graph.node
    in_float = [
        node
        for node in nodes
        if any(types.get(name) in _FLOATS for name in (*node.output, *node.input) if name not in constants)
    ]
    named = {node.name for node in load_onnx(path, load_external_data=False).graph.node if node.name}
    here = fingerprint()
    return {
        "made_by": {key: here[key] for key in _OPTIMIZER},
        "bytes": path.stat().st_size,
        "integer_convolutions": _names(nodes, INTEGER_CONVOLUTIONS, named),
        "float_convolutions": _names(nodes, FLOAT_CONVOLUTIONS, named),
        "nodes": _counts(nodes),
        "float_nodes": _counts(in_float),
    }


def _counts(nodes: Any) -> dict[str, int]:
    return dict(sorted(Counter(node.op_type for node in nodes).items()))


def _names(nodes: Any, op_types: frozenset[str], named: set[str]) -> list[str]:
    """The names of convolutions as the file has them: onnxruntime's fusions append to the name of the node."""
    return sorted(
        max((name for name in named if node.name.startswith(name)), key=len, default=node.name)
        for node in nodes
        if node.op_type in op_types
    )


def facts_of(baseline: Baseline) -> dict[str, Any]:
    """The static facts of a baseline as this machine's onnxruntime makes them: those stored with it where they were
    made alike, and taken anew from its model otherwise."""
    here = fingerprint()
    if baseline.static.get("made_by") == {key: here[key] for key in _OPTIMIZER}:
        return dict(baseline.static)
    return static_facts(baseline.model)


def static_gate(
    candidate: Path,
    baseline_facts: Mapping[str, Any],
    *,
    model: str = "candidate",
    reference: str = "baseline",
    peak_bytes: int | None = None,
    baseline_peak_bytes: int | None = None,
    node_allowance: int = 0,
) -> StaticGate:
    """Compares a candidate with the facts of a baseline (`facts_of`, or `static_facts` of another file).

    REGRESSED where a convolution that ran in integers, or one more than before, runs in float; where the optimized
    graph has more nodes of a type (by more than `node_allowance`), or more that run in float; where the file grew by
    more than 2 %; or the peak memory by more than 5 % (resident bytes of a worker process, compared where both are
    given). Fewer, or less, is fine. Raises ValueError for facts that another onnxruntime or another kind of CPU made:
    their graphs differ for the same file.
    """
    facts = static_facts(candidate)
    if facts["made_by"] != baseline_facts["made_by"]:
        raise ValueError(f"facts made by {baseline_facts['made_by']} are not comparable here: {facts['made_by']}")
    findings = (
        _convolutions(baseline_facts, facts),
        *_node_counts("nodes", baseline_facts, facts, node_allowance),
        *_node_counts("float_nodes", baseline_facts, facts, 0),
        _size("model bytes", baseline_facts["bytes"], facts["bytes"], BYTES_GROWTH),
    )
    if peak_bytes is not None and baseline_peak_bytes is not None:
        findings += (_size("peak memory bytes", baseline_peak_bytes, peak_bytes, PEAK_GROWTH),)
    passed = all(finding.passed for finding in findings)
    return StaticGate(Verdict.PASS if passed else Verdict.REGRESSED, model, reference, findings)


def _convolutions(before: Mapping[str, Any], now: Mapping[str, Any]) -> StaticFinding:
    """Convolutions are told apart by name where both files name them, and counted anyway."""
    became = sorted(set(now["float_convolutions"]) & set(before["integer_convolutions"]))
    more = len(now["float_convolutions"]) - len(before["float_convolutions"])
    reason = ""
    if became:
        listed = ", ".join(became[:NAMED]) + (f" and {len(became) - NAMED} more" if len(became) > NAMED else "")
        reason = f"in integers before, in float now: {listed}"
    elif more > 0:
        reason = f"{more} more convolution{'s' if more > 1 else ''} in float"
    return StaticFinding("convolutions", _census(before), _census(now), not reason, reason)


def _census(facts: Mapping[str, Any]) -> str:
    return f"{len(facts['integer_convolutions'])} integer, {len(facts['float_convolutions'])} float"


def _node_counts(
    key: str, before: Mapping[str, Any], now: Mapping[str, Any], allowance: int
) -> Iterator[StaticFinding]:
    what = "nodes" if key == "nodes" else "nodes in float"
    for op_type in sorted({*before[key], *now[key]}):
        first, second = before[key].get(op_type, 0), now[key].get(op_type, 0)
        passed = second <= first + allowance
        allowed = f", {allowance} allowed" if allowance else ""
        reason = "" if passed else f"{second - first} more {op_type}{' in float' if key != 'nodes' else ''}{allowed}"
        yield StaticFinding(f"{what}: {op_type}", str(first), str(second), passed, reason)


def _size(name: str, before: int, now: int, growth: float) -> StaticFinding:
    passed = now <= before * (1 + growth)
    reason = "" if passed else f"grew by {100 * (now / before - 1):.1f} %, {100 * growth:.0f} % allowed"
    return StaticFinding(name, f"{before:,}", f"{now:,}", passed, reason)
