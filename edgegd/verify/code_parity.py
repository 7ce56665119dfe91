"""Integer codes of two sides compared, tensor by tensor, over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgegd.addresses import without_result
from edgegd.plan.quant_plan import QuantPlan

_FEW = 8  # codes of a small tensor: few distinct values, so that one pair of equal operands occurs several times


@dataclass(frozen=True)
class CodeTolerance:
    """When two sides compute the same codes.

    `equal_share` of the codes of all tensors together are equal, and of each tensor `tensor_share` or all but 8; none
    is further than `largest_distance` from the other side's.
    """

    equal_share: float = 0.999
    tensor_share: float = 0.99
    largest_distance: int = 1

    def admits(self, tensor: TensorParity) -> bool:
        """Whether a tensor agrees."""
        few = max(_FEW, round((1 - self.tensor_share) * tensor.codes))
        return tensor.differing <= few and tensor.largest_distance <= self.largest_distance

    def __str__(self) -> str:
        return (
            f"{self.equal_share:.1%} of all codes and {self.tensor_share:.1%} of each tensor's equal, none further "
            f"than {self.largest_distance}"
        )


EXACT = CodeTolerance(equal_share=1.0, tensor_share=1.0, largest_distance=0)


@dataclass(frozen=True)
class TensorParity:
    """One tensor: how many codes were compared, how many differ, and by how much at most; its rule and reason."""

    address: str
    rule: str
    reason: str
    codes: int
    differing: int
    largest_distance: int

    def __str__(self) -> str:
        share = 1 - self.differing / self.codes
        return (
            f"{self.address}: {share:.4%} of {self.codes} codes equal, largest distance {self.largest_distance} "
            f"(rule {self.rule}: {self.reason})"
        )


@dataclass(frozen=True)
class CodeParity:
    """All tensors of two sides: their number, the share of equal codes, the largest distance, and which differ.

    `differing` is in running order.
    """

    tensors: int
    codes: int
    equal_share: float
    largest_distance: int
    differing: tuple[TensorParity, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; tensors that differ by address, without the plan's words."""
        differing = {
            tensor.address: {
                "codes": tensor.codes,
                "differing": tensor.differing,
                "largest_distance": tensor.largest_distance,
            }
            for tensor in self.differing
        }
        return {
            "tensors": self.tensors,
            "codes": self.codes,
            "equal_share": self.equal_share,
            "largest_distance": self.largest_distance,
            "differing": differing,
        }

    def first_beyond(self, tolerance: CodeTolerance) -> TensorParity | None:
        """The first tensor in running order that the tolerance does not admit; of too many, the first that differs."""
        beyond = next((tensor for tensor in self.differing if not tolerance.admits(tensor)), None)
        if beyond is None and self.equal_share < tolerance.equal_share:
            return self.differing[0]
        return beyond


class CodeComparison:
    """Adds up comparisons of tensors; `result` is their sum."""

    def __init__(self, plan: QuantPlan) -> None:
        self._planned = {tensor.address: tensor for tensor in plan.tensors}
        self._counts: dict[str, tuple[int, int, int]] = {}

    def add(self, address: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Compares one tensor's codes (uint8, equal shapes)."""
        distance = np.maximum(ours, theirs) - np.minimum(ours, theirs)  # no overflow in uint8
        codes, differing, largest = self._counts.get(address, (0, 0, 0))
        self._counts[address] = (
            codes + distance.size,
            differing + int(np.count_nonzero(distance)),
            max(largest, int(distance.max(initial=0))),
        )

    def result(self) -> CodeParity:
        """What was added so far; ValueError where nothing was."""
        if not self._counts:
            raise ValueError("no tensor was compared")
        total = sum(codes for codes, _, _ in self._counts.values())
        unequal = sum(differing for _, differing, _ in self._counts.values())
        tensors = tuple(
            TensorParity(address, planned.rule, planned.reason, *counts)
            for address, counts in self._counts.items()
            if counts[1]
            for planned in [self._planned[without_result(address)]]
        )
        return CodeParity(
            len(self._counts),
            total,
            1 - unequal / total,
            max((tensor.largest_distance for tensor in tensors), default=0),
            tensors,
        )
