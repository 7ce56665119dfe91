"""The labelled boxes that detections are measured against, in pixels of the original images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.data.contents import label_text
from edgegd.data.labels import label_path, read_labels
from edgegd.errors import LabelError
from edgegd.runtime.images import read_image


@dataclass(frozen=True)
class GroundTruth:
    """Labelled images, one entry per image in each of the three tuples.

    `boxes` (N, 4) x1 y1 x2 y2 float64 in pixels of the image as `read_image` gives it; `class_ids` (N,) int64 indices
    into `names`. Raises ValueError where the tuples have different lengths.
    """

    image_paths: tuple[Path, ...]
    boxes: tuple[NDArray[np.float64], ...]
    class_ids: tuple[NDArray[np.int64], ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.image_paths) == len(self.boxes) == len(self.class_ids):
            raise ValueError("image_paths, boxes and class_ids must have one entry per image each")

    @property
    def box_count(self) -> int:
        """Labelled boxes in all images together."""
        return sum(map(len, self.boxes))

    def first(self, count: int) -> GroundTruth:
        """The first `count` images alone."""
        return GroundTruth(self.image_paths[:count], self.boxes[:count], self.class_ids[:count], self.names)

    @classmethod
    def from_yolo(cls, image_paths: Sequence[Path], names: Sequence[str], channels: int = 3) -> GroundTruth:
        """The boxes of the images' YOLO label files (see edgegd.data.labels); no label file means no boxes.

        `channels` are those that the images are read with.

        Raises:
            UnreadableImageError: an image cannot be decoded (its size turns fractions into pixels).
            LabelError: a label file has mistakes.
        """
        labelled = [_read_boxes(Path(path), len(names), channels) for path in image_paths]
        boxes, class_ids = zip(*labelled, strict=True) if labelled else ((), ())
        return cls(tuple(map(Path, image_paths)), boxes, class_ids, tuple(names))


def _read_boxes(image_path: Path, classes: int, channels: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    path = label_path(image_path)
    try:
        text = label_text(image_path) or ""
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read the label file {path}", found=str(error)) from error
    rows, mistakes = read_labels(text, classes)
    if mistakes:
        line, problem = mistakes[0]
        raise LabelError(f"{path}:{line}: {problem}", mend="correct the label file, or remove it with its image")
    if not len(rows):
        return np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
    height, width = read_image(image_path, channels).shape[:2]
    return boxes_in_pixels(rows, (height, width)), rows[:, 0].astype(np.int64)


def boxes_in_pixels(rows: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Rows of a label file (N, 5), class x y w h in 0..1, as x1 y1 x2 y2 (N, 4) in pixels.

    `size` is the image's (height, width) in pixels.
    """
    side = np.array([size[1], size[0]], dtype=np.float64)
    centers, half_sizes = rows[:, 1:3] * side, rows[:, 3:5] * side / 2
    return np.concatenate((centers - half_sizes, centers + half_sizes), axis=1)
