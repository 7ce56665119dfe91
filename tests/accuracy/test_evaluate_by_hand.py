"""Oracle: average precision worked out by hand for a few boxes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegd.accuracy.evaluate import AccuracyResult, evaluate
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.errors import LabelError
from edgegd.runtime.detector import Detections

NAMES = ("car", "sign", "never")
CAR, SIGN = [10, 10, 50, 50], [60, 20, 90, 50]


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    """One image of 100 x 80 pixels with a car of 40 x 40 and a sign of 30 x 30."""
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.zeros((80, 100, 3), np.uint8))
    return GroundTruth((path,), (np.array([CAR, SIGN], np.float64),), (np.array([0, 1]),), NAMES)


def measured(truth: GroundTruth, *found: tuple[list[float], float, int]) -> AccuracyResult:
    boxes, scores, class_ids = zip(*found, strict=True) if found else ((), (), ())
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(class_ids, np.int64), NAMES
    )
    return evaluate(lambda image: detections, truth)


def test_perfect_detections_score_one_and_unlabelled_classes_are_left_out(truth: GroundTruth) -> None:
    result = measured(truth, (CAR, 0.9, 0), (SIGN, 0.8, 1), ([0, 0, 5, 5], 0.9, 2))
    assert (result.map50_95, result.map50) == pytest.approx((1.0, 1.0))  # pycocotools divides by tp + fp + 2e-16
    assert result.per_class["never"] == {"map50_95": None, "map50": None}
    assert (result.images, result.boxes) == (1, 2)


def test_no_detection_scores_zero(truth: GroundTruth) -> None:
    result = measured(truth)
    assert (result.map50_95, result.map50) == (0.0, 0.0)


def test_a_shifted_box_counts_up_to_its_iou(truth: GroundTruth) -> None:
    # shifted by 8 of 40 pixels: IoU = 32 / 48 = 0.667 -> found at 0.50, 0.55, 0.60 and 0.65, 4 of 10 thresholds
    result = measured(truth, ([18, 10, 58, 50], 0.9, 0), (SIGN, 0.8, 1))
    assert result.per_class["car"] == {"map50_95": pytest.approx(0.4), "map50": pytest.approx(1.0)}
    assert result.map50_95 == pytest.approx((0.4 + 1.0) / 2)


def test_a_better_scored_false_detection_halves_precision(truth: GroundTruth) -> None:
    result = measured(truth, ([60, 60, 99, 79], 0.95, 0), (CAR, 0.9, 0), (SIGN, 0.8, 1))
    assert result.per_class["car"]["map50_95"] == pytest.approx(0.5)  # precision 1/2 at every recall level


def test_the_right_box_with_the_wrong_class_is_no_match(truth: GroundTruth) -> None:
    result = measured(truth, (CAR, 0.9, 1), (SIGN, 0.8, 0))
    assert result.map50 == 0.0


def test_only_the_best_max_det_detections_count(truth: GroundTruth) -> None:
    wrong = [(np.array([70, 60, 75 + i, 70]), 0.95, 0) for i in range(3)]
    boxes = np.array([box for box, _, _ in wrong] + [CAR], np.float32)
    found = Detections(boxes, np.array([0.95, 0.95, 0.95, 0.9], np.float32), np.zeros(4, np.int64), NAMES)
    assert evaluate(lambda image: found, truth, max_det=4).per_class["car"]["map50"] == pytest.approx(0.25)
    assert evaluate(lambda image: found, truth, max_det=3).per_class["car"]["map50"] == 0.0


def test_evaluation_is_silent_and_reports_progress(truth: GroundTruth, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[int, int]] = []
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), NAMES)
    evaluate(lambda image: nothing, truth, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 1)]
    assert capsys.readouterr() == ("", "")


def test_ground_truth_without_boxes_is_an_error(truth: GroundTruth) -> None:
    empty = GroundTruth(truth.image_paths, (np.zeros((0, 4)),), (np.zeros(0, np.int64),), NAMES)
    with pytest.raises(LabelError, match="none of the 1 images"):
        measured(empty)
