"""What the diagnosis says while steps are taken. Oracle: lines made by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from descent_rows import healthy, section

from edgegd.report.diagnosis.facts import Facts
from edgegd.report.diagnosis.live import FIRST, LAST, Watch


def start(**settings: Any) -> Facts:
    return Facts([], section(**settings), images=640)


def said_of(rows: list[dict[str, Any]], facts: Facts) -> list[str]:
    said: list[str] = []
    watch = Watch(facts, said.append)
    for row in rows:
        watch.see(row)
    return said


def exploding(rows: list[dict[str, Any]]) -> None:
    for row in rows[20:]:
        row["loss"] *= 30


def not_finite(rows: list[dict[str, Any]]) -> None:
    rows[30:] = [{"step": 31, "epoch": 1, "loss": None, "lr": rows[30]["lr"]}]


def many_codes(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "detail" in row:
            row["detail"]["codes_changed"] = dict.fromkeys(row["detail"]["codes_changed"], 0.4)


def always_clipped(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["clipped"] = True


@pytest.mark.parametrize(
    ("change", "step", "text"),
    [
        (exploding, 24, "diverged"),
        (not_finite, 31, "not finite at step 31"),
        (many_codes, 8, "rate is too high: one step changed 40 %"),
        (always_clipped, 16, "clipped on 100 %"),
    ],
    ids=["exploding", "not finite", "many codes", "clipped"],
)
def test_what_is_sure_is_said_once_and_early(change: Callable[[Any], None], step: int, text: str) -> None:
    rows = healthy(80)
    change(rows)
    said = said_of(rows, start())
    assert len(said) == 1 and said[0].startswith(f"step {step}: ") and text in said[0] and "train." in said[0]


def test_of_a_healthy_descent_nothing_is_said() -> None:
    assert said_of(healthy(300), start()) == []


def test_a_small_set_is_named_at_the_first_step() -> None:
    said = said_of(healthy(40), Facts([], section(epochs=50), images=16))
    assert len(said) == 1 and said[0].startswith("step 1: The set is too small for the steps: each of its 16 images")


def test_lines_stay_as_they_were_and_few_are_kept() -> None:
    rows = healthy(1000)
    before = copy.deepcopy(rows)
    watch = Watch(start(), lambda text: None)
    for row in rows:
        watch.see(row)
    assert rows == before
    assert (len(watch._first), len(watch._last)) == (FIRST, LAST) and watch._last[-1] is rows[-1]


def test_a_descent_that_goes_on_is_told_nothing_twice() -> None:
    rows = healthy(80)
    always_clipped(rows)
    said: list[str] = []
    watch = Watch(start(), said.append, rows[:40])
    for row in rows[40:]:
        watch.see(row)
    assert said == []


def test_a_fault_of_a_rule_ends_the_watching_and_not_the_training() -> None:
    rows = healthy(80)
    rows[15]["detail"]["step_length"] = None
    said = said_of(rows, start())
    assert len(said) == 1 and said[0].startswith("the diagnosis stops watching: TypeError")
