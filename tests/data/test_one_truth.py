"""What is checked is what is trained and measured. Oracle: Ultralytics' own check and loader, OpenCV's decoder.

Every file here is read alike by both, or refused by its name.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgegd.data.check import check_contents, check_dataset
from edgegd.data.contents import ImageContent, require_loaded
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.labels import label_path, read_labels
from edgegd.data.view import ultralytics_yaml
from edgegd.errors import LabelError, MissingArtifactError, NoImagesError, UnreadableImageError
from edgegd.recipe.schema import DataSection
from edgegd.runtime.images import decode_bytes, read_image


def opened(path: Path) -> Dataset:
    return open_dataset(DataSection(source="yaml", path=str(path)))


def in_format(kind: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA"])
def test_a_file_of_another_format_than_its_name_says(data_yaml: Path, kind: str) -> None:
    image = data_yaml.parent / "images/train/0.jpg"
    image.write_bytes(in_format(kind))
    with pytest.raises(UnreadableImageError, match=r"images/train/0\.jpg: "):
        check_dataset(opened(data_yaml))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_a_format_that_both_read_is_read_whatever_its_name_says(data_yaml: Path, kind: str) -> None:
    (data_yaml.parent / "images/train/0.jpg").write_bytes(in_format(kind))
    assert check_dataset(opened(data_yaml)).train_images == 2


def jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))[1])


def png() -> bytes:
    return bytes(cv2.imencode(".png", np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))[1])


@pytest.mark.parametrize(
    "content",
    [
        jpeg().replace(b"\xff\xdb", b"ab\xff\xdb", 1),
        jpeg().replace(b"\xff\xc4", b"\x00\xff\x00\xff\xff\xc4", 1),
        png() + bytes(9_000),
        png() + b"x" * 100_000,
        jpeg() + bytes(9_000),
        jpeg() + jpeg(),
    ],
    ids=["two stray bytes", "fill bytes", "9,000 bytes after a PNG", "many more", "after a JPEG", "two pictures"],
)
def test_whole_files_with_more_in_them_are_read_as_opencv_reads_them(content: bytes) -> None:
    image, problem = decode_bytes(content)
    assert not problem and image is not None
    np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("content", [jpeg(), png()], ids=["jpeg", "png"])
def test_files_that_are_cut_are_still_refused(content: bytes) -> None:
    for kept in (3, 10, len(content) // 2, len(content) - 3):
        assert decode_bytes(content[:kept])[0] is None, kept


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("0 0.2 0.2 1.03 0.3 0.5 0.9\n", 1),
        ("0 -0.02 0.2 0.9 0.3 0.5 0.9\n", 1),
        ("0 0.1 0.1 1.2 0.1 1.2 1.2 0.1 1.2\n", None),
        ("1 0.5 0.5 1.009 1.0\n", 1),
        ("0 0.5 0.5 1.02 0.5\n", None),
        ("0 -0.009 0.5 0.1 0.1\n", 1),
        ("0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n", 1),
        ("0 0.123456789 0.5 0.1 0.1\n0 0.1234567891 0.5 0.1 0.1\n", 1),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2\n0 0.2 0.1 0.1 0.1 0.2 0.2\n", 2),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2\n0 0.5 0.5 0.1 0.1\n", None),
        ("\ufeff0 0.5 0.5 0.1 0.1", 1),
        ("0 nan 0.5 0.1 0.1\n", None),
        ("2 0.5 0.5 0.1 0.1\n", None),
        ("", 0),
        ("-1 0.5 0.5 0.1 0.1\n", None),
        ("0.5 0.5 0.5 0.1 0.1\n", None),
        ("0 0.5 0.5 0.1\n", None),
        ("0 0.5 0.5 0.1 0.1 0.9\n", None),
    ],
)
def test_label_forms_are_read_as_ultralytics_reads_them(data_yaml: Path, text: str, boxes: int | None) -> None:
    loader = pytest.importorskip("ultralytics.data.utils")
    image = data_yaml.parent / "images/train/0.jpg"
    label_path(image).write_text(text, encoding="utf-8")
    theirs = loader.verify_image_label((str(image), str(label_path(image)), "", False, 2, 0, 0, False))
    own, mistakes = read_labels(text, 2)
    if boxes is None:
        assert mistakes and theirs[1] is None, theirs[-1]
    else:
        assert not mistakes and len(own) == boxes == len(theirs[1])
        key = np.argsort(own[:, 1]), np.argsort(theirs[1][:, 1])
        np.testing.assert_allclose(own[key[0]], theirs[1][key[1]], atol=1e-6)


def loader_of(dataset: Dataset, folder: Path, split: str = "train") -> tuple[Any, dict[str, Path]]:
    """Ultralytics' data set of a split through the view, and path there -> image."""
    loaders = pytest.importorskip("ultralytics.data.dataset")
    view = ultralytics_yaml(dataset, folder)
    data = {"names": dict(enumerate(dataset.names)), "nc": len(dataset.names), "channels": 3}
    file = view.with_name(f"{split}.txt")
    links = dict(zip(file.read_text().splitlines(), getattr(dataset, f"{split}_images"), strict=True))
    return loaders.YOLODataset(img_path=str(file), data=data, imgsz=64, augment=False), links


