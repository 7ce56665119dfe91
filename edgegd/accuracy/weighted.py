"""mAP of images that count with weights: of a data set in which every image stands as often as its weight says.

It is what pycocotools computes of such a set (pycocotools/cocoeval.py, accumulate), for many vectors of weights at
once. Detections are sorted once, and only their cumulative sums change. Two facts keep this fast and exact. The best
precision at a recall or beyond is found at a true detection, so false ones enter only through their count. And among
the copies of a detection the last one has the highest recall and, if it is true, the highest precision, so the others
may be left out. Detections of one image with equal scores are repeated one after the other, not as a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.accuracy.matches import ClassMatches, Matches

_PIECE = 1 << 21  # numbers that one piece of the work holds at once: 16 MiB of float64


@dataclass(frozen=True)
class MeanPrecisions:
    """mAP in 0..1 of R draws: `map50_95` and `map50` (R,) float64; NaN for a draw that has no labelled box."""

    map50_95: NDArray[np.float64]
    map50: NDArray[np.float64]

    def minus(self, other: MeanPrecisions) -> MeanPrecisions:
        """The differences, draw by draw."""
        return MeanPrecisions(self.map50_95 - other.map50_95, self.map50 - other.map50)


def mean_precisions(matches: Matches, weights: NDArray[np.int64]) -> MeanPrecisions:
    """mAP50-95 and mAP50 under each row of `weights` (R, images), non-negative integers.

    With weights of one they are pycocotools' numbers. A class that has no labelled box under a row's weights does not
    enter that row's mean.
    """
    per_class = np.zeros((2, len(weights), len(matches.classes)))
    present = np.zeros((len(weights), len(matches.classes)), bool)
    for index, of_class in enumerate(matches.classes):
        present[:, index] = weights @ of_class.truth > 0
        for rows, curves in _pieces(of_class, matches.recalls, weights):
            per_class[0, rows, index] = curves.reshape(len(curves), -1).mean(axis=1)  # (R, T, 101) -> (R, T * 101)
            per_class[1, rows, index] = curves[:, 0].mean(axis=1)
    counts = present.sum(axis=1)
    sums = np.where(present, per_class, 0.0).sum(axis=2)
    map50_95, map50 = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return MeanPrecisions(map50_95, map50)


def precision_curves(
    of_class: ClassMatches, recalls: NDArray[np.float64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(R, T, len(recalls)) float64: the best precision at each recall or beyond, by row of `weights` and IoU threshold.

    0 where the recall is not reached; a row whose weights leave no labelled box is meaningless.
    """
    boxes = np.maximum(weights @ of_class.truth, 1)[:, None]
    drawn = weights[:, of_class.images]  # (R, D)
    counted = np.cumsum(drawn, axis=1)
    curves = np.empty((len(weights), len(of_class.true), len(recalls)))
    for index, (is_true, is_ignored) in enumerate(zip(of_class.true, of_class.ignored, strict=True)):
        places = np.flatnonzero(is_true)
        true = np.cumsum(drawn[:, places], axis=1)
        until = (np.cumsum(drawn * ~is_ignored, axis=1) if is_ignored.any() else counted)[:, places]
        precision = true / (until + np.spacing(1))  # pycocotools guards the division like this
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # A recall level is read at the first detection that reaches it: how many levels each one is the first for.
        reached = np.searchsorted(recalls, true / boxes, side="right")
        times = np.diff(reached, axis=1, prepend=0, append=len(recalls))
        ending = np.pad(best, ((0, 0), (0, 1)))  # precision 0 for the levels that are never reached
        curves[:, index] = np.repeat(ending.ravel(), times.ravel()).reshape(len(weights), -1)
    return curves


def _pieces(
    of_class: ClassMatches, recalls: NDArray[np.float64], weights: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """The curves of all rows, as many rows at a time as keep the arrays small."""
    numbers = len(of_class.images) + len(of_class.true) * len(recalls)
    step = max(1, _PIECE // numbers)
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        yield rows, precision_curves(of_class, recalls, weights[rows])
