"""A quantization plan as text."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tabulate import tabulate

from edgegd.quant.plan import QuantPlan
from edgegd.quant.rules import FLOAT, TABLES


def explain_plan(plan: QuantPlan, ranges: dict[str, dict[str, Any]]) -> str:
    """The counts, the rules in use, every quantized tensor with its range, and every float operation with its reason.

    `ranges` maps a scale group to its scale, zero_point and sqnr_db (calibration.json).
    """
    decisions = Counter((op.operation, op.decision) for op in plan.ops)
    used = {op.rule for op in plan.ops} | {tensor.rule for tensor in plan.tensors}
    rules = [[r.name, r.decision, r.reason, r.mirrors] for r in TABLES[plan.profile].rules if r.name in used]
    tensors = []
    for tensor in plan.tensors:
        chosen = ranges[tensor.group]
        group = "" if tensor.group == tensor.address else tensor.group
        tensors.append([tensor.address, f"{chosen['scale']:.6g}", chosen["zero_point"], f"{chosen['sqnr_db']:.1f}",
                        tensor.rule, group])  # fmt: skip
    left = [[op.address, op.rule, op.reason] for op in plan.ops if op.decision == FLOAT]
    fmt = f"activations {plan.activation_format.name}, weights {plan.weight_format.name}"
    return "\n".join([
        f"Profile {plan.profile}: {fmt}; plan {plan.sha256[:12]}", "",
        tabulate([[*key, count] for key, count in sorted(decisions.items())], ["operation", "runs in", "count"]), "",
        "Rules (onnxruntime source in the last column)", "",
        tabulate(rules, ["rule", "runs in", "why", "mirrors"]), "",
        f"{len(plan.tensors)} quantized tensors in {len(set(plan.groups.values()))} scale groups", "",
        tabulate(tensors, ["tensor", "scale", "zero point", "SQNR dB", "rule", "shares the range of"]), "",
        f"{len(left)} operations stay float", "", tabulate(left, ["operation", "rule", "why"]),
    ])  # fmt: skip
