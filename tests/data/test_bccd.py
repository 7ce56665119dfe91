"""BCCD's archive is converted exactly, defects included; oracle: rows computed by hand, and a local copy if any."""

from __future__ import annotations

import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgegd.data.bccd import NAMES, URL, fetch_bccd
from edgegd.data.check import check_dataset
from edgegd.data.dataset import open_dataset
from edgegd.data.voc import convert_annotation
from edgegd.errors import DownloadError, LabelError, WouldOverwriteError
from edgegd.recipe.schema import DataSection

LOCAL_COPY = Path(__file__).resolve().parents[3] / "shared/data/bccd"


def annotation(*objects: tuple[str, float, float, float, float], filename: str = "other.jpg") -> bytes:
    rows = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1:g}</xmin><ymin>{y1:g}</ymin><xmax>{x2:g}</xmax>"
        f"<ymax>{y2:g}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    # A size of 0 and a wrong file name are defects of real annotations, and must not matter.
    return (
        f"<annotation><filename>{filename}</filename><size><width>0</width><height>0</height></size>{rows}</annotation>"
    ).encode()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip of the repository's shape: two training images, one for validation, one for test; 200 x 100 pixels."""
    image = cv2.imencode(".jpg", np.full((100, 200, 3), 128, np.uint8))[1].tobytes()
    annotations = {
        "b_0": annotation(("WBC", 20, 10, 60, 30), ("RBC", 150, 50, 260, 101)),  # the second past the border
        "b_1": annotation(("Platelets", 40, 40, 40, 60), ("RBC", 10, 50, 0, 0)),  # no width; corners exchanged
        "b_2": annotation(("RBC", 0, 0, 200, 100)),
        "b_3": annotation(("RBC", 0, 0, 9, 9)),
    }
    file = tmp_path / "BCCD.zip"
    with zipfile.ZipFile(file, "w") as content:
        root = "BCCD_Dataset-abc/"
        content.writestr(f"{root}LICENSE", "MIT License\n")
        for split, stems in (("train", "b_1\nb_0\n"), ("val", "b_2\n"), ("test", "b_3\n")):
            content.writestr(f"{root}BCCD/ImageSets/Main/{split}.txt", stems)
        for stem, xml in annotations.items():
            content.writestr(f"{root}BCCD/JPEGImages/{stem}.jpg", image)
            content.writestr(f"{root}BCCD/Annotations/{stem}.xml", xml)
    return file


