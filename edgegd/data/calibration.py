"""The images that calibration sees: the same sample on every machine, one batch in memory at a time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegd.data.dataset import Dataset
from edgegd.errors import CalibrationError
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.images import read_for
from edgegd.runtime.letterbox import preprocess


def calibration_images(dataset: Dataset, count: int, seed: int) -> tuple[Path, ...]:
    """A sample without replacement of `count` training and unlabelled images (all if there are fewer), as drawn.

    It depends on the seed and on the images' paths relative to the data set, and to the folder that all unlabelled
    ones share, so not on where these lie. A larger count starts with the smaller one's images.
    """
    images = [*_sorted(dataset.train_images, dataset.root), *_sorted(dataset.unlabelled_images, _shared(dataset))]
    generator = random.Random(seed)
    # random() is the one method whose sequence Python promises to keep between versions.
    ranks = [generator.random() for _ in images]
    drawn = sorted(range(len(images)), key=ranks.__getitem__)
    return tuple(images[index] for index in drawn[:count])


def _sorted(images: Sequence[Path], root: Path) -> list[Path]:
    """The images by their paths relative to `root`, links resolved; by the whole path where they lie elsewhere."""
    root = root.resolve()

    def key(image: Path) -> str:
        resolved = image.resolve()
        return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else resolved.as_posix()

    return sorted(images, key=key)


def _shared(dataset: Dataset) -> Path:
    """The innermost folder in which all unlabelled images lie."""
    images = dataset.unlabelled_images
    return Path(os.path.commonpath([image.resolve().parent for image in images])) if images else dataset.root


def batches(paths: Sequence[Path], preprocessing: Preprocessing, batch: int) -> Iterator[NDArray[np.float32]]:
    """The images as network inputs, float32 (B, C, h, w) with B = `batch` but for a smaller last one.

    Letterboxing and scaling are those of edgegd.runtime. Raises UnreadableImageError; and CalibrationError, after the
    last batch, where every image is one constant colour: the activations of such a set are no model's at work.
    """
    images = ImageBatches(preprocessing, batch)
    yield from images.of(paths)
    images.require_contrast()


class ImageBatches:
    """As `batches`, for images that are asked for a few at a time: what they lack is said when all were seen."""

    def __init__(self, preprocessing: Preprocessing, batch: int) -> None:
        self._preprocessing, self._batch = preprocessing, batch
        self._first: Path | None = None
        self._seen, self._has_contrast = 0, False

    def of(self, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
        """These images as network inputs."""
        for start in range(0, len(paths), self._batch):
            images = [read_for(path, self._preprocessing) for path in paths[start : start + self._batch]]
            self._first, self._seen = self._first or paths[start], self._seen + len(images)
            self._has_contrast = self._has_contrast or any((image != image[0, 0]).any() for image in images)
            yield np.concatenate([preprocess(image, self._preprocessing)[0] for image in images])

    def require_contrast(self) -> None:
        """CalibrationError where every image so far is one constant colour."""
        if self._first is None or self._has_contrast:
            return
        raise CalibrationError(
            f"The calibration images have no contrast: each of the {self._seen} is one constant colour.",
            expected="images like those that the model will see",
            found=f"the first is {self._first}",
            mend="check that the training images are whole, or take more of them (quant.calibration_images)",
        )
