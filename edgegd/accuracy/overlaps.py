"""How much boxes overlap, and which detections COCO matches with which boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """IoU (N, M) of boxes (N, 4) and (M, 4) x1 y1 x2 y2; 0 where both are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def coco_pairs(shared: NDArray[np.float64], iou: float) -> Iterator[tuple[int, int]]:
    """(detection, box) of those that match, by their IoU (N, M); the detections stand by falling score.

    COCO's matching (pycocotools/cocoeval.py, evaluateImg): each detection takes the box that is left which it overlaps
    most, by at least `iou`.
    """
    is_free = np.ones(shared.shape[1], bool)
    for detection in np.flatnonzero((shared >= iou).any(axis=1)).tolist():
        left = np.where(is_free, shared[detection], -1.0)
        box = len(left) - 1 - int(np.argmax(left[::-1]))  # pycocotools takes the last of equal ones
        if left[box] >= iou:
            is_free[box] = False
            yield detection, box
