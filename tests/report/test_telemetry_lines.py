"""Steps of a descent are read as they are appended, and thinned. Oracle: the rows that were written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edgegd.report.telemetry import PROBES, StepReader, column, group_size, kept_probes, read_steps, thinned


def row(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "epoch": 1, "loss": float(step), "box_loss": 0.5, "lr": {"weights": 0.1}} | more


def lines(*rows: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in rows)


def test_lines_are_read_as_they_are_appended_and_half_a_line_waits(tmp_path: Path) -> None:
    file = tmp_path / "descent.jsonl"
    reader = StepReader(file)
    assert reader.update().rows == []
    whole = lines(row(1), row(2))
    file.write_text(whole[:-9])
    assert [one["step"] for one in reader.update().rows] == [1]
    file.write_text(whole)
    assert [one["step"] for one in reader.update().rows] == [1, 2]
    with file.open("a") as appended:
        appended.write(lines(row(3)))
    steps = reader.update()
    assert [one["step"] for one in steps.rows] == [1, 2, 3] and steps.parts == ["box_loss"] and not steps.problem


def test_only_what_was_appended_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "descent.jsonl"
    file.write_text(lines(row(1), row(2)))
    reader, read = StepReader(file), []
    monkeypatch.setattr("edgegd.report.telemetry.load_json", lambda line: read.append(line) or json.loads(line))
    reader.update()
    with file.open("a") as appended:
        appended.write(lines(row(3)))
    reader.update()
    assert [json.loads(line)["step"] for line in read] == [1, 2, 3]


@pytest.mark.parametrize("way", ["another file", "a shorter one"])
def test_a_training_that_starts_anew_is_read_from_its_start(tmp_path: Path, way: str) -> None:
    file = tmp_path / "descent.jsonl"
    file.write_text(lines(row(1), row(2), row(3)))
    reader = StepReader(file)
    reader.update()
    if way == "another file":
        (tmp_path / "new").write_text(lines(row(1, loss=9.0), row(2), row(3), row(4)))
        (tmp_path / "new").replace(file)
    else:
        file.write_text(lines(row(1, loss=9.0)))
    assert reader.update().rows[0]["loss"] == 9.0 and len(reader.steps.rows) in (1, 4)
    file.unlink()
    assert reader.update().rows == []


@pytest.mark.parametrize("wrong", ["[1]", '{"step": "one", "epoch": 1}', "{", "[" * 100_000, '{"epoch": 1}', "\xff"])
def test_what_is_no_step_ends_the_reading_and_is_named(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "descent.jsonl"
    file.write_bytes(lines(row(1)).encode() + wrong.encode("latin-1") + b"\n" + lines(row(3)).encode())
    steps = read_steps(file)
    assert [one["step"] for one in steps.rows] == [1] and "line 2 and those after it" in steps.problem


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "descent.jsonl")
    with pytest.raises(OSError, match="a pipe"):
        read_steps(tmp_path / "descent.jsonl")


def test_points_are_means_of_equal_groups() -> None:
    rows = [row(step) for step in range(1, 1001)]
    groups = thinned(rows)
    assert group_size(rows) == 4 and len(groups) == 250
    assert column(groups, lambda one: one["loss"])[:2] == [2.5, 6.5]
    assert column([[row(1), row(2, loss=None)], [row(3, loss=float("nan"))]], lambda one: one["loss"]) == [1.0, None]
    assert [len(group) for group in thinned(rows[:299])] == [1] * 299


def test_of_many_probes_the_last_is_kept(tmp_path: Path) -> None:
    detail = {"layers": {}, "ranges": {}, "codes_changed": {}, "step_length": {}}
    file = tmp_path / "descent.jsonl"
    file.write_text(lines(*(row(step, detail=detail) for step in range(1, 200))))
    steps = read_steps(file)
    kept = kept_probes(steps)
    assert len(steps.probes) == 199 and len(kept) <= PROBES and kept[-1][0] == 199
    assert len({second - first for (first, _), (second, _) in itertools.pairwise(kept)}) == 1
