"""Exact attention: between the codes that it reads and the codes that it makes every step is one value for all CPUs.

Attention of the form softmax((c q)^T k) of q, k, v (..., channels, N) and a constant c > 0, as Ultralytics' Attention
and AAttn have it. Keys are the rows here, so that no matrix of N x N is ever transposed (the small k is):

    S = k^T q           of codes less zero points: whole numbers, exact in any order        (N keys, N queries)
    D = S - max S       per query, also whole numbers
    E = codes of D      uint8, of scale EXPONENT_SCALE / (scale q x scale k x c) and zero point 255
    W = codes of exp(E) uint8, of scale 1/255; E times EXPONENT_SCALE has 256 values, none of whose exponentials
                        lies near a half-way value (a test), so every approximation of exp makes the same codes
    v W / sum W         two sums of whole numbers, one float32 division, times scale v

float32 addition in a softmax and in the product after it has another order on every CPU, and last bits decide codes. Of
a logit below -6.24 the weight is less than half a code of the largest weight's 255: that is where E ends, at the value
near there whose 256 exponentials keep furthest from half-way ones (0.0047 of a code).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgegd.plan.formats import LARGEST_SCALE, SMALLEST_SCALE
from edgegd.plan.profiles.table import EXACT
from edgegd.plan.traced_op import TracedOp

if TYPE_CHECKING:
    from edgegd.plan.quant_plan import PlannedOp, QuantPlan

# Operations of an exact attention, as a plan names them.
SCALE, TRANSPOSE, SCORES, SOFTMAX, VALUES = (
    "attention_scale",
    "attention_transpose",
    "attention_scores",
    "attention_softmax",
    "attention_values",
)
PARTS = (SCALE, TRANSPOSE, SCORES, SOFTMAX, VALUES)
EXPONENT = "exponent"  # the tensor E inside the softmax
LOWEST_EXPONENT = -6.25  # what lies below weighs nothing
EXPONENT_SCALE = float(np.float32(6.247 / 255))
_RANGES = {f"/{EXPONENT}": (EXPONENT_SCALE, 255), "": (float(np.float32(1 / 255)), 0)}


@dataclass(frozen=True)
class Attention:
    """Addresses of one attention's operations, and of the tensors that it reads."""

    query: str
    key: str
    value: str
    scale: str
    query_transpose: str
    scores: str
    softmax: str
    weight_transpose: str
    values: str

    @property
    def parts(self) -> dict[str, str]:
        """Address -> what the operation is in a plan."""
        return {
            self.scale: SCALE,
            self.query_transpose: TRANSPOSE,
            self.scores: SCORES,
            self.softmax: SOFTMAX,
            self.weight_transpose: TRANSPOSE,
            self.values: VALUES,
        }


def find_attentions(ops: Sequence[TracedOp]) -> list[Attention]:
    """The attentions of a trace; none of whose inner results is read elsewhere."""
    by_address = {op.address: op for op in ops}
    readers: dict[str, list[TracedOp]] = {}
    for op in ops:
        for source in op.inputs:
            readers.setdefault(source, []).append(op)

    def only_reader(op: TracedOp | None) -> TracedOp | None:
        found = [] if op is None else readers.get(op.address, [])
        return found[0] if len(found) == 1 else None

    found = []
    for scale in ops:
        query_transpose = only_reader(scale)
        scores = only_reader(query_transpose)
        softmax = only_reader(scores)
        weight_transpose = only_reader(softmax)
        values = only_reader(weight_transpose)
        if query_transpose is None or scores is None or softmax is None or weight_transpose is None or values is None:
            continue
        if (
            _is_scale(scale)
            and _swaps_last(query_transpose)
            and _is_product(scores, 0, query_transpose)
            and _is_softmax(softmax)
            and _swaps_last(weight_transpose)
            and _is_product(values, 1, weight_transpose)
            and scores.inputs[1] in by_address
            and values.inputs[0] in by_address
        ):
            found.append(_attention(scale, query_transpose, scores, softmax, weight_transpose, values))
    return found


def _attention(
    scale: TracedOp | PlannedOp,
    query_transpose: TracedOp | PlannedOp,
    scores: TracedOp | PlannedOp,
    softmax: TracedOp | PlannedOp,
    weight_transpose: TracedOp | PlannedOp,
    values: TracedOp | PlannedOp,
) -> Attention:
    return Attention(
        query=scale.inputs[0],
        key=scores.inputs[-1],
        value=values.inputs[0],
        scale=scale.address,
        query_transpose=query_transpose.address,
        scores=scores.address,
        softmax=softmax.address,
        weight_transpose=weight_transpose.address,
        values=values.address,
    )


def _is_scale(op: TracedOp) -> bool:
    return op.operation == "mul" and len(op.inputs) == 1 and len(op.numbers) == 1 and op.numbers[0] > 0


def _swaps_last(op: TracedOp) -> bool:
    axes = {int(axis) % len(op.shape) for axis in op.numbers}
    return op.operation == "transpose" and len(op.numbers) == 2 and axes == {len(op.shape) - 2, len(op.shape) - 1}


def _is_softmax(op: TracedOp) -> bool:
    return op.operation == "softmax" and bool(op.numbers) and op.numbers[0] in (-1, len(op.shape) - 1)


def _is_product(op: TracedOp, position: int, operand: TracedOp) -> bool:
    return op.operation == "matmul" and len(op.inputs) == 2 and op.inputs[position] == operand.address


def planned_attentions(plan: QuantPlan) -> list[Attention]:
    """The attentions of a plan that are exact as a whole."""
    found = []
    for values in plan.ops:
        if values.operation != VALUES or values.decision != EXACT or len(values.inputs) != 2:
            continue
        chain = [values]
        for part, position in ((TRANSPOSE, 1), (SOFTMAX, 0), (SCORES, 0), (TRANSPOSE, 0), (SCALE, 0)):
            before = plan.by_address.get(chain[-1].inputs[position])
            if before is None or before.operation != part or before.decision != EXACT or not before.inputs:
                break
            chain.append(before)
        else:
            _, weight_transpose, softmax, scores, query_transpose, scale = chain
            found.append(_attention(scale, query_transpose, scores, softmax, weight_transpose, values))
    return found


def fixed_ranges(attentions: Iterable[Attention]) -> dict[str, tuple[float, int]]:
    """Tensor address -> (scale, zero point) of what attentions make codes of in ranges that do not depend on data."""
    return {f"{attention.softmax}{inner}": chosen for attention in attentions for inner, chosen in _RANGES.items()}


def code_scale(constant: float, query_scale: float, key_scale: float) -> float:
    """The scale of the exponents' codes in units of products of codes of q and k, as a float32 number."""
    scale = EXPONENT_SCALE / (constant * query_scale * key_scale)
    return float(np.float32(min(max(scale, SMALLEST_SCALE), LARGEST_SCALE)))
