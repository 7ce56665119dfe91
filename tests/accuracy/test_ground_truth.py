"""Oracle: label files written by hand, and Ultralytics' rule for where they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.errors import LabelError, UnreadableImageError


def write(root: Path, name: str, labels: str | None) -> Path:
    """An image of 200 x 100 pixels under root/images/val, and its label file unless `labels` is None."""
    image, label = root / "images/val" / f"{name}.png", root / "labels/val" / f"{name}.txt"
    image.parent.mkdir(parents=True, exist_ok=True)
    label.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), np.zeros((100, 200, 3), np.uint8))
    if labels is not None:
        label.write_text(labels)
    return image


def test_fractions_become_pixels_of_each_axis(tmp_path: Path) -> None:
    image = write(tmp_path, "a", "1 0.5 0.5 0.25 0.5\n")
    truth = GroundTruth.from_yolo([image], ["car", "sign"])
    assert truth.boxes[0].tolist() == [[75, 25, 125, 75]]
    assert truth.class_ids[0].tolist() == [1]


def test_a_missing_label_file_means_no_boxes(tmp_path: Path) -> None:
    images = [write(tmp_path, "a", None), write(tmp_path, "b", "0 0.5 0.5 1 1\n")]
    truth = GroundTruth.from_yolo(images, ["car"])
    assert [len(boxes) for boxes in truth.boxes] == [0, 1]
    assert truth.box_count == 1


def test_only_the_last_images_folder_is_replaced(tmp_path: Path) -> None:
    from ultralytics.data.utils import img2label_paths

    image = write(tmp_path / "images" / "set", "a", "0 0.5 0.5 0.1 0.1\n")
    assert Path(img2label_paths([str(image)])[0]).is_file()
    assert GroundTruth.from_yolo([image], ["car"]).box_count == 1


@pytest.mark.parametrize(
    "row",
    ["1 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "0 50 50 10 10"],
    ids=["class that does not exist", "four numbers", "pixels"],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, row: str) -> None:
    image = write(tmp_path, "a", f"0 0.5 0.5 0.1 0.1\n{row}\n")
    with pytest.raises(LabelError, match=r"a\.txt:2: "):
        GroundTruth.from_yolo([image], ["car"])


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    image = write(tmp_path, "a", "0 0.5 0.5 0.1 0.1\n")
    image.write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"a\.png"):
        GroundTruth.from_yolo([image], ["car"])
