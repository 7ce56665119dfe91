"""Precision and recall at a score threshold, and the thresholds that keep a reference's.

A detection counts whose score exceeds the threshold, as in edgegd.runtime.Detector (`conf`). Precision, recall and
false detections per image are counted at IoU 0.5 (edgegd.accuracy.found_boxes). Intervals are expanded percentiles of a
bootstrap over images (edgegd.accuracy.small_samples), at the threshold as it stands: that a threshold was chosen on
these same images is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.bootstrap import LEVEL, SEED, draw_images
from edgegd.accuracy.found_boxes import FoundBoxes
from edgegd.accuracy.gate import FEWEST_IMAGES
from edgegd.accuracy.small_samples import one_sided_bounds

FALSE_PER_IMAGE = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The points of a free-response curve, those of the LUNA16 challenge (Setio et al. 2017, Medical Image Analysis 42)."""
RESAMPLES = 1000
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Rates:
    """What a model does at one threshold: counts, and precision, recall and F1 in 0..1.

    None stands for a precision of no detections, or a recall of no boxes. Intervals (low, high) hold at 95 %; None with
    fewer than 20 labelled images.
    """

    threshold: float
    detections: int
    true: int
    boxes: int
    precision: float | None
    recall: float | None
    f1: float | None
    false_per_image: float
    precision_interval: Interval
    recall_interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, ready for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """Counts of one model at each of its T distinct scores, falling: those of all detections of at least this score."""

    scores: NDArray[np.float64]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    boxes: int
    least_score: float

    @property
    def precision(self) -> NDArray[np.float64]:
        """(T,) in 0..1."""
        return self.true / (self.true + self.false)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(T,) in 0..1; 0 where there is no box."""
        return self.true / max(self.boxes, 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(T,) in 0..1."""
        return 2 * self.true / (self.true + self.false + max(self.boxes, 1))

    def threshold(self, index: int) -> float:
        """Half-way from the score at `index` to the next smaller one, so that just these detections exceed it."""
        below = self.scores[index + 1] if index + 1 < len(self.scores) else min(self.least_score, self.scores[index])
        return float((self.scores[index] + below) / 2)


def curve_of(found: FoundBoxes, least_score: float) -> Curve:
    """The counts of a model; `least_score` is that below which detections were not kept."""
    last = np.flatnonzero(np.diff(found.scores, append=-np.inf))  # of equal scores the last
    true = np.cumsum(found.true)[last]
    return Curve(found.scores[last], true, last + 1 - true, len(found.box_of), least_score)


def rates_at(found: FoundBoxes, threshold: float, *, resamples: int = RESAMPLES, seed: int = SEED) -> Rates:
    """What a model does at a threshold, with intervals."""
    above = found.scores > threshold
    count = int(np.count_nonzero(above))
    true, boxes = int(np.count_nonzero(found.true & above)), len(found.box_of)
    hits, detected, labelled = (
        np.bincount(images, minlength=found.images)
        for images in (found.detected_in[found.true & above], found.detected_in[above], found.box_in)
    )
    with_boxes, intervals = int(np.count_nonzero(labelled)), {}
    enough = with_boxes >= FEWEST_IMAGES
    weights = draw_images(found.images, resamples, seed) if enough else np.zeros((0, found.images), np.int64)
    for name, parts, wholes in (("precision", hits, detected), ("recall", hits, labelled)):
        whole = weights @ wholes
        drawn = np.divide(weights @ parts, whole, out=np.full(len(weights), np.nan), where=whole > 0)
        known = enough and not np.isnan(drawn).all()
        intervals[name] = one_sided_bounds(drawn, (1 - LEVEL) / 2, with_boxes) if known else None
    return Rates(
        threshold=threshold,
        detections=count,
        true=true,
        boxes=boxes,
        precision=true / count if count else None,
        recall=true / boxes if boxes else None,
        f1=2 * true / (count + boxes) if count + boxes else None,
        false_per_image=(count - true) / found.images,
        precision_interval=intervals["precision"],
        recall_interval=intervals["recall"],
    )


def keeping_precision(curve: Curve, precision: float | None) -> float | None:
    """The least threshold at which the precision is at least this one; None where it never is."""
    good = [] if precision is None else np.flatnonzero(curve.precision >= precision)
    return curve.threshold(int(good[-1])) if len(good) else None


def keeping_recall(curve: Curve, recall: float | None) -> float | None:
    """The greatest threshold at which the recall is at least this one; None where it never is."""
    good = [] if not recall else np.flatnonzero(curve.recall >= recall)
    return curve.threshold(int(good[0])) if len(good) else None


def best_f1(curve: Curve) -> float | None:
    """The greatest threshold of the best F1; None where nothing true was found."""
    return curve.threshold(int(np.argmax(curve.f1))) if len(curve.scores) and curve.true[-1] else None


def free_response(found: FoundBoxes, curve: Curve, points: Sequence[float] = FALSE_PER_IMAGE) -> list[dict[str, Any]]:
    """The sensitivity at up to so many false detections per image, with the threshold and the interval of each point.

    None where not even the highest score keeps below it. `reached` is the number of false detections that there are.
    """
    rows = []
    for point in points:
        good = np.flatnonzero(curve.false <= point * found.images)
        rates = rates_at(found, curve.threshold(int(good[-1]))) if len(good) else None
        rows.append(
            {
                "false_per_image": point,
                "reached": rates.false_per_image if rates else None,
                "threshold": rates.threshold if rates else None,
                "sensitivity": rates.recall if rates else None,
                "interval": rates.recall_interval if rates else None,
            }
        )
    return rows


def score_shift(model: FoundBoxes, reference: FoundBoxes) -> dict[str, Any]:
    """How much higher the scores of the boxes are that both found: quantiles of the paired differences.

    `lost` and `won` count the boxes that only the reference, or only the model, found with any score.
    """
    both = ~np.isnan(model.box_scores) & ~np.isnan(reference.box_scores)
    differences = (model.box_scores - reference.box_scores)[both]
    quantiles = np.percentile(differences, [5, 25, 50, 75, 95]).tolist() if len(differences) else None
    return {
        "boxes": int(np.count_nonzero(both)),
        "quantiles": quantiles,
        "lost": int(np.count_nonzero(np.isnan(model.box_scores) & ~np.isnan(reference.box_scores))),
        "won": int(np.count_nonzero(~np.isnan(model.box_scores) & np.isnan(reference.box_scores))),
    }
