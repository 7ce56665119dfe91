"""Ranges with which an operation has the same codes on every CPU, and in torch.

Additions: onnxruntime adds in float32 on x86 (half to even) and in fixed point on ARM: both scale ratios become
integers of 22 bits, and the sum is shifted right, rounding half away from zero (core/mlas/lib/qladd.cpp). Sums within
about 1e-5 of a half-way value then round differently. Sigmoids: onnxruntime tabulates all 256 codes by an approximation
that is off by 2e-7 (core/mlas/lib/logistic.cpp), torch's by 1e-7, and another CPU's may be by something else.

In both cases there are few codes, or pairs of them, so it can be decided whether a range ever makes a difference. Where
it does, a scale is changed by some millionths (sigmoid: hundredths of a percent) until it does not. What is evaluated
and exported here is then what all compute. A single code of an early layer, left to chance, was seen to move boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from edgegd.plan.profiles import INTEGER
from edgegd.plan.quant_plan import PlannedOp
from edgegd.quant import integer
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.quantizers import ActivationQuantizer

_STEP = 2.0**-19  # of a scale: 128 codes move by 1/4000 of a code
_MOST_STEPS = 400  # to each side: less than a thousandth
_SWEEPS = 4
_SIGMOID_STEP = 2.0**-14  # 255 codes move by a sixtieth of a code
_SIGMOID_MARGIN = 1e-6  # six times onnxruntime's error on x86


def fixed_point_add(
    a: torch.Tensor,
    a_range: ActivationQuantizer,
    b: torch.Tensor,
    b_range: ActivationQuantizer,
    result: ActivationQuantizer,
) -> torch.Tensor | None:
    """The codes that QLinearAdd makes on ARM of raw codes `a` and `b` (int64); None where it leaves fixed point.

    Source: core/mlas/lib/qladd.cpp, MlasCalcQLinearAddParameters and MlasQLinearAddKernelHelper.
    """
    ratios = [float(r.scale.cpu() / result.scale.cpu()) for r in (a_range, b_range)]  # float32 divisions
    shift = 21 - (math.frexp(max(ratios))[1] - 1)
    if not all(2.0**-14 <= ratio < 2.0**8 for ratio in ratios) or not 13 <= shift <= 31:
        return None
    multiplier_a, multiplier_b = (round(ratio * 2.0**shift) for ratio in ratios)
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


def settle_ranges(quantized: QuantizedModel) -> list[str]:
    """Changes scales until additions and sigmoids have the same codes everywhere; returns the scale groups changed.

    Parameters that learn are left as they are: a training goes on from where it was. To be called where ranges are
    final: after calibration, and before a model of the descent is evaluated and stored.
    """
    return [*settle_additions(quantized), *settle_sigmoids(quantized)]


def settle_sigmoids(quantized: QuantizedModel) -> list[str]:
    """Changes the range of the sigmoid inside each SiLU until no value of its 256 lies next to a half-way one."""
    changed = []
    for op in quantized.plan.ops:
        if op.decision != INTEGER or op.operation != "silu":
            continue
        source = quantized.range_of(quantized.plan.groups[op.inputs[0]])
        group = quantized.plan.groups[f"{op.address}/sigmoid"]
        gate = quantized.range_of(group)
        before, calibrated = float(gate.scale), math.exp(float(gate.log_scale))
        for scale in (before, *(calibrated * (1 + step * _SIGMOID_STEP) for step in range(_MOST_STEPS))):
            gate.overrule(scale, int(gate.zero_point))
            if distance_from_ties(source, gate) > _SIGMOID_MARGIN:
                break
        else:
            gate.overrule(before, int(gate.zero_point))
        if float(gate.scale) != before:
            changed.append(group)
    return changed


def distance_from_ties(source: ActivationQuantizer, gate: ActivationQuantizer) -> float:
    """How near the sigmoid of any of the 256 values of `source` comes to a value half-way between two codes of `gate`.

    In units of the sigmoid.
    """
    codes = torch.arange(256, device=source.scale.device) - source.zero_point
    exact = torch.sigmoid((codes * source.scale).double()) / gate.scale.double()
    return float(((exact - exact.floor() - 0.5).abs() * gate.scale).min())


def settle_additions(quantized: QuantizedModel) -> dict[str, float]:
    """Changes scales until every integer addition is the same on x86 and ARM; returns the changes by scale group.

    A change is a factor. An addition that cannot be settled (its scales differ by more than 2^14) keeps its ranges.
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
