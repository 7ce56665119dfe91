"""The choice of precision as plain data: units that run in integers or in float, and what their neighbourhood costs.

A *unit* switches as a whole (a convolution, a SiLU, an addition, a whole exact attention). A *tensor* stands for what
one unit makes, with all movements (split, pooling, resize) of it, which follow: they move codes where there are codes.
There are codes where the maker or a reader runs in integers. Then a float maker pays for quantizing, every float reader
for dequantizing, and a float unit between codes for the node that keeps onnxruntime from fusing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """What switches as a whole: times in ms on the target; `noise` is the head's relative noise from it alone.

    `needs` are sets of units: of each set one must run in integers for this one to be able to.
    """

    addresses: tuple[str, ...]
    integer_ms: float
    float_ms: float
    noise: float
    needs: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True)
class Tensor:
    """What one unit makes, with its movements; units are indices, None is what is always float (the image too).

    `readers` are (unit, ms of dequantizing for it); `quantize_ms` is paid by a float maker; `moves_ms` is what the
    movements take with codes less what they take in float.
    """

    maker: int | None
    readers: tuple[tuple[int | None, float], ...]
    quantize_ms: float
    moves_ms: float = 0.0


@dataclass(frozen=True)
class Barrier:
    """The node after a float unit (None: always float) of which all `inputs` and the `result` (tensors) have codes."""

    unit: int | None
    inputs: tuple[int, ...]
    result: int
    ms: float


@dataclass(frozen=True)
class Problem:
    """All units, what lies between them, and the ms that no choice changes."""

    units: tuple[Unit, ...]
    tensors: tuple[Tensor, ...]
    barriers: tuple[Barrier, ...]
    constant_ms: float

    def has_codes(self, choice: Sequence[bool]) -> list[bool]:
        """For each tensor whether there are codes of it; `choice` says for each unit whether it runs in integers."""
        return [_any(choice, [tensor.maker, *(unit for unit, _ in tensor.readers)]) for tensor in self.tensors]

    def total_ms(self, choice: Sequence[bool]) -> float:
        """The predicted time of one inference in ms."""
        codes = self.has_codes(choice)
        total = self.constant_ms
        total += sum(u.integer_ms if integer else u.float_ms for u, integer in zip(self.units, choice, strict=True))
        for tensor, has_codes in zip(self.tensors, codes, strict=True):
            if has_codes:
                total += tensor.moves_ms + tensor.quantize_ms * (not _any(choice, [tensor.maker]))
                total += sum(ms for unit, ms in tensor.readers if not _any(choice, [unit]))
        for barrier in self.barriers:
            if not _any(choice, [barrier.unit]) and all(codes[t] for t in (*barrier.inputs, barrier.result)):
                total += barrier.ms
        return total

    def noise(self, choice: Sequence[bool]) -> float:
        """The sum of the noises of what runs in integers: independent errors add up by their powers."""
        return sum(unit.noise for unit, integer in zip(self.units, choice, strict=True) if integer)

    def is_possible(self, choice: Sequence[bool]) -> bool:
        """Whether every integer unit has what it needs."""
        return all(
            any(choice[index] for index in one_of)
            for unit, integer in zip(self.units, choice, strict=True)
            if integer
            for one_of in unit.needs
        )


def _any(choice: Sequence[bool], units: Sequence[int | None]) -> bool:
    return any(unit is not None and choice[unit] for unit in units)
