"""Ranges with which a residual addition has the same codes on every CPU.

onnxruntime adds in float32 on x86 (half to even) and in fixed point on ARM: both scale ratios become integers of 22
bits, and the sum is shifted right, rounding half away from zero (core/mlas/lib/qladd.cpp). Sums within about 1e-5 of a
half-way value then round differently. As there are only 65,536 pairs of codes, it can be decided whether a pair of
ranges ever differs; where it does, the scale of the result is changed by some millionths until no pair does. What is
evaluated and exported here is then what both compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from edgegd.quant import integer
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.plan import PlannedOp
from edgegd.quant.quantizers import ActivationQuantizer
from edgegd.quant.rules import INTEGER

_STEP = 2.0**-19  # of a scale: 128 codes move by 1/4000 of a code
_MOST_STEPS = 400  # to each side: less than a thousandth
_SWEEPS = 4


def fixed_point_add(a: torch.Tensor, a_range: ActivationQuantizer, b: torch.Tensor, b_range: ActivationQuantizer,
                    result: ActivationQuantizer) -> torch.Tensor | None:
    """The codes that QLinearAdd makes on ARM of raw codes `a` and `b` (int64); None where it leaves fixed point.

    Source: core/mlas/lib/qladd.cpp, MlasCalcQLinearAddParameters and MlasQLinearAddKernelHelper.
    """
    ratios = [float(r.scale.cpu() / result.scale.cpu()) for r in (a_range, b_range)]  # float32 divisions
    shift = 21 - (math.frexp(max(ratios))[1] - 1)
    if not all(2.0**-14 <= ratio < 2.0**8 for ratio in ratios) or not 13 <= shift <= 31:
        return None
    multiplier_a, multiplier_b = (round(ratio * 2.0 ** shift) for ratio in ratios)
    if not 1 << 21 <= max(multiplier_a, multiplier_b) < 1 << 22:
        return None
    total = (a - int(a_range.zero_point)) * multiplier_a + (b - int(b_range.zero_point)) * multiplier_b
    total = (total - (total < 0).long() + (1 << (shift - 1))) >> shift
    return (total + int(result.zero_point)).clamp_(result.format.qmin, result.format.qmax)


def differing_pairs(a_range: ActivationQuantizer, b_range: ActivationQuantizer, result: ActivationQuantizer) -> int:
    """How many of the 65,536 pairs of codes have another sum on ARM than on x86."""
    codes = torch.arange(256, device=result.scale.device)
    a, b = codes.repeat_interleave(256), codes.repeat(256)
    on_arm = fixed_point_add(a, a_range, b, b_range, result)
    if on_arm is None:
        return len(a)
    values = [(x - r.zero_point).float() * r.scale for x, r in ((a, a_range), (b, b_range))]
    on_x86 = integer.add(values[0], a_range, values[1], b_range, result)
    return int((integer.codes_of(on_x86, result.scale) + result.zero_point != on_arm).sum())


def settle_additions(quantized: QuantizedModel) -> dict[str, float]:
    """Changes scales until every integer addition is the same on x86 and ARM; returns the changes by scale group.

    A change is a factor. Parameters that learn are left as they are: a training goes on from where it was. An addition
    that cannot be settled (its scales differ by more than 2^14) keeps its ranges.
    """
    additions: dict[str, list[PlannedOp]] = {}
    groups = quantized.plan.groups
    for op in quantized.plan.ops:
        if op.decision == INTEGER and op.operation == "add":
            additions.setdefault(groups[op.result], []).append(op)
    changes: dict[str, float] = {}
    for _ in range(_SWEEPS):  # a group that another one's additions read may come later
        changed = False
        for group, ops in additions.items():
            factor = _settle(quantized, group, ops)
            if factor != 1.0:
                changes[group] = changes.get(group, 1.0) * factor
                changed = True
        if not changed:
            break
    if changes:
        quantized.follow_weights()
    return changes


def _settle(quantized: QuantizedModel, group: str, ops: Sequence[PlannedOp]) -> float:
    result, groups = quantized.range_of(group), quantized.plan.groups

    def differs() -> bool:
        return any(
            differing_pairs(quantized.range_of(groups[op.inputs[0]]), quantized.range_of(groups[op.inputs[1]]), result)
            for op in ops
        )

    scale, zero_point = float(result.scale), int(result.zero_point)
    for step in range(2 * _MOST_STEPS + 1):
        factor = 1 + (step + 1) // 2 * (-1) ** step * _STEP
        result.overrule(scale * factor, zero_point)
        if not differs():
            return factor
    result.overrule(scale, zero_point)
    return 1.0
