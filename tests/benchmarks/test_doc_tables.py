"""The tables, lines and the picture of the documentation against the committed results that they are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tabulate")
pytest.importorskip("matplotlib")

from doc_tables import PAGES, RESULTS, TABLES, with_tables
from result_picture import SHOWN, described, description, draw, shown_points


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_the_numbers_of_the_committed_results(page: Path) -> None:
    text = page.read_text()
    assert with_tables(text, PAGES[page]) == text, "run python benchmarks/doc_tables.py"


def test_another_number_is_noticed() -> None:
    text = RESULTS.read_text()
    changed = text.replace("| yolov8n ", "| yolov8x ")
    assert changed != text and with_tables(changed) == with_tables(text)


def test_a_place_that_is_gone_is_named() -> None:
    with pytest.raises(ValueError, match="0 places for the families table"):
        with_tables(RESULTS.read_text().replace("<!-- families table -->", ""))


def test_the_tables_are_all_there_and_name_their_cpu() -> None:
    speed = {"speed", "runtimes", "arm", "passes"}
    assert set(TABLES) == {"machines", "demo", "accuracy", "families", "activations", "gate", "what earned it"} | speed
    text = RESULTS.read_text()
    for name in ("demo", "families", "activations", "gate", "what earned it"):
        assert f"<!-- {name} table -->\nCPU: " in text, name
    for line in TABLES["machines"]().splitlines()[2:]:
        assert "-vnni" in line or "-avx2" in line or "arm64" in line


def test_the_picture_shows_the_committed_results() -> None:
    points = shown_points()
    assert {point.name for point in points} == set(SHOWN)
    assert described() == description(points), "run python benchmarks/result_picture.py"


def test_a_drawn_picture_describes_its_points(tmp_path: Path) -> None:
    points = [point._replace(median_ms=point.median_ms + 1) for point in shown_points()]
    draw(points, tmp_path / "other.svg")
    assert described(tmp_path / "other.svg") == description(points) != description(shown_points())
