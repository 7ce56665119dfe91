"""Faults are planted, one for each check, in a set that has none: that check finds it, by name, and no other does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from edgegd.data.doctor import CHECKS, Examination, examine
from edgegd.data.doctor.finding import SHOWN
from edgegd.data.doctor.stored import StoredForm, stored_form
from edgegd.data.labels import label_path
from edgegd.data.yaml_set import read_data_yaml
from edgegd.errors import NoImagesError

pytest.importorskip("scipy")
Image = pytest.importorskip("PIL.Image")
TRAIN, VAL = 20, 12
YAML = "cells.yaml"


@pytest.fixture(scope="session")
def clean_set(bccd_images: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of 20 training and 12 validation images: quarters of photographs, with a box of each class in each."""
    root, rng = tmp_path_factory.mktemp("clean") / "set", np.random.default_rng(0)
    quarters = [
        part
        for photograph in map(pixels, bccd_images)
        for half in np.split(photograph, 2)
        for part in np.split(half, 2, axis=1)
    ]
    order = rng.permutation(len(quarters))
    for split, count in (("train", TRAIN), ("val", VAL)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for place in range(count):
            cv2.imwrite(str(image(root, place, split)), quarters[order[place + TRAIN * (split == "val")]])
            boxes = np.hstack([rng.uniform(0.3, 0.7, (3, 2)), rng.uniform(0.1, 0.4, (3, 2))])
            write_rows(
                root,
                [f"{kind} {x:.6f} {y:.6f} {w:.6f} {h:.6f}" for kind, (x, y, w, h) in enumerate(boxes)],
                place,
                split,
            )
    (root / YAML).write_text("train: images/train\nval: images/val\nnames:\n  0: RBC\n  1: WBC\n  2: Platelets\n")
    return root


@pytest.fixture
def root(clean_set: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(clean_set, tmp_path / "set"))


def examined(root: Path, imgsz: int = 640) -> Examination:
    return examine(read_data_yaml(root / YAML), (imgsz, imgsz))


def image(root: Path, place: int = 0, split: str = "train") -> Path:
    return root / f"images/{split}/{place:06d}.jpg"


def rows(root: Path, place: int = 0, split: str = "train") -> list[str]:
    return label_path(image(root, place, split)).read_text().splitlines()


def write_rows(root: Path, rows: list[str], place: int = 0, split: str = "train") -> None:
    label_path(image(root, place, split)).write_text("".join(f"{row}\n" for row in rows))


def add_row(root: Path, row: str) -> None:
    write_rows(root, [*rows(root), row])


def pixels(path: Path) -> np.ndarray:
    return cv2.imread(str(path))


def test_nothing_is_found_where_nothing_is_wrong(clean: set[str]) -> None:
    assert clean == set()


def test_streets_as_drawn_have_no_warnings_but_that_they_are_few(tiny_set: Path) -> None:
    found = examine(read_data_yaml(tiny_set / "streets.yaml"), (320, 320)).findings
    assert {name for name, finding in found.items() if finding.severity != "note"} == {"rare-classes"}


def test_photographs_have_none_but_that_they_are_few(bccd_images: tuple[Path, ...]) -> None:
    yaml_path = bccd_images[0].parents[2] / "bccd.yaml"
    found = examine(read_data_yaml(yaml_path), (320, 320)).findings
    assert {name for name, finding in found.items() if finding.severity != "note"} == {"rare-classes"}


def unreadable(root: Path) -> None:
    image(root).write_bytes(image(root).read_bytes()[:3000])


def without_label(root: Path) -> None:
    label_path(image(root)).unlink()


def orphan(root: Path) -> None:
    label_path(image(root, 999)).write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "labels/train/classes.txt").write_text("RBC\nWBC\n")  # what annotation tools leave is none


def orphan_in_a_folder_of_its_own(root: Path) -> None:
    (root / "labels/train/more").mkdir()
    (root / "labels/train/more/000000.txt").write_text("0 0.5 0.5 0.1 0.1\n")


def words(root: Path) -> None:
    add_row(root, "car 0.5 0.5 0.1 0.1")


def binary_label(root: Path) -> None:
    label_path(image(root)).write_bytes(b"\xff\xfe\x80")


