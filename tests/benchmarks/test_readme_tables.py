"""The tables of README and docs/design.md against the committed results that they are written from."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tabulate")

from readme_tables import PAGES, README, TABLES, with_tables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_the_numbers_of_the_committed_results(page: Path) -> None:
    text = page.read_text()
    assert with_tables(text, PAGES[page]) == text, "run python benchmarks/readme_tables.py"


def test_another_number_is_noticed() -> None:
    text = README.read_text()
    changed = text.replace("| yolov8n ", "| yolov8x ")
    assert changed != text and with_tables(changed) == with_tables(text)


def test_a_place_that_is_gone_is_named() -> None:
    with pytest.raises(ValueError, match="0 places for the families table"):
        with_tables(README.read_text().replace("<!-- families table -->", ""))
    assert set(TABLES) == {"accuracy", "families", "speed", "activations", "gate"}
