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
from edgegd.errors import OutputFileError
from edgegd.recipe.schema import DataSection


@pytest.fixture
def dataset(data_yaml: Path) -> Dataset:
    image = data_yaml.parent / "images/train/0.jpg"
    image.write_bytes(image.read_bytes() + b"camera's own notes")  # Ultralytics re-saves such a JPEG in place
    return open_dataset(DataSection(path=str(data_yaml)))


def state(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_ultralytics_loads_the_same_images_and_boxes_and_writes_only_into_the_view(
    dataset: Dataset, tmp_path: Path
) -> None:
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


def test_making_the_view_again_corrects_links_and_leaves_no_cache(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "view"
    first = ultralytics_yaml(dataset, folder).read_bytes()
    (folder / "labels/0000.cache").write_text("cache")
    (folder / "images/0000/0.npy").write_text("an array that would be taken for the image")
    link = folder / "images/0001/1.jpg"
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere.jpg")
    before = state(dataset.root)
    assert ultralytics_yaml(dataset, folder).read_bytes() == first
    assert not (folder / "labels/0000.cache").exists() and not (folder / "images/0000/0.npy").exists()
    assert link.resolve() == dataset.val_images[1].resolve()
    assert state(dataset.root) == before


@pytest.mark.parametrize("name", ["", "images", "labels", "train.txt", "data.yaml"])
def test_nothing_is_written_through_a_link_in_the_view(dataset: Dataset, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "0000").mkdir(parents=True)
    (elsewhere / "0000/0.jpg").write_text("somebody's")
    (tmp_path / "file").write_text("somebody's")
    folder = tmp_path / "view"
    if not name:
        folder.symlink_to(elsewhere)
        with pytest.raises(OutputFileError, match="link"):
            ultralytics_yaml(dataset, folder)
    else:
        folder.mkdir()
        (folder / name).symlink_to(tmp_path / "file" if "." in name else elsewhere)
        ultralytics_yaml(dataset, folder)
        assert not (folder / name).is_symlink()
    assert state(elsewhere) == {elsewhere / "0000/0.jpg": b"somebody's"}
    assert (tmp_path / "file").read_text() == "somebody's"


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
