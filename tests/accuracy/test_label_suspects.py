"""Support of labels, and lists of suspects. Oracle: boxes whose scores are counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.label_support import label_support
from edgegd.accuracy.label_suspects import KINDS, suspects
from edgegd.runtime.detector import Detections

NAMES = ("cell", "dust")


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Detections of x1 y1 x2 y2, score and class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64), NAMES
    )


def supported(detections: Detections, *labels: tuple[float, float, float, float, int]) -> Any:
    table = np.array(labels, np.float64).reshape(-1, 5)
    return label_support(detections, table[:, :4], table[:, 4].astype(np.int64))


def test_a_swapped_label_is_one_that_another_class_supports_more() -> None:
    detections = found((0, 0, 10, 10, 0.9, 1), (0, 0, 10, 10, 0.2, 0))
    one = supported(detections, (0, 0, 10, 10, 0), (20, 20, 30, 30, 0))
    assert one.own.tolist() == pytest.approx([0.2, 0]) and one.suspicions.swapped.tolist() == pytest.approx([0.7, 0])
    assert one.suspicions.as_other.tolist() == [0, -1] and one.suspicions.image == pytest.approx(0.7)
    assert supported(detections, (0, 0, 10, 10, 1)).suspicions.swapped.tolist() == [0]


def test_a_badly_placed_label_has_a_detection_of_its_own_beside_it() -> None:
    detections = found((0, 0, 10, 10, 0.8, 0), (40, 0, 50, 10, 0.6, 0))
    moved = supported(detections, (5, 0, 15, 10, 0), (40, 0, 50, 10, 0))  # IoU 1/3
    assert moved.suspicions.badly_placed.tolist() == pytest.approx([0.8 * 2 / 3 - 0.8 / 3, 0], abs=1e-6)
    assert moved.suspicions.beside.tolist()[0] == 0
    # In a crowd the same detection is the neighbour's, and says nothing about this label.
    crowd = supported(detections, (5, 0, 15, 10, 0), (0, 0, 10, 10, 0))
    assert crowd.suspicions.badly_placed.tolist() == [0, 0]


def test_an_overlooked_box_is_a_detection_that_no_label_covers() -> None:
    detections = found((0, 0, 10, 10, 0.9, 1), (9, 0, 19, 10, 0.7, 0), (40, 0, 50, 10, 0.6, 0))
    one = supported(detections, (0, 0, 10, 10, 1))  # the second touches it: IoU 1/19
    assert one.suspicions.overlooked.tolist() == pytest.approx([0, 0.7, 0.6])


@pytest.mark.parametrize("labels", [(), ((0, 0, 10, 10, 0),)], ids=["no label", "one"])
@pytest.mark.parametrize("detections", [found(), found((0, 0, 10, 10, 0.9, 0))], ids=["nothing", "one"])
def test_images_with_nothing(labels: Any, detections: Detections) -> None:
    one = supported(detections, *labels)
    assert one.own.shape == one.suspicions.swapped.shape == (len(labels),)
    assert one.suspicions.image == pytest.approx(0.9 if len(detections) > len(labels) else 0)


def test_suspects_are_listed_worst_first_by_kind_and_object() -> None:
    images = [
        found((0, 0, 10, 10, 0.9, 1), (0.5, 0, 10, 10, 0.8, 0), (60, 0, 70, 10, 0.3, 0)),  # twice one object
        found((0, 0, 10, 10, 0.7, 1), (40, 0, 50, 10, 0.95, 0)),
    ]
    labels = [np.zeros((0, 5)), np.array([[0, 0, 10, 10, 0], [45, 0, 55, 10, 0]], float)]
    truth = GroundTruth(
        (Path("a.png"), Path("b.png")),
        tuple(one[:, :4] for one in labels),
        tuple(one[:, 4].astype(np.int64) for one in labels),
        NAMES,
    )
    suspicions = [label_support(one, own[:, :4], own[:, 4]).suspicions for one, own in zip(images, labels, strict=True)]
    rows = suspects(suspicions, images, truth, dict.fromkeys(KINDS, 0.25), 100)
    assert [(row["image"], row["kind"]) for row in rows] == [
        ("a.png", "overlooked"),
        ("b.png", "swapped"),
        ("b.png", "badly placed"),
        ("a.png", "overlooked"),
    ]
    assert rows[0] == {
        "image": "a.png",
        "kind": "overlooked",
        "score": 0.9,
        "box": [0.0, 0.0, 10.0, 10.0],
        "class_id": None,
        "suggested": 1,
        "suggested_box": None,
    }
    assert (rows[1]["class_id"], rows[1]["suggested"], rows[1]["suggested_box"]) == (0, 1, None)
    assert (rows[2]["box"], rows[2]["suggested_box"]) == ([45, 0, 55, 10], [40, 0, 50, 10])
    assert len(suspects(suspicions, images, truth, dict.fromkeys(KINDS, 0.25), 1)) == 3 and not suspects(
        suspicions, images, truth, dict.fromkeys(KINDS, 0.99), 9
    )
