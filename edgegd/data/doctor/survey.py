"""One pass over a data set: every image decoded once, every label file read once, and of each what the checks ask."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.data.check import THREADS, usable_pixels
from edgegd.data.contents import label_text
from edgegd.data.doctor.appearance import SIDE, digest_of_pixels, hashes, small_picture
from edgegd.data.doctor.boxes import at_one_place
from edgegd.data.doctor.resemblance import Resemblance, resembling
from edgegd.data.doctor.stored import UPRIGHT, StoredForm, stored_form
from edgegd.data.labels import LabelRows, MistakeKind, label_path, read_rows
from edgegd.data.splits import usable_test_images
from edgegd.data.yaml_set import DataYaml, list_images
from edgegd.network_size import NetworkSize

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, what) while images are looked at and compared."""
_KEPT = 3
"""Mistakes of each kind in one label file that are kept in words; all are counted."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What was found in one image and its label file.

    `problem` says why the image cannot be used, and then nothing else is known of its pixels. `boxes` (N, 5) float64
    are those rows of the label file that count; `label_problem` says why a label file cannot be read.
    """

    path: Path
    split: str
    boxes: NDArray[np.float64]
    problem: str = ""
    height: int = 0
    width: int = 0
    digest: bytes = b""
    stored: StoredForm = UPRIGHT
    is_colourless: bool = False
    has_labels: bool = False
    label_problem: str = ""
    mistakes: tuple[tuple[MistakeKind, str], ...] = ()
    mistake_counts: tuple[tuple[MistakeKind, int], ...] = ()
    repeated: int = 0


@dataclass(frozen=True)
class Survey:
    """A data set as it is on this disk, and the network's input for which it is looked at.

    `pictures` (N, 32, 32) uint8 are the small gray pictures of `images`, black where an image cannot be read.
    """

    described: DataYaml
    size: NetworkSize
    images: tuple[ImageRecord, ...]
    pictures: NDArray[np.uint8]
    resemblance: Resemblance

    @cached_property
    def readable(self) -> tuple[ImageRecord, ...]:
        """The images that can be used."""
        return tuple(image for image in self.images if not image.problem)

    @cached_property
    def splits(self) -> dict[str, tuple[ImageRecord, ...]]:
        """The images of each split, in the order train, val, test."""
        return {
            split: tuple(image for image in self.images if image.split == split)
            for split in dict.fromkeys(image.split for image in self.images)
        }

    @cached_property
    def places(self) -> dict[tuple[Path, str], int]:
        """The place in `images` of each image, by path and split."""
        return {(image.path, image.split): place for place, image in enumerate(self.images)}

    @cached_property
    def boxes_at_one_place(self) -> tuple[tuple[ImageRecord, int, int], ...]:
        """Pairs of boxes of one image, by their places in it, that are probably of one object."""
        return tuple((image, *pair) for image in self.images for pair in at_one_place(image.boxes))

    @property
    def root(self) -> Path:
        """The folder that the data set's paths are relative to."""
        return self.described.root

    def scale(self, image: ImageRecord) -> float:
        """By how much the letterbox shrinks (below 1) or enlarges an image for the network's input."""
        return min(self.size[0] / image.height, self.size[1] / image.width)


def survey_of(described: DataYaml, size: NetworkSize, progress: Progress | None = None) -> Survey:
    """Looks at every image and label file of `train`, `val` and, where its images have labels, `test`.

    Memory: about 2 kB per image and 40 bytes per box. Raises NoImagesError for a split without images, and
    MissingExtraError without OpenCV. Nothing is written.
    """
    from PIL import Image

    listed = [("train", list_images("train", described)), ("val", list_images("val", described))]
    listed.append(("test", usable_test_images(described)))
    paths = [(split, path) for split, images in listed for path in images]
    pictures = np.zeros((len(paths), SIDE, SIDE), np.uint8)

    def look(place: int) -> ImageRecord:
        split, path = paths[place]
        return _record(path, split, described, pictures[place])

    images: list[ImageRecord] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # edgegd's own limit is lower than Pillow's error
        try:
            for record in pool.map(look, range(len(paths))):
                images.append(record)
                if progress is not None:
                    progress(len(images), len(paths), "looking at images")
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the images that are left

    def compared(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, "comparing images")

    return Survey(described, size, tuple(images), pictures, resembling(pictures, hashes(pictures), compared))


def _record(path: Path, split: str, described: DataYaml, picture: NDArray[np.uint8]) -> ImageRecord:
    """One image's record; its small picture is written into `picture`."""
    has_labels, label_problem, rows = _labels(path, len(described.names))
    counts: Counter[MistakeKind] = Counter()
    worded = []
    for mistake in rows.mistakes:
        counts[mistake.kind] += 1
        if counts[mistake.kind] <= _KEPT:
            worded.append((mistake.kind, f"line {mistake.line}: {mistake.text}"))
    pixels, problem = usable_pixels(path, described.channels)
    record = ImageRecord(
        path,
        split,
        rows.boxes,
        problem,
        has_labels=has_labels,
        label_problem=label_problem,
        mistakes=tuple(worded),
        mistake_counts=tuple(counts.items()),
        repeated=len(rows.repeated),
    )
    if pixels is None:
        return record
    picture[:], is_colourless = small_picture(pixels)
    return replace(
        record,
        height=pixels.shape[0],
        width=pixels.shape[1],
        digest=digest_of_pixels(pixels),
        stored=stored_form(path),
        is_colourless=is_colourless,
    )


def _labels(image: Path, classes: int) -> tuple[bool, str, LabelRows]:
    """Whether there is a label file, why it cannot be read, and its rows."""
    try:
        text = label_text(image)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return True, f"{label_path(image).name}: {reason}", read_rows("", classes)
    return text is not None, "", read_rows(text or "", classes)
