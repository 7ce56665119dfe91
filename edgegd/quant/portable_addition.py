"""Ranges under which QLinearAdd gives the same codes on x86 and on ARM.

The two compute it differently (core/mlas/lib/): x86 with float32 multiply-adds that round ties to even
(intrinsics/avx2/qladd_avx2.cpp), ARM with integer multipliers of 22 bits and a shift that rounds ties away from zero
(qladd.cpp, MlasCalcQLinearAddParameters). They disagree where a sum lies within about 1e-5 of a half-way value. Both
see nothing but two codes, so all 65,536 pairs can be tried. Where one disagrees, a scale that is some millionths larger
or smaller has other half-way values, and soon none that a pair of codes is so near to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgegd.quant.attach import QuantizedModel
from edgegd.quant.rules import INTEGER

_CODES = np.arange(256)
_MULTIPLIER_BITS = 21  # of the larger ratio, below its leading one
_NUDGE = 2.0**-20
_NUDGES = 80  # 80 / 2^20 of 255 codes: a fiftieth of a code


@dataclass(frozen=True)
class Range:
    """A scale (a float32 number), a zero point of uint8 codes, and the scale group that they are the range of."""

    scale: float
    zero_point: int
    group: str = ""


@dataclass(frozen=True)
class Addition:
    """The ranges of both operands, in their order, and of the result."""

    a: Range
    b: Range
    result: Range

    @property
    def ratios(self) -> tuple[np.float32, np.float32]:
        """Scale of a, and of b, in units of the result's, as float32 divides."""
        scale = np.float32(self.result.scale)
        return np.float32(self.a.scale) / scale, np.float32(self.b.scale) / scale

    def with_scale(self, group: str, scale: float) -> Addition:
        """The addition with another scale for every range of a group."""
        a, b, result = (replace(range_, scale=scale) if range_.group == group else range_
                        for range_ in (self.a, self.b, self.result))  # fmt: skip
        return Addition(a, b, result)


def codes_on_x86(addition: Addition) -> np.ndarray:
    """QLinearAdd's uint8 codes on x86 for all pairs of codes, (256, 256): a's down, b's across."""
    (ratio_a, ratio_b), a, b = addition.ratios, addition.a, addition.b
    offset = np.float32(np.float64(ratio_a) * a.zero_point + np.float64(ratio_b * np.float32(b.zero_point)))
    constant = np.float64(np.float32(addition.result.zero_point) - offset)
    # A fused multiply-add rounds once: float64 holds the product of two float32 numbers exactly.
    partial = (np.float64(ratio_b) * _CODES + constant).astype(np.float32)[None, :]  # (1, 256)
    total = (np.float64(ratio_a) * _CODES[:, None] + partial).astype(np.float32)  # (256, 256)
    return np.rint(total).clip(0, 255).astype(np.uint8)


def codes_on_arm(addition: Addition) -> np.ndarray | None:
    """QLinearAdd's uint8 codes on ARM for all pairs, (256, 256); None where the ratios leave its fixed point.

    With int8 activations the same less 128: zero points are subtracted first.
    """
    ratios = addition.ratios
    exponent = int(np.floor(np.log2(np.float64(max(ratios)))))
    shift = _MULTIPLIER_BITS - exponent
    if min(ratios) < 2.0**-14 or max(ratios) >= 256 or not 13 <= shift <= 31:
        return None
    multipliers = [int(np.rint(np.float64(ratio) * 2.0**shift)) for ratio in ratios]
    if max(multipliers) >= 2 ** (_MULTIPLIER_BITS + 1):
        return None
    a, b = (((_CODES - range_.zero_point) * multiplier).astype(np.int64)
            for range_, multiplier in zip((addition.a, addition.b), multipliers, strict=True))  # fmt: skip
    total = a[:, None] + b[None, :]
    rounded = (total - (total < 0) + (1 << (shift - 1))) >> shift
    return (rounded + addition.result.zero_point).clip(0, 255).astype(np.uint8)


def disagreements(addition: Addition) -> int:
    """How many of the 65,536 pairs of codes have another sum on ARM than on x86."""
    on_arm = codes_on_arm(addition)
    return 0 if on_arm is None else int((codes_on_x86(addition) != on_arm).sum())


def additions_of(quantized: QuantizedModel) -> list[Addition]:
    """The integer additions of a calibrated model, in running order."""
    plan = quantized.plan

    def range_of(address: str) -> Range:
        group = plan.groups[address]
        quantizer = quantized.range_of(group)
        return Range(float(quantizer.scale), int(quantizer.zero_point), group)

    return [Addition(range_of(op.inputs[0]), range_of(op.inputs[1]), range_of(op.address))
            for op in plan.ops if op.operation == "add" and op.decision == INTEGER]  # fmt: skip


def make_additions_portable(quantized: QuantizedModel) -> dict[str, float]:
    """Changes scales by up to 8e-5 of themselves until no addition of the plan depends on the CPU.

    Returns the new scale by scale group. Ranges that may not learn keep theirs. An addition for which no such scale is
    found, and one outside ARM's fixed point, are left as they are (`disagreements` counts the first).
    """
    fixed = {tensor.group for tensor in quantized.plan.tensors if tensor.learns == "nothing"}
    additions = additions_of(quantized)
    changed: dict[str, float] = {}
    for index in range(len(additions)):
        addition = additions[index]
        if not disagreements(addition):
            continue
        # The later operand first: in a residual addition it is the branch, whose range no other operation shares.
        groups = dict.fromkeys(range_.group for range_ in (addition.b, addition.a, addition.result))
        found = next(filter(None, (_portable_scale(additions, index, g) for g in groups if g not in fixed)), None)
        if found is not None:
            group, scale = found
            additions = [other.with_scale(group, scale) for other in additions]
            changed[group] = scale
    for group, scale in changed.items():
        quantized.range_of(group).set_range(scale, int(quantized.range_of(group).zero_point))
    if changed:
        quantized.follow_weights()
    return changed


def _portable_scale(additions: list[Addition], index: int, group: str) -> tuple[str, float] | None:
    """The nearest scale of `group` with which addition `index`, and every earlier one with this group, agrees."""
    ranges = (additions[index].a, additions[index].b, additions[index].result)
    scale = next(range_.scale for range_ in ranges if range_.group == group)
    affected = [additions[index]] + [
        other for other in additions[:index] if group in (other.a.group, other.b.group, other.result.group)
    ]
    for step in range(1, _NUDGES + 1):
        for sign in (1, -1):
            candidate = float(np.float32(scale * (1 + sign * step * _NUDGE)))
            if not any(disagreements(other.with_scale(group, candidate)) for other in affected):
                return group, candidate
    return None
