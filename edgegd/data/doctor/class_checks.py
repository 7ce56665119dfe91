"""Checks of classes: those without boxes, those with few, their balance, and images without any object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgegd.data.doctor.finding import Finding, among, counted, shown
from edgegd.data.doctor.survey import ImageRecord, Survey
from edgegd.foreign_text import one_line

FEW_IMAGES = 10
"""Training images of a class below which it is a warning: its objects are then those of a few scenes."""
UNBALANCED = 100
"""Times as many boxes of the most frequent as of the rarest class, from which it is noted. BCCD has 11, COCO 1,300."""
BACKGROUND = 0.5
"""Share of images without an object in a split from which it is noted."""
_NAME = 40


def boxes_of_classes(images: tuple[ImageRecord, ...], classes: int) -> NDArray[np.int64]:
    """The number of boxes of each class in some images: (classes,)."""
    kinds = [image.boxes[:, 0].astype(np.int64) for image in images]
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *kinds]), minlength=classes)


def images_of_classes(images: tuple[ImageRecord, ...], classes: int) -> NDArray[np.int64]:
    """The number of images that have a box of each class: (classes,)."""
    kinds = [np.unique(image.boxes[:, 0].astype(np.int64)) for image in images]
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *kinds]), minlength=classes)


def _of(survey: Survey, split: str) -> NDArray[np.int64]:
    return boxes_of_classes(survey.splits.get(split, ()), len(survey.described.names))


def splits_without_boxes(survey: Survey) -> Finding | None:
    """Splits of which no image has a box: nothing can be learned, or measured."""
    found = [split for split in survey.splits if not _of(survey, split).sum()]
    if not found:
        return None
    return Finding(
        "error",
        f"No image of {among(found)} has a box.",
        len(found),
        tuple(found),
        "label them, or look where their label files are: an image .../images/a.jpg has .../labels/a.txt",
    )


def classes_not_trained(survey: Survey) -> Finding | None:
    """Classes of the YAML without a box among the training images."""
    boxes, names = _of(survey, "train"), survey.described.names
    missing = [kind for kind in range(len(names)) if not boxes[kind]]
    if not missing or not boxes.sum():
        return None
    measured = {split: _of(survey, split) for split in survey.splits if split != "train"}
    worst_first = sorted(missing, key=lambda kind: -sum(int(counts[kind]) for counts in measured.values()))
    return Finding(
        "warning",
        f"{counted(len(missing), 'class', 'classes')} of {len(names):,} without a box in train.",
        len(missing),
        shown(
            f"{one_line(names[kind], _NAME)}: "
            + ", ".join(f"{int(counts[kind]):,} in {split}" for split, counts in measured.items())
            for kind in worst_first
        ),
        "add images of these classes, or take them out of `names` (and renumber the labels)",
    )


def classes_not_measured(survey: Survey) -> Finding | None:
    """Classes that are trained, of which the images that accuracy is reported on have no box."""
    split = "test" if "test" in survey.splits else "val"
    trained, measured, names = _of(survey, "train"), _of(survey, split), survey.described.names
    missing = [kind for kind in range(len(names)) if trained[kind] and not measured[kind]]
    if not missing or not measured.sum():
        return None
    return Finding(
        "warning",
        f"{counted(len(missing), 'class', 'classes')} of {len(names):,} without a box in {split}: mAP says nothing of "
        "them.",
        len(missing),
        shown(
            f"{one_line(names[kind], _NAME)}: {counted(int(trained[kind]), 'box', 'boxes')} in train"
            for kind in missing
        ),
        f"move some of their images from train to {split}",
    )


def rare_classes(survey: Survey) -> Finding | None:
    """Classes that few training images show."""
    names = survey.described.names
    images = images_of_classes(survey.splits.get("train", ()), len(names))
    boxes = _of(survey, "train")
    rare = [kind for kind in range(len(names)) if 0 < images[kind] < FEW_IMAGES]
    if not rare:
        return None
    return Finding(
        "warning",
        f"{counted(len(rare), 'class', 'classes')} of {len(names):,} in fewer than {FEW_IMAGES} training images.",
        len(rare),
        shown(
            f"{one_line(names[kind], _NAME)}: {counted(int(boxes[kind]), 'box', 'boxes')} in "
            f"{counted(int(images[kind]), 'image')}"
            for kind in sorted(rare, key=lambda kind: images[kind])
        ),
        "add images of these classes; what a few scenes show is learned by heart",
    )


def class_balance(survey: Survey) -> Finding | None:
    """The most frequent class against the rarest one that has a box."""
    boxes, names = _of(survey, "train"), survey.described.names
    if not boxes.any():
        return None
    most, least = int(boxes.argmax()), int(np.where(boxes > 0, boxes, boxes.max() + 1).argmin())
    times = boxes[most] / boxes[least]
    if times < UNBALANCED:
        return None
    return Finding(
        "note",
        f"Class {one_line(names[most], _NAME)} has {times:,.0f} times as many training boxes as "
        f"{one_line(names[least], _NAME)}.",
        2,
        shown(f"{one_line(names[kind], _NAME)}: {counted(int(boxes[kind]), 'box', 'boxes')}" for kind in (most, least)),
        "look at the mAP of each class and not only at their mean; add images of the rare one",
        {"times": float(times)},
    )


def background_images(survey: Survey) -> Finding | None:
    """Splits of which many images show no object."""
    shares = {
        split: sum(image.has_labels and not len(image.boxes) for image in images) / len(images)
        for split, images in survey.splits.items()
        if _of(survey, split).any()
    }
    found = {split: share for split, share in shares.items() if share >= BACKGROUND}
    if not found:
        return None
    count = sum(not len(image.boxes) for split in found for image in survey.splits[split])
    return Finding(
        "note",
        f"Half or more of the images of {among(list(found))} show no object.",
        count,
        shown(f"{split}: {share:.0%}" for split, share in found.items()),
        "right where the device sees as many; a training batch has then few boxes to learn from",
    )
