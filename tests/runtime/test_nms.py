"""Oracle: Ultralytics' non_max_suppression with torchvision's kernel; every comparison is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from ultralytics.utils.nms import non_max_suppression

from edgegd.runtime.decode import decode_raw
from edgegd.runtime.nms import MAX_NMS, suppress


def crowded_output(seed: int, boxes: int, classes: int) -> np.ndarray:
    """A raw output (1, 4 + classes, boxes) in which many boxes overlap."""
    random = np.random.default_rng(seed)
    centers, sizes = random.uniform(0, 160, (2, boxes)), random.uniform(5, 80, (2, boxes))
    return np.concatenate((centers, sizes, random.uniform(0, 1, (classes, boxes))))[None].astype(np.float32)


@pytest.mark.parametrize("multi_label", [False, True], ids=["best class", "every class"])
@pytest.mark.parametrize(("conf", "iou", "max_det"), [(0.25, 0.7, 300), (0.001, 0.45, 300), (0.5, 0.1, 7)])
@pytest.mark.parametrize("classes", [1, 3, 20])
def test_raw_outputs_decode_as_in_ultralytics(
    classes: int, conf: float, iou: float, max_det: int, multi_label: bool
) -> None:
    for seed in range(4):
        output = crowded_output(seed, 600, classes)
        expected = non_max_suppression(
            torch.from_numpy(output.copy()), conf, iou, multi_label=multi_label, max_det=max_det, nc=classes
        )[0].numpy()
        found = decode_raw(output, conf=conf, iou=iou, max_det=max_det, multi_label=multi_label)
        assert len(expected) > 0
        np.testing.assert_array_equal(np.c_[found.boxes, found.scores, found.class_ids], expected)


def test_nothing_above_the_score_gives_empty_arrays() -> None:
    found = decode_raw(crowded_output(0, 50, 3), conf=1.0, iou=0.7, max_det=300, multi_label=False)
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize("iou", [0.25, 0.5], ids=["equal to the threshold", "below it"])
def test_an_overlap_equal_to_the_threshold_is_kept(iou: float) -> None:
    boxes = np.array([[0, 0, 5, 1], [3, 0, 8, 1], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)  # IoU of the first two: 2/8
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    keep = suppress(boxes, scores, np.zeros(4, np.int64), iou=iou, max_det=10)
    assert keep.tolist() == torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou).tolist()
    assert keep.tolist() == [0, 1, 2, 3]


def test_only_the_best_candidates_enter() -> None:
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (MAX_NMS + 1, 1))
    boxes[0] = [5, 5, 6, 6]  # apart from the others, but with the lowest score: candidate number MAX_NMS + 1
    scores = np.full(MAX_NMS + 1, 0.5, np.float32)
    scores[0] = 0.1
    keep = suppress(boxes, scores, np.zeros(MAX_NMS + 1, np.int64), iou=0.7, max_det=300)
    assert keep.tolist() == [1]
