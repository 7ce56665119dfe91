"""A sweep in words and as a picture. Oracle: made results, read by eye once."""

from __future__ import annotations

from typing import Any

import pytest

from edgegd.report.blocks import as_text
from edgegd.report.sweep import grid_sentence, search_blocks, search_sentence
from edgegd.report.sweep_picture import search_figure, search_picture

MAP = {"name": "accuracy.qat.map50_95", "maximize": True, "unit": ""}
MS = {"name": "latency.qat.edge", "maximize": False, "unit": "ms"}


def trial(number: int, values: list[float] | None, state: str = "complete", error: str = "") -> dict[str, Any]:
    return {
        "number": number,
        "state": state,
        "values": {"train.lr0": 1e-4 * (number + 1)},
        "objectives": values,
        "by_epoch": {},
        "seconds": 12.3,
        "machine": "here",
        "same_as": None,
        "error": error,
    }


@pytest.fixture
def found() -> dict[str, Any]:
    trials = [
        trial(0, [0.40, 9.0]),
        trial(1, [0.50, 8.0]),
        trial(2, [0.30, 5.0]),
        trial(3, None, "fail", "out of | memory\nat once"),
        trial(4, None, "pruned"),
    ]
    return {
        "asked": 6,
        "objectives": [MAP, MS],
        "ranges": {"train.lr0": {}},
        "trials": trials,
        "best": [1, 2],
        "own": 0,
    }


def test_the_sentence(found: dict[str, Any]) -> None:
    assert search_sentence(found) == (
        "5 trials of 6: 3 finished, 1 ended early, 1 failed. No trial is better in every objective than trials 1, 2. "
        "The recipe as it is (trial 0): accuracy.qat.map50_95 40.00, latency.qat.edge 9.00."
    )
    alone = found | {"objectives": [MAP], "best": [1], "own": None}
    assert search_sentence(alone).endswith("The best accuracy.qat.map50_95 is 50.00, of trial 1.")


def test_the_table_has_the_best_first_and_says_what_failed(found: dict[str, Any]) -> None:
    text = as_text(search_blocks(found | {"sentence": "s."}), "github")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split("|")[1].strip() for row in rows] == ["1", "2", "0", "3", "4"]
    assert "front" in rows[0] and "the recipe as it is" in rows[2] and "ended early" in rows[4]
    assert "trial 3: out of " in text and "at once" not in text


def test_the_picture_shows_every_trial_and_the_front(found: dict[str, Any]) -> None:
    (axis,) = search_figure(found).axes
    points = {tuple(point) for one in axis.collections for point in one.get_offsets().tolist()}
    assert points == {(9.0, 40.0), (8.0, 50.0), (5.0, 30.0)}
    (front,) = axis.lines
    assert list(zip(*front.get_data(), strict=True)) == [(5.0, 30.0), (8.0, 50.0)]
    assert len(search_figure(found | {"objectives": [MAP], "best": [1]}).axes) == 1
    three = [one | {"objectives": [*one["objectives"], 7.0]} for one in found["trials"][:3]]
    assert len(search_figure(found | {"objectives": [MAP, MS, MS], "trials": three}).axes) == 2
    assert search_picture(found) == search_picture(found)


def test_what_seeds_alone_could_give() -> None:
    def row(name: str, change: dict[str, Any] | None) -> dict[str, Any]:
        return {"recipe": name, "differences": {MAP["name"]: change}}

    rows = [
        row("a", None),
        row("b", {"value": 0.02, "low": 0.01, "high": 0.03}),
        row("c", {"value": 0.02, "low": -0.01, "high": 0.05}),
        row("d", {"value": 0.02, "low": None, "high": None}),
    ]
    runs = [{"state": "complete"}, {"state": "fail"}]
    assert grid_sentence({"objectives": [MAP], "rows": rows, "runs": runs}) == (
        "1 of 2 runs finished; means over seeds of accuracy.qat.map50_95. "
        "b minus a: +2.00 [+1.00, +3.00], beyond what seeds differ by. "
        "c minus a: +2.00 [-1.00, +5.00], which seeds alone could give."
    )
