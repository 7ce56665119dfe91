"""What a loss of few boxes could cost that a bootstrap cannot see, because few or none of the images have it.

A model that loses a box on one image in thirty loses none on a third of all sets of thirty images, and its draws then
say nothing of it; where a few are lost, the draws are skewed. So the images are counted that lost boxes of a class.
Clopper and Pearson's bound (1934, Biometrika 26(4), 404-413) says which share of all images may have lost some, and
each of those may have lost as many boxes as one that did here, and at least one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgegd.accuracy.matches import ClassMatches, Matches
from edgegd.accuracy.weighted import precision_curves

_LOST = 0.25  # of the IoU thresholds: a box that is no longer found at more of them counts as lost


@dataclass(frozen=True)
class LostBoxes:
    """One class: `images` with a labelled box, the `damaged` of them, on which the candidate found fewer boxes than the
    reference, by `boxes` on average (at least 1), and the mAP in 0..1 that one box lost on every image would cost."""

    images: int
    damaged: int
    boxes: float
    worth: float

    def hidden(self, alpha: float, scale: float = 1.0) -> float:
        """The mAP that may be lost beyond what these images lost, had `scale` times as many been measured; more than
        that is lost with probability `alpha` at most."""
        from scipy.stats import beta

        images, damaged = self.images * scale, self.damaged * scale
        share = 1.0 if damaged >= images else float(beta.ppf(1 - alpha, damaged + 1, images - damaged))
        return (share - damaged / images) * self.boxes * self.worth


def lost_boxes(candidate: Matches, reference: Matches) -> tuple[LostBoxes, ...]:
    """Of each class that has a labelled box; both must have been measured on the same ones."""
    rows = zip(candidate.classes, reference.classes, strict=True)
    own = np.ones((1, reference.images), np.int64)
    found = []
    for one, other in rows:
        labelled = other.truth > 0
        lost = (_found(other) - _found(one))[labelled]
        damaged = lost[lost > _LOST]
        precision = float(precision_curves(other, reference.recalls, own).mean())
        worth = precision * len(lost) / (len(reference.classes) * float(other.truth.sum()))
        boxes = max(1.0, float(damaged.mean())) if len(damaged) else 1.0
        found.append(LostBoxes(len(lost), len(damaged), boxes, worth))
    return tuple(found)


def hidden_loss(classes: Sequence[LostBoxes], alpha: float, scale: float = 1.0) -> float:
    """The largest of the classes': a sparse loss of one class alone; 0 without classes."""
    return max((of_class.hidden(alpha, scale) for of_class in classes), default=0.0)


def _found(of_class: ClassMatches) -> np.ndarray:
    """(I,) float64: the boxes that were found on each image, on average of the IoU thresholds."""
    counts = np.zeros(len(of_class.truth))
    np.add.at(counts, of_class.images, of_class.true.mean(axis=0))
    return counts