def wrong_class(root: Path) -> None:
    add_row(root, "3 0.5 0.5 0.1 0.1")


def in_pixels(root: Path) -> None:
    add_row(root, "0 240 160 24 36")


def no_height(root: Path) -> None:
    add_row(root, "0 0.5 0.5 0.1 0")


def over_the_border(root: Path) -> None:
    add_row(root, "0 0.95 0.5 0.2 0.3")


def twice(root: Path) -> None:
    add_row(root, rows(root)[0])


def nearly_twice(root: Path) -> None:
    for place in range(TRAIN):
        write_rows(root, [*rows(root, place), "0 0.5 0.5 0.2 0.2", "0 0.502 0.5 0.2 0.2"], place)


def two_classes(root: Path) -> None:
    for place in range(TRAIN):
        write_rows(root, [*rows(root, place), "0 0.5 0.5 0.2 0.2", "1 0.502 0.5 0.2 0.2"], place)


def crowd(root: Path) -> None:
    near = [f"0 {0.1 + 0.008 * x:.3f} {0.1 + 0.2 * y:.3f} 0.03 0.09" for x in range(100) for y in range(4)]
    write_rows(root, [*rows(root), *near])


def in_both_splits(root: Path) -> None:
    image(root, 0, "val").write_bytes(image(root).read_bytes())
    write_rows(root, rows(root), 0, "val")


def nearly_in_both_splits(root: Path) -> None:
    smaller = cv2.resize(pixels(image(root)), None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(image(root, 0, "val")), smaller, [cv2.IMWRITE_JPEG_QUALITY, 60])
    write_rows(root, rows(root), 0, "val")


def in_one_split_twice(root: Path) -> None:
    image(root, 1).unlink()
    cv2.imwrite(str(image(root, 1).with_suffix(".png")), pixels(image(root)))  # the same pixels in another file
    write_rows(root, rows(root), 1)


def nearly_in_one_split_twice(root: Path) -> None:
    cv2.imwrite(str(image(root, 1)), pixels(image(root)), [cv2.IMWRITE_JPEG_QUALITY, 50])
    write_rows(root, rows(root), 1)


def no_box_in_val(root: Path) -> None:
    for place in range(VAL):
        write_rows(root, [], place, "val")


def keep(root: Path, wanted: Callable[[str, int], bool]) -> None:
    """Leaves out the rows of a split and class that are not wanted."""
    for split, count in (("train", TRAIN), ("val", VAL)):
        for place in range(count):
            left = [row for row in rows(root, place, split) if wanted(split, int(row.split()[0]))]
            write_rows(root, left, place, split)


def class_not_trained(root: Path) -> None:
    keep(root, lambda split, kind: split == "val" or kind != 2)


def class_not_measured(root: Path) -> None:
    keep(root, lambda split, kind: split == "train" or kind != 2)


def class_of_one_instance(root: Path) -> None:
    text = (root / YAML).read_text()
    (root / YAML).write_text(text.replace("names:\n", "names:\n  3: dog\n"))
    add_row(root, "3 0.5 0.5 0.2 0.2")
    write_rows(root, [*rows(root, 0, "val"), "3 0.5 0.5 0.2 0.2"], 0, "val")


def unbalanced(root: Path) -> None:
    for place in range(TRAIN):
        near = [f"1 {0.1 + 0.02 * x:.3f} {0.1 + 0.2 * y:.3f} 0.03 0.09" for x in range(40) for y in range(4)]
        write_rows(root, near, place)
    keep(root, lambda split, kind: split == "val" or kind == 1)
    for place in range(10):
        write_rows(root, [*rows(root, place), "0 0.5 0.5 0.2 0.2", "2 0.3 0.5 0.2 0.2"], place)


def background(root: Path) -> None:
    for split, count in (("train", 12), ("val", 7)):
        for place in range(count):
            image(root, place, split).write_bytes(image(root, place, split).read_bytes() + b"\0")
            write_rows(root, [], place, split)


def tiny_boxes(root: Path) -> None:
    for split, count in (("train", TRAIN), ("val", VAL)):
        for place in range(count):
            shrunk = [" ".join([*row.split()[:3], "0.009", "0.05"]) for row in rows(root, place, split)]
            write_rows(root, shrunk, place, split)


