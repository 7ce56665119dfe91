"""Objectives of a sweep, read from a finished run. Oracle: the run's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgegd.errors import SweepError
from edgegd.pipeline.sweep.objectives import OBJECTIVES, last_stage, parse_objectives


def test_every_objective_is_a_number_of_a_finished_run(finished_run: Path) -> None:
    found = {name: one.of(finished_run) for name, one in OBJECTIVES.items()}
    accuracy, descent, latency = (
        json.loads((finished_run / f"{name}.json").read_text()) for name in ("accuracy", "descent", "latency")
    )
    assert found["accuracy.ptq.map50"] == accuracy["ptq"]["map50"]
    assert found["descent.start_map50_95"] == descent["start_map50_95"]
    assert found["latency.qat.edge"] == latency["models"]["qat.edge"]["median_ms"]
    assert found["size.qat.edge"] == (finished_run / "qat.edge.onnx").stat().st_size


def test_the_last_stage_that_is_needed() -> None:
    assert last_stage(parse_objectives(["descent.best_map50_95"])) == "qat"
    assert last_stage(parse_objectives(["size", "descent.best_map50_95"])) == "export"
    assert last_stage(parse_objectives(["latency", "accuracy.qat.map50_95"])) == "latency"


def test_latency_and_size_are_of_the_variant_whose_map_counts() -> None:
    names = [one.name for one in parse_objectives(["size", "accuracy.ptq.map50", "latency"])]
    assert names == ["size.ptq.edge", "accuracy.ptq.map50", "latency.ptq.edge"]
    assert parse_objectives(["size"])[0].name == "size.qat.edge"


@pytest.mark.parametrize("content", ["", "[]", '{"qat": {}}', '{"qat": {"map50": NaN}}', '{"qat": {"map50": "x"}}'])
def test_a_run_that_does_not_hold_the_number(tmp_path: Path, content: str) -> None:
    (tmp_path / "accuracy.json").write_text(content)
    with pytest.raises(SweepError):
        OBJECTIVES["accuracy.qat.map50"].of(tmp_path)
