"""Detections matched with boxes at IoU 0.5. Oracle: pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from made_detections import made_up

from edgegd.accuracy.evaluate import score
from edgegd.accuracy.found_boxes import found_boxes


@pytest.mark.parametrize("max_det", [300, 3])
@pytest.mark.parametrize("scores", [1000, 5], ids=["few ties", "mostly ties"])
@pytest.mark.parametrize("seed", range(3))
def test_every_detection_is_true_or_false_as_in_pycocotools(seed: int, scores: int, max_det: int) -> None:
    truth, detections = made_up(seed, images=15, scores=scores)
    found, coco = found_boxes(detections, truth, max_det), score(detections, truth, max_det=max_det).matches
    labelled = [class_id for class_id in range(5) if (found.box_of == class_id).any()]
    assert len(labelled) == len(coco.classes) == 4 and 0 < np.count_nonzero(found.true) < len(found.true)
    for class_id, matches in zip(labelled, coco.classes, strict=True):
        own = found.of_class(class_id)
        assert np.array_equal(own.detected_in, matches.images) and np.array_equal(own.true, matches.true[0])
        assert np.array_equal(np.bincount(own.box_in, minlength=15), matches.truth)
        assert np.count_nonzero(~np.isnan(own.box_scores)) == np.count_nonzero(own.true)
        assert sorted(own.box_scores[~np.isnan(own.box_scores)]) == sorted(own.scores[own.true])


def test_detections_of_a_class_without_boxes_are_false() -> None:
    truth, detections = made_up(0)
    found = found_boxes(detections, truth)
    of_last = found.of_class(4)
    assert len(of_last.scores) and not of_last.true.any() and not len(of_last.box_of)
    assert (np.diff(found.scores) <= 0).all() and len(found.scores) == sum(map(len, detections))
