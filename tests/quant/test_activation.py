"""Swapping SiLU for ReLU. Oracles: the two functions on the blocks' own outputs, the plan, onnxruntime's own graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

from edgegd.detectors.activation_swap import ActivationSwap, require_silu, require_swapped, silu_paths, swap_to_relu
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.float_checkpoint import open_checkpoint
from edgegd.detectors.float_training import store_model
from edgegd.errors import ActivationError
from edgegd.export.graph import build_graph
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate


@pytest.fixture
def detector(tiny_checkpoint: Path) -> DetectionModel:
    """A YOLO26n of random weights as Ultralytics loads it."""
    return open_checkpoint(tiny_checkpoint)


def test_one_block_of_a_shared_silu_is_swapped_and_the_others_are_not(detector: Any) -> None:
    first, second = detector.model[0], detector.model[1]
    assert first.act is second.act
    others = [path for path in silu_paths(detector) if path != "model.0.act"]
    swap_to_relu(detector, ["model.0.act"])
    assert isinstance(first.act, nn.ReLU) and isinstance(second.act, nn.SiLU)
    assert list(silu_paths(detector)) == others
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = first.bn(first.conv(image))
        assert (plain < 0).any() and torch.equal(first(image), plain.clamp(min=0))


def test_a_stored_swap_is_there_again_with_its_weights(detector: Any, tmp_path: Path) -> None:
    chosen = silu_paths(detector)[::2]
    swap_to_relu(detector, chosen)
    detector.args = {"data": "/home/someone/data.yaml"}
    for name in ("swapped.pt", "again.pt"):
        store_model(detector, tmp_path / name)
    assert (tmp_path / "again.pt").read_bytes() == (tmp_path / "swapped.pt").read_bytes()
    loaded = open_checkpoint(tmp_path / "swapped.pt")
    assert silu_paths(loaded) == silu_paths(detector)
    assert all(isinstance(loaded.get_submodule(path), nn.ReLU) for path in chosen)
    own, theirs = detector.state_dict(), loaded.state_dict()
    assert own.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in own.items())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(detector.eval()(image)[0], loaded(image)[0])
    assert b"/home/someone" not in (tmp_path / "swapped.pt").read_bytes()


def test_an_unknown_path_changes_nothing(detector: Any) -> None:
    before = silu_paths(detector)
    with pytest.raises(ActivationError, match=r"no SiLU at model\.99\.act") as caught:
        swap_to_relu(detector, ["model.0.act", "model.99.act"])
    assert caught.value.exit_code == 66 and silu_paths(detector) == before


def test_a_model_without_silu_is_refused_with_what_it_has() -> None:
    model = nn.Sequential(Conv(3, 4, act=nn.ReLU()), Conv(4, 4, act=nn.Hardswish()))
    with pytest.raises(ActivationError, match="no SiLU to replace") as caught:
        require_silu(model)
    assert "Hardswish, ReLU" in caught.value.message()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda model: swap_to_relu(model, ["model.3.act"]), "model.3.act is no SiLU"),
        (lambda model: setattr(model.model[0], "act", nn.SiLU()), "model.0.act is a SiLU"),
        (lambda model: setattr(model.model[0], "act", nn.Identity()), "model.0.act is no ReLU"),
    ],
    ids=["too many", "too few", "another activation"],
)
def test_a_model_with_other_activations_than_chosen_is_told(detector: Any, spoil: Any, found: str) -> None:
    paths = silu_paths(detector)
    swap = ActivationSwap("auto", 0.5, relu=paths[:2], silu=paths[2:])
    swap_to_relu(detector, swap.relu)
    require_swapped(detector, swap)
    spoil(detector)
    with pytest.raises(ActivationError, match="does not have the activations that were chosen") as caught:
        require_swapped(detector, swap)
    assert found in caught.value.found


def test_the_plan_of_a_swapped_model_absorbs_every_relu_and_onnxruntime_runs_none(
    detector: Any, tmp_path: Path
) -> None:
    swap_to_relu(detector, silu_paths(detector))
    deploy(detector)
    plan = plan_detector(detector, 64, "x86-vnni")
    relus = [op for op in plan.ops if op.operation == "relu"]
    assert len(relus) == 87 and {op.rule for op in relus} == {"absorbed-relu"}
    assert not [op for op in plan.ops if op.operation == "silu"]
    quantized = QuantizedModel(detector, plan)
    calibrate(quantized, [torch.rand(2, 3, 64, 64)], "minmax")
    graph = build_graph(quantized, 64, 17)
    assert Counter(node.op_type for node in graph.graph.node)["Relu"] == 87
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimized = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert not {"Relu", "QLinearSigmoid", "QLinearMul"} & optimized.keys()
    assert optimized["QLinearConv"] == 99  # of 102: three end in boxes
