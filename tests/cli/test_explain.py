"""`edgegd explain` on a finished run. Oracle: the run's own artifacts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def plan(finished_run: Path) -> dict[str, Any]:
    """The run's plan as JSON."""
    document: dict[str, Any] = json.loads((finished_run / "plan.json").read_text())
    return document


def test_every_tensor_is_printed_with_its_ratio_its_observer_and_what_it_learns(
    edgegd_command: Command, finished_run: Path, plan: dict[str, Any]
) -> None:
    printed = edgegd_command("explain", finished_run).out
    ranges = json.loads((finished_run / "calibration.json").read_text())["ranges"]
    tensors, _, operations = printed.partition("operations stay float")
    rows = {words[0]: words for words in map(str.split, tensors.splitlines()) if words}
    for tensor in plan["tensors"]:
        chosen = ranges[tensor["group"]]
        assert rows[tensor["address"]][1:7] == [
            f"{chosen['scale']:.6g}",
            str(chosen["zero_point"]),
            f"{chosen['tensors'][tensor['address']]:.1f}",
            chosen["observer"],
            tensor["learns"],
            tensor["rule"],
        ]
    rows = {words[0]: words for words in map(str.split, operations.splitlines()) if words}
    for op in plan["ops"]:
        if op["decision"] == "float":
            assert rows[op["address"]][1:] == [op["rule"], *op["reason"].split()]


def test_json_holds_plan_ranges_and_comparison(
    edgegd_command: Command, finished_run: Path, plan: dict[str, Any]
) -> None:
    document = json.loads(edgegd_command("explain", finished_run, "--json").out)
    assert document["plan"] == plan and "onnx" not in document
    assert document["ranges"] == json.loads((finished_run / "calibration.json").read_text())["ranges"]
    compared = json.loads(edgegd_command("explain", finished_run, "--onnx", finished_run / "qat.onnx", "--json").out)
    assert {c["runs_in"] == c["planned"] for c in compared["onnx"]["convolutions"]} == {True}
    assert {t["finding"] for t in compared["onnx"]["tensors"]} == {"as planned"}


def test_a_file_is_compared_with_the_plan(edgegd_command: Command, finished_run: Path, plan: dict[str, Any]) -> None:
    ours = edgegd_command("explain", finished_run, "--onnx", finished_run / "ptq.onnx")
    assert ours.code == 0 and ours.out.rstrip().endswith("The file does what the plan says.")
    floats = edgegd_command("explain", finished_run, "--onnx", finished_run / "fp32.onnx")
    assert floats.code == 0 and f"not quantized in the file      {len(plan['tensors'])}" in floats.out


def test_a_file_that_is_none_and_one_of_another_model(
    edgegd_command: Command, finished_run: Path, tmp_path: Path
) -> None:
    missing = edgegd_command("explain", finished_run, "--onnx", tmp_path / "none.onnx")
    assert missing.code == 40 and missing.out == ""
    onnx = pytest.importorskip("onnx")
    other = onnx.load(finished_run / "fp32.onnx")
    convolution = next(node for node in other.graph.node if node.op_type == "Conv")
    weight = next(i for i in other.graph.initializer if i.name == convolution.input[1])
    convolution.name, weight.name = "first", "onnx::Conv_1"
    convolution.input[1] = weight.name
    onnx.save(other, tmp_path / "other.onnx")
    refused = edgegd_command("explain", finished_run, "--onnx", tmp_path / "other.onnx", "--json")
    assert refused.code == 62 and json.loads(refused.out)["error"] == "PlanError"


def test_a_damaged_artifact_is_refused(edgegd_command: Command, run_copy: Path) -> None:
    (run_copy / "plan.json").write_text("{}")
    assert edgegd_command("explain", run_copy).code == 53
    shutil.rmtree(run_copy)
    assert edgegd_command("explain", run_copy).code == 50


def test_passes_are_listed_with_refusals_and_measured_gains(run_copy, edgegd_command):
    outcome = edgegd_command("export", run_copy, "--explain-passes", "--json")
    assert outcome.code == 0, outcome.err
    passes = {one["name"]: one for one in json.loads(outcome.out)["passes"]}
    assert list(passes)[:2] == ["fold-constants", "integer-kernels"] and len(passes) == 8
    for one in passes.values():
        if one["applied"]:
            assert one["gain_low"] <= one["gain"] <= one["gain_high"] and one["without_ms"] > 0
        else:
            assert one["gain"] is None
    refused = [reason for one in passes.values() for _, reason in one["refused"]]
    shown = edgegd_command("export", run_copy, "--explain-passes")
    assert shown.code == 0 and refused
    for text in [*passes, *refused]:
        assert text in shown.out
