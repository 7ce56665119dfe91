"""The cases themselves: repeatable, in proportion, for every command; and a device that lies where it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgegd.device.latency_worker import PROTOCOL
from fuzz.device import changed
from fuzz.kinds import BY_SSH, DEVICES, INPUTS, in_turn
from fuzz.kinds.command_line import commands, parameters
from fuzz.lies import draw_lie
from fuzz.trial import generator

DEVICE = Path(__file__).parents[2] / "fuzz/device.py"
FACTS = {"cpuinfo": "", "architecture": "x86_64", "numpy": "2.0", "onnxruntime": "1.23.0", "core_mask": [0]}


def test_the_whole_run_has_the_cases_that_it_promises() -> None:
    assert sum(kind.cases for kind in INPUTS) >= 1000
    assert sum(kind.cases for kind in DEVICES) >= 150
    names = [kind.name for kind in (*INPUTS, *DEVICES, BY_SSH)]
    assert len(set(names)) == len(names)


def test_a_part_from_the_start_holds_every_kind() -> None:
    kinds = (*INPUTS, *DEVICES)
    order = in_turn(kinds)
    assert {kind.name for kind, _ in order[: len(kinds)]} == {kind.name for kind in kinds}
    assert len(set((kind.name, number) for kind, number in order)) == sum(kind.cases for kind in kinds)


def test_a_case_is_the_same_in_every_process() -> None:
    program = "from fuzz.trial import generator; print(generator(3, 'recipes', 17).random())"
    again = subprocess.run([sys.executable, "-c", program], cwd=DEVICE.parents[1], capture_output=True, text=True)
    assert float(again.stdout) == generator(3, "recipes", 17).random() != generator(4, "recipes", 17).random()


def test_every_command_and_every_option_that_takes_a_value_has_its_turn() -> None:
    options = next(kind for kind in INPUTS if kind.name == "options")
    turns = parameters()[: options.cases]
    numbers = [place for place in parameters() if place.is_number]
    assert {(place.command, place.parameter.name) for place in numbers} <= {
        (place.command, place.parameter.name) for place in turns
    }
    assert len(dict(commands())) >= 28


@pytest.mark.parametrize(
    ("path", "raw", "expected"),
    [(["a", 1], "NaN", '{"a": [1, NaN]}'), (["a"], None, "{}"), ([], "[]", "[]"), (["a", 0], '"x"', '{"a": ["x", 2]}')],
)
def test_a_lie_changes_one_place(path: list[Any], raw: str | None, expected: str) -> None:
    assert changed({"a": [1, 2]}, path, raw) == expected


def test_a_device_lies_in_the_answer_that_it_is_told_to(tmp_path: Path) -> None:
    facts, spec = tmp_path / "facts.json", tmp_path / "spec.json"
    facts.write_text(json.dumps(FACTS))
    lie = {
        "message": "run",
        "nth": 1,
        "how": "change",
        "path": ["first_ns"],
        "raw": "-5",
        "told": str(tmp_path / "told"),
    }
    spec.write_text(json.dumps({"facts": str(facts), "lie": lie}))
    said = "".join(json.dumps(one) + "\n" for one in ({"hello": PROTOCOL}, {"run": 0.1}, {}, {"run": 0.1}, {"run": 0.1}))
    done = subprocess.run([sys.executable, DEVICE, spec, "worker.py"], input=said, capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["machine"] == FACTS
    assert [answer["first_ns"] for answer in answers[1:]] == [3_000_000, -5, 3_000_000]


def test_lies_are_of_many_ways_and_most_are_harmful() -> None:
    messages = ("hello", "configure", "warm_up", "run", "burst", "memory", "profile", "lock", "unlock")
    lies = [draw_lie(generator(0, "lies", number), FACTS, messages) for number in range(600)]
    assert {lie.spec["message"] for lie in lies} == set(messages)
    assert {lie.spec["how"] for lie in lies} == {
        "change",
        "bytes",
        "twice",
        "exit",
        "silence",
        "endless line",
        "endless stderr",
        "long",
    }
    assert sum(lie.is_harmful for lie in lies) > 400
