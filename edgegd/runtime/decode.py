"""From a network's output to boxes, scores and classes in network pixels, for every output contract."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgegd.runtime.nms import suppress


class Decoded(NamedTuple):
    """Boxes (N, 4) x1 y1 x2 y2 float32 in network pixels, scores (N,) float32, class_ids (N,) int64, best first."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


def decode_end2end(output: NDArray[np.float32], *, conf: float, max_det: int) -> Decoded:
    """The rows of an end-to-end output (1, K, 6) that score above `conf`, at most `max_det`, in the network's order."""
    rows = output[0]  # (1, K, 6) -> (K, 6)
    rows = rows[rows[:, 4] > np.float32(conf)][:max_det]
    return Decoded(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def decode_queries(output: NDArray[np.float32], *, imgsz: tuple[int, int], conf: float, max_det: int) -> Decoded:
    """The rows of RT-DETR's output (1, K, 6), as `decode_end2end`; `imgsz` is the input's (height, width) in pixels."""
    rows, scores, class_ids = decode_end2end(output, conf=conf, max_det=max_det)
    height, width = imgsz
    rows = rows * np.array([width, height, width, height], np.float32)
    centers, half_sizes = rows[:, :2], rows[:, 2:] / np.float32(2)
    return Decoded(np.concatenate((centers - half_sizes, centers + half_sizes), axis=1), scores, class_ids)


def decode_raw(output: NDArray[np.float32], *, conf: float, iou: float, max_det: int, multi_label: bool) -> Decoded:
    """A raw output (1, 4 + classes, N) after the score threshold `conf` and class-aware NMS at `iou`.

    `multi_label` lets one box carry every class that scores above `conf` (Ultralytics' validation); otherwise a box has
    its best class only (Ultralytics' prediction).
    """
    # The one pass over all N columns runs along memory; what follows looks at the few that score enough.
    promising = np.flatnonzero(output[0, 4:].max(axis=0) > np.float32(conf))  # (C, N) -> (N,) -> (M,)
    predictions = output[0, :, promising]  # (4 + C, N) -> (M, 4 + C)
    class_scores = predictions[:, 4:]
    if multi_label:
        candidates, class_ids = np.nonzero(class_scores > np.float32(conf))
    else:
        candidates, class_ids = np.arange(len(promising)), class_scores.argmax(axis=1)
    scores = class_scores[candidates, class_ids]
    centers, half_sizes = predictions[candidates, :2], predictions[candidates, 2:4] / np.float32(2)
    boxes = np.concatenate((centers - half_sizes, centers + half_sizes), axis=1)
    keep = suppress(boxes, scores, class_ids, iou=iou, max_det=max_det)
    return Decoded(boxes[keep], scores[keep], class_ids[keep])
