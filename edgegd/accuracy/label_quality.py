"""How likely each label is right, by what a detector finds: overlooked, badly placed and swapped boxes.

The scores are ObjectLab's (Tkachenko, Thyagarajan and Mueller 2023, arXiv 2309.00832, section 3), from 0 (wrong) to
1 (right). Two boxes are as similar as ALPHA IoU + (1 - ALPHA) exp(-DECAY d), d the distance of their centres in pixels.
- An overlooked box is a confident detection that touches no label: its score is its similarity to the most similar
  label of its class, and where there is none (1 - its own score) times the least similarity of the data set.
- A label is badly placed if no detection of its class that touches it, and is at least a likely one, is similar to it:
  its score is the similarity of the most similar one; 1 where there is none.
- A label is swapped if a confident detection of another class is similar to it: its score is 1 - the similarity of the
  most similar one; 1 where there is none, the least similarity where a label of another class lies on it.
An image's score of a kind is the soft minimum of its boxes', and its score is the geometric mean of the three.

The paper's detectors have probabilities of a softmax, of which 0.95 is confident and 0.5 likely. YOLO's scores are
lower, so `own_thresholds` takes them from the detections that found a label. edgegd.accuracy.label_support has scores
that need no thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.found_boxes import FoundBoxes
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.label_suspects import Suspicions
from edgegd.accuracy.overlaps import overlaps
from edgegd.runtime.detector import Detections

ALPHA, DECAY = 0.9, 0.1
TEMPERATURE = 0.1
SAME_PLACE = 0.95
"""The IoU from which two labels of different classes are at one place."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Thresholds:
    """The scores that confident detections have at least, and that likely ones exceed."""

    confident: float
    likely: float


PUBLISHED = Thresholds(0.95, 0.5)


@dataclass(frozen=True)
class LabelQuality:
    """One image: scores `overlooked` (D,) of its detections, NaN where they are no candidates; `badly_placed` (L,) and
    `swapped` (L,) of its labels, with the detections `beside` and `as_other` that they came from, -1 where none did."""

    overlooked: Floats
    badly_placed: Floats
    swapped: Floats
    beside: NDArray[np.int64]
    as_other: NDArray[np.int64]

    @property
    def image(self) -> float:
        """The score of the image."""
        kinds = (self.overlooked, self.badly_placed, self.swapped)
        return float(np.prod([soft_minimum(scores[~np.isnan(scores)]) for scores in kinds]) ** (1 / 3))

    def suspicions(self) -> Suspicions:
        """The same, from 0 (right) to 1 (wrong)."""
        overlooked = np.nan_to_num(1 - self.overlooked)
        return Suspicions(
            overlooked, 1 - self.badly_placed, 1 - self.swapped, self.beside, self.as_other, 1 - self.image
        )


def own_thresholds(found: FoundBoxes) -> Thresholds:
    """Those of a detector on labels that are mostly right; the published ones where it found none of them.

    Confident is what a quarter of the labels that were found have less than, likely what a tenth has less than. Wrong
    labels are hardly among those that were found, so they hardly move either.
    """
    scores = found.box_scores[~np.isnan(found.box_scores)]
    if not len(scores):
        return PUBLISHED
    likely, confident = np.percentile(scores, [10, 25])
    return Thresholds(float(confident), float(likely))


def label_quality(
    detections: Sequence[Detections], truth: GroundTruth, thresholds: Thresholds = PUBLISHED
) -> list[LabelQuality]:
    """The scores of the labels of each image, by a model's detections, an entry for each image."""
    images = [
        _Image(found, boxes, ids, thresholds)
        for found, boxes, ids in zip(detections, truth.boxes, truth.class_ids, strict=True)
    ]
    least = min((image.least_similarity for image in images), default=1.0)
    return [image.quality(least) for image in images]


class _Image:
    """What does not need the other images: rows are labels, columns detections."""

    def __init__(self, found: Detections, boxes: Floats, ids: NDArray[np.int64], thresholds: Thresholds) -> None:
        self._scores = found.scores.astype(np.float64)
        detected = found.xyxy.astype(np.float64)
        iou = overlaps(boxes, detected)
        similarity = ALPHA * iou + (1 - ALPHA) * np.exp(-DECAY * _distances(boxes, detected))
        self.least_similarity = float(similarity[similarity > 0].min(initial=1.0))
        is_same = ids[:, None] == found.class_ids[None, :]
        confident = self._scores >= thresholds.confident
        self._is_candidate = confident & ~(iou > 0).any(axis=0)
        self._to_own_class = _best(np.where(is_same, similarity, -1.0).T)
        beside = is_same & (iou > 0) & (self._scores > thresholds.likely)
        self._beside_own = _best(np.where(beside, similarity, -1.0))
        as_other = ~is_same & (self._scores > thresholds.confident)
        self._as_other = _best(np.where(as_other, similarity, -1.0))
        self._is_doubled = ((overlaps(boxes, boxes) >= SAME_PLACE) & (ids[:, None] != ids[None, :])).any(axis=1)

    def quality(self, least: float) -> LabelQuality:
        nearest, place = self._to_own_class
        overlooked = np.where(place < 0, least * (1 - self._scores), nearest)
        beside, of_beside = self._beside_own
        other, of_other = self._as_other
        swapped = np.where(of_other < 0, 1.0, np.maximum(least, 1 - other))
        return LabelQuality(
            np.where(self._is_candidate, overlooked, np.nan),
            np.where(of_beside < 0, 1.0, beside),
            np.where(self._is_doubled, least, swapped),
            of_beside,
            of_other,
        )


def _best(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The largest value of each row and its column; -1 for both where none is at least 0."""
    if not values.shape[1]:
        return np.full(len(values), -1.0), np.full(len(values), -1)
    columns = np.argmax(values, axis=1)
    best = values[np.arange(len(values)), columns]
    return best, np.where(best < 0, -1, columns)


def _distances(first: Floats, second: Floats) -> Floats:
    """Of the centres of boxes (N, 4) and (M, 4), in pixels: (N, M)."""
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (first, second)]
    difference = centres[0][:, None] - centres[1][None]
    return np.hypot(difference[..., 0], difference[..., 1])


def soft_minimum(scores: Floats) -> float:
    """The mean of scores weighted by a softmax of -score / TEMPERATURE; 1 without any."""
    if not len(scores):
        return 1.0
    weights = np.exp(-(scores - scores.min()) / TEMPERATURE)
    return float(weights @ scores / weights.sum())
