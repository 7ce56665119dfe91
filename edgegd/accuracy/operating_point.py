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
Weights = NDArray[np.float64]


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
    true = np.cumsum(found.true, dtype=np.int64)[last]
    return Curve(found.scores[last], true, last + 1 - true, len(found.box_of), least_score)


def draw_weights(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> Weights:
    """(resamples, images) float64: how often each image is drawn; all rates of a comparison take the same."""
    return draw_images(images, resamples, seed).astype(np.float64)


def rates_at(found: FoundBoxes, threshold: float, weights: Weights) -> Rates:
    """What a model does at a threshold, with intervals from draws of images (edgegd.accuracy.bootstrap)."""
    above = found.scores > threshold
    count, boxes = int(np.count_nonzero(above)), len(found.box_of)
    true = int(np.count_nonzero(found.true & above))
    precision, recall = _drawn_rates(found, threshold, weights)
    return Rates(
        threshold=threshold,
        detections=count,
        true=true,
        boxes=boxes,
        precision=true / count if count else None,
        recall=true / boxes if boxes else None,
        f1=2 * true / (count + boxes) if count + boxes else None,
        false_per_image=(count - true) / found.images,
        precision_interval=_interval(precision, found),
        recall_interval=_interval(recall, found),
    )


def difference_intervals(
    model: FoundBoxes, reference: FoundBoxes, thresholds: tuple[float, float], weights: Weights
) -> dict[str, Interval]:
    """Intervals of the model's `precision` and `recall` minus the reference's, at a threshold each, on equal draws."""
    own, other = (
        _drawn_rates(found, threshold, weights) for found, threshold in zip((model, reference), thresholds, strict=True)
    )
    return {
        name: _interval(one - two, model) for name, one, two in zip(("precision", "recall"), own, other, strict=True)
    }


def _drawn_rates(
    found: FoundBoxes, threshold: float, weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall (R,) of each draw; NaN where it has no detection, or no box."""
    above = found.scores > threshold
    hits, detected, labelled = (
        weights @ np.bincount(images, minlength=found.images)
        for images in (found.detected_in[found.true & above], found.detected_in[above], found.box_in)
    )
    nothing = np.full(len(weights), np.nan)
    precision = np.divide(hits, detected, out=nothing.copy(), where=detected > 0)
    return precision, np.divide(hits, labelled, out=nothing, where=labelled > 0)


def _interval(drawn: NDArray[np.float64], found: FoundBoxes) -> Interval:
    labelled = len(np.unique(found.box_in))
    if labelled < FEWEST_IMAGES or np.isnan(drawn).all():
        return None
    return one_sided_bounds(drawn, (1 - LEVEL) / 2, labelled)


def keeping_precision(curve: Curve, precision: float | None) -> float | None:
    """The least threshold at which the precision is at least this one; None where it never is."""
    good = np.flatnonzero(curve.precision >= (np.inf if precision is None else precision))
    return curve.threshold(int(good[-1])) if len(good) else None


def keeping_recall(curve: Curve, recall: float | None) -> float | None:
    """The greatest threshold at which the recall is at least this one; None where it never is, or for 0."""
    good = np.flatnonzero(curve.recall >= (recall or np.inf))
    return curve.threshold(int(good[0])) if len(good) else None


def best_f1(curve: Curve) -> float | None:
    """The greatest threshold of the best F1; None where nothing true was found."""
    return curve.threshold(int(np.argmax(curve.f1))) if len(curve.scores) and curve.true[-1] else None


def free_response(
    found: FoundBoxes, curve: Curve, weights: Weights, points: Sequence[float] = FALSE_PER_IMAGE
) -> list[dict[str, Any]]:
    """The sensitivity at up to so many false detections per image, with the threshold and the interval of each point.

    None where even the highest score is beyond it. `reached` is the number of false detections per image that there are
    at the threshold.
    """
    rows = []
    for point in points:
        good = np.flatnonzero(curve.false <= point * found.images)
        rates = rates_at(found, curve.threshold(int(good[-1])), weights) if len(good) else None
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
