"""Times of real files in onnxruntime, and their mapping to addresses; oracle: the plan and the operators' counts."""

from __future__ import annotations

import copy
from typing import Any

import onnx
import pytest
from torch import nn

from edgegd.detectors.activation_swap import set_activation, silu_paths
from edgegd.detectors.deployment import plan_detector
from edgegd.errors import OnnxUnreadableError, WorkerError
from edgegd.export.graph import build_graph
from edgegd.plan.profiles import FLOAT, INTEGER
from edgegd.precision import timing
from edgegd.precision.timing import NodeTime, Profile, operation_times, profile_models, without_profiling
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.recipe.schema import LatencySection
from edgegd.targets.local import LocalTarget


@pytest.fixture(scope="module")
def profiles(small: Any) -> dict[str, Profile]:
    files = {"integer": small.integer_file, "float": small.float_file}
    return profile_models(files, LocalTarget(), LatencySection(), launches=2, runs=5)


@pytest.mark.parametrize("name", ["integer", "float"])
def test_every_operation_that_may_run_in_integers_has_a_time(
    profiles: dict[str, Profile], small: Any, name: str
) -> None:
    times, plan = profiles[name].operations_ms(), small.quantized.plan
    assert set(times) <= set(plan.by_address)
    assert {op.address for op in plan.ops if op.decision == INTEGER} <= set(times)
    assert min(times.values()) >= 0 and times["model.0.conv:conv2d:0"] > 0


def test_a_silu_has_the_time_of_both_its_nodes(profiles: dict[str, Profile], small: Any) -> None:
    address = next(op.address for op in small.quantized.plan.ops if op.operation == "silu")
    nodes = [node for node in profiles["integer"].nodes if node.address == address]
    assert sorted(node.op_type for node in nodes) == ["QLinearMul", "QLinearSigmoid"]
    assert profiles["integer"].operations_ms()[address] == pytest.approx(sum(node.ms for node in nodes))
    (fused,) = [node for node in profiles["float"].nodes if node.address == address]
    assert fused.op_type == "QuickGelu"


def test_borders_are_kept_apart_with_their_tensor(profiles: dict[str, Profile], small: Any) -> None:
    borders = profiles["integer"].borders()
    assert sum(border.kind == "quantize" and border.address == "input" for border in borders) == 1
    plan = small.quantized.plan
    float_readers = [op for op in plan.convolutions(FLOAT) if op.rule == "box-convolution"]
    dequantized = {border.address for border in borders if border.kind == "dequantize"}
    assert float_readers and all(op.inputs[0] in dequantized for op in float_readers)
    assert not any(border.kind in ("quantize", "dequantize") for border in profiles["float"].borders())
    assert all(border.address in {*plan.by_address, "input"} for border in borders)
    counted = sum(profiles["integer"].operations_ms().values()) + sum(border.ms for border in borders)
    assert counted == pytest.approx(sum(node.ms for node in profiles["integer"].nodes))


@pytest.mark.parametrize(
    ("durations", "total", "expected"),
    [
        ([10, 20, 30], 45, [5, 15, 25]),
        ([1, 20, 30], 40, [0, 15, 25]),
        ([10, 20], 36, [13, 23]),
        ([3, 3], 0, [0, 0]),
        ([1, 2, 50], 48, [0, 0, 48]),
        ([], 1, []),
    ],
    ids=["an equal part each", "none below zero", "time between nodes", "nothing left", "only the long one", "no node"],
)
def test_what_profiling_adds_is_taken_from_every_node(
    durations: list[float], total: float, expected: list[float]
) -> None:
    assert without_profiling(durations, total) == pytest.approx(expected)


def test_nodes_add_up_to_the_time_without_profiling(small: Any) -> None:
    profile = profile_models({"m": small.float_file}, LocalTarget(), LatencySection(), launches=1, runs=5)["m"]
    assert sum(node.ms for node in profile.nodes) == pytest.approx(profile.plain_ms)


def test_the_machine_of_a_profile_is_told(profiles: dict[str, Profile]) -> None:
    assert profiles["float"].fingerprint["onnxruntime"] and profiles["float"].fingerprint["cpu"]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("model.0.conv:conv2d:0_token_60", "model.0.conv:conv2d:0"),
        ("model.2:split:0/Slice_1/GatherSliceToSplitFusion", "model.2:split:0"),
        ("model.1.conv:conv2d:0/Conv_output_0_nchwc", "model.1.conv:conv2d:0"),
        ("model.23:reshape:5/Reshape_output_0_dq", "model.23:reshape:5"),
        ("model.9:max_pool2d:12_token_3", "model.9:max_pool2d:12"),
        ("input/quantize", "input"),
        (":add:0/Add", ":add:0"),
        ("ReorderOutput_token_57", ""),
        ("Transpose", ""),
        ("input_transposed", ""),
    ],
)
def test_addresses_are_read_from_the_names_that_onnxruntime_makes(name: str, address: str) -> None:
    assert NodeTime("Conv", name, "CPUExecutionProvider", 1.0, (), ()).address == address


def test_one_file_alone(small: Any) -> None:
    assert "model.0.conv:conv2d:0" in operation_times(small.float_file)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.0.conv:conv2d:0"], r"1 of them"),
        ([""], r"0 of them"),
        (None, r"also other:conv2d:0"),
    ],
    ids=["of one node", "without names", "of another file"],
)
def test_nodes_of_another_file_are_no_times_of_this_one(
    small: Any, monkeypatch: pytest.MonkeyPatch, names: list[str] | None, found: str
) -> None:
    ask = timing.ask

    def lied(worker: Any, message: dict[str, Any], duration_s: float) -> dict[str, Any]:
        answer = ask(worker, message, duration_s)
        node = answer["nodes"][0]
        strange = answer["nodes"] + [node | {"name": "other:conv2d:0"}]
        return answer | {"nodes": strange if names is None else [node | {"name": name} for name in names]}

    monkeypatch.setattr(timing, "ask", lied)
    with pytest.raises(WorkerError, match=rf"(?s)local.*other nodes.*found: {found}"):
        profile_models({"m": small.integer_file}, LocalTarget(), LatencySection(), launches=1, runs=2)


@pytest.mark.parametrize("quantizes", [False, True], ids=["float", "integer"])
def test_convolutions_with_relus_are_named_after_these(small: Any, tmp_path: Any, quantizes: bool) -> None:
    model = copy.deepcopy(small.model)
    for path in silu_paths(model):
        set_activation(model, path, nn.ReLU())
    quantized = QuantizedModel(model, plan_detector(model, 64, "x86-vnni"))
    calibrate(quantized, small.images.split(2), "minmax")
    quantized.eval()
    onnx.save(build_graph(quantized if quantizes else model, 64, 17), tmp_path / "relu.onnx")
    profile = profile_models({"m": tmp_path / "relu.onnx"}, LocalTarget(), LatencySection(), launches=1, runs=2)["m"]
    assert any(":relu:" in address for address in profile.operations_ms()) is not quantizes


def test_a_file_that_is_no_model_is_refused(tmp_path: Any) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(OnnxUnreadableError):
        operation_times(tmp_path / "broken.onnx")
