"""Damage and loss of one image, against numbers worked out by hand; changes between two models' detections."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.error_kinds import errors_in
from edgegd.accuracy.image_changes import changes_between
from edgegd.accuracy.image_damage import LEAST_WEIGHT, Damage, damage, least_score, lrp, presence
from edgegd.runtime.detector import Detections

CONF = 0.25
Row = tuple[tuple[float, ...], float, int]
NEAR, FAR = (0, 0, 100, 100), (500, 500, 600, 600)
LABELS = np.array([NEAR], float), np.array([0])


def detections(*rows: Row) -> Detections:
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    scores, ids = np.array([row[1] for row in rows], np.float32), np.array([row[2] for row in rows], np.int64)
    return Detections(boxes, scores, ids, ("a", "b"))


def damaged(reference: list[Row], model: list[Row]) -> Damage:
    found = detections(*reference), detections(*model)
    sides = [
        (errors_in(one.xyxy.astype(float), one.class_ids, *LABELS), presence(one.scores.astype(float), CONF))
        for one in found
    ]
    return damage(sides[0], sides[1], changes_between(*found, CONF).partner_of)


def test_weights_of_scores() -> None:
    weights = presence(np.array([0.0, 0.1, 0.25, 0.5, 1.0]), CONF)
    assert weights == pytest.approx([0, 1 / 28, 0.5, 27 / 28, 1])
    assert presence(np.array([least_score(CONF)]), CONF) == pytest.approx(LEAST_WEIGHT)
    for conf in (0.0, 1.0):
        assert np.isfinite(presence(np.array([0.0, 0.5, 1.0]), conf)).all() and 0 <= least_score(conf) <= 1


def test_a_lost_box_costs_one_and_a_new_false_one_costs_one() -> None:
    assert damaged([(NEAR, 0.99, 0)], []).total == pytest.approx(1, abs=1e-3)
    new = damaged([(NEAR, 0.99, 0)], [(NEAR, 0.99, 0), (FAR, 0.99, 0)])
    assert new.boxes == 0 and new.false == pytest.approx(1, abs=1e-3)


def test_what_is_mended_does_not_count() -> None:
    assert damaged([(FAR, 0.9, 0)], [(NEAR, 0.9, 0)]).total == 0
    assert damaged([(NEAR, 0.9, 0), (FAR, 0.9, 1)], [(NEAR, 0.9, 0)]).total == 0


def test_a_score_that_just_crosses_the_threshold_costs_little() -> None:
    assert 0 < damaged([(NEAR, 0.26, 0)], [(NEAR, 0.24, 0)]).total < 0.1
    assert damaged([(FAR, 0.24, 0)], [(FAR, 0.26, 0)]).total < 0.1
    assert damaged([(NEAR, 0.9, 0)], [(NEAR, 0.1, 0)]).total > 0.9


def test_a_moved_box_costs_what_lrp_says() -> None:
    """IoU 0.8 of the label: 0.2 / 0.5 of a box, times the weight of its score."""
    assert damaged([(NEAR, 0.5, 0)], [((0, 0, 100, 80), 0.5, 0)]).total == pytest.approx(0.4 * 27 / 28, rel=1e-5)


def test_a_box_that_leaves_its_label_by_a_pixel_is_no_new_false_one() -> None:
    """FP32's detection is at the same place, so that only its cost on the label counts."""
    found = damaged([((0, 0, 100, 51), 0.9, 0)], [((0, 0, 100, 49), 0.9, 0)])
    assert found.false == 0 and found.boxes == pytest.approx(0.02, abs=0.01)


def test_loss_of_an_image() -> None:
    """Found at IoU 0.8, a false one, and a missed box: (0.4 + 1 + 1) / 3."""
    labelled, ids = np.array([NEAR, (200, 0, 300, 100)], float), np.array([0, 1])
    errors = errors_in(np.array([(0, 0, 100, 80), FAR], float), np.array([0, 0]), labelled, ids)
    assert lrp(errors) == pytest.approx(0.8)
    nothing = np.zeros((0, 4)), np.zeros(0, np.int64)
    assert lrp(errors_in(*nothing, *nothing)) == 0 and lrp(errors_in(*nothing, labelled, ids)) == 1


def test_changes_are_told_apart() -> None:
    reference = detections((NEAR, 0.9, 0), ((200, 0, 300, 100), 0.6, 0), (FAR, 0.5, 1), ((0, 300, 90, 390), 0.4, 0))
    model = detections(
        ((0, 0, 100, 75), 0.8, 0), (FAR, 0.5, 0), ((200, 0, 300, 101), 0.1, 0), ((0, 300, 90, 390), 0.5, 0)
    )
    changes = changes_between(reference, model, CONF)
    assert changes.lost.tolist() == [1, 2] and changes.gained.tolist() == [1]  # FAR is of another class
    assert changes.crossed == 1  # the second is still there, at 0.1
    assert changes.kept.tolist() == [[0, 0], [3, 3]] and changes.moved.tolist() == [True, False]
    assert changes.shift_px.tolist() == [25, 0] and changes.score_change == pytest.approx([-0.1, 0.1])
    assert changes.partner_of.tolist() == [0, -1, 1, 3]


def test_pairs_above_the_threshold_come_first() -> None:
    """A weak detection that lies better does not take the partner of a strong one."""
    reference = detections((NEAR, 0.9, 0))
    model = detections(((0, 0, 100, 90), 0.8, 0), (NEAR, 0.1, 0))
    changes = changes_between(reference, model, CONF)
    assert changes.kept.tolist() == [[0, 0]] and not len(changes.lost) and not len(changes.gained)
