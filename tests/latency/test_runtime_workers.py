"""Workers of other runtimes: one file each that needs nothing of edgegd. Oracle: onnxruntime's outputs of the model."""

from __future__ import annotations

import ast
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from played_openvino import as_openvino, install

from edgegd.device.latency_worker import PROTOCOL
from edgegd.device.runtime_workers import WORKERS, worker_files, worker_text
from edgegd.errors import DeviceSoftwareError, OnnxUnreadableError
from edgegd.latency.measuring.measure import measure
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget
from edgegd.targets.other_runtime import running
from edgegd.targets.process import WorkerProcess
from edgegd.targets.worker_protocol import ask

SHAPE = (1, 3, 16, 24)
QUICK = LatencySection(threads=1, launches=1, quads=1, block_s=0.01, warmup_s=0.05)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    helper, weight = onnx.helper, np.random.default_rng(0).random((7, 3, 1, 1), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["maps"]),
            helper.make_node("Reshape", ["maps", "shape"], ["output0"]),
        ],
        "raw",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, (1, 7, 16 * 24))],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(np.array([1, 7, -1]), "shape")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("runtime", WORKERS)
def test_a_worker_is_one_file_without_edgegd(runtime: str, tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(worker_text(runtime))
    tree = ast.parse(program.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in modules}
    assert roots - {"numpy", "onnxruntime"} <= set(sys.stdlib_module_names)
    assert [ast.unparse(node) for node in tree.body if isinstance(node, ast.If)][-1].endswith(
        f"main({WORKERS[runtime].model})"
    )
    command = [sys.executable, "-I", str(program)]  # no PYTHONPATH, no folder of the program
    with closing(WorkerProcess(command)) as worker:
        assert ask(worker, {"hello": PROTOCOL}, 60)["pid"] == worker.pid


def test_another_runtime_is_timed_in_the_same_launches(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "packages", monkeypatch)
    files = {"edge": model, "fp32": model, "openvino": as_openvino(model, tmp_path / "m.zip", SHAPE)}
    result = measure(files, QUICK, LocalTarget(), runtimes={"openvino": "openvino"})
    assert sorted(block.model for block in result.blocks) == sorted([*files, *files])
    assert list(result.models) == list(files) and result.models["openvino"].median_ms > 0
    in_onnx = measure({"edge": model, "same": model}, QUICK, LocalTarget(), runtimes={"same": "openvino-f32"})
    assert in_onnx.models["same"].samples > 0  # an .onnx file as it is


def test_what_is_timed_computes_the_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "packages", monkeypatch)
    images = np.random.default_rng(1).random((2, *SHAPE), dtype=np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with running(as_openvino(model, tmp_path / "m.zip", SHAPE), "openvino", 1) as network:
        for image in images:
            np.testing.assert_array_equal(network(image), session.run(None, {"images": image})[0])


def test_a_device_without_the_runtime_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "packages", monkeypatch, "raise ModuleNotFoundError('No module named ncnn')", "ncnn")
    with (
        worker_files(["ncnn"]) as files,
        closing(LocalTarget().start_worker(files["ncnn"])) as worker,
        pytest.raises(DeviceSoftwareError) as caught,
    ):
        ask(worker, {"runtime": True}, 0)
    assert caught.value.exit_code == 82 and "No module named ncnn" in caught.value.found
    assert caught.value.mend.endswith(f"{sys.executable} -m pip install ncnn")


def test_the_version_is_asked_before_a_model_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "packages", monkeypatch)
    with worker_files(["openvino"]) as files, closing(LocalTarget().start_worker(files["openvino"])) as worker:
        assert ask(worker, {"runtime": True}, 0) == {"version": "2026.0.0"}
    with worker_files([]) as files, closing(LocalTarget().start_worker(files["onnxruntime"])) as worker:
        assert ask(worker, {"runtime": True}, 0) == {"version": onnxruntime.__version__}


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18)], ids=["empty", "a zip without parts"])
def test_a_file_that_is_none_of_the_runtimes_is_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "packages", monkeypatch)
    (tmp_path / "m.zip").write_bytes(content)
    with pytest.raises(OnnxUnreadableError), running(tmp_path / "m.zip", "openvino", 1):
        pass


def test_another_runtime_is_measured_on_a_device_over_ssh(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sshd_device: Any
) -> None:
    install(tmp_path / "packages", monkeypatch)
    python = f"env PYTHONPATH={tmp_path / 'packages'} {sys.executable}"
    files = {"edge": model, "openvino": as_openvino(model, tmp_path / "m.zip", SHAPE)}
    with closing(sshd_device.target(python=python)) as board:
        result = measure(files, QUICK, board, runtimes={"openvino": "openvino"})
        copied = board.copied_bytes
        assert result.target == "board" and result.models["openvino"].samples > 0
        measure(files, QUICK, board, runtimes={"openvino": "openvino"})
        assert board.copied_bytes == copied, "the same worker and the same model are not copied again"
