"""ObjectLab's scores. Oracle: cleanlab.object_detection, on boxes drawn by lot, at its own thresholds and at others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_detections import made_up

from edgegd.accuracy.found_boxes import found_boxes
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.label_quality import PUBLISHED, Thresholds, label_quality, own_thresholds
from edgegd.runtime.detector import Detections

rank = pytest.importorskip("cleanlab.object_detection.rank")

EQUAL = {"rel": 1e-9, "abs": 1e-12, "nan_ok": True}


def as_cleanlab(detections: list[Detections], truth: GroundTruth) -> tuple[list[Any], list[Any], list[Any]]:
    """Labels and predictions as cleanlab takes them, and the order in which it takes our detections."""
    labels = [{"bboxes": boxes, "labels": ids} for boxes, ids in zip(truth.boxes, truth.class_ids, strict=True)]
    predictions, orders = [], []
    for found in detections:
        columns = [found.class_ids == kind for kind in range(len(truth.names))]
        rows = np.column_stack([found.xyxy, found.scores]).astype(np.float64)
        predictions.append([rows[column] for column in columns])
        orders.append(np.concatenate([np.flatnonzero(column) for column in columns]))
    return labels, predictions, orders


@pytest.mark.parametrize("thresholds", [PUBLISHED, Thresholds(0.6, 0.3), Thresholds(0.2, 0.1)], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_box_has_cleanlabs_score(seed: int, thresholds: Thresholds) -> None:
    truth, detections = made_up(seed)
    boxes, ids = list(truth.boxes), list(truth.class_ids)
    boxes[0], ids[0] = np.repeat(boxes[0][:1], 2, axis=0), np.array([0, 1])  # two classes at one place
    truth = GroundTruth(truth.image_paths, tuple(boxes), tuple(ids), truth.names)
    labels, predictions, orders = as_cleanlab(detections, truth)
    high, low = thresholds.confident, thresholds.likely
    both = {"labels": labels, "predictions": predictions}
    overlooked = rank.compute_overlooked_box_scores(**both, high_probability_threshold=high)
    placed = rank.compute_badloc_box_scores(**both, low_probability_threshold=low)
    swapped = rank.compute_swap_box_scores(**both, high_probability_threshold=high)
    found = label_quality(detections, truth, thresholds)
    for image, own in enumerate(found):
        assert own.overlooked[orders[image]].tolist() == pytest.approx(overlooked[image].tolist(), **EQUAL)
        assert own.badly_placed.tolist() == pytest.approx(placed[image].tolist(), **EQUAL)
        assert own.swapped.tolist() == pytest.approx(swapped[image].tolist(), **EQUAL)
    if thresholds.confident < 0.9:
        kinds = (np.concatenate([one.swapped for one in found]), np.concatenate([one.badly_placed for one in found]))
        assert all(len(np.unique(kind)) > 5 for kind in kinds)
        assert sum((~np.isnan(one.overlooked)).sum() for one in found) > 3


@pytest.mark.parametrize("seed", [2, 3])
def test_every_image_has_cleanlabs_score(seed: int) -> None:
    truth, detections = made_up(seed)
    labels, predictions, _ = as_cleanlab(detections, truth)
    expected = rank.get_label_quality_scores(labels, predictions, verbose=False)
    found = [one.image for one in label_quality(detections, truth)]
    # Cleanlab rounds its smallest similarity at 1e-16, by 1 - (1 - x), and the cube root makes 1e-6 of it.
    assert found == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-7)
    assert len({round(score, 6) for score in found}) > 3


def test_thresholds_are_those_of_found_labels() -> None:
    truth, detections = made_up(4)
    found = found_boxes(detections, truth)
    scores = np.sort(found.box_scores[~np.isnan(found.box_scores)])
    own = own_thresholds(found)
    assert scores[0] <= own.likely < own.confident < np.median(scores)
    assert own_thresholds(found.of_class(4)) == PUBLISHED  # a class without labels


def test_suspicions_are_the_other_way_round() -> None:
    truth, detections = made_up(5)
    own = label_quality(detections, truth, Thresholds(0.5, 0.3))[0]
    turned = own.suspicions()
    assert turned.image == 1 - own.image and turned.swapped.tolist() == (1 - own.swapped).tolist()
    assert turned.overlooked[np.isnan(own.overlooked)].sum() == 0
