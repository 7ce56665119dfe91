"""One small detector with random weights, deployed, calibrated on pictures with structure, exported twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgegd.detectors.deployment import deploy, plan_detector
from edgegd.export.float_graph import float_graph
from edgegd.export.graph import build_graph, state_of
from edgegd.export.traced_graph import read_trace
from edgegd.precision.sensitivity import head_tensors
from edgegd.precision.subject import Subject
from edgegd.quant.attach import QuantizedModel
from edgegd.quant.calibration import calibrate

IMGSZ = 64
torch.set_num_threads(1)


@dataclass(frozen=True)
class Small:
    """A detector, its calibrated form, images (N, 3, 64, 64), and both files."""

    model: Any
    quantized: QuantizedModel
    images: torch.Tensor
    float_file: Path
    integer_file: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """YOLO26n with random weights whose activations do not vanish; tests must not change it."""
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(1)
    images = torch.from_numpy(np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32))
    images = nn.functional.interpolate(images, size=(IMGSZ, IMGSZ), mode="bilinear")
    model = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.7, 1.3)
    with torch.no_grad():
        model.train()(images)
    deployed = deploy(model.eval(), end2end=False)
    quantized = QuantizedModel(deployed, plan_detector(deployed, IMGSZ, "x86-vnni"))
    calibrate(quantized, images.split(2), "mse")
    quantized.eval()
    folder = tmp_path_factory.mktemp("small")
    files = folder / "float.onnx", folder / "integer.onnx"
    onnx.save(build_graph(deployed, IMGSZ, 17), files[0])
    onnx.save(build_graph(quantized, IMGSZ, 17), files[1])
    return Small(deployed, quantized, images, *files)


@pytest.fixture(scope="session")
def pictures(small: Small) -> torch.Tensor:
    """Images whose values are pixels: their codes lose nothing."""
    pixels: torch.Tensor = (small.images * 255).round() / 255
    return pixels


@pytest.fixture(scope="session")
def subject(small: Small, pictures: torch.Tensor) -> Subject:
    """The detector as it is searched."""
    graph, plan = float_graph(small.model, IMGSZ, 17), small.quantized.plan
    traced = read_trace(graph)
    return Subject(
        graph,
        plan,
        state_of(small.quantized),
        traced.ops,
        head_tensors(traced.ops, traced.head),
        [batch.numpy() for batch in pictures.split(2)],
        lambda addresses: plan_detector(small.model, IMGSZ, plan.profile, float_patterns=addresses),
    )
