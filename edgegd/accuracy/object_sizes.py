"""mAP by the size of objects, in pixels of the network's input.

COCO's sizes (small below 32 x 32, large from 96 x 96) are of the original images. What a network can see depends on the
pixels it gets, so here an object's area is that after letterboxing. As in COCO, boxes of another size are ignored: they
are neither missed, nor is a detection of them false, nor is any other detection of such a size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgegd.accuracy.bootstrap import compare
from edgegd.accuracy.evaluate import evaluated_by_coco
from edgegd.accuracy.gate import FEWEST_IMAGES
from edgegd.accuracy.matches import matches_of
from edgegd.accuracy.measured import MeasuredImages

SIZES: Mapping[str, tuple[float, float]] = {
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""Square pixels, from and below."""


def maps_by_size(measured: MeasuredImages, model: str, reference: str) -> list[dict[str, Any]]:
    """mAP50-95 of two models by size: the boxes and images of this size, both mAPs, the difference and its interval.

    mAPs are None where no box has the size, intervals with fewer than 20 images that have one. Raises as
    edgegd.accuracy.evaluate.score.
    """
    height, width = measured.input_sizes[model]
    scales = np.minimum(height / measured.sizes[:, 0], width / measured.sizes[:, 1])
    rows = []
    for size, area in SIZES.items():
        matches = {
            name: matches_of(
                evaluated_by_coco(
                    measured.truth,
                    measured.detections[name],
                    measured.max_det,
                    area=(area[0], np.nextafter(area[1], 0)),
                    scales=scales,
                )
            )
            for name in {reference: None, model: None}
        }
        boxes = sum(int(of_class.truth.sum()) for of_class in matches[model].classes)
        row: dict[str, Any] = {
            "size": size,
            "boxes": boxes,
            "images": matches[model].labelled_images,
            "map50_95": None,
            "reference": None,
            "difference": None,
            "interval": None,
        }
        if boxes:
            compared = compare(matches, [(model, reference)])
            difference = compared.differences[model, reference]["map50_95"]
            row["map50_95"], row["reference"] = (compared.models[name]["map50_95"].value for name in (model, reference))
            row["difference"] = difference.value
            if row["images"] >= FEWEST_IMAGES:
                row["interval"] = [difference.low, difference.high]
        rows.append(row)
    return rows
