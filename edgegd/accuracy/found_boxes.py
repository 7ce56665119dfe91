"""Which detections found a labelled box at one IoU, with their scores: what precision and recall are counted from.

The matching is COCO's (pycocotools/cocoeval.py, evaluateImg) for one IoU threshold: within an image and a class, the
best score first, each detection takes the box that is left which it overlaps most. Whether a detection is true does not
depend on those of smaller scores, so one matching serves every score threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.overlaps import coco_pairs, overlaps
from edgegd.runtime.detector import Detections

IOU = 0.5


@dataclass(frozen=True)
class FoundBoxes:
    """The D detections of all images, best score first, and the B labelled boxes, in the order of the images.

    `scores` (D,) float64, `detected_in` (D,) int64 the image and `detected_as` (D,) int64 the class of each detection,
    `true` (D,) bool whether it found a box. `box_scores` (B,) float64 the score with which each labelled box was found,
    NaN where it was missed; `box_in` and `box_of` (B,) int64 its image and class.
    """

    images: int
    scores: NDArray[np.float64]
    detected_in: NDArray[np.int64]
    detected_as: NDArray[np.int64]
    true: NDArray[np.bool_]
    box_scores: NDArray[np.float64]
    box_in: NDArray[np.int64]
    box_of: NDArray[np.int64]

    def of_class(self, class_id: int) -> FoundBoxes:
        """The detections and boxes of one class alone."""
        found, boxes = self.detected_as == class_id, self.box_of == class_id
        return FoundBoxes(
            self.images,
            self.scores[found],
            self.detected_in[found],
            self.detected_as[found],
            self.true[found],
            self.box_scores[boxes],
            self.box_in[boxes],
            self.box_of[boxes],
        )


def found_boxes(detections: Sequence[Detections], truth: GroundTruth, max_det: int = 300) -> FoundBoxes:
    """The matching of a model's detections, an entry for each image, of which `max_det` count per image and class."""
    scores, images, classes, true = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    box_scores = [np.full(len(ids), np.nan) for ids in truth.class_ids]
    for image, (found, boxes, ids) in enumerate(zip(detections, truth.boxes, truth.class_ids, strict=True)):
        for class_id in np.unique(found.class_ids).tolist():
            own, labelled = np.flatnonzero(found.class_ids == class_id), np.flatnonzero(ids == class_id)
            own = own[np.argsort(-found.scores[own], kind="stable")][:max_det]
            is_true = np.zeros(len(own), bool)
            shared = overlaps(found.xyxy[own].astype(np.float64), boxes[labelled])
            for detection, box in coco_pairs(shared, IOU):
                is_true[detection] = True
                box_scores[image][labelled[box]] = found.scores[own[detection]]
            scores.append(found.scores[own].astype(np.float64))
            images.append(np.full(len(own), image))
            classes.append(np.full(len(own), class_id))
            true.append(is_true)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    counts = [len(ids) for ids in truth.class_ids]
    return FoundBoxes(
        len(truth.image_paths),
        np.concatenate(scores)[order],
        np.concatenate(images)[order],
        np.concatenate(classes)[order],
        np.concatenate(true)[order],
        np.concatenate([np.zeros(0), *box_scores]),
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.zeros(0, np.int64), *truth.class_ids]),
    )
