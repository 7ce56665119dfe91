"""The explorer's page as a browser without scripts reads it, its bound on bytes, and its thumbnails."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("cv2")

import cv2

from edgegd.report.explorer import Explorer, render_explorer
from edgegd.report.explorer.thumbnails import MOST_BYTES, thumbnails
from tests.report.explorer_images import EVIL, PIXEL, explorer, shown
from tests.report.pages import Reader


def data_of(html: str) -> dict[str, list[dict[str, object]]]:
    return dict(json.loads(Reader(html).scripts[1]))


def test_all_of_it_can_be_read_without_scripts() -> None:
    html = render_explorer(explorer())
    page = Reader(html)
    assert not page.problems, page.problems
    assert page.text.count(EVIL) >= 3 and "One sentence of" in page.text
    items = [one for tag, one in page.elements if tag == "li" and one.get("id", "").startswith("image-")]
    assert [one["data-image"] for one in items] == ["0", "1", "2", "3"]
    assert all(f"of {name}" in page.text for name in "abcd")
    paths = [one for tag, one in page.elements if tag == "path"]
    assert {one["class"] for one in paths} == {"labels", "reference", "model"}
    assert paths[0]["d"] == "M1.0 2.0H11.0V12.0H1.0Z"
    assert [one["src"] for tag, one in page.elements if tag == "img"] == [PIXEL] * 4
    assert "50 % and 25 % of their variance" in page.text


def test_points_are_coloured_by_the_first_measure_and_lead_to_their_images() -> None:
    page = Reader(render_explorer(explorer()))
    points = [one for tag, one in page.elements if tag == "circle"]
    assert [one["data-image"] for one in points] == ["0", "1", "2"]  # the fourth has no place
    assert [one.get("style") for one in points] == ["--share: 0.000", "--share: 1.000", None]
    assert [one.get("class") for one in points] == [None, None, "unknown"]
    links = [one["href"] for tag, one in page.elements if tag == "a"]
    assert links == ["#image-0", "#image-1", "#image-2"]


def test_what_can_be_chosen_is_what_differs() -> None:
    html = render_explorer(explorer())
    data = data_of(html)
    assert list(data["measures"]) == ["damage", "loss_model", "training_loss"]
    assert data["measures"]["damage"] == ["Damage by quantization", 0.5, 2.5]  # type: ignore[index]
    names = [one["name"] for tag, one in Reader(html).elements if tag == "select"]
    assert names == ["sort", "split", "classes", "colour"]  # one size, one kind of error, one way of learning
    assert data["images"][1]["boxes"]["model"] == []  # type: ignore[index]


def test_a_page_without_images_or_values() -> None:
    assert not Reader(render_explorer(Explorer("r", "f", []))).problems
    lone = render_explorer(Explorer("r", "f", [replace(shown("a"), thumbnail="", place=None)]))
    page = Reader(lone)
    assert not page.problems and "circle" not in {tag for tag, _ in page.elements}
    assert "img" not in {tag for tag, _ in page.elements}


def test_a_thousand_images_with_as_many_bytes_as_they_may_have_stay_below_25_mb() -> None:
    box = [123.4, 234.5, 345.6, 456.7, "traffic sign 0.87"]
    boxes = {layer: [box] * 12 for layer in ("labels", "reference", "model")}
    facts = ["model.13.m.0.m.1.cv1.conv:conv2d:0: 12.6 dB on this image, usually 12.5 dB"] * 5
    one = replace(shown("a", damage=1.0), thumbnail="x" * (MOST_BYTES // 1000), boxes=boxes, facts=facts)
    assert len(render_explorer(Explorer("r", "f", [one] * 1000, [], [0.5, 0.5]))) < 25e6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{index}.png" for index in range(6)]
    for path in paths:
        cv2.imwrite(str(path), random.integers(256, size=(300, 600, 3), dtype=np.uint8))
    return paths


def decoded(uri: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)


def test_thumbnails_are_as_large_as_fits(pictures: list[Path]) -> None:
    sides = []
    for most in (3_000_000, 300_000, 60_000):
        uris = thumbnails(pictures, 3, lambda done: None, most)
        assert all(uri.startswith("data:image/jpeg;base64,") for uri in uris) and sum(map(len, uris)) <= most
        height, width = decoded(uris[0]).shape[:2]
        assert width == 2 * height
        sides.append(width)
    assert sides == sorted(sides, reverse=True) and sides[0] == 480 and len(set(sides)) == 3


def test_what_cannot_be_read_has_no_thumbnail(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no image")
    done: list[int] = []
    uris = thumbnails([pictures[0], tmp_path / "no.png", tmp_path / "gone.png"], 3, done.append)
    assert [bool(uri) for uri in uris] == [True, False, False] and done == [1, 2, 3]
    small = thumbnails(pictures[:1] * 50, 3, done.append, 10_000)  # even the smallest are too many
    assert sum(map(len, small)) <= 10_000 and "" in small and small[0]
