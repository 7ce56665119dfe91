"""Suspected label errors of a data set, the worst first, from how suspicious the boxes of each image are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.overlaps import overlaps
from edgegd.runtime.detector import Detections

OVERLOOKED, BADLY_PLACED, SWAPPED = KINDS = ("overlooked", "badly placed", "swapped")
ONE_OBJECT_IOU = 0.5
"""From which two detections without a label are one overlooked object."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspicions:
    """One image of D detections and L labels: how suspicious they are, from 0 (right) to 1 (wrong).

    `overlooked` (D,) is about the detections, `badly_placed` and `swapped` (L,) about the labels; `beside` and
    `as_other` (L,) int64 are the detections that speak for another place and another class, -1 for none. `image` is the
    suspicion that the image has any wrong label.
    """

    overlooked: Floats
    badly_placed: Floats
    swapped: Floats
    beside: NDArray[np.int64]
    as_other: NDArray[np.int64]
    image: float


def suspects(
    found: Sequence[Suspicions],
    detections: Sequence[Detections],
    truth: GroundTruth,
    least: Mapping[str, float],
    most: int,
) -> list[dict[str, Any]]:
    """The suspected errors of at least the suspicion `least` of their kind, `most` of each kind, the worst first.

    Each has `image` (its path), `kind` (of KINDS), `score` (the suspicion), `box` (in pixels: the label's, of an
    overlooked one the detection's), `class_id` (the label's, None without one), `suggested` (the class that is
    suggested, None for a badly placed label) and `suggested_box` (for a badly placed label). A label is suspected of
    one kind alone.
    """
    of_kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for at, (suspicion, one) in enumerate(zip(found, detections, strict=True)):
        image, boxes, ids = str(truth.image_paths[at]), truth.boxes[at], truth.class_ids[at]
        for detection in _objects(suspicion.overlooked, one, least[OVERLOOKED]):
            row = _suspect(image, OVERLOOKED, suspicion.overlooked[detection], one.xyxy[detection], None)
            of_kinds[OVERLOOKED].append(row | {"suggested": int(one.class_ids[detection])})
        is_swap = suspicion.swapped >= suspicion.badly_placed
        is_suspect = np.where(
            is_swap, suspicion.swapped >= least[SWAPPED], suspicion.badly_placed >= least[BADLY_PLACED]
        )
        for label in np.flatnonzero(is_suspect).tolist():
            row = _suspect(image, SWAPPED, suspicion.swapped[label], boxes[label], int(ids[label]))
            if not is_swap[label]:
                row |= {"kind": BADLY_PLACED, "score": _four(suspicion.badly_placed[label])}
                row["suggested_box"] = _rounded(one.xyxy[suspicion.beside[label]])
            elif suspicion.as_other[label] >= 0:
                row["suggested"] = int(one.class_ids[suspicion.as_other[label]])
            of_kinds[row["kind"]].append(row)
    return worst([row for rows in of_kinds.values() for row in rows], most)


def worst(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The `most` worst suspects of each kind, the worst first."""
    ordered = sorted(rows, key=_by_score)
    of_kinds = [[row for row in ordered if row["kind"] == kind][:most] for kind in KINDS]
    return sorted(itertools.chain.from_iterable(of_kinds), key=_by_score)


def _by_score(row: dict[str, Any]) -> float:
    return -float(row["score"])


def _objects(overlooked: Floats, found: Detections, least: float) -> list[int]:
    """The detections that are overlooked objects: of those at one place the most suspicious."""
    kept: list[int] = []
    for detection in np.argsort(-overlooked, kind="stable").tolist():
        if overlooked[detection] < least:
            break
        box = found.xyxy[[detection]].astype(np.float64)
        if not (overlaps(box, found.xyxy[kept].astype(np.float64)) >= ONE_OBJECT_IOU).any():
            kept.append(detection)
    return kept


def _suspect(image: str, kind: str, score: float, box: NDArray[Any], class_id: int | None) -> dict[str, Any]:
    return {
        "image": image,
        "kind": kind,
        "score": _four(score),
        "box": _rounded(box),
        "class_id": class_id,
        "suggested": None,
        "suggested_box": None,
    }


def _four(score: float) -> float:
    return round(float(score), 4)


def _rounded(box: NDArray[Any]) -> list[float]:
    return [round(float(side), 1) for side in box]