def test_archive_is_converted_with_its_defects_repaired(archive: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    file = fetch_bccd(tmp_path / "new/bccd", lambda *call: calls.append(call), archive=archive)
    labels = {
        path.relative_to(file.parent / "labels").as_posix(): path.read_text() for path in file.parent.rglob("*.txt")
    }
    assert labels == {
        "train/b_0.txt": "1 0.200000 0.200000 0.200000 0.200000\n0 0.875000 0.750000 0.250000 0.500000\n",
        "train/b_1.txt": "0 0.025000 0.250000 0.050000 0.500000\n",
        "val/b_2.txt": "0 0.500000 0.500000 1.000000 1.000000\n",
    }
    assert "4 boxes, 1 clipped at the image's border,\n# 1 without an area dropped" in file.read_text()
    assert (file.parent / "LICENSE").read_text() == "MIT License\n"
    assert calls[-1] == (3, 3) and archive.is_file()
    dataset = open_dataset(DataSection(source="bccd", path=str(file.parent)))
    assert dataset.names == NAMES and check_dataset(dataset).boxes_per_class == (3, 1, 0)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["bccd"]


def test_a_set_that_is_there_is_left_as_it_is(archive: Path, tmp_path: Path) -> None:
    file = fetch_bccd(tmp_path / "bccd", archive=archive)
    file.write_text("mine")
    assert fetch_bccd(tmp_path / "bccd", archive=archive).read_text() == "mine"


def test_another_folder_is_not_overwritten(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "bccd").mkdir()
    (tmp_path / "bccd/notes.txt").write_text("mine")
    with pytest.raises(WouldOverwriteError):
        fetch_bccd(tmp_path / "bccd", archive=archive)
    assert [path.name for path in (tmp_path / "bccd").iterdir()] == ["notes.txt"]


def test_without_network_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(DownloadError) as caught:
        open_dataset(DataSection(source="bccd", path=str(tmp_path / "bccd")))
    assert URL in caught.value.mend and str(tmp_path / "bccd") in caught.value.mend and "--archive" in caught.value.mend
    assert list(tmp_path.iterdir()) == []


def test_download_of_a_local_address_equals_the_archive(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgegd.data.bccd.URL", archive.as_uri())
    downloaded = fetch_bccd(tmp_path / "one").parent
    by_hand = fetch_bccd(tmp_path / "two", archive=archive).parent
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (downloaded, by_hand)
    ]
    assert files[0] == files[1] and len(files[0]) == 8


@pytest.mark.parametrize("spoil", ["truncated", "other", "absent"])
def test_wrong_archives_leave_nothing(archive: Path, tmp_path: Path, spoil: str) -> None:
    wrong = tmp_path / "wrong.zip"
    if spoil == "truncated":
        wrong.write_bytes(archive.read_bytes()[:-200])
    if spoil == "other":
        with zipfile.ZipFile(wrong, "w") as content:
            content.writestr("README.md", "another repository")
    with pytest.raises(DownloadError, match="not a complete archive"):
        fetch_bccd(tmp_path / "bccd", archive=wrong)
    assert not (tmp_path / "bccd").exists() and not list(tmp_path.glob(".bccd-*"))


@pytest.mark.parametrize(
    ("xml", "fragment"),
    [
        (annotation(("Cell", 0, 0, 5, 5)), "unknown class"),
        (b"<annotation><object>", "not a Pascal VOC"),
        (b"<a><object><name>RBC</name></object></a>", "not a Pascal VOC"),
    ],
)
def test_broken_annotations_are_label_errors(xml: bytes, fragment: str) -> None:
    with pytest.raises(LabelError, match=fragment):
        convert_annotation(xml, (10, 10), NAMES, "x.xml")


def test_real_annotations_become_the_labels_to_the_byte(bccd_images: tuple[Path, ...]) -> None:
    folder = bccd_images[0].parents[2]
    for image in bccd_images:
        height, width = cv2.imread(str(image)).shape[:2]
        xml = (folder / "annotations" / f"{image.stem}.xml").read_bytes()
        label = folder / "labels" / image.parent.name / f"{image.stem}.txt"
        assert convert_annotation(xml, (width, height), NAMES, image.stem).text == label.read_text(), image.stem
    dataset = open_dataset(DataSection(source="bccd", path=str(folder)))
    assert (len(dataset.train_images), len(dataset.val_images), dataset.names) == (6, 6, NAMES)
    assert min(check_dataset(dataset).boxes_per_class) >= 12, "every class is on every image"


@pytest.mark.skipif(not LOCAL_COPY.is_dir(), reason=f"no local copy of BCCD at {LOCAL_COPY}")
def test_conversion_reproduces_the_local_copys_labels_to_the_byte() -> None:
    width, height = 640, 480
    labels = sorted((LOCAL_COPY / "labels").rglob("*.txt"))
    assert len(labels) == 292
    for label in labels:
        rows = [line.split() for line in label.read_text().splitlines()]
        objects = []
        for kind, *values in rows:
            cx, cy, w, h = (float(value) for value in values)
            edges = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
            objects.append((NAMES[int(kind)], *(float(round(edge)) for edge in edges)))
        converted = convert_annotation(annotation(*objects), (width, height), NAMES, label.name)  # type: ignore[arg-type]
        assert converted.text == label.read_text(), label.name