def dropped_boxes(root: Path) -> None:
    for split, count in (("train", TRAIN), ("val", VAL)):
        for place in range(count):
            shrunk = [" ".join([*row.split()[:3], "0.003", "0.003"]) for row in rows(root, place, split)]
            write_rows(root, shrunk, place, split)


def elongated(root: Path) -> None:
    add_row(root, "0 0.5 0.5 0.9 0.005")


def panorama(root: Path) -> None:
    seen = pixels(image(root))
    cv2.imwrite(str(image(root)), np.hstack([seen, seen[:, ::-1], seen, seen[:, ::-1]]))


def turned(root: Path) -> None:
    with Image.open(image(root)) as opened:
        exif = opened.getexif()
        exif[0x0112] = 6
        opened.save(image(root), exif=exif, quality=92)


def sixteen_bits(root: Path) -> None:
    deep = pixels(image(root)).astype(np.uint16) * 257
    image(root).unlink()
    cv2.imwrite(str(image(root).with_suffix(".png")), deep)


def gray(root: Path) -> None:
    cv2.imwrite(str(image(root)), cv2.cvtColor(pixels(image(root)), cv2.COLOR_BGR2GRAY))


def lens_cap(root: Path) -> None:
    cv2.imwrite(str(image(root)), np.full((240, 320, 3), (9, 8, 3), np.uint8))


