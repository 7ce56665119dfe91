"""The corrected copy of a data set is read by edgegd and by Ultralytics alike, and the set stays as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgegd.data.check import check_dataset
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.doctor import examine
from edgegd.data.doctor.corrected_copy import CorrectedCopy, require_place, write_corrected_copy
from edgegd.data.doctor.corrected_rows import corrected_rows
from edgegd.data.labels import label_path, read_labels
from edgegd.data.yaml_set import read_data_yaml
from edgegd.errors import EdgegdError, NoImagesError, OutputFileError, WouldOverwriteError
from edgegd.recipe.schema import DataSection

pytest.importorskip("scipy")
pytest.importorskip("PIL")
LEFT = ("classes-not-measured", "rare-classes")
"""What nobody but its owner can mend in a set of six training images."""
Contents = Callable[[Path], Mapping[str, bytes]]


@pytest.fixture
def spoiled(bccd_images: tuple[Path, ...], tmp_path: Path) -> Path:
    """The YAML of twelve photographs in three folders, with faults that have one right answer."""
    root = tmp_path / "user" / "set"
    for split, photographs in (("train", bccd_images[:6]), ("val", bccd_images[6:])):
        for place, photograph in enumerate(photographs):
            folder = split if split == "val" else f"train/{place % 2}"
            image = root / "images" / folder / f"{place // 2 if split == 'train' else place}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            label_path(image).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), cv2.resize(cv2.imread(str(photograph)), (160, 120)))
            label_path(image).write_text("0 0.5 0.5 0.25 0.25\n1 0.3 0.3 0.2 0.1\n")
    train = root / "images/train"
    with label_path(train / "0/0.jpg").open("a") as file:
        file.write("0 0.5 0.5 0.25 0.25\n2 0.5 0.5 0 0.1\n2 0.95 0.5 0.2 0.1\n2 1.5 0.5 0.2 0.1\n")
    shutil.copy(train / "1/1.jpg", root / "images/val/0.jpg")
    shutil.copy(train / "0/1.jpg", train / "1/2.jpg")
    (train / "0/2.jpg").write_bytes(b"")
    (root / "labels/train/1/9.txt").write_text("")
    (root / "images/val/1.jpg").write_bytes((root / "images/val/1.jpg").read_bytes() + b"notes of a camera")
    yaml_path = root / "cells.yaml"
    yaml_path.write_text("train: images/train\nval: images/val\nnames: [red, white, '1e3']\n")
    return yaml_path


def corrected(yaml_path: Path, folder: Path) -> CorrectedCopy:
    return write_corrected_copy(examine(read_data_yaml(yaml_path), (320, 320)), folder)


def opened(yaml_path: Path) -> Dataset:
    return open_dataset(DataSection(path=str(yaml_path)))


def test_the_copy_is_read_by_a_run_and_has_no_fault_that_could_be_mended(
    spoiled: Path, tmp_path: Path, contents: Contents
) -> None:
    before = contents(tmp_path / "user")
    copy = corrected(spoiled, tmp_path / "copy")
    assert contents(tmp_path / "user") == before
    assert copy.rows == {
        "repeated_rows_removed": 1,
        "rows_cut_off_at_the_border": 1,
        "rows_outside_the_image_removed": 1,
        "rows_without_an_area_removed": 1,
    }
    reasons = {str(path.relative_to(spoiled.parent / "images")): reason for path, reason in copy.left_out}
    assert reasons == {
        "train/0/2.jpg": "the file is empty",
        "train/1/1.jpg": "the same image is in val",
        "train/1/2.jpg": "it is images/train/0/1.jpg",
    }
    assert copy.images == {"train": 3, "val": 6} and copy.left_to_you == LEFT
    dataset = opened(copy.yaml_path)
    assert dataset.names == ("red", "white", "1e3")
    counted = check_dataset(dataset)
    assert (counted.train_images, counted.val_images, counted.train_boxes) == (3, 6, 7)
    assert set(examine(read_data_yaml(copy.yaml_path), (320, 320)).findings) == set(LEFT)


def test_images_are_links_and_only_a_jpeg_without_an_end_is_copied(spoiled: Path, tmp_path: Path) -> None:
    copy = corrected(spoiled, tmp_path / "copy")
    links = {path.is_symlink(): path for path in (tmp_path / "copy/images").rglob("*.jpg")}
    assert links[True].resolve().is_relative_to(spoiled.parent)
    assert links[False] == tmp_path / "copy/images/val/1.jpg" and links[False].read_bytes().endswith(b"\xff\xd9")
    assert sum(path.is_symlink() for path in (tmp_path / "copy/images").rglob("*.jpg")) == sum(copy.images.values()) - 1


def test_ultralytics_finds_the_corrected_labels_and_leaves_the_set_alone(
    spoiled: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = pytest.importorskip("ultralytics.data.utils")
    loaders = pytest.importorskip("ultralytics.data.dataset")
    before = contents(tmp_path / "user")
    corrected(spoiled, tmp_path / "copy")
    moved = (tmp_path / "copy").rename(tmp_path / "moved")
    described: dict[str, Any] = utils.check_det_dataset(str(moved / "data.yaml"))
    assert described["names"] == {0: "red", 1: "white", 2: "1e3"}
    for split, images in (("train", 3), ("val", 6)):
        loaded = loaders.YOLODataset(img_path=described[split], data=described, imgsz=64, augment=False)
        assert len(loaded.labels) == images
        for one in loaded.labels:
            own, mistakes = read_labels(label_path(Path(one["im_file"])).read_text(), 3)
            assert not mistakes and len(own) >= 2
            order = np.lexsort(one["bboxes"].T), np.lexsort(own[:, 1:].T)
            np.testing.assert_allclose(one["bboxes"][order[0]], own[order[1], 1:], atol=1e-6)
    assert contents(tmp_path / "user") == before


def test_what_has_no_right_answer_is_left_and_named(spoiled: Path, tmp_path: Path) -> None:
    train = spoiled.parent / "images/train"
    label_path(train / "0/0.jpg").write_text("0 80 60 20 20\n")
    label_path(train / "0/1.jpg").write_text("7 0.5 0.5 0.1 0.1\n")  # 1/2.jpg is the same image with other boxes
    label_path(train / "1/0.jpg").unlink()
    copy = corrected(spoiled, tmp_path / "copy")
    assert copy.rows == {"other_wrong_rows_left_as_they_are": 1, "rows_in_pixels_left_as_they_are": 1}
    assert copy.images["train"] == 4  # both of the same image with other boxes
    assert {"coordinates-outside", "unknown-classes", "images-without-labels", "repeated-images"} <= set(
        copy.left_to_you
    )
    found = examine(read_data_yaml(copy.yaml_path), (320, 320)).findings
    assert found["coordinates-outside"].count == found["unknown-classes"].count == 1
    assert found["images-without-labels"].count == 1 and "labels-without-images" not in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0.5 0.5 0.1 0.1\n", None),
        ("0 0.95 0.5 0.2 0.2\n", "0 0.925000 0.500000 0.150000 0.200000\n"),
        ("0 1.2 0.5 0.2 0.2\n", ""),
        ("0 -0.05 0.5 0.2 0.2\n", "0 0.025000 0.500000 0.050000 0.200000\n"),
        ("1 0.5 0.5 1.4 1.2\n", "1 0.500000 0.500000 1.000000 1.000000\n"),
        ("0 0.5 0.5 0.2 -0.1\n1 0.5 0.5 0.2 0.1\n", "1 0.5 0.5 0.2 0.1\n"),
        ("0 0.5 0.5 0.2 0.1\n\n0 0.50 0.5 0.2 0.1\n", "0 0.5 0.5 0.2 0.1\n\n"),
        ("0 0.8 0.1 1.2 0.1 1.2 0.5\n", "0 0.800000 0.100000 1.000000 0.100000 1.000000 0.500000\n"),
        ("0 1.1 0.1 1.3 0.1 1.3 0.5\n", ""),
        ("0 320 240 10 10\n", None),
        ("cat\n5 0.5 0.5 0.1 0.1\n", None),
    ],
)
def test_rows_are_corrected_where_there_is_one_right_answer(text: str, expected: str | None) -> None:
    found, _ = corrected_rows(text, 2)
    assert found == (text if expected is None else expected)
    assert corrected_rows(found, 2)[0] == found


def exists(root: Path) -> Path:
    place = root.parents[1] / "there"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    return place


def is_a_file(root: Path) -> Path:
    place = root.parents[1] / "there"
    place.write_text("mine")
    return place


def inside(root: Path) -> Path:
    return root / "images/corrected"


def beside_the_images(root: Path) -> Path:
    return root / "corrected"


def inside_by_a_link(root: Path) -> Path:
    (root.parents[1] / "link").symlink_to(root)
    return root.parents[1] / "link/corrected"


def a_link(root: Path) -> Path:
    (root.parents[1] / "link").symlink_to(root.parents[1] / "nowhere")
    return root.parents[1] / "link"


def of_two_lines(root: Path) -> Path:
    return root.parents[1] / "a\nb"


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (exists, WouldOverwriteError),
        (is_a_file, WouldOverwriteError),
        (inside, OutputFileError),
        (beside_the_images, OutputFileError),
        (inside_by_a_link, OutputFileError),
        (a_link, OutputFileError),
        (of_two_lines, NoImagesError),
    ],
)
def test_folders_that_the_copy_may_not_have(
    spoiled: Path, tmp_path: Path, contents: Contents, place: Callable[[Path], Path], error: type[EdgegdError]
) -> None:
    folder = place(spoiled.parent)
    before = contents(tmp_path)
    with pytest.raises(error):
        require_place(folder, read_data_yaml(spoiled))
    assert contents(tmp_path) == before


def test_a_folder_beside_a_yaml_that_lies_outside_of_its_set_is_taken(
    spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = spoiled.read_text()
    Path("mine.yaml").write_text(text.replace("images/", "user/set/images/"))
    require_place(Path("mine-corrected"), read_data_yaml(Path("mine.yaml")))


def test_a_split_of_which_nothing_would_be_left_is_refused_and_nothing_is_written(
    spoiled: Path, tmp_path: Path
) -> None:
    spoiled.write_text("train: images/val\nval: images/val\nnames: [red, white, third]\n")
    with pytest.raises(NoImagesError, match="train"):
        corrected(spoiled, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["user"]


def test_an_empty_folder_is_taken_and_a_failure_leaves_nothing(
    spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copy").mkdir()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("edgegd.data.doctor.corrected_copy._yaml", interrupt)
        corrected(spoiled, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["copy", "user"] and not os.listdir(tmp_path / "copy")
    assert corrected(spoiled, tmp_path / "copy").yaml_path.is_file()


def interrupt(*_: Any) -> str:
    raise KeyboardInterrupt