def test_the_loader_yields_what_was_recorded_pixel_by_pixel(data_yaml: Path, tmp_path: Path) -> None:
    image = data_yaml.parent / "images/train/0.jpg"
    image.write_bytes(image.read_bytes() + b"notes of a camera")
    label_path(image).write_text("0 0.2 0.2 1.03 0.3 0.5 0.9\n1 0.1 0.1 0.2 0.1 0.2 0.2\n")
    dataset = opened(data_yaml)
    _, contents = check_contents(dataset)
    loaded, links = loader_of(dataset, tmp_path / "view")
    recorded = dict(zip((*dataset.train_images, *dataset.val_images), contents, strict=True))
    require_loaded(loaded.labels, links, recorded, 2, "train")
    for place, file in enumerate(loaded.im_files):
        np.testing.assert_array_equal(
            loaded.load_image(place, rect_mode=False)[0], cv2.resize(read_image(links[file]), (64, 64))
        )


Change = Callable[[list[dict[str, Any]], Path], None]


def drop(labels: list[dict[str, Any]], image: Path) -> None:
    labels.pop(0)


def twice(labels: list[dict[str, Any]], image: Path) -> None:
    labels.append(labels[0])


def stranger(labels: list[dict[str, Any]], image: Path) -> None:
    labels.append(labels[0] | {"im_file": "/somewhere/else.jpg"})


def other_size(labels: list[dict[str, Any]], image: Path) -> None:
    labels[0]["shape"] = (64, 48)


def other_box(labels: list[dict[str, Any]], image: Path) -> None:
    labels[0]["bboxes"] = labels[0]["bboxes"] + np.float32(0.001)


def other_class(labels: list[dict[str, Any]], image: Path) -> None:
    labels[0]["cls"] = labels[0]["cls"] + 1


def no_box(labels: list[dict[str, Any]], image: Path) -> None:
    labels[0] |= {"cls": np.zeros((0, 1)), "bboxes": np.zeros((0, 4))}


def changed_since(labels: list[dict[str, Any]], image: Path) -> None:
    label_path(image).write_text("0 0.4 0.5 0.25 0.25\n")


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (drop, UnreadableImageError, "images/train/0.jpg"),
        (twice, UnreadableImageError, "0.jpg"),
        (stranger, UnreadableImageError, "/somewhere/else.jpg"),
        (other_size, UnreadableImageError, "images/train/0.jpg"),
        (other_box, LabelError, "labels/train/0.txt"),
        (other_class, LabelError, "labels/train/0.txt"),
        (no_box, LabelError, "labels/train/0.txt"),
        (changed_since, MissingArtifactError, "labels/train/0.txt"),
    ],
)
def test_any_difference_stops_with_the_files_name(
    data_yaml: Path, tmp_path: Path, change: Change, error: type[Exception], named: str
) -> None:
    dataset = opened(data_yaml)
    contents = check_contents(dataset)[1]
    loaded, links = loader_of(dataset, tmp_path / "view")
    change(loaded.labels, dataset.train_images[0])
    recorded = dict(zip((*dataset.train_images, *dataset.val_images), contents, strict=True))
    with pytest.raises(error) as caught:
        require_loaded(loaded.labels, links, recorded, 2, "train")
    assert named in str(caught.value)


