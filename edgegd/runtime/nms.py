"""Class-aware greedy non-maximum suppression in numpy, with the results of Ultralytics' `non_max_suppression`.

The arithmetic follows torchvision.ops.nms (torchvision/csrc/ops/cpu/nms_kernel.cpp) operation by operation, because
two boxes exactly at the threshold must fall to the same side: float32 boxes and areas, the comparison in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_NMS = 30_000  # most candidates that enter suppression, best first
MAX_WH = 7_680  # pixels between the boxes of neighbouring classes, so that one pass serves every class


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    *,
    iou: float,
    max_det: int,
) -> NDArray[np.int64]:
    """Indices of the boxes to keep, best score first, at most `max_det`.

    `boxes` (N, 4) x1 y1 x2 y2 in pixels, `scores` (N,), `class_ids` (N,). A box is dropped if its IoU with a better
    kept box of its class exceeds `iou`. Equal scores keep their order; only the first MAX_NMS candidates are looked at.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_NMS]
    offset = (class_ids.astype(np.float32) * np.float32(MAX_WH))[:, None]
    x1, y1, x2, y2 = (boxes + offset).T
    areas = (x2 - x1) * (y2 - y1)
    keep: list[int] = []
    while order.size and len(keep) < max_det:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        width = np.maximum(np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]), 0)
        height = np.maximum(np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]), 0)
        intersection = width * height
        with np.errstate(divide="ignore", invalid="ignore"):  # two empty boxes: 0 / 0 suppresses nothing
            overlap = intersection / (areas[best] + areas[rest] - intersection)
        order = rest[~(overlap.astype(np.float64) > iou)]
    return np.asarray(keep, dtype=np.int64)
