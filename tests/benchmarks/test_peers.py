"""Which runtime times which file, what the front of points is, and OpenVINO's worker where OpenVINO is installed."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import onnx
import pytest
from pareto import Point, front
from peers.target import PeerTarget

from edgegd.device.runtime_workers import worker_files
from edgegd.latency.measuring.measure import measure
from edgegd.recipe.schema import LatencySection
from edgegd.targets.worker_protocol import WORKER_FILE

CONFIGURE = {"threads": 1, "spinning": False, "optimization": "all", "seed": 0, "input": None}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["output0"])],
        "relu",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 16, 16))],
        [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, (1, 3, 16, 16))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_workers_of_other_runtimes_run_in_the_peers_environment(model: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nread line\necho "{\\"program\\": \\"$1\\"}"\n')
    python.chmod(0o755)
    target = PeerTarget(str(python))
    with worker_files(["ncnn"]) as files, closing(target.start_worker(files["ncnn"])) as worker:
        worker.send({"runtime": True})
        assert worker.receive(30) == {"program": str(files["ncnn"])}
    with closing(target.start_worker(WORKER_FILE)) as worker:
        worker.send({"configure": {**CONFIGURE, "model": target.deliver(model)}})
        assert worker.receive(60)["session"]["providers"] == ["CPUExecutionProvider"]


def test_openvino_and_onnxruntime_are_timed_in_one_run(model: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (edgegd[bench])")
    files = {"onnxruntime": model, "openvino": model}
    settings = LatencySection(threads=1, launches=1, quads=1, block_s=0.01, warmup_s=0.05)
    result = measure(files, settings, PeerTarget(sys.executable), runtimes={"openvino": "openvino-f32"})
    assert sorted(block.model for block in result.blocks) == sorted([*files, *files])
    assert all(block.median_ms > 0 for block in result.blocks)


def test_the_front_has_no_point_that_a_faster_one_equals() -> None:
    points = [Point("a", (0.4, 0.6), 1.0), Point("b", (0.5,), 2.0), Point("c", (0.7,), 3.0), Point("d", (0.6,), 4.0)]
    assert [point.name for point in front(points)] == ["a", "c"]