def test_what_lies_in_the_view_from_before_is_replaced(data_yaml: Path, tmp_path: Path) -> None:
    dataset = opened(data_yaml)
    ultralytics_yaml(dataset, tmp_path / "view")
    link = tmp_path / "view/images/0000/0.jpg"
    link.unlink()
    link.write_bytes(b"an image of before")
    ultralytics_yaml(dataset, tmp_path / "view")
    assert link.read_bytes() == dataset.train_images[0].read_bytes()


def test_run_folders_and_hidden_folders_among_the_images_are_passed_over(data_yaml: Path) -> None:
    images = data_yaml.parent / "images/train"
    run = images / "run" / "view/images/0000"
    run.mkdir(parents=True)
    for name in ("run.json", "recipe.yaml"):
        (images / "run" / name).write_text("{}")
    (run / "0.jpg").symlink_to(images / "0.jpg")
    (images / ".ipynb_checkpoints").mkdir()
    (images / ".ipynb_checkpoints" / "0.jpg").write_bytes((images / "0.jpg").read_bytes())
    assert len(opened(data_yaml).train_images) == 2


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\u2028b.jpg", "a\x85b.jpg", "a\rb.jpg", "caf\udce9.jpg"], ids=ascii)
def test_names_that_no_list_can_hold(data_yaml: Path, name: str) -> None:
    image = data_yaml.parent / "images/train/0.jpg"
    try:
        image.rename(image.with_name(name))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(NoImagesError, match="cannot be written into a list") as caught:
        opened(data_yaml)
    assert len(caught.value.what.splitlines()) == 1
    caught.value.message().encode()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("images/train/0.jpg\n".encode("utf-16"), "UTF-16"),
        (b"images/train/\xe9.jpg\n", "0xe9"),
        (b"./images/train/0.jpg\n./images/train/1.jpg\n./images/train/0.jpg\n", "first in line 1"),
        (b"./images/train/0.jpg\n./images/val/../train/0.jpg\n", "first in line 1"),
    ],
    ids=["utf-16", "latin-1", "repeats", "repeats by another path"],
)
def test_list_files(data_yaml: Path, content: bytes, found: str) -> None:
    (data_yaml.parent / "train.txt").write_bytes(content)
    data_yaml.write_text("train: train.txt\nval: images/val\nnames: [a, b]\n")
    with pytest.raises(NoImagesError, match=r"train\.txt") as caught:
        opened(data_yaml)
    assert found in str(caught.value)


def test_a_list_with_a_byte_order_mark_and_windows_ends(data_yaml: Path) -> None:
    (data_yaml.parent / "train.txt").write_bytes(b"\xef\xbb\xbf./images/train/0.jpg\r\n./images/train/1.jpg\r\n")
    data_yaml.write_text("train: train.txt\nval: images/val\nnames: [a, b]\n")
    assert [image.name for image in opened(data_yaml).train_images] == ["0.jpg", "1.jpg"]


def test_a_split_that_names_a_folder_twice(data_yaml: Path) -> None:
    data_yaml.write_text("train: [images/train, images/train]\nval: images/val\nnames: [a, b]\n")
    with pytest.raises(NoImagesError, match="twice"):
        opened(data_yaml)


def test_contents_survive_json(data_yaml: Path) -> None:
    contents = check_contents(opened(data_yaml))[1]
    rows = json.loads(json.dumps([dataclasses.astuple(content) for content in contents]))
    assert tuple(ImageContent(*row) for row in rows) == contents and contents[0].boxes == 1


def test_pipes_are_no_images(data_yaml: Path) -> None:
    image = data_yaml.parent / "images/train/0.jpg"
    image.unlink()
    os.mkfifo(image)
    with pytest.raises(UnreadableImageError, match="a pipe"):
        check_dataset(opened(data_yaml))
    image.unlink()
    image.write_bytes(jpeg())
    label_path(image).unlink()
    os.mkfifo(label_path(image))
    with pytest.raises(LabelError, match="a pipe"):
        check_dataset(opened(data_yaml))
