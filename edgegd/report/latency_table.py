"""Gates for people: tables for the terminal and Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgegd.accuracy.gate import AccuracyGate
from edgegd.foreign_text import cell
from edgegd.latency.measuring.result import LatencyResult
from edgegd.latency.statistics.verdict import AbsoluteGate, RelativeGate, StaticGate
from edgegd.report.accuracy_gate import HEADERS, method, row
from edgegd.report.table import table
from edgegd.verdict import Verdict, worst

Gate = RelativeGate | AbsoluteGate | StaticGate | AccuracyGate
_RELATIVE = [
    "verdict",
    "target",
    "model",
    "change of latency",
    "margin",
    "detectable",
    "launches",
    "p regressed",
    "p pass",
    "quads discarded",
]
_ABSOLUTE = ["verdict", "target", "model", "quantile", "ms", "limit ms", "samples"]


def gates_table(gates: Sequence[Gate], style: str = "simple") -> str:
    """The gates as tables, a line each, and below them why a gate did not pass, or what an accuracy gate rests on;
    `style` is one of tabulate's.

    A change of latency is in per cent of the reference's, with its one-sided bounds in brackets; `detectable` is the
    smallest that the gate flags with 95 % probability. Of a gate without timing only the facts that failed are shown,
    and how many passed.
    """
    relative = [gate for gate in gates if isinstance(gate, RelativeGate)]
    absolute = [gate for gate in gates if isinstance(gate, AbsoluteGate)]
    parts = []
    if relative:
        parts.append(table([_relative_row(gate) for gate in relative], _RELATIVE, style))
    if absolute:
        parts.append(table([_absolute_row(gate) for gate in absolute], _ABSOLUTE, style))
    parts += [_static_part(gate, style) for gate in gates if isinstance(gate, StaticGate)]
    if accuracy := [gate for gate in gates if isinstance(gate, AccuracyGate)]:
        parts.append(table([row(gate) for gate in accuracy], HEADERS, style))
    reasons = [
        cell(f"- {gate.verdict.value}: {describe(gate)}: {gate.reason}", style)
        for gate in gates
        if isinstance(gate, AccuracyGate) or (not isinstance(gate, StaticGate) and gate.verdict is not Verdict.PASS)
    ]
    if reasons:
        parts.append("\n".join(reasons))
    return "\n\n".join(parts)


def gates_markdown(gates: Sequence[Gate]) -> str:
    """The same for a pull request: a heading with the verdict of all gates together, then the tables.

    Raises ValueError where there is no gate.
    """
    if not gates:
        raise ValueError("no gate to show")
    overall = worst([gate.verdict for gate in gates])
    title = "Accuracy gate" if all(isinstance(gate, AccuracyGate) for gate in gates) else "Latency gate"
    lines = [f"## {title}: {overall.value}", "", gates_table(gates, "github"), ""]
    if any(isinstance(gate, RelativeGate) for gate in gates):
        alphas = " / ".join(sorted({f"{gate.alpha:g}" for gate in gates if isinstance(gate, RelativeGate)}))
        lines += [
            f"Error rate of each side over all looks: {alphas}. *p regressed*: how likely data like these "
            "are of a model that is at most the margin slower; *p pass*: of one that is slower by the margin or "
            "more. *detectable*: flagged with 95 % probability on this device.",
            "",
        ]
    lines += [line for gate in gates if isinstance(gate, AccuracyGate) for line in (method(gate), "")]
    return "\n".join(lines)


def describe(gate: Gate) -> str:
    """What a gate asked, as one phrase."""
    if isinstance(gate, RelativeGate):
        return f"{gate.model} against {gate.reference} on {gate.target}"
    if isinstance(gate, AbsoluteGate):
        return f"{gate.model} {_quantile(gate)} under {gate.limit_ms:g} ms on {gate.target}"
    if isinstance(gate, AccuracyGate):
        return f"mAP50-95 of {gate.model} against {gate.reference}"
    return f"{gate.model} against {gate.reference} without timing"


def change(ratio: float | None) -> str:
    """A ratio of latencies as a signed percentage: 1.048 is +4.8 %; a dash for None."""
    return "-" if ratio is None else f"{100 * (ratio - 1):+.1f} %"


def _relative_row(gate: RelativeGate) -> list[str]:
    last = gate.looks[-1] if gate.looks else None
    bounds = "" if gate.low is None or gate.high is None else f" [{change(gate.low)}, {change(gate.high)}]"
    return [
        gate.verdict.value,
        gate.target,
        gate.model,
        change(gate.ratio) + bounds,
        change(1 + gate.margin),
        "not calibrated" if gate.detectable is None else change(gate.detectable),
        str(len(gate.launch_ratios)),
        f"{last.p_regressed:.2g}" if last else "-",
        f"{last.p_pass:.2g}" if last else "-",
        f"{gate.discarded_quads} of {gate.quads}",
    ]


def _absolute_row(gate: AbsoluteGate) -> list[str]:
    bounds = "" if gate.low_ms is None or gate.high_ms is None else f" [{gate.low_ms:.2f}, {gate.high_ms:.2f}]"
    estimate = "-" if gate.estimate_ms is None else f"{gate.estimate_ms:.2f}"
    return [
        gate.verdict.value,
        gate.target,
        gate.model,
        f"{_quantile(gate)} at {100 * gate.confidence:g} %",
        estimate + bounds,
        f"{gate.limit_ms:g}",
        str(gate.samples),
    ]


def _quantile(gate: AbsoluteGate) -> str:
    return f"p{100 * gate.quantile:g}"


def _static_part(gate: StaticGate, style: str) -> str:
    failed = [finding for finding in gate.findings if not finding.passed]
    count = f"{len(gate.findings) - len(failed)} of {len(gate.findings)} facts passed"
    line = cell(f"{gate.verdict.value}: {describe(gate)}: {count}", style)
    rows = [[one.name, one.reference, one.candidate, one.reason] for one in failed]
    return line if not rows else f"{line}\n\n{table(rows, ['fact', gate.reference, gate.model, 'reason'], style)}"


def latency_table(results: Mapping[str, LatencyResult]) -> str:
    """A line a target and file: medians and percentiles in ms, and how many times faster than FP32."""
    rows = [
        [
            target,
            name,
            f"{one.median_ms:.2f}",
            f"{one.p90_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.speedup:.2f}x [{one.speedup_low:.2f}, {one.speedup_high:.2f}]",
            "" if result.stable and not result.faults else "; ".join(result.faults) or "not stable",
        ]
        for target, result in results.items()
        for name, one in result.models.items()
    ]
    return table(rows, ["target", "file", "median ms", "p90 ms", "p99 ms", "speed vs FP32", "disturbed"])
