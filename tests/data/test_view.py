"""Ultralytics' loader reads a data set through the view, and every file of the user's stays as it was."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edgegd.data.check import check_dataset
from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.view import ultralytics_yaml
from edgegd.recipe.schema import DataSection


@pytest.fixture
def dataset(data_yaml: Path) -> Dataset:
    image = data_yaml.parent / "images/train/0.jpg"
    image.write_bytes(image.read_bytes() + b"camera's own notes")  # Ultralytics re-saves such a JPEG in place
    return open_dataset(DataSection(path=str(data_yaml)))


def state(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_ultralytics_loads_the_same_images_and_boxes_and_writes_only_into_the_view(
        dataset: Dataset, tmp_path: Path) -> None:
    loaders = pytest.importorskip("ultralytics.data.dataset")
    check_dataset(dataset)
    before = state(dataset.root)
    view = ultralytics_yaml(dataset, tmp_path / "run/data")
    data = yaml.safe_load(view.read_text())
    loaded = loaders.YOLODataset(img_path=str(Path(data["path"]) / data["train"]), data=data, imgsz=64, augment=False)
    assert [Path(label["im_file"]).name for label in loaded.labels] == ["0.jpg", "1.jpg"]
    assert [label["cls"].ravel().tolist() for label in loaded.labels] == [[0.0], [1.0]]
    assert loaded.labels[0]["bboxes"].tolist() == [[0.5, 0.5, 0.25, 0.25]]
    np.testing.assert_array_equal(loaded.load_image(1)[0], cv2.imread(str(dataset.train_images[1])))
    assert state(dataset.root) == before
    assert (tmp_path / "run/data/labels/0000.cache").is_file()
    assert not (tmp_path / "run/data/images/0000/0.jpg").is_symlink()  # the re-saved copy replaced the link


def test_making_the_view_again_keeps_the_cache_and_corrects_links(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "view"
    first = ultralytics_yaml(dataset, folder).read_bytes()
    (folder / "labels/0000.cache").write_text("cache")
    link = folder / "images/0001/1.jpg"
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere.jpg")
    assert ultralytics_yaml(dataset, folder).read_bytes() == first
    assert (folder / "labels/0000.cache").read_text() == "cache"
    assert link.resolve() == dataset.val_images[1].resolve()


def test_images_outside_an_images_folder_find_their_labels(tmp_path: Path, data_yaml: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    source = data_yaml.parent
    (flat / "a.jpg").write_bytes((source / "images/val/0.jpg").read_bytes())
    (flat / "a.txt").write_bytes((source / "labels/val/0.txt").read_bytes())
    (flat / "data.yaml").write_text("train: .\nval: .\nnames: [cat]\n")
    dataset = open_dataset(DataSection(path=str(flat / "data.yaml")))
    view = ultralytics_yaml(dataset, tmp_path / "view").parent
    assert Path((view / "train.txt").read_text().strip()).resolve() == flat / "a.jpg"
    assert (view / "labels/0000/a.txt").read_text() == (flat / "a.txt").read_text()
