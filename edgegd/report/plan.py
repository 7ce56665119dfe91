"""A quantization plan as text, alone and against an ONNX file."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgegd.foreign_text import one_line
from edgegd.plan.profiles import FLOAT, TABLES
from edgegd.plan.quant_plan import QuantPlan
from edgegd.report.table import table
from edgegd.verify.against_plan import AS_PLANNED, AgainstPlan

_COUNTED = ("left", "left", "right")


def explain_plan(plan: QuantPlan, ranges: dict[str, dict[str, Any]]) -> str:
    """The counts, the rules in use, every quantized tensor with its range, and every float operation with its reason.

    `ranges` maps a scale group to the fields of its Range (calibration.json). A tensor whose reason is not that of a
    rule (a float result that is read by an integer operation, a key of the recipe) has it in the last column.
    """
    decisions = Counter((op.operation, op.decision) for op in plan.ops)
    used = {op.rule for op in plan.ops} | {tensor.rule for tensor in plan.tensors}
    in_table = [rule for rule in TABLES[plan.profile].rules if rule.name in used]
    rules = [[rule.name, rule.decision, rule.reason, rule.mirrors] for rule in in_table]
    known = {(rule.name, rule.reason) for rule in in_table}
    tensors = []
    for tensor in plan.tensors:
        chosen = ranges[tensor.group]
        notes = [] if tensor.group == tensor.address else [f"shares the range of {tensor.group}"]
        notes += [] if (tensor.rule, tensor.reason) in known else [tensor.reason]
        tensors.append(
            [
                tensor.address,
                f"{chosen['scale']:.6g}",
                chosen["zero_point"],
                f"{chosen['tensors'][tensor.address]:.1f}",
                chosen["observer"],
                tensor.learns,
                tensor.rule,
                "; ".join(notes),
            ]
        )
    left = [[op.address, op.rule, op.reason] for op in plan.ops if op.decision == FLOAT]
    fmt = f"activations {plan.activation_format.name}, weights {plan.weight_format.name}"
    headers = ["tensor", "scale", "zero point", "SQNR dB", "observer", "learns", "rule", "note"]
    return "\n".join(
        [
            f"Profile {plan.profile}: {fmt}; plan {plan.sha256[:12]}",
            "",
            table(
                [[*key, count] for key, count in sorted(decisions.items())],
                ["operation", "runs in", "count"],
                align=_COUNTED,
            ),
            "",
            "Rules (onnxruntime source in the last column)",
            "",
            table(rules, ["rule", "runs in", "why", "mirrors"]),
            "",
            f"{len(plan.tensors)} quantized tensors in {len(set(plan.groups.values()))} scale groups; zero points as "
            "of uint8 codes; SQNR on the calibration images",
            "",
            table(tensors, headers),
            "",
            f"{len(left)} operations stay float",
            "",
            table(left, ["operation", "rule", "why"]),
        ]
    )


def explain_file(name: str, plan: QuantPlan, found: AgainstPlan) -> str:
    """What an ONNX file does otherwise than the plan says, after the counts of what agrees."""
    convolutions = Counter((c.planned, c.runs_in) for c in found.convolutions)
    tensors = Counter(tensor.finding for tensor in found.tensors)
    other = [
        [c.address, c.planned, c.runs_in, plan.by_address[c.address].rule]
        for c in found.convolutions
        if c.planned != c.runs_in
    ]
    differing = [
        [
            t.address,
            t.finding,
            t.type or "",
            "" if t.scale is None else f"{t.scale:.6g}",
            "" if t.zero_point is None else t.zero_point,
        ]
        for t in found.tensors
        if t.finding != AS_PLANNED
    ]
    parts = [
        f"{one_line(name)} against plan {plan.sha256[:12]} ({plan.profile})",
        "",
        table(
            [[*key, count] for key, count in sorted(convolutions.items())],
            ["convolutions planned", "run in", "count"],
            align=_COUNTED,
        ),
        "",
        table(sorted(tensors.items()), ["planned tensors", "count"], align=("left", "right")),
    ]
    if other:
        parts += [
            "",
            "Convolutions that run otherwise than planned",
            "",
            table(other, ["convolution", "planned", "runs in", "rule"]),
        ]
    if differing:
        parts += [
            "",
            "Tensors that are quantized otherwise than planned",
            "",
            table(differing, ["tensor", "finding", "codes", "scale", "zero point"]),
        ]
    if found.unplanned:
        parts += [
            "",
            f"{len(found.unplanned)} tensors are quantized in the file and not in the plan",
            "",
            table([[unplanned] for unplanned in found.unplanned], ["codes"]),
        ]
    if not (other or differing or found.unplanned):
        parts += ["", "The file does what the plan says."]
    return "\n".join(parts)
