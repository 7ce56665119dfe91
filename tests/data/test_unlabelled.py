"""Unlabelled images: listed, kept apart from what is measured, calibrated on, never read with labels. Oracle: files."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegd.data.calibration import calibration_images
from edgegd.data.check import check_contents
from edgegd.data.contents import require_loaded_without_boxes
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.view import UNLABELLED, ultralytics_yaml
from edgegd.errors import LabelError, NoImagesError, UnreadableImageError
from edgegd.recipe.schema import DataSection

WriteImage = Callable[..., None]


def opened(data_yaml: Path, folder: Path | str) -> Dataset:
    return open_dataset(DataSection(path=str(data_yaml), unlabelled_images=str(folder)))


@pytest.fixture
def camera(tmp_path: Path, write_image: WriteImage) -> Path:
    """Three images in a folder and in one below it, two of the same name, one with a label file beside it."""
    folder = tmp_path / "camera"
    for index, name in enumerate(("a.jpg", "b.png", "night/a.jpg")):
        write_image(folder / name, seed=10 + index)
    (folder / "a.txt").write_text("9 0.5 0.5 2 2\n")  # wrong in every way, if anybody read it
    (folder / "notes.md").write_text("no image")
    return folder


def test_no_folder_means_no_images(data_yaml: Path) -> None:
    assert opened(data_yaml, "").unlabelled_images == () and opened(data_yaml, " ").unlabelled_images == ()


def test_images_are_counted_apart_and_their_labels_not_read(data_yaml: Path, camera: Path) -> None:
    dataset = opened(data_yaml, camera)
    names = [image.relative_to(camera).as_posix() for image in dataset.unlabelled_images]
    assert names == ["a.jpg", "b.png", "night/a.jpg"]
    without, _ = check_contents(opened(data_yaml, ""))
    check, contents = check_contents(dataset)
    assert check == dataclasses.replace(without, unlabelled_images=3)
    assert len(contents) == 7 and [content.boxes for content in contents[4:]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "nothing there"),
        (lambda path: path.write_text("x"), "a file"),
        (lambda path: path.mkdir(), "none"),
    ],
    ids=["missing", "a file", "empty"],
)
def test_what_is_no_folder_of_images_is_refused(
    data_yaml: Path, tmp_path: Path, make: Callable[[Path], object], found: str
) -> None:
    make(tmp_path / "wrong")
    with pytest.raises(NoImagesError, match="unlabelled images") as caught:
        opened(data_yaml, tmp_path / "wrong")
    assert caught.value.found == found and "data.unlabelled_images" in str(caught.value)


def test_unreadable_images_are_named(data_yaml: Path, camera: Path) -> None:
    (camera / "b.png").write_bytes(b"no picture")
    (camera / "night/a.jpg").write_bytes((camera / "night/a.jpg").read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match="2 images cannot be read") as caught:
        check_contents(opened(data_yaml, camera))
    assert "b.png" in str(caught.value) and "night/a.jpg" in str(caught.value)


def test_a_validation_image_is_found_under_any_name(data_yaml: Path, camera: Path) -> None:
    measured = data_yaml.parent / "images/val"
    shutil.copy(measured / "1.jpg", camera / "night/holiday.jpeg")
    with pytest.raises(NoImagesError, match="1 unlabelled image is an image on which accuracy is measured") as caught:
        opened(data_yaml, camera)
    assert "holiday.jpeg" in str(caught.value) and str(measured / "1.jpg") in str(caught.value)
    for index in range(6):
        shutil.copy(measured / "0.jpg", camera / f"copy-{index}.jpg")
    with pytest.raises(
        NoImagesError, match="7 unlabelled images are each an image on which accuracy is measured"
    ) as caught:
        opened(data_yaml, camera)
    assert "and 2 more" in str(caught.value)
    with pytest.raises(NoImagesError, match="2 unlabelled images are"):
        opened(data_yaml, measured)


def test_training_images_and_copies_count_once(data_yaml: Path, camera: Path, write_image: WriteImage) -> None:
    for index in range(2):  # in the small set, those of training are those of validation too
        write_image(data_yaml.parent / f"images/train/{index}.jpg", seed=20 + index)
    shutil.copy(data_yaml.parent / "images/train/0.jpg", camera / "same.jpg")
    shutil.copy(camera / "a.jpg", camera / "z.jpg")
    found = opened(data_yaml, camera).unlabelled_images
    assert [image.name for image in found] == ["a.jpg", "b.png", "a.jpg"]


def test_calibration_draws_from_both_wherever_they_lie(data_yaml: Path, camera: Path, tmp_path: Path) -> None:
    here = opened(data_yaml, camera)
    drawn = calibration_images(here, 5, seed=0)
    assert sorted(drawn) == sorted((*here.train_images, *here.unlabelled_images))
    elsewhere = shutil.copytree(camera, tmp_path / "other place/pictures")
    names = [image.parts[-2:] if image.name == "a.jpg" else image.name for image in drawn]
    again = [
        image.parts[-2:] if image.name == "a.jpg" else image.name
        for image in calibration_images(opened(data_yaml, elsewhere), 5, seed=0)
    ]
    assert [str(name).replace("pictures", "camera") for name in again] == [str(name) for name in names]


def test_the_view_shows_them_without_labels(data_yaml: Path, camera: Path, tmp_path: Path) -> None:
    dataset, folder = opened(data_yaml, camera), tmp_path / "view"
    ultralytics_yaml(dataset, folder)
    links = [Path(line) for line in (folder / UNLABELLED).read_text().splitlines()]
    assert [link.resolve() for link in links] == [image.resolve() for image in dataset.unlabelled_images]
    assert not any(Path(str(link).replace("/images/", "/labels/")).parent.exists() for link in links)
    assert "unlabelled" not in (folder / "train.txt").read_text()
    ultralytics_yaml(opened(data_yaml, ""), folder)  # of a recipe without them, in the same run folder
    assert not (folder / UNLABELLED).exists()


def test_what_the_loader_made_of_them_is_checked(camera: Path) -> None:
    images = {"link": camera / "a.jpg"}
    require_loaded_without_boxes([{"im_file": "link", "cls": []}, {"im_file": "other", "cls": [1]}], images)
    with pytest.raises(UnreadableImageError, match=r"leaves .*a\.jpg out"):
        require_loaded_without_boxes([], images)
    with pytest.raises(LabelError, match=r"boxes for .*a\.jpg"):
        require_loaded_without_boxes([{"im_file": "link", "cls": [[1.0]]}], images)
