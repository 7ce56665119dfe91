"""What is wrong with detections, and with labelled boxes that were not found, by kind.

The kinds, thresholds and order of decision are those of TIDE (Bolya et al. 2020, "TIDE: A General Toolbox for
Identifying Object Detection Errors", section 2.2). Matching is COCO's at IoU 0.5. A detection without a box is of the
first kind that fits:

    place        overlaps a box of its class by 0.1 to 0.5       ("localization")
    class        overlaps a box of another class by 0.5 or more  ("classification")
    duplicate    overlaps a box of its class that another detection found by 0.5 or more
    background   overlaps no box by more than 0.1
    both         all others: another class, and overlaps by 0.1 to 0.5

A labelled box that no detection found is `missed`, unless a detection of kind place or class is about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.overlaps import Boxes, coco_pairs, overlaps

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
TRUE = "true"
KINDS = ("class", "place", "both", "duplicate", "background", "missed")
DETECTION_STATES = (TRUE, *KINDS[:-1])
"""What a detection can be."""
BOX_STATES = ("found", "class", "place", "missed")
"""What became of a labelled box."""
_CLASS, _PLACE, _BOTH, _DUPLICATE, _BACKGROUND = range(1, 6)
_FOUND, _MISSED = 0, 3  # between them, a box has the number of the class or place error that is about it


@dataclass(frozen=True)
class ImageErrors:
    """One model in one image of D detections and B labelled boxes.

    `detections` (D,) int64 are indices into DETECTION_STATES, `boxes` (B,) int64 indices into BOX_STATES. `box_of` (D,)
    int64 is the box that a detection found, -1 for none, and `overlap` (D,) float64 its IoU with it.
    """

    detections: NDArray[np.int64]
    boxes: NDArray[np.int64]
    box_of: NDArray[np.int64]
    overlap: NDArray[np.float64]

    def counts(self) -> dict[str, int]:
        """How many errors there are of each of KINDS."""
        found = np.bincount(self.detections, minlength=len(DETECTION_STATES))[1:].tolist()
        return dict(zip(KINDS, [*found, int(np.count_nonzero(self.boxes == _MISSED))], strict=True))


def errors_in(
    detected: Boxes, detected_ids: NDArray[np.int64], labelled: Boxes, labelled_ids: NDArray[np.int64]
) -> ImageErrors:
    """The kinds of error of detections (D, 4), by falling score, with the labelled boxes (B, 4), and their classes."""
    shared = overlaps(detected, labelled)  # (D, B)
    same = detected_ids[:, None] == labelled_ids[None, :]
    box_of, overlap = np.full(len(detected), -1), np.zeros(len(detected))
    for detection, box in coco_pairs(np.where(same, shared, 0.0), FOREGROUND_IOU):
        box_of[detection], overlap[detection] = box, shared[detection, box]
    states = np.zeros(len(detected), np.int64)
    boxes = np.full(len(labelled), _MISSED)
    for detection in np.flatnonzero(box_of < 0).tolist():
        states[detection], about = _kind(shared[detection], same[detection])
        if about is not None:
            boxes[about] = min(boxes[about], states[detection])
    boxes[box_of[box_of >= 0]] = _FOUND
    return ImageErrors(states, boxes, box_of, overlap)


def _kind(shared: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[int, int | None]:
    """The kind of a detection that found no box, and the box that a place or class error is about."""
    if not len(shared):
        return _BACKGROUND, None
    own, other = np.where(same, shared, 0.0), np.where(same, 0.0, shared)
    if BACKGROUND_IOU <= own.max() < FOREGROUND_IOU:
        return _PLACE, int(own.argmax())
    if other.max() >= FOREGROUND_IOU:
        return _CLASS, int(other.argmax())
    if own.max() >= FOREGROUND_IOU:
        return _DUPLICATE, None
    return (_BACKGROUND if shared.max() <= BACKGROUND_IOU else _BOTH), None
