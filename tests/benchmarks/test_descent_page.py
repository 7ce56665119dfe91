"""docs/descent.md: its examples print what it says, its pictures show the committed results, its tables are theirs."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("tabulate")
pytest.importorskip("matplotlib")

from descent_examples import one_weight, rounded_weight
from descent_pictures import DRAWN, PICTURES, described, description, draw
from result_file import ROOT

PAGE = (ROOT / "docs/descent.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("code", "printed"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_the_page_says(code: str, printed: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue() == printed


def test_every_example_is_tested() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") == 3


def test_the_first_step_from_five() -> None:
    steps = one_weight(5.0, 0.1, 2)
    assert (steps[0] - steps[1]) / 0.1 == pytest.approx(6) and steps[1:] == pytest.approx([4.4, 3.92])
    for rate, factor in ((0.01, 0.98), (0.1, 0.8), (0.9, -0.8), (1.05, -1.1)):
        steps = one_weight(5.0, rate, 1)
        assert (steps[1] - 2) / (steps[0] - 2) == pytest.approx(factor)


def test_a_rounded_weight_swings_about_the_best_value() -> None:
    codes = [round(weight) for weight in rounded_weight(5.0, 0.1, 400)][-300:]
    assert set(codes) == {2, 3} and sum(codes) / len(codes) == pytest.approx(2.3, abs=0.01)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_shows_the_committed_results(name: str) -> None:
    path = PICTURES / f"descent-{name}.svg"
    assert described(path) == description(name), f"run python benchmarks/descent_pictures.py --only {name}"
    assert path.stat().st_size < 60_000 and "<dc:date>" not in path.read_text()
    assert f"(pictures/{path.name})" in PAGE and f"descent_pictures.py --only {name}`" in PAGE


def test_a_picture_is_drawn_the_same_again(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        draw("rates", tmp_path / folder / "rates.svg")
    assert (tmp_path / "a/rates.svg").read_bytes() == (tmp_path / "b/rates.svg").read_bytes()
    assert described(tmp_path / "a/rates.svg") == description("rates")
