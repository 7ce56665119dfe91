"""Geometry of one image's boxes (N, 5) `class cx cy w h`, in fractions of the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegd.data.labels import TOLERANCE

SAME_PLACE = 0.9
"""Intersection over union from which two boxes are taken for one object: two people who draw a box around the same
object seldom agree better."""
COMPARED_BOXES = 2_000
"""Of one image; the pairs of more are not looked at."""
_ROUNDING = 1e-6  # of labels with six digits


def reaching_out(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes reach over the image's border by more than TOLERANCE: (N,) bool."""
    far = np.abs(boxes[:, 1:3] - 0.5) + boxes[:, 3:5] / 2 - 0.5
    return np.asarray((far > TOLERANCE + _ROUNDING).any(axis=1))


def at_one_place(boxes: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs that overlap by SAME_PLACE or more; none of an image with more than COMPARED_BOXES."""
    if not 2 <= len(boxes) <= COMPARED_BOXES:
        return []
    low, high = boxes[:, 1:3] - boxes[:, 3:5] / 2, boxes[:, 1:3] + boxes[:, 3:5] / 2
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)  # (N, N, 2)
    shared = np.clip(sides, 0, None).prod(axis=2)
    area = boxes[:, 3] * boxes[:, 4]
    with np.errstate(invalid="ignore", divide="ignore"):  # polygons may have no area
        overlap = np.triu(shared / (area[:, None] + area - shared), k=1)
    return [(int(first), int(second)) for first, second in zip(*np.nonzero(overlap >= SAME_PLACE), strict=True)]
