"""An exact attention (plan/attention.py) inside a forward pass: calibration, training and evaluation of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from edgegd.plan.attention import (
    EXPONENT,
    LOWEST_EXPONENT,
    SCALE,
    SCORES,
    SOFTMAX,
    TRANSPOSE,
    VALUES,
    code_scale,
    planned_attentions,
)
from edgegd.plan.quant_plan import PlannedOp
from edgegd.quant import integer
from edgegd.quant.quantizers import ActivationQuantizer

if TYPE_CHECKING:
    from edgegd.quant.attach import QuantizedModel


class AttentionSteps:
    """Runs the operations of the exact attentions of one QuantizedModel."""

    def __init__(self, owner: QuantizedModel) -> None:
        self._owner = owner
        attentions = planned_attentions(owner.plan)
        self._of = {address: attention for attention in attentions for address in attention.parts}
        self._constants: dict[str, float] = {}  # scale operation -> what it multiplies by, seen as it runs

    def run(self, op: PlannedOp, func: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
        """One operation with its result as the plan wants it.

        Calibration shows the exponents and weights; training changes the softmax alone. Evaluation leaves out the
        multiplication and the transposes, and computes scores and weights with keys as rows.
        """
        owner = self._owner
        if owner.observe is not None:
            return self._observed(op, func(*args, **kwargs), args[0], owner.observe)
        if owner.training:
            result: torch.Tensor = self._trained(op, args[0]) if op.operation == SOFTMAX else func(*args, **kwargs)
            return owner.quantize(op.address, result) if op.operation == VALUES else result
        if op.operation == SCALE:
            (self._constants[op.address],) = (factor for factor in args if not isinstance(factor, torch.Tensor))
        if op.operation in (SCALE, TRANSPOSE):
            return next(operand for operand in args if isinstance(operand, torch.Tensor))
        return self._evaluated(op, *args[:2])

    def _observed(
        self, op: PlannedOp, result: torch.Tensor, x: torch.Tensor, show: Callable[[str, torch.Tensor], None]
    ) -> torch.Tensor:
        if op.operation == SOFTMAX:
            below = (x - x.amax(-1, keepdim=True)).clamp(min=LOWEST_EXPONENT).mT  # keys as rows
            show(f"{op.address}/{EXPONENT}", below)
            show(op.address, below.exp())
        elif op.operation == VALUES:
            show(op.address, result)
        return result

    def _trained(self, op: PlannedOp, scores: torch.Tensor) -> torch.Tensor:
        """The weights that will run, with the gradient of the float softmax (straight through)."""
        softmax = torch.softmax(scores.float(), -1)
        with torch.no_grad():
            exponents, weights = self._ranges(op)
            kept = weights(exponents(scores.float() - scores.float().amax(-1, keepdim=True)).exp())
            kept.div_(kept.sum(-1, keepdim=True))
        return softmax + (kept - softmax.detach())

    def _ranges(self, op: PlannedOp) -> tuple[ActivationQuantizer, ActivationQuantizer]:
        return self._range(f"{op.address}/{EXPONENT}"), self._range(op.address)

    def _range(self, address: str) -> ActivationQuantizer:
        return self._owner.range_of(self._owner.plan.groups[address])

    def _code_scale(self, op: PlannedOp) -> float:
        attention = self._of[op.address]
        query, key = self._range(attention.query), self._range(attention.key)
        return code_scale(self._constants[attention.scale], query.scale_value, key.scale_value)

    def _evaluated(self, op: PlannedOp, x: torch.Tensor, other: Any = None) -> torch.Tensor:
        attention, owner = self._of[op.address], self._owner
        if op.operation == SCORES:
            return integer.attention_scores(x, self._range(attention.query), other, self._range(attention.key))
        if op.operation == SOFTMAX:
            exponents, weights = self._ranges(op)
            below = integer.attention_exponents(x, self._code_scale(op), exponents)
            return owner.done(op.address, weights(owner.done(f"{op.address}/{EXPONENT}", below).exp()))
        value, weights = self._range(attention.value), self._range(attention.softmax)
        return owner.quantize(op.address, integer.attention_values(x, value, other, weights))
