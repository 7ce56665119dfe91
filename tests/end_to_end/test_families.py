"""Every family from trace to parity, with random weights and small images. Oracle: onnxruntime itself.

Sizes: the smallest of each family; tests/quant/test_families_plan.py plans the next ones too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from edgegd.data.calibration import batches
from edgegd.descent.optimizers import make_optimizer
from edgegd.detectors.batches import hyperparameters
from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.detectors.families.ssd_detector import build_ssdlite
from edgegd.detectors.losses import label_loss, predict, prepare_loss
from edgegd.export.graph import build_graph
from edgegd.export.metadata import contract_of, set_metadata
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate
from edgegd.quant.consistent_ranges import settle_ranges
from edgegd.recipe.training import TrainSection
from edgegd.runtime.contract import Preprocessing
from edgegd.verify.census import require_planned, take_census
from edgegd.verify.ladder import climb
from edgegd.verify.ladder_tolerance import LadderTolerance
from edgegd.verify.opened import OnnxFile, Pictures

# architecture, end-to-end head, image side
FAMILIES = [
    ("yolov8n", None, 64),
    ("yolov9t", None, 64),
    ("yolov10n", False, 64),
    ("yolov10n", True, 64),
    ("yolo11n", None, 64),
    ("yolo12n", None, 64),
    ("yolo26n", False, 64),
    ("yolo26n", True, 64),
    ("rtdetr-l", None, 128),
    ("ssdlite", None, 96),
]


def _detector(architecture: str) -> Any:
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(0)
    model: Any
    if architecture == "ssdlite":
        model = build_ssdlite(("pedestrian", "car", "traffic sign", *"abcde"), reduced_tail=True).eval()
    else:
        model = (RTDETR if "rtdetr" in architecture else YOLO)(f"{architecture}.yaml").model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return model


def _batch(imgsz: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(8, 2, generator=generator) * 0.5 + 0.25
    return {
        "img": torch.rand(2, 3, imgsz, imgsz, generator=generator),
        "cls": torch.arange(8.0).view(-1, 1),
        "bboxes": torch.cat([corner, torch.full((8, 2), 0.4)], 1),
        "batch_idx": torch.arange(2.0).repeat_interleave(4),
    }


def _require_gradients(quantized: QuantizedModel) -> None:
    """Every weight that the plan quantizes, and every range that may learn and lies before a loss, has a gradient."""
    for op in quantized.plan.convolutions("integer"):
        gradient = quantized.model.get_submodule(op.weight).weight.grad  # type: ignore[union-attr]
        assert gradient is not None and torch.isfinite(gradient).all(), op.address
    for key, quantizer in quantized.ranges.items():
        gradients = (quantizer.log_scale.grad, quantizer.shift.grad)
        learns = {"range": (True, True), "scale": (True, False), "nothing": (False, False)}[quantizer.learns]  # type: ignore[index]
        assert tuple(gradient is not None for gradient in gradients) == learns, key
        assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None), key


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "end2end", "imgsz"), FAMILIES, ids=lambda value: str(value))
def test_a_family_from_trace_to_parity(
    architecture: str, end2end: bool | None, imgsz: int, tiny_set: Path, tmp_path: Path
) -> None:
    model = deploy(_detector(architecture), end2end=end2end)
    plan = plan_detector(model, imgsz, "x86-vnni")
    quantized = QuantizedModel(model, plan)
    images = sorted((tiny_set / "images/train").iterdir())[:4]
    calibrate(quantized, map(torch.from_numpy, batches(images, Preprocessing(imgsz=(imgsz, imgsz)), 2)), "mse")

    prepare_loss(model, hyperparameters(TrainSection(), imgsz))
    quantized.train()
    before = {key: value.clone() for key, value in quantized.state_dict().items()}
    batch = _batch(imgsz)
    optimizer = make_optimizer(quantized, TrainSection())
    loss, _ = label_loss(quantized, batch, predict(quantized, batch))
    loss.backward()
    _require_gradients(quantized)
    optimizer.step()
    quantized.update_ranges()
    settle_ranges(quantized)
    quantized.eval()
    assert torch.isfinite(loss)
    changed = {key for key, value in quantized.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("model.") and key.endswith(".weight") for key in changed)
    assert any("log_scale" in key for key in changed)

    graph = build_graph(quantized, imgsz, 17)
    set_metadata(graph, model, contract_of(graph, model, imgsz, "qat", plan.sha256, plan.profile))
    path = tmp_path / "model.onnx"
    onnx.save(graph, path)
    require_planned(take_census(OnnxFile(path), plan), plan, path.name)

    ladder = climb(quantized, OnnxFile(path), Pictures(sorted((tiny_set / "images/val").iterdir())[:2]))
    tolerance = LadderTolerance()
    for one in ladder.one_operation:
        assert one.codes.tensors >= len(plan.tensors) // 2
        assert one.codes.first_beyond(tolerance.codes) is None, one.codes
    assert ladder.whole.boxes.agreeing_share >= tolerance.boxes.agreeing_share
