"""mAP by object size in the network's input. Oracle: models that find objects of one size only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.accuracy.measured import MeasuredImages
from edgegd.accuracy.object_sizes import maps_by_size
from edgegd.runtime.detector import Detections

SMALL, LARGE = [10.0, 10, 40, 40], [100.0, 100, 260, 260]


def measured(input_side: int, images: int = 24) -> MeasuredImages:
    """Images of 400 x 400 with an object of 30 and one of 160 pixels; `short` finds the smaller ones alone."""
    names = ("thing",)
    boxes = np.array([SMALL, LARGE])

    def found(keep: slice) -> Detections:
        return Detections(
            boxes[keep].astype(np.float32), np.array([0.9, 0.8], np.float32)[keep], np.zeros(2, np.int64)[keep], names
        )

    return MeasuredImages(
        GroundTruth(
            tuple(Path(f"{i}.png") for i in range(images)), (boxes,) * images, (np.zeros(2, np.int64),) * images, names
        ),
        np.full((images, 2), 400, np.int32),
        ("",) * images,
        {"fp32": (found(slice(2)),) * images, "short": (found(slice(1)),) * images},
        {"fp32": (input_side, input_side), "short": (input_side, input_side)},
        0.001,
        0.7,
        300,
    )


def test_each_size_has_its_own_objects() -> None:
    small, medium, large = maps_by_size(measured(400), "short", "fp32")
    assert (small["boxes"], small["map50_95"], small["reference"], small["difference"]) == (24, 1.0, 1.0, 0.0)
    assert (medium["boxes"], medium["map50_95"], medium["interval"]) == (0, None, None)
    assert (large["boxes"], large["map50_95"], large["reference"]) == (24, 0.0, 1.0)
    assert large["interval"] == [-1.0, -1.0] and small["interval"] == [0.0, 0.0]


@pytest.mark.parametrize(("side", "boxes"), [(800, (0, 24, 24)), (200, (24, 24, 0)), (64, (48, 0, 0))])
def test_sizes_are_those_of_the_networks_input(side: int, boxes: tuple[int, ...]) -> None:
    assert tuple(row["boxes"] for row in maps_by_size(measured(side), "short", "fp32")) == boxes


def test_few_images_have_no_interval() -> None:
    small, *_ = maps_by_size(measured(400, images=5), "short", "fp32")
    assert small["difference"] == 0.0 and small["interval"] is None
