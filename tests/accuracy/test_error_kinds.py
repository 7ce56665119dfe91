"""Kinds of error, on cases made by hand after the definitions of TIDE (Bolya et al. 2020, section 2.2)."""

from __future__ import annotations

import numpy as np
import pytest

from edgegd.accuracy.error_kinds import BOX_STATES, DETECTION_STATES, KINDS, errors_in

BOX = (0, 0, 100, 100)


def shifted(iou: float) -> tuple[float, float, float, float]:
    """The box moved to the right so far that it overlaps BOX by `iou`: shared (100 - d), union (100 + d)."""
    distance = 100 * (1 - iou) / (1 + iou)
    return (distance, 0, 100 + distance, 100)


FAR = (500, 500, 600, 600)
CASES = {
    "exact": ([(BOX, 0)], ["true"], ["found"]),
    "at one half": ([((0, 0, 100, 50), 0)], ["true"], ["found"]),
    "badly placed": ([(shifted(0.4), 0)], ["place"], ["place"]),
    "at a tenth": ([((0, 0, 100, 10), 0)], ["place"], ["place"]),
    "of another class": ([(shifted(0.8), 1)], ["class"], ["class"]),
    "of another class and badly placed": ([(shifted(0.4), 1)], ["both"], ["missed"]),
    "on nothing": ([(FAR, 0)], ["background"], ["missed"]),
    "hardly touching": ([(shifted(0.05), 0)], ["background"], ["missed"]),
    "twice": ([(BOX, 0), (shifted(0.9), 0)], ["true", "duplicate"], ["found"]),
    "true and of another class": ([(BOX, 0), (shifted(0.9), 1)], ["true", "class"], ["found"]),
    "badly placed and of another class": ([(shifted(0.4), 0), (BOX, 1)], ["place", "class"], ["class"]),
    "of another class and, weaker, badly placed": ([(BOX, 1), (shifted(0.4), 0)], ["class", "place"], ["class"]),
    "nothing": ([], [], ["missed"]),
}


@pytest.mark.parametrize(("found", "states", "boxes"), CASES.values(), ids=CASES.keys())
def test_one_box(found: list[tuple[tuple[float, ...], int]], states: list[str], boxes: list[str]) -> None:
    xyxy = np.array([box for box, _ in found], float).reshape(-1, 4)
    ids = np.array([class_id for _, class_id in found], np.int64)
    errors = errors_in(xyxy, ids, np.array([BOX], float), np.array([0]))
    assert [DETECTION_STATES[state] for state in errors.detections] == states
    assert [BOX_STATES[state] for state in errors.boxes] == boxes
    assert errors.counts() == {
        kind: [*states, *boxes].count(kind) if kind == "missed" else states.count(kind) for kind in KINDS
    }


def test_place_goes_before_class() -> None:
    """A detection near a box of its class and on one of another is misplaced, as TIDE decides it."""
    labelled = np.array([BOX, (60, 0, 160, 100)], float)
    errors = errors_in(np.array([(55, 0, 155, 100)], float), np.array([0]), labelled, np.array([0, 1]))
    assert DETECTION_STATES[errors.detections[0]] == "place"
    assert [BOX_STATES[state] for state in errors.boxes] == ["place", "missed"]


def test_without_boxes_all_is_background() -> None:
    errors = errors_in(np.array([BOX, FAR], float), np.array([0, 1]), np.zeros((0, 4)), np.zeros(0, np.int64))
    assert errors.counts() == {**dict.fromkeys(KINDS, 0), "background": 2}
