"""What one image of a data set holds, as stage `data` records it and as every later reader must find it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegd.bounded_read import read_bounded
from edgegd.data.labels import label_path, read_labels
from edgegd.errors import LabelError, MissingArtifactError, UnreadableImageError
from edgegd.foreign_text import one_line
from edgegd.limits import LABEL_BYTES

TOLERANCE = 1e-5
"""Of a fraction of the image: Ultralytics keeps boxes in float32, and a polygon's box is a sum and a half of two."""


@dataclass(frozen=True)
class ImageContent:
    """An image's height and width in pixels, upright, the number of its boxes, and a hash of them."""

    height: int
    width: int
    boxes: int
    labels: str


def label_text(image: Path) -> str | None:
    """The text of an image's label file, None where there is none; raises OSError and UnicodeDecodeError."""
    path = label_path(image)
    if not path.exists():
        return None
    if not path.is_file():
        raise OSError("it is no file but a folder, a pipe or a device")
    content = read_bounded(path, LABEL_BYTES)
    if content is None:
        raise OSError(f"more than {LABEL_BYTES >> 20} MiB")
    return content.decode("utf-8-sig")


def hash_of_boxes(boxes: NDArray[np.float64]) -> str:
    """A short hash of boxes (N, 5) float64 in their order."""
    return hashlib.sha256(np.ascontiguousarray(boxes, np.float64).tobytes()).hexdigest()[:16]


def require_loaded(
    loaded: Sequence[Mapping[str, Any]],
    images: Mapping[str, Path],
    contents: Mapping[Path, ImageContent],
    classes: int,
    split: str,
) -> None:
    """Compares what Ultralytics' loader yields with what was recorded, image by image and box by box.

    `loaded` are the loader's labels (im_file, shape, cls, bboxes), `images` maps the path that it was given to the
    image. Raises UnreadableImageError for an image that it leaves out or reads in another size, LabelError for other
    boxes, and MissingArtifactError where the files have changed since.
    """
    by_file = {str(one["im_file"]): one for one in loaded}
    for file, image in images.items():
        if file not in by_file:
            raise UnreadableImageError(
                f"Ultralytics' loader leaves {one_line(image)} out of the {split} images.",
                expected=f"the {len(images)} images that stage `data` counted",
                found=f"{len(loaded)} loaded",
                mend="save the image again in the format that its name says, or remove it with its label file",
            )
        _require_equal(by_file[file], image, contents[image], classes)
    if len(loaded) != len(images):
        extra = next((file for file in by_file if file not in images), next(iter(by_file)))
        raise UnreadableImageError(
            f"Ultralytics' loader reads {one_line(extra)}, which stage `data` did not count.",
            expected=f"{len(images)} {split} images",
            found=str(len(loaded)),
            mend="run stage `data` again",
        )


def require_loaded_without_boxes(loaded: Sequence[Mapping[str, Any]], images: Mapping[str, Path]) -> None:
    """UnreadableImageError for an unlabelled image that the loader leaves out, LabelError for one with boxes."""
    by_file = {str(one["im_file"]): one for one in loaded}
    for file, image in images.items():
        if file not in by_file:
            raise UnreadableImageError(
                f"Ultralytics' loader leaves {one_line(image)} out of the unlabelled images.",
                expected=f"the {len(images)} images that stage `data` counted",
                found="no such image loaded",
                mend="save the image again in the format that its name says, or remove it",
            )
        if len(by_file[file]["cls"]):
            raise LabelError(
                f"Ultralytics' loader reads boxes for {one_line(image)}, which is unlabelled.",
                expected="no boxes",
                found=str(len(by_file[file]["cls"])),
            )


def _require_equal(found: Mapping[str, Any], image: Path, content: ImageContent, classes: int) -> None:
    own = current_boxes(image, content, classes)
    # A rectangular validation loader has taken the shape out of its labels already.
    if tuple(found.get("shape", (content.height, content.width))) != (content.height, content.width):
        raise UnreadableImageError(
            f"Ultralytics' loader reads {one_line(image)} in another size than edgegd.",
            expected=f"{content.height} x {content.width} (height, width)",
            found=" x ".join(map(str, found["shape"])),
            mend="save the image again, upright and without EXIF data",
        )
    kinds, boxes = np.asarray(found["cls"]).reshape(-1, 1), np.asarray(found["bboxes"]).reshape(-1, 4)
    other = np.concatenate([kinds, boxes], axis=1)
    if not _same_boxes(own, other):
        raise LabelError(
            f"Ultralytics' loader reads other boxes than edgegd from {one_line(label_path(image))}.",
            expected=f"{len(own)} boxes",
            found=f"{len(other)}, or others",
            mend="remove rows that are not plain "
            "numbers, and old label caches (labels/*.cache) of the run folder's view",
        )


def current_boxes(image: Path, content: ImageContent, classes: int) -> NDArray[np.float64]:
    """The boxes (N, 5) float64 of an image now; MissingArtifactError where they are not those that were recorded."""
    try:
        boxes, mistakes = read_labels(label_text(image) or "", classes)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{one_line(label_path(image))} cannot be read.", found=str(error)) from error
    if mistakes or hash_of_boxes(boxes) != content.labels:
        raise MissingArtifactError(
            f"{one_line(label_path(image))} is not as stage `data` read it.",
            expected=f"the same {content.boxes} boxes",
            found=mistakes[0][1] if mistakes else f"{len(boxes)} boxes",
            mend="run stage `data` again (edgegd run ...)",
        )
    return boxes


def _same_boxes(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether both have the same boxes (N, 5), in any order, each within TOLERANCE."""
    if len(first) != len(second):
        return False
    left = [row for row in np.asarray(second, np.float64)]
    for row in first:
        place = next((place for place, other in enumerate(left) if np.abs(other - row).max() <= TOLERANCE), None)
        if place is None:
            return False
        left.pop(place)
    return True
