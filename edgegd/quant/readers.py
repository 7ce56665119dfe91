"""What the operations that read a quantized tensor make of its values: an error counts as far as they pass it on.

A convolution before a SiLU needs no codes for its large negative values, which all become zero, and a class score none
for the many that mean "certainly not". Ranges chosen by the error behind the reader (as Nagel et al. 2021, "A White
Paper on Neural Network Quantization", section 3.1, weigh logits by cross entropy) are narrower, and their codes finer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgegd.plan.profiles import FLOAT
from edgegd.plan.quant_plan import PlannedOp, QuantPlan

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]
_REARRANGING = ("reshape", "cat", "split", "transpose", "slice", "expand")  # float operations that keep every value


@dataclass(frozen=True)
class Reader:
    """`sees(values)` is what is made of float64 values of any shape, `error(codes, values)` what a code costs.

    `weight(values)` is what a small squared error of float32 values costs, but for a factor. With `keeps_largest` no
    range may cut off the largest values, however few: among class scores they are the objects.
    """

    name: str
    keeps_largest: bool = False

    def sees(self, values: Array) -> Array:
        """The values behind the reader."""
        return values

    def error(self, quantized: Array, values: Array) -> Array:
        """The squared difference of what the reader makes of the quantized and of the original values."""
        return np.square(self.sees(quantized) - self.sees(values))

    def weight(self, values: torch.Tensor) -> torch.Tensor:
        """The squared slope at the values."""
        return values.new_ones(values.shape)


class _SiLU(Reader):
    def sees(self, values: Array) -> Array:
        return values * _sigmoid(values)

    def weight(self, values: torch.Tensor) -> torch.Tensor:
        gate = values.sigmoid()
        return (gate * (1 + values * (1 - gate))).square()


class _ReLU(Reader):
    def sees(self, values: Array) -> Array:
        return np.maximum(values, 0)

    def weight(self, values: torch.Tensor) -> torch.Tensor:
        return (values > 0).to(values.dtype)


class _Score(Reader):
    def sees(self, values: Array) -> Array:
        return _sigmoid(values)

    def error(self, quantized: Array, values: Array) -> Array:
        """The Kullback-Leibler divergence of the class's probability, in nats."""
        difference = np.logaddexp(0, quantized) - np.logaddexp(0, values) - _sigmoid(values) * (quantized - values)
        return np.maximum(difference, 0)

    def weight(self, values: torch.Tensor) -> torch.Tensor:
        """The curvature of the divergence, p(1 - p)."""
        probability = values.sigmoid()
        return probability * (1 - probability)


VALUE, SILU, SCORE = Reader("value"), _SiLU("silu"), _Score("score", keeps_largest=True)
RELU = _ReLU("relu")  # of a convolution that absorbs its ReLU: no tensor between them has a range


def _sigmoid(values: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * values)


def readers_of_groups(plan: QuantPlan) -> dict[str, Reader]:
    """Scale group -> what reads its tensors: SILU or SCORE where nothing else does, else VALUE.

    Operations that only rearrange values count as those that read their results.
    """
    by_source: dict[str, list[PlannedOp]] = {}
    for op in plan.ops:
        for source in op.inputs:
            by_source.setdefault(source, []).append(op)

    def of(address: str, group: str) -> set[Reader]:
        ops = by_source.get(address, [])
        return {reader for op in ops for reader in through(op, group)} or {VALUE}

    def through(op: PlannedOp, group: str) -> set[Reader]:
        if op.operation == "silu":
            return {SILU}
        if op.operation == "sigmoid" and op.decision == FLOAT:
            return {SCORE}
        rearranges = op.decision == FLOAT and op.operation in _REARRANGING and op.address not in plan.groups
        if rearranges or (plan.groups.get(op.address) == group and plan.keeps_codes(op)):
            return of(op.address, group)
        return {VALUE}

    found: dict[str, set[Reader]] = {}
    for address, group in plan.groups.items():
        found.setdefault(group, set()).update(of(address, group))
    return {group: readers.pop() if len(readers) == 1 else VALUE for group, readers in found.items()}
