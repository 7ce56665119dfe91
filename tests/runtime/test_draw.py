"""Oracles: pixels of drawn images, and cv2.imread."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegd.errors import MissingExtraError, UnreadableImageError
from edgegd.runtime.detector import Detections
from edgegd.runtime.draw import PALETTE, draw, write_image
from edgegd.runtime.images import read_image


def test_a_box_and_its_label_are_drawn_on_a_copy() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    one = Detections(np.array([[50, 60, 150, 160]], np.float32), np.array([0.5], np.float32), np.array([1]), ("a", "b"))
    drawn = draw(image, one)
    assert (image == 90).all()
    assert tuple(drawn[110, 50]) == PALETTE[1], "left edge"
    assert (drawn[110, 100] == 90).all(), "the inside stays visible"
    plate = drawn[45:60, 50:75]
    assert (plate == PALETTE[1]).all(axis=2).any() and (plate.astype(int).sum(axis=2) < 150).any(), "dark on light"


def test_a_label_at_the_corner_stays_inside_the_image() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    box, score = np.array([[150, 0, 160, 12]], np.float32), np.array([0.5], np.float32)
    corner = Detections(box, score, np.array([0]), ("cell",))
    changed = (draw(image, corner) != 90).any(axis=2)
    assert changed[:12, 90:150].mean() > 0.5


def test_unicode_paths_and_exif_orientation_are_read_as_by_imread(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    encoded = cv2.imencode(".jpg", pixels)[1].tobytes()
    # an EXIF segment with the one tag Orientation = 6 (turn clockwise by 90 degrees), right after the SOI marker
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    body = b"Exif\0\0" + tiff
    path = tmp_path / "façade-细胞.jpg"
    path.write_bytes(encoded[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + encoded[2:])
    image = read_image(path)
    assert image.shape == (40, 20, 3)
    np.testing.assert_array_equal(image, cv2.imread(str(path)))


@pytest.mark.parametrize("content", [None, b"", b"no image"], ids=["missing", "empty", "text"])
def test_unreadable_images_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"broken\.jpg"):
        read_image(path)


def test_without_opencv_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install edgegd\[image\]"):
        read_image(tmp_path / "any.jpg")


def test_a_written_image_is_read_back_unchanged(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_image(tmp_path / "bild-ä.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "bild-ä.png"), image)
