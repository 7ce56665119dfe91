"""Check every image and label of a data set before hours are spent on it; the first offenders are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.data.contents import ImageContent, hash_of_boxes, label_text
from edgegd.data.dataset import Dataset, Progress
from edgegd.data.labels import label_path, read_labels
from edgegd.data.loader_rules import refused_by_loader
from edgegd.errors import EdgegdError, LabelError, MissingLabelError, UnreadableImageError
from edgegd.foreign_text import one_line
from edgegd.runtime.images import decode

THREADS = 2
"""OpenCV decodes outside Python's lock; more threads than this gain little beside the parsing of labels."""

SHOWN = 5

SMALLEST_SIDE = 10
"""Pixels; Ultralytics leaves images with a smaller side out of training without an error."""


@dataclass(frozen=True)
class DataCheck:
    """What a data set holds: images and boxes of each split, boxes of each class id over all, images without a box.

    `unlabelled_images` are those of the recipe's data.unlabelled_images, which count nowhere else.
    """

    train_images: int
    val_images: int
    train_boxes: int
    val_boxes: int
    boxes_per_class: tuple[int, ...]
    background_images: int
    unlabelled_images: int = 0
    held_out_images: int = 0
    held_out_boxes: int = 0
    test_images: int = 0
    test_boxes: int = 0


@dataclass(frozen=True)
class _Finding:
    """One image's result; at most one of the first two is set."""

    unreadable: str = ""
    unlabelled: bool = False
    classes: tuple[int, ...] = ()
    mistakes: tuple[str, ...] = field(default=())
    content: ImageContent | None = None


def check_dataset(dataset: Dataset, unlabelled: str = "error", progress: Progress | None = None) -> DataCheck:
    """Decode every image and read every label file, and count what is there.

    `unlabelled` is the recipe's `data.unlabelled`: "background" accepts images without a label file. An empty label
    file always means background. Raises, in this order of precedence, UnreadableImageError, MissingLabelError and
    LabelError, each with the first five offenders and their number.
    """
    return check_contents(dataset, unlabelled, progress)[0]


def check_contents(
    dataset: Dataset, unlabelled: str = "error", progress: Progress | None = None
) -> tuple[DataCheck, tuple[ImageContent, ...]]:
    """As check_dataset, and what each of `dataset.images` holds: no boxes in unlabelled ones."""
    images = dataset.images
    labelled = len(dataset.labelled_images)

    def check(place: int) -> _Finding:
        return _check_image(images[place], len(dataset.names), dataset.channels, reads_labels=place < labelled)

    findings: list[_Finding] = []
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for finding in pool.map(check, range(len(images))):
                findings.append(finding)
                if progress is not None:
                    progress(len(findings), len(images))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the images that are left
    _refuse(
        UnreadableImageError,
        [finding.unreadable for finding in findings if finding.unreadable],
        "image",
        "cannot be read",
        "replace these files, or remove them together with their label files",
    )
    if unlabelled == "error":
        _refuse(
            MissingLabelError,
            [str(image) for image, finding in zip(images, findings, strict=True) if finding.unlabelled],
            "image",
            "without a label file",
            f"label files belong where {label_path(images[0])} would be; if such images show nothing to detect, "
            "set data.unlabelled: background",
        )
    _refuse(
        LabelError,
        [mistake for finding in findings for mistake in finding.mistakes],
        "label",
        "wrong",
        f"a row is `class cx cy w h` in fractions of the image, with classes 0 to {len(dataset.names) - 1}",
    )
    boxes: dict[str, int] = {}
    place = 0
    for split in ("train", "held_out", "val", "test"):  # the order of labelled_images
        of_split = getattr(dataset, f"{split}_images")
        boxes[split] = sum(len(finding.classes) for finding in findings[place : place + len(of_split)])
        place += len(of_split)
        if of_split and boxes[split] == 0:
            raise LabelError(
                f"no {split.replace('_', ' ')} image of {dataset.yaml_path} has a box",
                expected=f"label files such as {label_path(of_split[0])}",
                found="none, or only empty ones",
            )
    per_class = Counter(kind for finding in findings for kind in finding.classes)
    background = sum(not finding.classes for finding in findings[:labelled])
    counted = DataCheck(
        len(dataset.train_images),
        len(dataset.val_images),
        boxes["train"],
        boxes["val"],
        tuple(per_class[kind] for kind in range(len(dataset.names))),
        background,
        len(images) - labelled,
        len(dataset.held_out_images),
        boxes["held_out"],
        len(dataset.test_images),
        boxes["test"],
    )
    return counted, tuple(finding.content for finding in findings if finding.content is not None)


def usable_pixels(image: Path, channels: int) -> tuple[NDArray[np.uint8] | None, str]:
    """The image (H, W, channels) uint8, or None and why it cannot be read or would be left out of training."""
    pixels, problem = decode(image, channels)
    if pixels is None:
        return None, problem
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        return None, f"{width} x {height} pixels; the smallest side must be {SMALLEST_SIDE} or more"
    if refused := refused_by_loader(image):
        return None, refused
    return pixels, ""


def _check_image(image: Path, classes: int, channels: int, *, reads_labels: bool = True) -> _Finding:
    pixels, problem = usable_pixels(image, channels)
    if pixels is None:
        return _Finding(unreadable=f"{one_line(image)}: {problem}")
    if not reads_labels:
        return _Finding(content=ImageContent(pixels.shape[0], pixels.shape[1], 0, hash_of_boxes(np.zeros((0, 5)))))
    labels = one_line(label_path(image))
    try:
        text = label_text(image)
        boxes, mistakes = read_labels(text or "", classes)
    except (OSError, UnicodeDecodeError) as error:
        return _Finding(mistakes=(f"{labels}: cannot be read: {error}",))
    content = ImageContent(pixels.shape[0], pixels.shape[1], len(boxes), hash_of_boxes(boxes))
    return _Finding(
        unlabelled=text is None,
        classes=tuple(int(kind) for kind in boxes[:, 0]),
        content=content,
        mistakes=tuple(f"{labels}:{line}: {text}" for line, text in mistakes),
    )


def _refuse(error: Callable[..., EdgegdError], offenders: list[str], noun: str, problem: str, mend: str) -> None:
    """Raise `error` with the first offenders, if there are any."""
    if not offenders:
        return
    rows = [f"  {offender}" for offender in offenders[:SHOWN]]
    if len(offenders) > SHOWN:
        rows.append(f"  ... and {len(offenders) - SHOWN} more")
    count = f"{len(offenders)} {noun}{'s' if len(offenders) > 1 else ''}"
    raise error("\n".join([f"{count} {problem}:", *rows]), mend=mend)
