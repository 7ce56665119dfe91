"""How suspicious labels are by the detections that support them, or support something else.

A class's support of a label is the largest score times IoU that a detection of the class has with it: high where a
detector is sure that just this box has this class.
- A label is swapped as far as the best support of another class exceeds that of its own.
- A box is overlooked by the score of a detection that no label overlaps by more than COVERED.
- A label is badly placed as far as any other detection of its class, which overlaps no label more than this one, speaks
  against its place: score times (1 - IoU), where that exceeds the label's own support.

Against ObjectLab (edgegd.accuracy.label_quality) three things differ. Scores count as they are instead of by two
thresholds, which suit probabilities of a softmax. A detection speaks for one place only, so that in a crowd the
neighbours' detections do not excuse a wrong box. And an object beside another one can be overlooked, although its
detection touches the neighbour's label. benchmarks/label_faults.py compares both on planted faults (docs/labels.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.label_suspects import Suspicions
from edgegd.accuracy.overlaps import overlaps
from edgegd.runtime.detector import Detections

COVERED = 0.2
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelSupport:
    """One image: `own` (L,) is how much each label is supported as it is, in 0..1."""

    own: Floats
    suspicions: Suspicions


def label_support(found: Detections, boxes: Floats, class_ids: NDArray[np.int64]) -> LabelSupport:
    """The support of an image's labels: boxes (L, 4) x1 y1 x2 y2 in pixels and their classes (L,)."""
    scores, count = found.scores.astype(np.float64), len(found)
    iou = overlaps(boxes, found.xyxy.astype(np.float64))  # (L, D)
    is_same = class_ids[:, None] == found.class_ids[None, :]
    own, _ = _most(np.where(is_same, scores * iou, 0.0))
    other, as_other = _most(np.where(is_same, 0.0, scores * iou))
    is_about = np.zeros_like(is_same)
    if len(boxes):
        is_about[iou.argmax(axis=0), np.arange(count)] = iou.max(axis=0) > COVERED
    against, beside = _most(np.where(is_same & is_about, scores * (1 - iou), 0.0))
    overlooked = np.where((iou > COVERED).any(axis=0), 0.0, scores)
    swapped, badly_placed = np.maximum(other - own, 0), np.maximum(against - own, 0)
    image = float(max(kind.max(initial=0.0) for kind in (overlooked, badly_placed, swapped)))
    return LabelSupport(own, Suspicions(overlooked, badly_placed, swapped, beside, as_other, image))


def _most(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The largest value of each row and its column; 0 and -1 where none is above 0."""
    if not values.shape[1]:
        return np.zeros(len(values)), np.full(len(values), -1)
    columns = values.argmax(axis=1)
    most = values[np.arange(len(values)), columns]
    return most, np.where(most > 0, columns, -1)
