"""The report of a real run has the promised schema, FP32 beside every number; oracle: the stages' records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")


@pytest.fixture(scope="session")
def report(finished_run: Path) -> dict[str, Any]:
    return dict(json.loads((finished_run / "report.json").read_text()))


def test_report_json_has_the_schema(report: dict[str, Any], finished_run: Path) -> None:
    assert report["schema"] == 1
    accuracy = json.loads((finished_run / "accuracy.json").read_text())
    latency = json.loads((finished_run / "latency.json").read_text())["models"]
    for variant in ("fp32", "ptq", "qat"):
        for key in ("map50_95", "map50"):
            assert 0 <= report["accuracy"][variant][key] <= 1
            assert report["accuracy"][variant][key] == accuracy[variant][key]
        measured = report["latency"][variant]
        assert 0 < measured["median_ms"] <= measured["p90_ms"] == latency[variant]["p90_ms"]
        assert measured["speedup"] > 0
    assert report["latency"]["fp32"]["speedup"] == 1.0
    for variant in ("ptq", "qat"):
        census = report["census"][variant]
        assert census["int8_convs"] > 90 and census["float_convs"] == census["planned_float_convs"] > 0


def test_the_table_shows_the_three_side_by_side(report: dict[str, Any]) -> None:
    from edgegd.report.markdown import summary_table
    from edgegd.report.words import percent

    rows = [re.split(r"\s{2,}", line) for line in summary_table(report).splitlines()]
    assert rows[0] == ["onnxruntime", "mAP50-95", "mAP50", "median ms", "p90 ms", "speed vs FP32", "int8 convolutions"]
    titles = (
        ("FP32", "fp32"),
        ("INT8 PTQ", "ptq"),
        ("INT8 PTQ, edge file", "ptq.edge"),
        ("INT8 QAT", "qat"),
        ("INT8 QAT, edge file", "qat.edge"),
    )
    for row, (title, name) in zip(rows[2:], titles, strict=True):
        latency, variant = report["latency"][name], name.removesuffix(".edge")
        assert row[:5] == [
            title,
            percent(report["accuracy"][variant]["map50_95"]),
            percent(report["accuracy"][variant]["map50"]),
            f"{latency['median_ms']:.2f}",
            f"{latency['p90_ms']:.2f}",
        ]
        assert row[5].startswith(f"{latency['speedup']:.2f}x [")
    census = report["census"]["qat"]
    assert rows[5][6] == rows[6][6] == f"{census['int8_convs']} of {census['int8_convs'] + census['float_convs']}"


def test_fp32_stands_beside_every_number(finished_run: Path, report: dict[str, Any]) -> None:
    sections = re.split(r"^## ", (finished_run / "report.md").read_text(), flags=re.MULTILINE)
    titles = [section.splitlines()[0] for section in sections]
    assert titles[1:] == [
        "Which to ship",
        "mAP50-95 by class",
        "Latency",
        "The descent",
        "Refinement after calibration",
        "Ranges with the least signal over quantization noise",
        "Census of the kernels",
        "Parity of torch and onnxruntime",
        "What was proved where",
        "Passes of the edge file",
        "The machine",
    ]
    for section in (*sections[:5], sections[8]):
        assert "FP32" in section
    assert all(finding["sentence"] in sections[4] for finding in report["diagnosis"])
    for name in report["data"]["names"]:
        assert f"| {name} " in sections[2]
    fp32 = 100 * report["accuracy"]["fp32"]["map50_95"]
    calibrated = 100 * report["descent"]["start_map50_95"]
    assert f"FP32 in onnxruntime {fp32:.1f}, the calibrated model before the first step {calibrated:.1f}" in sections[4]
    assert len(re.findall(r"^\| [12] ", sections[4], re.MULTILINE)) == len(report["descent"]["epochs"]) == 2


def test_an_unstable_warm_up_and_a_class_without_boxes_are_said(report: dict[str, Any]) -> None:
    from edgegd.report.markdown import to_markdown

    changed = json.loads(json.dumps(report))
    changed["latency_conditions"]["stable"] = False
    for variant in ("fp32", "ptq", "qat"):
        changed["accuracy"][variant]["per_class"]["car"] = {"map50_95": None, "map50": None}
    text = to_markdown(changed)
    assert "Not every warm-up became stable" in text
    assert re.search(r"^\| car +\| - +\| - +\| - +\|$", text, re.MULTILINE)


def test_whose_the_figures_are_is_said_where_they_are_not_the_targets(report: dict[str, Any]) -> None:
    from edgegd.report.markdown import caveats, to_markdown

    assert caveats(report) == []
    changed = json.loads(json.dumps(report))
    changed["target"]["profile"] = "z80"
    changed["proof"]["accuracy"] |= {"arithmetic": "exact sessions", "not_proved": ["speed on z80 CPUs"]}
    cpu = report["latency_conditions"]["fingerprint"]["cpu"]
    accuracy, latency = caveats(changed)
    assert accuracy == f"The files are for z80. Their mAP was measured on {cpu} by exact sessions."
    assert latency.startswith(f"The latency is that of {cpu}, which needs the profile ")
    assert accuracy in to_markdown(changed) and latency in to_markdown(changed)


def test_a_device_that_needs_other_files_is_named_beside_its_latency(finished_run: Path) -> None:
    from types import SimpleNamespace
    from typing import cast

    from edgegd.device.fingerprint import fingerprint
    from edgegd.device.profile import this_machine
    from edgegd.latency.measuring.result import LatencyResult
    from edgegd.pipeline.device_latency import other_profiles

    results = {"board": cast(LatencyResult, SimpleNamespace(fingerprint=fingerprint()))}
    here = str(this_machine().profile)
    assert other_profiles(results, Path("run"), here) == []
    (said,) = other_profiles(results, Path("run"), "z80")
    assert said.startswith("board: ") and f"needs the profile {here}, the files are for z80" in said
    assert f"`edgegd export run --profile {here}`" in said
    assert json.loads((finished_run / "latency.json").read_text())["machine_profile"] == here


def test_explain_has_every_tensor_and_every_float_operation_with_its_reason(
    edgegd_command: Callable[..., Any], finished_run: Path
) -> None:
    text = edgegd_command("explain", finished_run).out
    lines = text.splitlines()
    plan = json.loads((finished_run / "plan.json").read_text())
    ranges = json.loads((finished_run / "calibration.json").read_text())["ranges"]
    assert len(plan["tensors"]) > 100
    for tensor in plan["tensors"]:
        (line,) = [
            line
            for line in lines
            if line.split("  ")[0] == tensor["address"]
            and tensor["rule"] in line
            and f"{ranges[tensor['group']]['scale']:.6g}" in line
        ]
        assert tensor["group"] == tensor["address"] or line.rstrip().endswith(tensor["group"])
    stays_float = [op for op in plan["ops"] if op["decision"] == "float"]
    assert f"{len(stays_float)} operations stay float" in text and stays_float
    for op in stays_float:
        assert op["reason"] and any(line.startswith(op["address"]) and op["reason"] in line for line in lines)


def test_the_report_counts_codes_that_differ_and_names_the_first(report: dict[str, Any], finished_run: Path) -> None:
    from edgegd.report.markdown import parity_line, to_markdown

    verify = json.loads((finished_run / "verify.json").read_text())["ladder"]["qat"]
    stored = {one["rung"]: one["codes"] for one in verify["one_operation"]}
    for rung, codes in report["ladder"]["qat"]["one_operation"].items():
        assert codes["differing"] == sum(t["differing"] for t in stored[rung]["differing"].values())
        assert codes["first_differing"] == next(iter(stored[rung]["differing"]), "")
        row = rf"^\| qat.onnx +\| one operation, {rung} +\| {codes['differing']} of {codes['codes']} "
        assert re.search(row, to_markdown(report), re.MULTILINE)
    changed = json.loads(json.dumps(report))
    changed["ladder"]["qat"]["one_operation"]["onnxruntime optimized"] |= {
        "differing": 3,
        "codes": 1000,
        "tensors": 7,
        "largest_distance": 1,
        "first_differing": "model.2:add:0",
    }
    assert parity_line(changed) == (
        "torch and onnxruntime, one operation at a time: 3 of 1000 integer codes differ in "
        "7 tensors, none by more than 1, first in model.2:add:0"
    )


def test_maps_of_torch_and_onnxruntime_stand_side_by_side(report: dict[str, Any]) -> None:
    from edgegd.report.markdown import to_markdown

    agreement = report["torch_agreement"]
    assert agreement["torch"] == report["descent"]["best_map50_95"]
    assert agreement["onnxruntime"] == report["accuracy"]["qat"]["map50_95"]
    changed = json.loads(json.dumps(report))
    changed["torch_agreement"] = {"torch": 0.5, "onnxruntime": 0.497, "difference_points": 0.3, "agree": False}
    assert (
        "50.0 in torch under fake quantization, 49.7 in onnxruntime; they differ by 0.30 points, **more than"
        in to_markdown(changed)
    )


def test_the_diagnosis_is_that_of_the_command(report: dict[str, Any], finished_run: Path, edgegd_command: Any) -> None:
    (descent,) = json.loads(edgegd_command("descent", "diagnose", finished_run, "--json").out)["descents"]
    assert report["diagnosis"] == [{"descent": "qat"} | finding for finding in descent["findings"]]
    assert descent["ended"] and descent["telemetry"] and descent["steps"] == descent["planned"]


def test_a_finding_says_what_to_change_and_names_of_others_are_text(report: dict[str, Any]) -> None:
    from edgegd.report.blocks import as_text
    from edgegd.report.sections.descent import blocks

    finding = {"descent": "adapt", "rule": "clipped", "kind": "note", "evidence": {}, "threshold": "half"}
    finding |= {"sentence": "Layer <b>|`x`\n# y is odd.", "change": "Raise train.grad_clip."}
    line = as_text(blocks(report | {"diagnosis": [finding]}), "github").splitlines()[2]
    assert line.startswith("| clipped (note, adaptation) | Layer &lt;b>") and "Raise train.grad_clip." in line
    text = as_text(blocks(report | {"diagnosis": []}), "github")
    assert text.startswith("No rule of the diagnosis found anything")