def night_in_val(root: Path) -> None:
    for place in range(VAL):
        cv2.imwrite(str(image(root, place, "val")), pixels(image(root, place, "val")) // 6)


class Planted(NamedTuple):
    """A fault, the check that finds it, what the finding has, and the checks that rightly find something as well."""

    check: str
    plant: Callable[[Path], None]
    severity: str
    count: int
    example: str
    also: tuple[str, ...] = ()
    imgsz: int = 640


FAULTS = [
    Planted("unreadable-images", unreadable, "error", 1, "images/train/000000.jpg: the file is truncated"),
    Planted("images-without-labels", without_label, "error", 1, "images/train/000000.jpg"),
    Planted("labels-without-images", orphan, "warning", 1, "labels/train/000999.txt"),
    Planted("labels-without-images", orphan_in_a_folder_of_its_own, "warning", 1, "labels/train/more/000000.txt"),
    Planted("unreadable-labels", words, "error", 1, "expected numbers"),
    Planted("unreadable-labels", binary_label, "error", 1, "labels/train/000000.txt: 000000.txt"),
    Planted("unknown-classes", wrong_class, "error", 1, "class 3 does not exist"),
    Planted("coordinates-outside", in_pixels, "error", 1, "labels/train/000000.txt: line"),
    Planted("empty-boxes", no_height, "error", 1, "width and height must be positive"),
    Planted("boxes-over-the-border", over_the_border, "warning", 1, "labels/train/000000.txt: 1 row"),
    Planted("repeated-rows", twice, "warning", 1, "labels/train/000000.txt: 1 row"),
    Planted("doubled-boxes", nearly_twice, "warning", TRAIN, "labels/train/000000.txt: RBC", ("skewed-splits",)),
    Planted("boxes-of-two-classes", two_classes, "warning", TRAIN, "txt: RBC and WBC", ("skewed-splits",)),
    Planted("crowded-images", crowd, "note", 1, "images/train/000000.jpg: 4", ("skewed-splits",)),
    Planted("leaked-images", in_both_splits, "error", 1, "images/val/000000.jpg is images/train/000000.jpg"),
    Planted("nearly-leaked-images", nearly_in_both_splits, "warning", 1, "images/val/000000.jpg and images/train/0000"),
    Planted("repeated-images", in_one_split_twice, "warning", 1, "images/train/000001.png is images/train/000000.jpg"),
    Planted("nearly-repeated-images", nearly_in_one_split_twice, "note", 1, "000001.jpg and images/train/000000.jpg"),
    Planted("splits-without-boxes", no_box_in_val, "error", 1, "val", ("skewed-splits",)),
    Planted("classes-not-trained", class_not_trained, "warning", 1, "Platelets: ", ("skewed-splits",)),
    Planted("classes-not-measured", class_not_measured, "warning", 1, "Platelets: ", ("skewed-splits",)),
    Planted("rare-classes", class_of_one_instance, "warning", 1, "dog: 1 box in 1 image"),
    Planted("class-balance", unbalanced, "note", 2, "WBC: 3,200 boxes", ("skewed-splits", "background-images")),
    Planted("background-images", background, "note", 19, "train: 60%", ("rare-classes",)),
    Planted("boxes-below-a-cell", tiny_boxes, "warning", 0, "RBC: "),
    Planted("boxes-that-training-drops", dropped_boxes, "warning", 0, "RBC: ", ("boxes-below-a-cell",)),
    Planted("elongated-boxes", elongated, "warning", 1, "576.0 x 2.4 px at imgsz 640", ("boxes-below-a-cell",)),
    Planted("padded-images", panorama, "note", 1, "images/train/000000.jpg: 1280 x 240"),
    Planted("turned-images", turned, "warning", 1, "images/train/000000.jpg: orientation 6"),
    Planted("deep-images", sixteen_bits, "warning", 1, "images/train/000000.png: 16 bits"),
    Planted("gray-images", gray, "note", 1, "images/train/000000.jpg: stored with one channel"),
    Planted("plain-images", lens_cap, "warning", 1, "images/train/000000.jpg: 0.0"),
    Planted("skewed-splits", night_in_val, "warning", 1, "val, brightness"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.plant.__name__)
def test_a_planted_fault_is_found_by_its_check_and_no_other(root: Path, clean: set[str], fault: Planted) -> None:
    fault.plant(root)
    findings = examined(root, fault.imgsz).findings
    finding = findings[fault.check]
    assert finding.severity == fault.severity
    assert any(fault.example in example for example in finding.examples), finding.examples
    assert finding.count == fault.count or not fault.count
    assert finding.mend and finding.sentence.endswith(".")
    assert set(findings) - {fault.check} - set(fault.also) <= clean


@pytest.fixture(scope="session")
def clean(clean_set: Path) -> set[str]:
    """The notes of the set that nothing was planted in."""
    return set(examined(clean_set).findings)


def test_a_search_that_was_cut_off_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegd.data.doctor.resemblance.MOST_COMPARED", 0)
    nearly_in_both_splits(root)
    assert "The search was cut off" in examined(root).findings["nearly-leaked-images"].sentence


def test_one_of_three_equal_images_with_other_boxes_is_counted(root: Path) -> None:
    for place in (1, 2):
        image(root, place).write_bytes(image(root).read_bytes())
        write_rows(root, rows(root), place)
    write_rows(root, rows(root)[:2], 2)
    finding = examined(root).findings["repeated-images"]
    assert finding.count == 2 and finding.evidence == {"with_other_boxes": 1}


def test_there_is_a_planted_fault_for_every_check() -> None:
    assert {fault.check for fault in FAULTS} == set(CHECKS)


def test_ten_faults_at_once_are_ten_findings(root: Path) -> None:
    def place(number: int) -> Path:
        return image(root, number)

    in_both_splits(root)
    add_row(root, "0 0.95 0.5 0.2 0.3")
    place(2).write_bytes(b"")
    label_path(place(3)).unlink()
    label_path(image(root, 999)).write_text("")
    write_rows(root, [*rows(root, 4), rows(root, 4)[0]], 4)
    write_rows(root, [*rows(root, 5), "0 0.5 0.5 0.1 0"], 5)
    write_rows(root, [*rows(root, 6), "9 0.5 0.5 0.1 0.1"], 6)
    write_rows(root, [*rows(root, 7), "0 1.4 0.5 0.1 0.1"], 7)
    cv2.imwrite(str(place(8)), pixels(image(root, 1, "val")), [cv2.IMWRITE_JPEG_QUALITY, 60])
    found = {name for name, finding in examined(root).findings.items() if finding.severity != "note"}
    assert found == {
        "leaked-images",
        "boxes-over-the-border",
        "unreadable-images",
        "images-without-labels",
        "labels-without-images",
        "repeated-rows",
        "empty-boxes",
        "unknown-classes",
        "coordinates-outside",
        "nearly-leaked-images",
    }


def test_the_json_has_every_count_and_bounded_examples(root: Path) -> None:
    for place in range(TRAIN):
        label_path(image(root, place)).write_text("8 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.2 0.2\n" * 30)
    found = json.loads(json.dumps(examined(root).to_json(), allow_nan=False))
    assert found["splits"]["train"] == {"images": TRAIN, "boxes": TRAIN, "images_without_boxes": 0}
    assert found["classes"][1]["train"] == {"boxes": TRAIN, "images": TRAIN} and found["worst"] == "error"
    assert {one["split"] for one in found["comparisons"]} == {"val"} and len(found["comparisons"]) == 4
    unknown = next(finding for finding in found["findings"] if finding["check"] == "unknown-classes")
    assert unknown["count"] == 30 * TRAIN and len(unknown["examples"]) == SHOWN
    assert [finding["severity"] for finding in found["findings"]] == sorted(
        (finding["severity"] for finding in found["findings"]), key=["error", "warning", "note"].index
    )


def test_nothing_is_changed_by_looking(root: Path, contents: Callable[[Path], object]) -> None:
    unreadable(root)
    before = contents(root)
    examined(root)
    assert contents(root) == before


@pytest.mark.parametrize("channels", [1, 4])
def test_sets_of_other_channels(root: Path, channels: int) -> None:
    for path in [*root.glob("images/*/*.jpg")]:
        seen = cv2.cvtColor(pixels(path), cv2.COLOR_BGR2BGRA if channels == 4 else cv2.COLOR_BGR2GRAY)
        path.unlink()
        cv2.imwrite(str(path.with_suffix(".png")), seen)
    with (root / YAML).open("a") as file:
        file.write(f"channels: {channels}\n")
    assert examined(root).findings == {}


@pytest.mark.parametrize(
    ("name", "is_deep", "is_gray"),
    [
        ("a.png", False, False),
        ("a.png", True, False),
        ("a.png", True, True),
        ("a.tif", True, True),
        ("a.jpg", False, True),
    ],
)
def test_how_an_image_is_stored(tmp_path: Path, name: str, is_deep: bool, is_gray: bool) -> None:
    seen = np.random.default_rng(0).integers(0, 255, (40, 50) if is_gray else (40, 50, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / name), seen.astype(np.uint16) * 257 if is_deep else seen)
    assert stored_form(tmp_path / name) == StoredForm(1, 16 if is_deep else 8, is_gray)


def test_one_image_in_each_split_and_a_set_of_none(root: Path) -> None:
    for path in [*root.glob("images/*/*.jpg")]:
        if path.name != "000000.jpg":
            path.unlink()
            label_path(path).unlink()
    found = examined(root)
    assert [len(images) for images in found.survey.splits.values()] == [1, 1] and "rare-classes" in found.findings
    image(root, 0, "val").unlink()
    with pytest.raises(NoImagesError):
        examined(root)


def test_a_set_whose_every_image_is_unreadable(root: Path) -> None:
    for path in root.glob("images/*/*.jpg"):
        path.write_bytes(b"no image")
    assert examined(root).findings["unreadable-images"].count == TRAIN + VAL


def test_a_picture_of_too_many_pixels_is_a_finding(root: Path) -> None:
    content = bytearray(cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    content[16:24] = (40_000).to_bytes(4, "big") * 2  # width and height, as its header declares them
    image(root).unlink()
    image(root).with_suffix(".png").write_bytes(bytes(content))
    (example,) = examined(root).findings["unreadable-images"].examples
    assert "40000 x 40000 pixels" in example


@pytest.mark.parametrize("name", ["a\x1b[31mred\x1b[0m.jpg", "\u202egpj.jpg", "it's [odd] %s {0}.jpg"], ids=ascii)
def test_odd_names_are_shown_as_they_are_or_escaped(root: Path, name: str) -> None:
    image(root).rename(image(root).with_name(name))
    shown = examined(root).findings["images-without-labels"].examples[0]
    assert shown.isprintable() and shown.startswith("images/train/") and shown.endswith(".jpg")
