"""Each defect of images and labels is refused by its own error, which names the file; oracle: Ultralytics' reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegd.data.check import DataCheck, check_dataset
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.labels import label_path, read_labels
from edgegd.errors import EdgegdError, LabelError, MissingLabelError, UnreadableImageError
from edgegd.recipe.schema import DataSection
from edgegd.runtime.images import is_truncated, read_image


@pytest.fixture
def dataset(data_yaml: Path) -> Dataset:
    return open_dataset(DataSection(path=str(data_yaml)))


def test_a_sound_data_set_is_counted(dataset: Dataset) -> None:
    (dataset.root / "labels/val/1.txt").write_text("")
    calls: list[tuple[int, int]] = []
    assert check_dataset(dataset, progress=lambda *call: calls.append(call)) == DataCheck(2, 2, 2, 1, (2, 1), 1)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("row", "fragment"),
    [
        ("0 0.5 0.5 0.2", "expected 5 numbers"),
        ("0 0.5 0.5 0.2 0.2 0.9", "expected 5 numbers"),
        ("cat 0.5 0.5 0.2 0.2", "expected numbers"),
        ("0 nan 0.5 0.2 0.2", "finite"),
        ("0 320 240 64 48", "outside 0..1"),
        ("0 -0.2 0.5 0.2 0.2", "outside 0..1"),
        ("0 0.5 0.5 0 0.2", "must be positive"),
        ("0 0.5 0.5 -0.005 0.2", "must be positive"),
        ("0.5 0.5 0.5 0.2 0.2", "not a whole number"),
        ("2 0.5 0.5 0.2 0.2", "class 2 does not exist"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 does not exist"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", "box rows and polygon rows"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(dataset: Dataset, row: str, fragment: str) -> None:
    label = dataset.root / "labels/train/1.txt"
    label.write_text(f"1 0.5 0.5 0.25 0.25\n\n{row}\n")
    with pytest.raises(LabelError, match=fragment) as caught:
        check_dataset(dataset)
    assert f"{label}:3: " in caught.value.what and caught.value.what.startswith("1 label wrong")


def test_a_polygon_needs_pairs_of_coordinates() -> None:
    boxes, mistakes = read_labels("0 0.1 0.1 0.2 0.1 0.2 0.2 0.3", 1)
    assert len(boxes) == 0 and mistakes[0][1].startswith("expected 5 numbers (class cx cy w h), found 8")


def test_the_first_five_and_the_total_are_shown(dataset: Dataset) -> None:
    (dataset.root / "labels/train/0.txt").write_text("7 0.5 0.5 0.2 0.2\n" * 8)
    with pytest.raises(LabelError) as caught:
        check_dataset(dataset)
    assert caught.value.what.startswith("8 labels wrong") and "and 3 more" in caught.value.what
    assert caught.value.what.count("class 7 does not exist") == 5


def without_label(dataset: Dataset) -> None:
    (dataset.root / "labels/train/0.txt").unlink()


def truncated(dataset: Dataset) -> None:
    image = dataset.root / "images/val/0.jpg"
    image.write_bytes(image.read_bytes()[:-40])


def text_for_image(dataset: Dataset) -> None:
    (dataset.root / "images/val/0.jpg").write_text("not an image")


def empty_image(dataset: Dataset) -> None:
    (dataset.root / "images/val/0.jpg").write_bytes(b"")


def tiny_image(dataset: Dataset) -> None:
    cv2.imwrite(str(dataset.root / "images/val/0.jpg"), np.zeros((8, 40, 3), np.uint8))


def wrong_class(dataset: Dataset) -> None:
    (dataset.root / "labels/train/0.txt").write_text("5 0.5 0.5 0.2 0.2\n")


def no_boxes(dataset: Dataset) -> None:
    for label in (dataset.root / "labels/val").iterdir():
        label.write_text("")


def binary_label(dataset: Dataset) -> None:
    (dataset.root / "labels/train/0.txt").write_bytes(b"\xff\xfe\x80")


@pytest.mark.parametrize(
    ("spoil", "error", "exit_code"),
    [
        (truncated, UnreadableImageError, 23),
        (text_for_image, UnreadableImageError, 23),
        (empty_image, UnreadableImageError, 23),
        (tiny_image, UnreadableImageError, 23),
        (without_label, MissingLabelError, 24),
        (wrong_class, LabelError, 22),
        (no_boxes, LabelError, 22),
        (binary_label, LabelError, 22),
    ],
)
def test_each_defect_has_its_error_and_leaves_the_files(
    dataset: Dataset, spoil: Callable[[Dataset], None], error: type[EdgegdError], exit_code: int
) -> None:
    spoil(dataset)
    before = {path: path.read_bytes() for path in dataset.root.rglob("*") if path.is_file()}
    with pytest.raises(error) as caught:
        check_dataset(dataset)
    assert caught.value.exit_code == exit_code
    assert {path: path.read_bytes() for path in dataset.root.rglob("*") if path.is_file()} == before


def test_images_without_labels_may_be_background(dataset: Dataset) -> None:
    without_label(dataset)
    assert check_dataset(dataset, unlabelled="background").background_images == 1


def test_truncation_is_seen_although_a_thumbnail_ends(tmp_path: Path, write_image: Callable[..., None]) -> None:
    write_image(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole  # an APP1 segment that holds a whole JPEG
    with_thumbnail = whole[:2] + thumbnail + whole[2:]
    assert not is_truncated(with_thumbnail) and not is_truncated(with_thumbnail + b"appended by a camera")
    for kept in range(4, len(with_thumbnail) - 1, 97):
        assert is_truncated(with_thumbnail[:kept]), kept


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif"])
def test_truncated_images_of_other_formats_cannot_be_read(
    tmp_path: Path, suffix: str, write_image: Callable[..., None]
) -> None:
    file = tmp_path / f"image{suffix}"
    write_image(file)
    expected = cv2.imread(str(file))
    assert expected is not None and np.array_equal(read_image(file), expected)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UnreadableImageError):
        read_image(file)


@pytest.mark.parametrize(
    "image", ["/d/images/train/a.jpg", "/images/d/images/a.b.png", "/d/pictures/a.jpeg", "/d/images.old/a.jpg"]
)
def test_label_path_is_ultralytics(image: str) -> None:
    utilities = pytest.importorskip("ultralytics.data.utils")
    assert str(label_path(Path(image))) == utilities.img2label_paths([image])[0]


def test_boxes_are_ultralytics_for_boxes_and_polygons(tmp_path: Path, write_image: Callable[..., None]) -> None:
    utilities = pytest.importorskip("ultralytics.data.utils")
    write_image(tmp_path / "a.jpg")
    for text in (
        "1 0.5 0.25 0.125 0.5\n0 0.1 0.2 0.1 0.1\n",
        "0 0.5 0.5 0.2 0.2\n0 0.50 0.5 0.2 0.2\n",
        "0 0.1 0.1 0.9 0.2 0.3 0.8\n1 0.2 0.2 0.4 0.2 0.4 0.3 0.2 0.3\n",
    ):
        (tmp_path / "a.txt").write_text(text)
        oracle = utilities.verify_image_label(
            (str(tmp_path / "a.jpg"), str(tmp_path / "a.txt"), "", False, 2, 0, 0, False)
        )[1]
        boxes, mistakes = read_labels(text, 2)
        assert not mistakes
        # float32 in Ultralytics, float64 here: one part in 2^23 of coordinates up to 1.
        np.testing.assert_allclose(boxes, oracle, atol=2e-7)
