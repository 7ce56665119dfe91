"""Oracle: ratios worked out by hand; a killed benchmark measures what is missing and nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from interleaved import measure_launch, median_ms, missing, ratio, ratio_of_launches, require_same_files
from result_file import ResultFile

from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget

SETTINGS = LatencySection(threads=1, quads=1, block_s=0.01, warmup_s=0.05)


def entry(launch: int, **block_medians_ms: list[float]) -> dict[str, Any]:
    files = {
        name: {"block_medians_ms": blocks, "median_ms": float(np.median(blocks)), "sha256": name}
        for name, blocks in block_medians_ms.items()
    }
    return {"model": "m", "launch": launch, "files": files}


def test_ratios_compare_neighbouring_blocks() -> None:
    # the second launch ran on a machine half as fast: only the ratio within a launch tells the files apart
    entries = [entry(0, fp32=[9.0, 9.0], int8=[3.0, 3.0]), entry(1, fp32=[18.0, 18.0], int8=[6.0, 6.0])]
    assert ratio(entries, "fp32", "int8") == pytest.approx((3.0, 3.0, 3.0))
    assert ratio(entries, "int8", "fp32")[0] == pytest.approx(1 / 3)
    assert median_ms(entries, "fp32") == 13.5
    faster = [entry(1, fp32=[9.0, 9.0]), entry(2, fp32=[1.0, 1.0])]
    assert ratio_of_launches(entries, faster, "fp32") == 2.0  # launch 1 is the only one that both have


def test_entries_survive_and_launches_are_not_repeated(tmp_path: Path) -> None:
    results = ResultFile("any", tmp_path / "any.json")
    results.add(entry(0, a=[1.0, 1.0]))
    results.add(entry(2, a=[1.0, 1.0]), {"peer": "7"})
    again = ResultFile("any", tmp_path / "any.json")
    assert again.entries == results.entries and again.entries[1]["versions"]["peer"] == "7"
    assert {"date", "commit", "versions", "machine"} <= set(again.entries[0])
    assert list(missing(again, {"model": "m"}, 4)) == [1, 3]
    assert list(missing(again, {"model": "other"}, 2)) == [0, 1]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = ResultFile("any", tmp_path / "any.json")
    results.add(entry(0, a=[1.0, 1.0]))
    before = results.path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        results.add(entry(1, a=[1.0, 1.0]))
    assert results.path.read_bytes() == before and len(results.entries) == 1


def test_launches_of_changed_files_are_dropped(tmp_path: Path) -> None:
    results = ResultFile("any", tmp_path / "any.json")
    for launch in (0, 1):
        results.add(entry(launch, a=[1.0, 1.0]))
    results.add({**entry(0, a=[1.0, 1.0]), "model": "other"})
    require_same_files(results, {"model": "m"}, {"a": "a"})
    assert len(results.entries) == 3
    require_same_files(results, {"model": "m"}, {"a": "another hash"})
    assert [one["model"] for one in ResultFile("any", results.path).entries] == ["other"]


def relu_file(path: Path, element_type: int, shape: tuple[int, ...]) -> Path:
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Relu", ["x"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "relu",
        [helper.make_tensor_value_info("images", element_type, shape)],
        [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_launch_measures_portable_and_edge_inputs(tmp_path: Path) -> None:
    files = {
        "portable": relu_file(tmp_path / "portable.onnx", onnx.TensorProto.FLOAT, (1, 3, 256, 256)),
        "edge": relu_file(tmp_path / "edge.onnx", onnx.TensorProto.UINT8, (1, 8, 8, 4)),
    }
    results = ResultFile("any", tmp_path / "any.json")
    for launch in (0, 1):
        measure_launch(results, {"model": "m", "launch": launch}, files, SETTINGS, LocalTarget(), more={"note": launch})
    stored = json.loads(results.path.read_text())["entries"]
    assert [one["note"] for one in stored] == [0, 1] and [list(one["files"]) for one in stored] == [list(files)] * 2
    for name, file in files.items():
        measured = stored[0]["files"][name]
        assert measured["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert len(measured["block_medians_ms"]) == 2 * SETTINGS.quads and min(measured["block_medians_ms"]) > 0
    require_same_files(results, {"model": "m"}, {name: stored[0]["files"][name]["sha256"] for name in files})
    assert len(results.entries) == 2
