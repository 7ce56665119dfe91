"""Data sets are opened as Ultralytics opens them, and every defect has its own error; oracle: Ultralytics' own code."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgegd.data.dataset import Dataset, open_dataset
from edgegd.data.download import addresses
from edgegd.errors import DataNotFoundError, DownloadError, NoImagesError
from edgegd.recipe.schema import DataSection


def opened(path: str | Path, **keys: Any) -> Dataset:
    return open_dataset(DataSection(source="yaml", path=str(path), **keys))


def rewrite(file: Path, **keys: Any) -> Path:
    data = {**yaml.safe_load(file.read_text()), **keys}
    file.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))
    return file


def test_images_are_listed_by_path_and_names_by_id(data_yaml: Path) -> None:
    dataset = opened(rewrite(data_yaml, names={1: "dog", 0: "cat"}))
    assert dataset.names == ("cat", "dog")
    assert [image.relative_to(dataset.root).as_posix() for image in (*dataset.train_images, *dataset.val_images)] == [
        "images/train/0.jpg",
        "images/train/1.jpg",
        "images/val/0.jpg",
        "images/val/1.jpg",
    ]


@pytest.mark.parametrize("path", [None, "set", "{root}", "."], ids=["absent", "datasets-folder", "absolute", "dot"])
def test_path_key_finds_the_same_images(
    data_yaml: Path, path: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edgegd.data.yaml_set.datasets_folder", lambda: tmp_path)
    expected = opened(data_yaml)
    other = opened(rewrite(data_yaml, path=path and path.format(root=data_yaml.parent)))
    assert other.train_images == expected.train_images and other.val_images == expected.val_images


def test_lists_of_folders_and_list_files(data_yaml: Path) -> None:
    root = data_yaml.parent
    (root / "val.txt").write_text("./images/val/1.jpg\nimages/val/0.jpg\n\n")
    dataset = opened(rewrite(data_yaml, train=["images/train", "images/val"], val="val.txt", names=["cat", "dog"]))
    assert len(dataset.train_images) == 4
    assert dataset.val_images == (root / "images/val/0.jpg", root / "images/val/1.jpg")


def test_folder_with_one_yaml_is_that_yaml(data_yaml: Path) -> None:
    assert opened(data_yaml.parent).yaml_path == data_yaml


def test_hidden_and_other_files_are_no_images(data_yaml: Path) -> None:
    for name in ("._0.jpg", "notes.md", "Thumbs.db"):
        (data_yaml.parent / "images/train" / name).write_text("x")
    assert len(opened(data_yaml).train_images) == 2


@pytest.mark.parametrize(
    ("keys", "fragment"),
    [
        ({"train": None}, "`train` must be a folder"),
        ({"val": 3}, "`val` must be a folder"),
        ({"names": None}, "`names` must list the classes"),
        ({"names": {0: "cat", 2: "dog"}}, "ids 0, 1, 2"),
        ({"kpt_shape": [17, 3]}, "pose data set"),
    ],
    ids=["no-train", "val-number", "no-names", "gap", "pose"],
)
def test_wrong_description(data_yaml: Path, keys: dict[str, Any], fragment: str) -> None:
    with pytest.raises(DataNotFoundError, match=fragment):
        opened(rewrite(data_yaml, **keys))


def test_all_that_is_wrong_with_a_description_is_said_at_once(data_yaml: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        opened(rewrite(data_yaml, train=None, names=None))
    assert "`train`" in str(caught.value) and "`names`" in str(caught.value)


def test_missing_yaml_suggests_ultralytics_name() -> None:
    pytest.importorskip("ultralytics")
    with pytest.raises(DataNotFoundError, match=r"did you mean coco8\.yaml"):
        opened("coco_8.yaml")


@pytest.mark.parametrize("remove", ["images", "folder"])
def test_empty_and_missing_image_folders(data_yaml: Path, remove: str) -> None:
    folder = data_yaml.parent / "images/val"
    for image in folder.iterdir():
        image.unlink()
    if remove == "folder":
        folder.rmdir()
    with pytest.raises(NoImagesError, match=str(folder)):
        opened(data_yaml)


@pytest.mark.parametrize(
    ("name", "file", "folder"),
    [
        ("coco.yaml", "http://images.cocodataset.org/zips/val2017.zip", "coco/images"),
        ("kitti.yaml", "https://github.com/ultralytics/assets/releases/download/v0.0.0/kitti.zip", "."),
        ("brain-tumor.yaml", "https://github.com/ultralytics/assets/releases/download/v0.0.0/brain-tumor.zip", "."),
    ],
)
def test_impossible_download_says_which_file_to_put_where(
    name: str, file: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ultralytics")

    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr("edgegd.data.yaml_set.datasets_folder", lambda: tmp_path)
    with pytest.raises(DownloadError) as caught:
        opened(name)
    assert f"unpack {file} into {tmp_path / folder}" in caught.value.mend
    assert "no network" in caught.value.found


@pytest.mark.parametrize("works", [True, False], ids=["works", "fails"])
def test_a_yamls_own_download_script_is_run_once_where_it_is_trusted(
    data_yaml: Path, tmp_path: Path, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ultralytics")
    monkeypatch.setenv("EDGEGD_TRUST", "1")
    new = tmp_path / "new"
    script = (
        f"import shutil\nshutil.copytree({str(data_yaml.parent)!r}, yaml['path'])\n"
        if works
        else "raise OSError('server on fire')\n"
    )
    described = tmp_path / "described.yaml"
    described.write_text(
        yaml.safe_dump(
            {
                "path": str(new),
                "train": "images/train",
                "val": "images/val",
                "names": ["cat", "dog"],
                "download": script,
            }
        )
    )
    if works:
        assert opened(described).train_images == (new / "images/train/0.jpg", new / "images/train/1.jpg")
        assert len(opened(described).val_images) == 2  # a second run of the script would fail: the folder exists
    else:
        with pytest.raises(DownloadError, match="server on fire") as caught:
            opened(described)
        assert f"{new} must then hold images/train, images/val" in caught.value.mend


def test_addresses_of_a_script_that_downloads_to_two_folders() -> None:
    script = (
        'urls = ["https://a.org/x.zip"]\ndownload(urls, dir=dir / "images")\n'
        'urls = [ASSETS_URL + "/y.zip"]\ndownload(urls, dir=dir.parent)\n'
    )
    assert addresses(script, Path("/d/set")) == [
        ("https://a.org/x.zip", Path("/d/set/images")),
        ("https://github.com/ultralytics/assets/releases/download/v0.0.0/y.zip", Path("/d")),
    ]


def test_streets_without_counts_and_without_folder(tmp_path: Path) -> None:
    with pytest.raises(NoImagesError, match="holds no streets data set"):
        open_dataset(DataSection(source="streets", path=str(tmp_path)))


def test_streets_are_drawn_once(tmp_path: Path) -> None:
    pytest.importorskip("edgegd.data.streets")
    section = DataSection(source="streets", path=str(tmp_path / "streets"), train_images=2, val_images=1)
    calls: list[tuple[int, int]] = []
    first = open_dataset(section, lambda done, total: calls.append((done, total)))
    assert (len(first.train_images), len(first.val_images)) == (2, 1) and calls[-1] == (3, 3)
    stamp = first.train_images[0].stat().st_mtime_ns
    assert open_dataset(section) == first and first.train_images[0].stat().st_mtime_ns == stamp
