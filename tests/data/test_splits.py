"""Which images choose an epoch and which report: test images, images held out, and what is refused. Oracle: files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgegd.data.calibration import calibration_images
from edgegd.data.check import check_contents
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.errors import DataNotFoundError, NoImagesError
from edgegd.recipe.schema import DataSection


def opened(data_yaml: Path, **settings: Any) -> Dataset:
    return open_dataset(DataSection(path=str(data_yaml), **settings))


@pytest.fixture
def with_test(data_yaml: Path, write_image: Any) -> Path:
    """The small set with three test images, two of which have a box."""
    root = data_yaml.parent
    for index in range(3):
        write_image(root / f"images/test/{index}.jpg", seed=50 + index)
    (root / "labels/test").mkdir()
    for index in range(2):
        (root / f"labels/test/{index}.txt").write_text("1 0.5 0.5 0.25 0.25\n")
    for index in range(2):  # in the small set, those of training are those of validation too
        write_image(root / f"images/train/{index}.jpg", seed=20 + index)
    data_yaml.write_text(data_yaml.read_text() + "test: images/test\n")
    return data_yaml


def test_without_test_images_the_same_images_choose_and_report(data_yaml: Path) -> None:
    dataset = opened(data_yaml)
    assert dataset.selection_images == dataset.measured_images == dataset.val_images
    assert dataset.test_images == dataset.held_out_images == ()


def test_test_images_report_and_validation_images_choose(with_test: Path) -> None:
    dataset = opened(with_test)
    assert [image.parent.name for image in dataset.measured_images] == ["test"] * 3
    assert dataset.selection_images == dataset.val_images and dataset.images[-3:] == dataset.test_images
    check, contents = check_contents(dataset, "background")
    assert (check.test_images, check.test_boxes, check.val_images, check.train_images) == (3, 2, 2, 2)
    assert check.background_images == 1 and [content.boxes for content in contents[-3:]] == [1, 1, 0]
    ignored = opened(with_test, select="val")
    assert ignored.test_images == () and ignored.measured_images == ignored.val_images


@pytest.mark.parametrize("entry", ["images/val", "images/nowhere", "images/unlabelled", ""])
def test_test_images_that_cannot_report_are_left_out(data_yaml: Path, write_image: Any, entry: str) -> None:
    write_image(data_yaml.parent / "images/unlabelled/0.jpg", seed=90)
    data_yaml.write_text(data_yaml.read_text() + f"test: {entry}\n")
    assert opened(data_yaml).measured_images == opened(data_yaml).val_images


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_test_image_of_another_split_is_named(with_test: Path, split: str) -> None:
    root = with_test.parent / "images"
    shutil.copy(root / split / "0.jpg", root / "test/holiday.jpg")
    with pytest.raises(NoImagesError, match="1 test image is an image of another split") as caught:
        opened(with_test)
    assert f"holiday.jpg is {root / split / '0.jpg'}" in str(caught.value)


def test_a_test_entry_that_is_no_path_is_refused(data_yaml: Path) -> None:
    data_yaml.write_text(data_yaml.read_text() + "test: 5\n")
    with pytest.raises(DataNotFoundError, match="`test` must be a folder"):
        opened(data_yaml)


def test_held_out_images_are_neither_trained_nor_calibrated_on(data_yaml: Path, write_image: Any) -> None:
    for index in range(10):
        write_image(data_yaml.parent / f"images/train/{index}.jpg", seed=20 + index)
        (data_yaml.parent / f"labels/train/{index}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    dataset = opened(data_yaml, select="holdout", holdout_share=0.3)
    assert len(dataset.held_out_images) == 3 and len(dataset.train_images) == 7
    assert not set(dataset.held_out_images) & set(dataset.train_images)
    assert dataset.selection_images == dataset.held_out_images and dataset.measured_images == dataset.val_images
    assert not set(calibration_images(dataset, 10, 0)) & set(dataset.held_out_images)
    assert opened(data_yaml, select="holdout", holdout_share=0.3) == dataset
    assert opened(data_yaml, select="holdout", holdout_share=0.3, seed=1) != dataset
    check, _ = check_contents(dataset)
    assert (check.train_images, check.held_out_images, check.held_out_boxes, check.val_images) == (7, 3, 3, 2)
    view = ultralytics_yaml(dataset, data_yaml.parent.parent / "view")
    assert len((view.parent / "train.txt").read_text().splitlines()) == 7


def test_an_unlabelled_copy_of_a_held_out_image_is_left_out(data_yaml: Path, write_image: Any, tmp_path: Path) -> None:
    for index in range(4):
        write_image(data_yaml.parent / f"images/train/{index}.jpg", seed=20 + index)
    shutil.copytree(data_yaml.parent / "images/train", tmp_path / "camera")
    write_image(tmp_path / "camera/new.jpg", seed=99)
    dataset = opened(data_yaml, select="holdout", unlabelled_images=str(tmp_path / "camera"))
    assert [image.name for image in dataset.unlabelled_images] == ["new.jpg"]


def test_something_must_be_left_to_train_on(data_yaml: Path) -> None:
    with pytest.raises(NoImagesError, match="leaves nothing to train on: 2 of 2"):
        opened(data_yaml, select="holdout", holdout_share=0.9)
