"""Checks of sizes: boxes against the network's cells, shapes of boxes, shapes of images against the network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgegd.data.doctor.finding import Finding, brief, counted, shown
from edgegd.data.doctor.survey import Survey
from edgegd.data.labels import label_path
from edgegd.foreign_text import one_line
from edgegd.network_size import size_in_words

CELL = 8
"""Pixels of the finest cell of the heads that YOLOv8 to YOLO26 and RT-DETR have (their smallest stride)."""
MANY_IN_A_CELL = 0.5
"""Share of a class's boxes from which it is a warning that they are smaller than a cell."""
DROPPED_SIDE, DROPPED_RATIO = 2, 100
"""What Ultralytics' augmentation drops: boxes with a side of so many pixels or fewer, and those so many times as long
as wide (data/augment.py, box_candidates)."""
JUDGED_BOXES = 20
"""Of a class; the share of fewer says little, and is no warning."""
MANY_DROPPED = 0.1
"""Share of a class's boxes from which it is a warning that training drops them."""
PADDED = 0.4
"""Share of the network's input that holds no picture, from which another imgsz is named: 16:9 in a square (0.44), not
the 3:2 and 4:3 of photographs (0.33, 0.25)."""
NARROW = 4
"""A picture so many times as long as wide, in a square, leaves three quarters of it empty."""
_MULTIPLE = 32


@dataclass(frozen=True)
class _Boxes:
    """All boxes of the readable images: `image` (N,) their place among these, `kind` (N,) their classes, `sides` (N, 2)
    in the network's pixels.
    """

    image: NDArray[np.int64]
    kind: NDArray[np.int64]
    sides: NDArray[np.float64]


def _boxes(survey: Survey) -> _Boxes:
    images = [
        image.boxes[:, 3:5] * (survey.scale(image) * np.array([image.width, image.height])) for image in survey.readable
    ]
    counts = [len(image.boxes) for image in survey.readable]
    kinds = [image.boxes[:, 0].astype(np.int64) for image in survey.readable]
    return _Boxes(
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.zeros(0, np.int64), *kinds]),
        np.concatenate([np.zeros((0, 2)), *images]),
    )


def boxes_below_a_cell(survey: Survey) -> Finding | None:
    """Boxes whose shorter side is below the finest cell of the head: neighbours share one, and positions are coarse."""
    return _too_small(
        survey,
        CELL,
        MANY_IN_A_CELL,
        f"shorter than {CELL} px, one cell of the head,",
        "a larger imgsz, a head with a finer level (P2), or pictures cut into tiles; or leave them as they are",
    )


def boxes_that_training_drops(survey: Survey) -> Finding | None:
    """Boxes that Ultralytics' augmentation leaves out, so that nothing learns from them."""
    return _too_small(
        survey,
        DROPPED_SIDE,
        MANY_DROPPED,
        f"of {DROPPED_SIDE} px or less, which training leaves out,",
        "a larger imgsz, or labels without objects that nobody could see",
    )


def _too_small(survey: Survey, side: int, many: float, what: str, mend: str) -> Finding | None:
    boxes = _boxes(survey)
    shorter = boxes.sides.min(axis=1)
    small = (shorter <= side) if side == DROPPED_SIDE else (shorter < side)
    if not small.any():
        return None
    classes = len(survey.described.names)
    all_of, small_of = np.bincount(boxes.kind, minlength=classes), np.bincount(boxes.kind[small], minlength=classes)
    shares = small_of / np.maximum(all_of, 1)
    order = [int(kind) for kind in np.argsort(-shares, kind="stable") if small_of[kind]]
    names = survey.described.names
    judged = np.where(all_of >= JUDGED_BOXES, shares, 0)
    return Finding(
        "warning" if judged.max() >= many else "note",
        f"At imgsz {size_in_words(survey.size)}, {counted(int(small.sum()), 'box', 'boxes')} of {len(small):,} have a "
        f"side {what} {shares[order[0]]:.0%} of class {one_line(names[order[0]], 40)}.",
        int(small.sum()),
        shown(f"{one_line(names[kind], 40)}: {small_of[kind]:,} of {all_of[kind]:,}" for kind in order),
        mend,
        {"pixels": side, "largest_share_of_a_class": float(judged.max()), "warning_from": many},
    )


def elongated_boxes(survey: Survey) -> Finding | None:
    """Boxes so long and thin that training drops them: mostly a label that went wrong."""
    boxes = _boxes(survey)
    longer, shorter = boxes.sides.max(axis=1), boxes.sides.min(axis=1)
    found = np.flatnonzero(longer >= DROPPED_RATIO * shorter)
    if not len(found):
        return None
    return Finding(
        "warning",
        f"{counted(len(found), 'box', 'boxes')} {DROPPED_RATIO} or more times as long as wide, which training leaves "
        "out.",
        len(found),
        shown(
            f"{brief(label_path(survey.readable[boxes.image[place]].path), survey.root)}: "
            f"{boxes.sides[place][0]:.1f} x {boxes.sides[place][1]:.1f} px at imgsz {size_in_words(survey.size)}"
            for place in found
        ),
        "look at them: an edge that slipped, or two corners of the same side",
    )


def padded_images(survey: Survey) -> Finding | None:
    """How much of the network's input holds no picture, and the imgsz that would hold the same with less."""
    images = survey.readable
    if not images:
        return None
    height, width = survey.size
    used = np.array([survey.scale(image) ** 2 * image.height * image.width for image in images]) / (height * width)
    ratio = np.array([image.width / image.height for image in images])
    narrow = [place for place in range(len(images)) if max(ratio[place], 1 / ratio[place]) >= NARROW]
    empty = float(1 - used.mean())
    if empty < PADDED and not narrow:
        return None
    middle, longer = float(np.median(ratio)), max(height, width)
    better = _rounded(longer / max(middle, 1)), _rounded(longer * min(middle, 1))
    fits = better[0] * better[1] < height * width
    sentence = f"{empty:.0%} of the network's input at imgsz {size_in_words(survey.size)} holds no picture"
    if narrow:
        sentence += f"; {counted(len(narrow), 'image')} {NARROW} or more times as long as wide"
    return Finding(
        "note",
        f"{sentence}.",
        len(narrow) or len(images),
        shown(
            f"{brief(images[place].path, survey.root)}: {images[place].width} x {images[place].height}"
            for place in (narrow or range(len(images)))
        ),
        f"imgsz [{better[0]}, {better[1]}] holds the same pictures in {better[0] * better[1] / (height * width):.0%} "
        "of the pixels, and takes about as much less time"
        if fits
        else "cut very long images into parts",
        {"empty": empty, "median_width_over_height": middle},
    )


def _rounded(side: float) -> int:
    """A side in whole strides, none below one."""
    return max(_MULTIPLE, int(np.ceil(side / _MULTIPLE)) * _MULTIPLE)
