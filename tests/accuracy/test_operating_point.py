"""Precision and recall at thresholds. Oracle: counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.found_boxes import FoundBoxes
from edgegd.accuracy.operating_point import (
    best_f1,
    curve_of,
    difference_intervals,
    draw_weights,
    free_response,
    keeping_precision,
    keeping_recall,
    rates_at,
    score_shift,
)


def found(scores: list[float], true: list[bool], missed: int = 0, images: int = 2) -> FoundBoxes:
    """Detections by falling score, in turn in each image; boxes are those found, and `missed` more."""
    places, is_true = np.arange(len(scores)) % images, np.array(true, bool)
    box_scores = np.concatenate([np.array(scores)[is_true], np.full(missed, np.nan)])
    return FoundBoxes(
        images,
        np.array(scores, float),
        places,
        np.zeros(len(scores), np.int64),
        is_true,
        box_scores,
        np.concatenate([places[is_true], np.zeros(missed, np.int64)]),
        np.zeros(len(box_scores), np.int64),
    )


MODEL = found([0.9, 0.8, 0.8, 0.6, 0.4, 0.2], [True, True, False, True, False, True], missed=1)
"""Above 0.85: 1 of 1; 0.7: 2 of 3; 0.5: 3 of 4; 0.3: 3 of 5; 0.1: 4 of 6, of five boxes."""


@pytest.mark.parametrize(
    ("threshold", "precision", "recall", "false_per_image"),
    [(0.85, 1, 1 / 5, 0), (0.8, 1, 1 / 5, 0), (0.7, 2 / 3, 2 / 5, 0.5), (0.1, 4 / 6, 4 / 5, 1), (0.95, None, 0, 0)],
)
def test_rates_count_what_exceeds_the_threshold(
    threshold: float, precision: float | None, recall: float, false_per_image: float
) -> None:
    rates = rates_at(MODEL, threshold, draw_weights(2))
    assert (rates.precision, rates.recall, rates.false_per_image) == (precision, recall, false_per_image)
    assert rates.f1 == pytest.approx(2 * rates.true / (rates.detections + 5))
    assert rates.precision_interval is None and rates.recall_interval is None  # two images
    assert rates.to_dict()["boxes"] == 5


def test_thresholds_lie_half_way_and_keep_what_they_say() -> None:
    curve = curve_of(MODEL, 0.1)
    assert curve.true.tolist() == [1, 2, 3, 3, 4] and curve.false.tolist() == [0, 1, 1, 2, 2]
    assert keeping_precision(curve, 0.75) == pytest.approx(0.5)  # the least: 3 of 4 above it, 3 of 5 below
    assert keeping_precision(curve, 1.0) == pytest.approx(0.85)
    assert keeping_precision(curve, 0.6) == pytest.approx(0.15)  # the last score, and where detections end
    assert keeping_recall(curve, 0.4) == pytest.approx(0.7) and keeping_recall(curve, 0.8) == pytest.approx(0.15)
    assert keeping_recall(curve, 0.9) is None and keeping_precision(curve, None) is None
    assert best_f1(curve) == pytest.approx(0.15)  # 8 / 11; at 0.5 it is 6 / 9
    for threshold, least in ((0.5, 0.75), (0.15, 0.6)):
        assert (rates_at(MODEL, threshold, draw_weights(2)).precision or 0) >= least


def test_models_that_find_nothing_have_no_threshold() -> None:
    nothing, wrong = found([], [], missed=3), found([0.5, 0.4], [False, False], missed=3)
    for model in (nothing, wrong):
        curve = curve_of(model, 0.1)
        assert best_f1(curve) is None and keeping_recall(curve, 0.5) is None and keeping_precision(curve, 0.5) is None
    assert free_response(nothing, curve_of(nothing, 0.1), draw_weights(2), [1.0])[0]["sensitivity"] is None


def test_the_free_response_curve_reads_the_sensitivity_below_each_rate() -> None:
    rows = free_response(MODEL, curve_of(MODEL, 0.1), draw_weights(2), [0.0, 0.5, 0.9, 1.0, 8.0])
    assert [row["sensitivity"] for row in rows] == [1 / 5, 3 / 5, 3 / 5, 4 / 5, 4 / 5]
    assert [row["reached"] for row in rows] == [0, 0.5, 0.5, 1.0, 1.0]
    assert free_response(found([0.9], [False]), curve_of(found([0.9], [False]), 0.1), draw_weights(2), [0.1])[0] == {
        "false_per_image": 0.1,
        "reached": None,
        "threshold": None,
        "sensitivity": None,
        "interval": None,
    }


def test_intervals_are_the_binomials_and_pairing_narrows_them() -> None:
    """Of 200 images with a box each 120 are found; another model finds 110 of the same."""
    stats = pytest.importorskip("scipy.stats")

    def of_hits(count: int) -> FoundBoxes:
        scores = np.where(np.arange(200) < count, 0.9, np.nan)
        kinds, true = np.zeros(200, np.int64), np.ones(count, bool)
        return FoundBoxes(
            200, np.full(count, 0.9), np.arange(count), kinds[:count], true, scores, np.arange(200), kinds
        )

    weights = draw_weights(200)
    rates = rates_at(of_hits(120), 0.5, weights)
    low, high = stats.binom.ppf([0.025, 0.975], 200, 0.6) / 200
    assert rates.recall_interval == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))
    assert rates.precision_interval == (1.0, 1.0)
    intervals = difference_intervals(of_hits(110), of_hits(120), (0.5, 0.5), weights)
    assert intervals["recall"] is not None
    low, high = intervals["recall"]
    assert low < -0.05 < high < 0 and high - low < 0.5 * (rates.recall_interval[1] - rates.recall_interval[0])
    assert difference_intervals(of_hits(110), of_hits(120), (0.95, 0.95), weights)["precision"] is None


def test_scores_are_compared_box_by_box() -> None:
    reference, model = found([0.9, 0.5, 0.3], [True] * 3, missed=1), found([0.8, 0.6], [True] * 2, missed=2)
    shift = score_shift(model, reference)
    assert (shift["boxes"], shift["lost"], shift["won"]) == (2, 1, 0)
    assert shift["quantiles"] == pytest.approx(np.percentile([-0.1, 0.1], [5, 25, 50, 75, 95]))
    assert score_shift(reference, model)["won"] == 1
    assert score_shift(found([], [], missed=1), found([], [], missed=1))["quantiles"] is None
