"""Classes with equal or strange names. Oracle: mAP worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegd.accuracy.evaluate import distinct, score
from edgegd.accuracy.ground_truth import GroundTruth
from edgegd.data.class_names import class_names
from edgegd.data.dataset import open_dataset
from edgegd.errors import ClassCountError, DataNotFoundError
from edgegd.recipe.schema import DataSection
from edgegd.runtime.detector import Detections

BOXES = np.array([[10, 10, 30, 30], [40, 10, 60, 30], [70, 10, 90, 30]], np.float64)


def found(ids: list[int], names: tuple[str, ...]) -> Detections:
    return Detections(BOXES[ids].astype(np.float32), np.ones(len(ids), np.float32), np.array(ids, np.int64), names)


@pytest.mark.parametrize(
    "names", [("car", "car", "sign"), ("car", "bus", "sign"), ("", "", ""), ("a", "a (class 1)", "a")], ids=str
)
def test_two_of_three_classes_are_two_thirds(names: tuple[str, ...]) -> None:
    truth = GroundTruth((Path("a.png"),), (BOXES,), (np.arange(3),), names)
    result = score([found([0, 2], names)], truth)
    assert 100 * result.map50 == pytest.approx(66.7, abs=0.05)
    assert 100 * result.map50_95 == pytest.approx(66.7, abs=0.05)
    assert [ap["map50"] for ap in result.per_class.values()] == [pytest.approx(1), pytest.approx(0), pytest.approx(1)]


def test_equal_names_are_told_apart_by_id() -> None:
    assert distinct(("car", "bus", "car")) == ["car (class 0)", "bus", "car (class 2)"]
    assert len(set(distinct(("a", "a", "a (class 0)", "a (class 1)")))) == 4


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[on, off, yes, no]", ("on", "off", "yes", "no")),
        ("{0: on, 1: off}", ("on", "off")),
        (
            "[true, null, ~, 010, 1.50, 2026-01-01, 1e3, 0x10]",
            ("true", "null", "~", "010", "1.50", "2026-01-01", "1e3", "0x10"),
        ),
        ("{'0': a, 1: b}", ("a", "b")),
        ("{1: b, 0: a}", ("a", "b")),
        ("[car, car]", ("car", "car")),
        ('["a\\nb", "\\e[31m"]', ("a\nb", "\x1b[31m")),
    ],
    ids=["words", "words by id", "what looks like values", "quoted ids", "order", "twice", "controls"],
)
def test_names_are_the_text_that_stands_there(
    tmp_path: Path, write_png: Path, text: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "data.yaml").write_text(f"train: images\nval: images\nnames: {text}\n")
    assert open_dataset(DataSection(path=str(tmp_path / "data.yaml"))).names == names


@pytest.fixture
def write_png(tmp_path: Path) -> Path:
    """An image folder with one image."""
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((16, 16, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "{0: a, 2: b}",
        "{1: a, 2: b}",
        "{a: b}",
        "{0: a, 00: b}",
        "{0: a, on: b}",
        "[[a]]",
        "[]",
        "{}",
        "5",
        "car",
        "{-1: a, 0: b}",
        "{0.0: a}",
        '["\\ud800"]',
        "{0: {a: b}}",
        "[a, b]\nnc: 3",
        "[a]\nnc: true",
    ],
    ids=str,
)
def test_ids_are_never_renumbered(tmp_path: Path, write_png: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(f"train: images\nval: images\nnames: {text}\n")
    with pytest.raises(DataNotFoundError):
        open_dataset(DataSection(path=str(tmp_path / "data.yaml")))


def test_a_count_without_names() -> None:
    assert class_names(None, 3) == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], {0: "a", 1: "b"}),
        (("a", "b"), {0: "a", 1: "b"}),
        ({0: True, 1: 7}, {0: "True", 1: "7"}),
        ({"1": "b", "0": "a"}, {0: "a", 1: "b"}),
        ({1: "b", 0: "a"}, {0: "a", 1: "b"}),
        ({0: "a", 1: "\ud800"}, {0: "a", 1: "\\ud800"}),
    ],
    ids=str,
)
def test_names_of_checkpoints(names: object, expected: dict[int, str]) -> None:
    pytest.importorskip("torch")
    from edgegd.detectors.checkpoint_classes import names_by_id

    assert names_by_id(names, 2, "x.pt") == expected and list(names_by_id(names, 2, "x.pt")) == [0, 1]


@pytest.mark.parametrize(
    "names",
    [
        {0: "a", 2: "b"},
        {1: "a", 2: "b"},
        {True: "a", 0: "b"},
        {0: "a"},
        ["a", "b", "c"],
        None,
        "ab",
        5,
        {"x": "a", 0: "b"},
        {0: "a", 1: ["b"]},
        {0.0: "a", 1: "b"},
        {0: "a", 1: None},
        {"0": "a", 0: "b"},
        [],
    ],
    ids=str,
)
def test_names_of_checkpoints_that_are_refused(names: object) -> None:
    pytest.importorskip("torch")
    from edgegd.detectors.checkpoint_classes import names_by_id

    with pytest.raises(ClassCountError, match=r"x\.pt"):
        names_by_id(names, 2, "x.pt")
