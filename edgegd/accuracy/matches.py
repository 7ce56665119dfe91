"""Which detections pycocotools matched with labelled boxes, image by image: what mAP of any weighting of images needs.

COCO's matching is done within one image and one class (pycocotools/cocoeval.py, evaluateImg). So it stays as it is when
images are left out or repeated, and mAP of resampled images needs no second matching (edgegd.accuracy.bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassMatches:
    """One class: its D detections of all images together, best score first, at T IoU thresholds.

    `images` (D,) int64 the image of each detection; `true` (T, D) bool whether it has a labelled box; `ignored` (T, D)
    bool whether it counts neither as true nor as false; `truth` (I,) int64 the labelled boxes of each image that count.
    """

    images: NDArray[np.int64]
    true: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth: NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """All classes that have a labelled box, in the order of their ids, on `images` images; IoU thresholds ascend.

    `recalls` (R,) float64 are the recall levels at which precision is read.
    """

    images: int
    recalls: NDArray[np.float64]
    classes: tuple[ClassMatches, ...]

    @property
    def labelled_images(self) -> int:
        """Images with at least one labelled box that counts."""
        counts = sum((of_class.truth for of_class in self.classes), np.zeros(self.images, np.int64))
        return int(np.count_nonzero(counts))


def matches_of(evaluation: Any) -> Matches:
    """The matches of a pycocotools COCOeval after `evaluate()`, with one area range and one `maxDets`.

    Detections of equal score stand in the order in which pycocotools has them: by image, then as in the image. Raises
    ValueError for several area ranges or `maxDets`.
    """
    params = evaluation.params
    if len(params.areaRng) != 1 or len(params.maxDets) != 1:
        raise ValueError("matches are of one area range and one maxDets")
    images = len(params.imgIds)
    of_classes = [
        _of_class(evaluation.evalImgs[start : start + images], len(params.iouThrs))
        for start in range(0, images * len(params.catIds), images)
    ]
    recalls = np.asarray(params.recThrs, np.float64)
    return Matches(images, recalls, tuple(of_class for of_class in of_classes if of_class.truth.any()))


def _of_class(of_images: list[dict[str, Any] | None], thresholds: int) -> ClassMatches:
    """One entry for each image; None where the image has neither a detection nor a labelled box of the class."""
    entries = [(image, entry) for image, entry in enumerate(of_images) if entry is not None]
    truth = np.zeros(len(of_images), np.int64)
    for image, entry in entries:
        truth[image] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    nothing = np.zeros((thresholds, 0))
    scores = np.concatenate([np.zeros(0), *(entry["dtScores"] for _, entry in entries)])
    matched = np.concatenate([nothing, *(entry["dtMatches"] for _, entry in entries)], axis=1)
    ignored = np.concatenate([nothing, *(entry["dtIgnore"] for _, entry in entries)], axis=1) != 0
    images = np.repeat(
        np.array([image for image, _ in entries], np.int64), [len(entry["dtScores"]) for _, entry in entries]
    )
    order = np.argsort(-scores, kind="stable")  # as pycocotools sorts
    return ClassMatches(images[order], ((matched != 0) & ~ignored)[:, order], ignored[:, order], truth)
