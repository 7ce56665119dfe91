"""The calibration sample is the same everywhere, and its batches are the runtime's preprocessing."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegd.data.calibration import batches, calibration_images
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.errors import CalibrationError
from edgegd.recipe.schema import DataSection
from edgegd.runtime.contract import Preprocessing
from edgegd.runtime.letterbox import preprocess


def named(root: Path, count: int) -> Dataset:
    """A data set whose images exist by name only."""
    images = tuple(root / f"images/train/{index:03d}.jpg" for index in range(count))
    return Dataset(root, root / "data.yaml", ("cat",), images, images[:1])


def test_sample_is_the_same_on_every_machine() -> None:
    # Recorded once: another order would silently change every calibrated range.
    names = [image.stem for image in calibration_images(named(Path("/data/a"), 100), 8, seed=0)]
    assert names == ["040", "035", "052", "097", "075", "025", "056", "071"]


def test_sample_does_not_depend_on_place_or_order_and_grows_by_appending() -> None:
    here, there = named(Path("/data/a"), 50), named(Path("/elsewhere"), 50)
    shuffled = Dataset(here.root, here.yaml_path, here.names, here.train_images[::-1], here.val_images)
    names = [image.name for image in calibration_images(here, 20, seed=3)]
    assert names == [image.name for image in calibration_images(there, 20, seed=3)]
    assert names == [image.name for image in calibration_images(shuffled, 20, seed=3)]
    assert names[:7] == [image.name for image in calibration_images(here, 7, seed=3)]
    assert names != [image.name for image in calibration_images(here, 20, seed=4)]


def test_sample_is_without_replacement_and_at_most_the_set() -> None:
    dataset = named(Path("/data/a"), 10)
    assert sorted(calibration_images(dataset, 128, seed=1)) == list(dataset.train_images)


def test_batches_are_preprocessed_images_in_order(data_yaml: Path) -> None:
    root = data_yaml.parent
    shutil.copy(root / "images/val/1.jpg", root / "images/train/2.jpg")
    dataset = open_dataset(DataSection(path=str(data_yaml)))
    preprocessing = Preprocessing(imgsz=(32, 64))
    made = list(batches(dataset.train_images, preprocessing, 2))
    assert [part.shape for part in made] == [(2, 3, 32, 64), (1, 3, 32, 64)]
    assert all(part.dtype == np.float32 for part in made)
    for image, found in zip(dataset.train_images, np.concatenate(made), strict=True):
        np.testing.assert_array_equal(found, preprocess(cv2.imread(str(image)), preprocessing)[0][0])


def _images(folder: Path, *pictures: np.ndarray) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), picture)
    return paths


BLACK, GREY = np.zeros((20, 40, 3), np.uint8), np.full((20, 40, 3), 90, np.uint8)


@pytest.mark.parametrize("pictures", [(BLACK,), (BLACK, GREY, BLACK)], ids=["one black", "black and grey"])
def test_images_without_contrast_are_refused(tmp_path: Path, pictures: tuple[np.ndarray, ...]) -> None:
    """Letterboxing puts a border around them, which is no contrast of theirs."""
    paths = _images(tmp_path, *pictures)
    with pytest.raises(CalibrationError, match="no contrast") as caught:
        list(batches(paths, Preprocessing(imgsz=(64, 64)), 2))
    assert caught.value.exit_code == 63 and str(paths[0]) in caught.value.found


def test_one_image_with_contrast_is_enough(tmp_path: Path) -> None:
    dotted = BLACK.copy()
    dotted[3, 4, 1] = 255
    assert len(list(batches(_images(tmp_path, GREY, dotted, BLACK), Preprocessing(imgsz=(64, 64)), 1))) == 3
