"""How much one image was hurt by quantization, and the detection loss of an image.

The loss of an image at a threshold is its LRP error (Oksuz et al. 2018, "Localization Recall Precision (LRP): A New
Performance Metric for Object Detection", equation 3), over all classes together, at IoU 0.5:

    ( sum over true detections of (1 - IoU) / (1 - 0.5)  +  false detections  +  missed boxes )
        / ( true detections + false detections + missed boxes )

0 is perfect and 1 the worst. It jumps where a score crosses the threshold. The damage does not: a detection of score s
counts with the weight

    w(s) = 1 / (1 + ((1 - s) c / (s (1 - c)))^3)

1/2 at the threshold c, 0.96 for odds three times as high, 0.04 for odds a third: the probability that s is above a
threshold that is drawn about c. With it, each labelled box costs 1 - w where it was found exactly, more by
w (1 - IoU) / (1 - 0.5) where it was found less exactly, and 1 where it was not found: the terms of LRP, in boxes.

    damage = sum over labelled boxes of max(0, cost INT8 - cost FP32)
           + sum over INT8's false detections of max(0, w - w of FP32's detection there)

One box lost for good, or one new false box of a high score, is a damage of 1. What quantization mended does not count
against it. FP32's detection "there" is of the same class and overlaps by 0.5 or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.error_kinds import FOREGROUND_IOU, ImageErrors

LEAST_WEIGHT = 0.01
"""Detections of a smaller weight are left out."""
_SLOPE = 3


def presence(scores: NDArray[np.float64], conf: float) -> NDArray[np.float64]:
    """The weight w of detections with scores in 0..1 at the threshold `conf`, which is in 0..1 too."""
    odds, at = scores * (1 - conf), (1 - scores) * conf
    return np.divide(odds**_SLOPE, odds**_SLOPE + at**_SLOPE, out=np.ones_like(scores), where=odds + at > 0)


def least_score(conf: float) -> float:
    """The score at which a detection's weight is LEAST_WEIGHT; `conf` where that is 0 or 1."""
    odds = conf / max(1 - conf, 1e-12) * (LEAST_WEIGHT / (1 - LEAST_WEIGHT)) ** (1 / _SLOPE)
    return conf if conf >= 1 else odds / (1 + odds)


def lrp(errors: ImageErrors) -> float:
    """The LRP error of one image; 0 where there was nothing to find and nothing was found."""
    is_true = errors.box_of >= 0
    true = int(np.count_nonzero(is_true))
    total = true + (len(is_true) - true) + (len(errors.boxes) - true)
    misplaced = float(np.sum(1 - errors.overlap[is_true])) / (1 - FOREGROUND_IOU)
    return (misplaced + total - true) / total if total else 0.0


@dataclass(frozen=True)
class Damage:
    """What an image lost, in boxes: on its labelled boxes, and by new false ones."""

    boxes: float
    false: float

    @property
    def total(self) -> float:
        """The number that images are ranked by."""
        return self.boxes + self.false


def damage(
    reference: tuple[ImageErrors, NDArray[np.float64]],
    model: tuple[ImageErrors, NDArray[np.float64]],
    partner_of: NDArray[np.int64],
) -> Damage:
    """The damage of an image from both models' errors with the weights (D,) of their detections.

    The errors are of all detections that count, whatever the threshold. `partner_of` has for each of the model's
    detections the reference's at the same place, -1 for none.
    """
    (of_reference, reference_weights), (of_model, weights) = reference, model
    costs = _costs(of_model, weights) - _costs(of_reference, reference_weights)
    partners = np.where(partner_of >= 0, np.append(reference_weights, 0.0)[partner_of], 0.0)
    is_false = of_model.box_of < 0
    new = np.maximum(weights - partners, 0)[is_false]
    return Damage(float(np.maximum(costs, 0).sum()), float(new.sum()))


def _costs(errors: ImageErrors, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each labelled box costs, (B,) in 0..1."""
    costs = np.ones(len(errors.boxes))
    is_true = errors.box_of >= 0
    costs[errors.box_of[is_true]] -= (
        weights[is_true] * (errors.overlap[is_true] - FOREGROUND_IOU) / (1 - FOREGROUND_IOU)
    )
    return costs
