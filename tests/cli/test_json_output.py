"""`--json` prints JSON that every reader takes."""

from __future__ import annotations

import json

import pytest

from edgegd.cli.json_output import json_text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_without_a_word_become_null(number: float) -> None:
    value = {"a": number, "b": [1.5, (number, "x")], "c": {1: number}}
    assert json.loads(json_text(value)) == {"a": None, "b": [1.5, [None, "x"]], "c": {"1": None}}


def test_everything_else_is_as_it_was() -> None:
    value = {"a": [1, 2.5, None, True, "é\x1b"], "b": {}}
    assert json_text(value) == json.dumps(value)
