"""Which detections of FP32 and of an INT8 model are the same, and how they differ: lost, gained, moved, other scores.

A pair has one class and overlaps by IoU 0.5 or more. Pairs of two detections above the threshold come first, then those
that overlap most; each detection is in one pair at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.overlaps import overlaps
from edgegd.runtime.detector import Detections

PAIR_IOU = 0.5
MOVED_IOU = 0.8
"""A pair that overlaps less has moved."""


@dataclass(frozen=True)
class Changes:
    """The changes of one image between R detections of the reference and M of the model.

    `lost` and `gained` are the indices of detections above the threshold that have no partner above it; `crossed` of
    them have one below it. `kept` (K, 2) int64 are (reference, model) of pairs above the threshold, `overlap` (K,)
    their IoU, `shift_px` (K,) by how many pixels of the image the side has moved that moved furthest, and
    `score_change` (K,) the model's score less the reference's. `partner_of` (M,) int64 has for each of the model's
    detections, above the threshold or not, the reference's partner, -1 for none.
    """

    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    crossed: int
    kept: NDArray[np.int64]
    overlap: NDArray[np.float64]
    shift_px: NDArray[np.float64]
    score_change: NDArray[np.float64]
    partner_of: NDArray[np.int64]

    @property
    def moved(self) -> NDArray[np.bool_]:
        """(K,) which of the kept pairs have moved."""
        return self.overlap < MOVED_IOU


def changes_between(reference: Detections, model: Detections, conf: float) -> Changes:
    """The changes from the reference's detections to the model's; a detection counts whose score exceeds `conf`."""
    shared = overlaps(reference.xyxy.astype(np.float64), model.xyxy.astype(np.float64))  # (R, M)
    shared = np.where(reference.class_ids[:, None] == model.class_ids[None, :], shared, 0.0)
    counts = reference.scores > conf, model.scores > conf
    partner_of, model_of = np.full(len(model), -1), np.full(len(reference), -1)
    first, second = np.nonzero(shared >= PAIR_IOU)
    both = counts[0][first] & counts[1][second]
    for at in np.lexsort((-shared[first, second], ~both)).tolist():
        if partner_of[second[at]] < 0 and model_of[first[at]] < 0:
            partner_of[second[at]], model_of[first[at]] = first[at], second[at]
    has_kept = counts[0] & (model_of >= 0) & np.append(counts[1], False)[model_of]
    kept = np.stack([np.flatnonzero(has_kept), model_of[has_kept]], axis=1)
    lost = np.flatnonzero(counts[0] & ~has_kept)
    is_kept = np.zeros(len(model), bool)
    is_kept[kept[:, 1]] = True
    gained = np.flatnonzero(counts[1] & ~is_kept)
    sides = np.abs(reference.xyxy[kept[:, 0]] - model.xyxy[kept[:, 1]]).astype(np.float64)
    return Changes(
        lost=lost,
        gained=gained,
        crossed=int(np.count_nonzero(model_of[lost] >= 0) + np.count_nonzero(partner_of[gained] >= 0)),
        kept=kept,
        overlap=shared[kept[:, 0], kept[:, 1]],
        shift_px=sides.max(axis=1, initial=0.0),
        score_change=(model.scores[kept[:, 1]] - reference.scores[kept[:, 0]]).astype(np.float64),
        partner_of=partner_of,
    )
