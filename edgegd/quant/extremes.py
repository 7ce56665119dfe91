"""The two images with the largest, and the two with the least value of each tensor: who extends a range alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Extremes = list[tuple[float, int]]
"""Values and the numbers of their images, the outermost first; of different images."""


class ImageExtremes:
    """Of each address the outermost two values above and below, in constant memory.

    `images` is the number of images seen so far, from which the next ones are counted.
    """

    def __init__(self) -> None:
        self.images = 0
        self.lows: dict[str, Extremes] = {}
        self.highs: dict[str, Extremes] = {}

    def add(self, address: str, values: torch.Tensor) -> None:
        """The values (N, ...) of a tensor for the next N images."""
        flat = values.detach().flatten(1)
        for kept, found, falling in (
            (self.lows, flat.amin(1).tolist(), False),
            (self.highs, flat.amax(1).tolist(), True),
        ):
            new = [(value, self.images + number) for number, value in enumerate(found)]
            kept[address] = outermost([*kept.get(address, ()), *new], falling=falling)


def outermost(extremes: Extremes, *, falling: bool) -> Extremes:
    """The first value of each of two different images, from the largest (`falling`) or from the least."""
    best: Extremes = []
    for value, image in sorted(extremes, reverse=falling):
        if all(image != other for _, other in best):
            best.append((value, image))
    return best[:2]


def of_others(extremes: Extremes, image: int) -> float:
    """The outermost value of all images but one; NaN where there is no other."""
    return next((value for value, other in extremes if other != image), math.nan)
